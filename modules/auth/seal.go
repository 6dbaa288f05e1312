package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// A sealed text is what a client carries for the server and can neither read nor change: `<kid>.<base64url>`, encrypted
// with AES-256-GCM under a key that is derived from the site's signing key by HKDF (RFC 5869), another one for each purpose.
// So there is no further secret to configure, and all processes of a site can open it.

func (k *KeyRing) seal(purpose string, content any) (string, error) {
	key, err := k.Signing()
	if err != nil {
		return "", fmt.Errorf("sealing: %w", err)
	}
	aead, err := sealing(key, purpose)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("sealing: %w", err)
	}
	return key.ID + "." + base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, text, nil)), nil
}

// unseal opens what seal has made for the same purpose; false when it was not made here.
func (k *KeyRing) unseal(purpose, sealed string, into any) bool {
	if len(sealed) > longestSealed {
		return false
	}
	dot := strings.LastIndexByte(sealed, '.')
	if dot < 0 {
		return false
	}
	content, ok := decodeSpelled(sealed[dot+1:])
	if !ok {
		return false
	}
	keys, err := k.current()
	if err != nil {
		return false
	}
	for _, key := range keys {
		if key.ID != sealed[:dot] {
			continue
		}
		aead, err := sealing(key, purpose)
		if err != nil {
			return false
		}
		text, err := aead.Open(nil, nil, content, nil)
		return err == nil && json.Unmarshal(text, into) == nil
	}
	return false
}

// decodeSpelled decodes base64url of which each content has one spelling. The strict decoder still skips what ends lines.
func decodeSpelled(text string) ([]byte, bool) {
	content, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return content, err == nil && len(text) == base64.RawURLEncoding.EncodedLen(len(content))
}

// longestSealed bounds what is decoded at all: a cookie holds no more.
const longestSealed = 4096

func sealing(key SigningKey, purpose string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, key.Private.Seed(), nil, "opsdb "+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return aead, nil
}
