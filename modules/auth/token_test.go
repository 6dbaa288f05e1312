package auth

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
	"testing"
)

func TestTokenTextHasTheDocumentedForm(t *testing.T) {
	t.Parallel()
	for _, secret := range [][32]byte{{}, {31: 1}, {0: 255, 31: 255}, [32]byte(bytes.Repeat([]byte{255}, 32))} {
		text := tokenText(secret)
		rest, ok := strings.CutPrefix(text, "ops_api_token_")
		if !ok || len(rest) != 49 {
			t.Fatalf("tokenText(%x) = %q", secret, text)
		}
		// Decoded by another method than the one under test: math/big's base 62 has its own alphabet, 0-9a-zA-Z.
		swap := func(r rune) rune {
			switch {
			case 'a' <= r && r <= 'z':
				return r - 'a' + 'A'
			case 'A' <= r && r <= 'Z':
				return r - 'A' + 'a'
			}
			return r
		}
		random, _ := new(big.Int).SetString(strings.Map(swap, rest[:43]), 62)
		if got := random.FillBytes(make([]byte, 32)); !bytes.Equal(got, secret[:]) {
			t.Errorf("random digits of %q are %x, want %x", text, got, secret)
		}
		check, _ := new(big.Int).SetString(strings.Map(swap, rest[43:]), 62)
		if got, want := check.Uint64(), uint64(crc32.ChecksumIEEE([]byte(rest[:43]))); got != want {
			t.Errorf("check digits of %q are %d, want %d", text, got, want)
		}
		hash, prefix, err := ParseToken(text)
		if err != nil {
			t.Fatalf("ParseToken(%q): %v", text, err)
		}
		if want := fmt.Sprintf("%x", sha256.Sum256([]byte(text))); hash.String() != want {
			t.Errorf("hash of %q is %s, want %s", text, hash, want)
		}
		if prefix != rest[:8] {
			t.Errorf("prefix of %q is %q", text, prefix)
		}
	}
}

func TestNewTokenTextsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		text, err := NewTokenText()
		if err != nil {
			t.Fatal(err)
		}
		if seen[text] {
			t.Fatalf("token %q was made twice", text)
		}
		seen[text] = true
	}
}

func TestAnySingleTypoIsRefused(t *testing.T) {
	t.Parallel()
	text, err := NewTokenText()
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		for _, c := range []byte(base62Alphabet + " _-.\x00é") {
			if c == text[i] {
				continue
			}
			typo := text[:i] + string(rune(c)) + text[i+1:]
			if _, _, err := ParseToken(typo); !errors.Is(err, ErrTokenForm) {
				t.Fatalf("ParseToken(%q), a typo of %q at %d: %v", typo, text, i, err)
			}
		}
	}
	for i := len(tokenMark); i < len(text)-1; i++ {
		if text[i] == text[i+1] {
			continue
		}
		swapped := text[:i] + text[i+1:i+2] + text[i:i+1] + text[i+2:]
		if _, _, err := ParseToken(swapped); err == nil {
			t.Fatalf("ParseToken accepts %q, %q with two characters swapped", swapped, text)
		}
	}
}

func TestTokenBeyondTheRandomRangeIsRefused(t *testing.T) {
	t.Parallel()
	digits := strings.Repeat("z", randomDigits)
	if _, _, err := ParseToken(tokenMark + digits + checksum(digits)); !errors.Is(err, ErrTokenForm) {
		t.Errorf("ParseToken of a number above 2^256: %v", err)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(tokenText([32]byte{1, 2, 3}))
	f.Add(tokenText([32]byte{}))
	f.Add("ops_api_token_")
	f.Add("")
	f.Add("eyJhbGciOiJFZERTQSJ9.e30.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		hash, prefix, err := ParseToken(text)
		if err != nil {
			if !errors.Is(err, ErrTokenForm) || hash != (Hash{}) || prefix != "" {
				t.Fatalf("ParseToken(%q) = %v, %q, %v", text, hash, prefix, err)
			}
			return
		}
		if !IsTokenText(text) || len(text) != 63 || !strings.HasPrefix(text[len(tokenMark):], prefix) {
			t.Fatalf("ParseToken accepts %q", text)
		}
	})
}

func FuzzTokenText(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, secret []byte) {
		if len(secret) != 32 {
			return
		}
		text := tokenText([32]byte(secret))
		if _, _, err := ParseToken(text); err != nil {
			t.Fatalf("ParseToken(%q): %v", text, err)
		}
	})
}

func BenchmarkParseToken(b *testing.B) {
	text := tokenText([32]byte{1, 2, 3})
	for b.Loop() {
		if _, _, err := ParseToken(text); err != nil {
			b.Fatal(err)
		}
	}
}
