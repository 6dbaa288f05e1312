package api

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestStoredSizeCountsWhatNumbersBecome(t *testing.T) {
	for text, want := range map[string]int{
		`{}`:                                   2,
		`{"a":true,"e":false}`:                 20,
		`{"1e99":"2e99 \" 3e99 \\"}`:           len(`{"1e99":"2e99 \" 3e99 \\"}`),
		`[1e6]`:                                11,
		`[1.5E+3,-2e-4]`:                       21,
		`1e131071`:                             8 + 131071,
		`[1e99999999999999999999,1]`:           math.MaxInt32,
		`[1e2147483647,1e2147483647]`:          math.MaxInt32,
		`[` + strings.Repeat("1e9,", 9) + `1]`: 39 + 81,
	} {
		if !json.Valid([]byte(text)) {
			t.Errorf("%s is no JSON", text)
		}
		if got := StoredSize([]byte(text)); got != want {
			t.Errorf("%s: %d bytes, want %d", text, got, want)
		}
	}
}

// FuzzStoredSize: it is never less than the text, and at least as long as the plain numbers.
func FuzzStoredSize(f *testing.F) {
	for _, seed := range []string{`{"a":1e6}`, `"\"e9"`, `[true,false,null,-0.5e-7]`, `"`, `\`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if got := StoredSize(text); got < len(text) {
			t.Errorf("%q: %d bytes", text, got)
		}
	})
}
