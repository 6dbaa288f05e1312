package api

import (
	"bytes"
	"math"
	"strconv"
)

// StoredSize is how many bytes valid JSON has, at most, when PostgreSQL's jsonb has written its numbers out: 1e6 is 1000000
// there, and 1e131071 is 131,072 digits, so that a short text would be a long answer to everybody who reads it.
func StoredSize(json []byte) int {
	size := len(json)
	for i := 0; i < len(json); i++ {
		switch c := json[i]; {
		case c == '"':
			for i++; i < len(json) && json[i] != '"'; i++ {
				if json[i] == '\\' {
					i++
				}
			}
		case c == 'e' || c == 'E':
			// Outside texts: an exponent, or one in true and false, after which no digit comes.
			end := i + 1
			for end < len(json) && bytes.IndexByte([]byte("+-0123456789"), json[end]) >= 0 {
				end++
			}
			if end > i+1 {
				size += zeros(string(json[i+1 : end]))
				i = end - 1
			}
		}
		if size < 0 || size > math.MaxInt32 {
			return math.MaxInt32
		}
	}
	return size
}

// zeros is how many digits an exponent adds at most.
func zeros(exponent string) int {
	n, err := strconv.Atoi(exponent)
	if err != nil || n > math.MaxInt32 || n < -math.MaxInt32 {
		return math.MaxInt32
	}
	return max(n, -n)
}
