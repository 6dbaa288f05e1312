package pending

import (
	"bytes"
	"encoding/json"
	"errors"
)

// The stored documents are read in place: columns of pending rows alias the
// bytes that Redis sent, and a column is found without decoding its neighbours.
// The bytes come from json.Marshal; whatever else is malformed is an error,
// never a panic.

var errJSON = errors.New("malformed JSON")

// skip returns the index after white space from i.
func skip(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// endOfString returns the index after the string that begins at b[i] == '"'.
func endOfString(b []byte, i int) (int, error) {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1, nil
		}
	}
	return 0, errJSON
}

// endOfValue returns the index after the value that begins at b[i].
func endOfValue(b []byte, i int) (int, error) {
	if i >= len(b) {
		return 0, errJSON
	}
	switch b[i] {
	case '"':
		return endOfString(b, i)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				var err error
				if i, err = endOfString(b, i); err != nil {
					return 0, err
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1, nil
				}
			}
			i++
		}
		return 0, errJSON
	}
	start := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	if i == start {
		return 0, errJSON
	}
	return i, nil
}

// inside takes the outer brackets off a JSON object or array.
func inside(b []byte) []byte {
	b = bytes.TrimSpace(b)
	if len(b) < 2 {
		return nil
	}
	return b[1 : len(b)-1]
}

// jsonString reads a JSON string; one without escapes is copied as it is.
func jsonString(v []byte) (s string, err error) {
	if len(v) >= 2 && v[0] == '"' && bytes.IndexByte(v, '\\') < 0 {
		return string(inside(v)), nil
	}
	err = json.Unmarshal(v, &s)
	return s, err
}

// eachField calls f with every member of an object given without its braces.
// Names are given as written, without their quotes. f's error ends it.
func eachField(b []byte, f func(name, value []byte) error) error {
	i := skip(b, 0)
	for i < len(b) {
		if b[i] != '"' {
			return errJSON
		}
		end, err := endOfString(b, i)
		if err != nil {
			return err
		}
		name := b[i+1 : end-1]
		if i = skip(b, end); i >= len(b) || b[i] != ':' {
			return errJSON
		}
		i = skip(b, i+1)
		if end, err = endOfValue(b, i); err != nil {
			return err
		}
		if err := f(name, b[i:end:end]); err != nil {
			return err
		}
		if i = skip(b, end); i < len(b) {
			if b[i] != ',' {
				return errJSON
			}
			if i = skip(b, i+1); i >= len(b) {
				return errJSON
			}
		}
	}
	return nil
}

// eachElement calls f with every element of the JSON array b.
func eachElement(b []byte, f func(value []byte) error) error {
	if b = bytes.TrimSpace(b); bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) < 2 || b[0] != '[' || b[len(b)-1] != ']' {
		return errJSON
	}
	b = b[1 : len(b)-1]
	i := skip(b, 0)
	for i < len(b) {
		end, err := endOfValue(b, i)
		if err != nil {
			return err
		}
		if err := f(b[i:end:end]); err != nil {
			return err
		}
		if i = skip(b, end); i < len(b) {
			if b[i] != ',' {
				return errJSON
			}
			if i = skip(b, i+1); i >= len(b) {
				return errJSON
			}
		}
	}
	return nil
}

var errFound = errors.New("found")

// column finds a member of the JSON object b, nil when it has none of that name.
func column(b json.RawMessage, name string) (value []byte) {
	if len(b) < 2 {
		return nil
	}
	if err := eachField(inside(b), func(n, v []byte) error {
		if string(n) == name {
			value = v
			return errFound
		}
		return nil
	}); err != nil && !errors.Is(err, errFound) {
		return nil
	}
	return value
}
