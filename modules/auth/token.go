package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
)

// An API token is tokenMark, then 43 base62 digits of 32 random bytes, then 6 base62 digits of the CRC-32 (IEEE)
// of these 43 characters. The check digits refuse a typo without a look-up and let secret scanners recognise leaks.
const (
	tokenMark      = "ops_api_token_"
	randomDigits   = 43
	checkDigits    = 6
	tokenLength    = len(tokenMark) + randomDigits + checkDigits
	prefixLength   = 8
	base62Alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// highestRandom is the encoding of 2^256-1. The alphabet is in the order of its bytes, so a larger text is a larger
// number: one that 32 bytes cannot hold and that no server ever issued.
var highestRandom = encodeBase62(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)), randomDigits)

// ErrTokenForm says that a text is not an API token: another length, a foreign character or wrong check digits.
// Such a text is refused without asking any database.
var ErrTokenForm = errors.New("malformed API token")

// Hash is the SHA-256 of an API token's whole text, the only form in which a token is stored.
type Hash [sha256.Size]byte

// String gives the hash as 64 lower-case hexadecimal digits, as the column token_hash holds it.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// parseHash reads what String writes.
func parseHash(text string) (h Hash, err error) {
	content, err := hex.DecodeString(text)
	if err == nil && len(content) != len(h) {
		err = fmt.Errorf("a hash of %d bytes, not %d", len(content), len(h))
	}
	copy(h[:], content)
	return h, err
}

// NewTokenText makes the secret text of a new API token from 32 bytes of the system's random source. It is shown
// once, to the person who asked for it, and never stored.
func NewTokenText() (string, error) {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return "", fmt.Errorf("reading random bytes for a token: %w", err)
	}
	return tokenText(secret), nil
}

func tokenText(secret [32]byte) string {
	digits := encodeBase62(new(big.Int).SetBytes(secret[:]), randomDigits)
	return tokenMark + digits + checksum(digits)
}

// IsTokenText tells whether a bearer text claims to be an API token, well-formed or not, so that it is judged by
// the rules of tokens and not by those of another credential.
func IsTokenText(text string) bool { return strings.HasPrefix(text, tokenMark) }

// ParseToken checks the form of an API token and returns its hash, to look it up by, and its prefix, to recognise
// it in lists and logs. A text of any other form is ErrTokenForm.
func ParseToken(text string) (Hash, string, error) {
	if len(text) != tokenLength || !IsTokenText(text) {
		return Hash{}, "", ErrTokenForm
	}
	digits := text[len(tokenMark) : len(tokenMark)+randomDigits]
	for i := range len(digits) {
		if !isBase62(digits[i]) {
			return Hash{}, "", ErrTokenForm
		}
	}
	if digits > highestRandom || text[len(tokenMark)+randomDigits:] != checksum(digits) {
		return Hash{}, "", ErrTokenForm
	}
	return sha256.Sum256([]byte(text)), digits[:prefixLength], nil
}

func checksum(digits string) string {
	var out [checkDigits]byte
	sum := crc32.ChecksumIEEE([]byte(digits))
	for i := checkDigits - 1; i >= 0; i-- {
		out[i] = base62Alphabet[sum%62]
		sum /= 62
	}
	return string(out[:])
}

func encodeBase62(n *big.Int, digits int) string {
	out := make([]byte, digits)
	rest, base, digit := new(big.Int).Set(n), big.NewInt(62), new(big.Int)
	for i := digits - 1; i >= 0; i-- {
		rest.DivMod(rest, base, digit)
		out[i] = base62Alphabet[digit.Int64()]
	}
	return string(out)
}

func isBase62(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
