package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	keyFileSuffix = ".pem"
	keyTimeForm   = "20060102T150405.000000Z"
)

// siteName is the form of a site's short name, which becomes a part of a file's.
var siteName = regexp.MustCompile(`^[a-z0-9]+$`)

// ErrNoSigningKey says that a folder holds no key of a site.
var ErrNoSigningKey = errors.New("there is no signing key")

// SigningKey is one key pair of a site. Its id begins with the site's name and goes on with the time it was made, so
// the newest is the last by name.
type SigningKey struct {
	ID      string    // the JWT header kid
	Made    time.Time // as its id says
	Private ed25519.PrivateKey
}

// PublicText is the public part as the database and a JWK hold it: base64url without padding.
func (k SigningKey) PublicText() string {
	return base64.RawURLEncoding.EncodeToString(k.Private.Public().(ed25519.PublicKey))
}

// InitSigningKey returns the newest key of a site in dir, and makes the first one when there is none.
func InitSigningKey(dir, site string, now time.Time) (SigningKey, error) {
	key, err := NewestSigningKey(dir, site)
	if errors.Is(err, ErrNoSigningKey) {
		return NewSigningKey(dir, site, now)
	}
	return key, err
}

// NewSigningKey makes a key of a site and stores its private part in dir, readable by the owner alone. The folder is
// made when it is missing.
func NewSigningKey(dir, site string, now time.Time) (SigningKey, error) {
	if !siteName.MatchString(site) {
		return SigningKey{}, fmt.Errorf("%q is no short name of a site: lower-case letters and digits", site)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return SigningKey{}, fmt.Errorf("making a signing key: %w", err)
	}
	var unique [4]byte
	if _, err := rand.Read(unique[:]); err != nil {
		return SigningKey{}, fmt.Errorf("naming a signing key: %w", err)
	}
	made := now.UTC().Truncate(time.Microsecond)
	key := SigningKey{ID: site + "-" + made.Format(keyTimeForm) + "-" + hex.EncodeToString(unique[:]), Made: made, Private: private}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return SigningKey{}, fmt.Errorf("encoding a signing key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return SigningKey{}, fmt.Errorf("making the folder of the signing keys: %w", err)
	}
	if err := writeNew(filepath.Join(dir, key.ID+keyFileSuffix), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return SigningKey{}, fmt.Errorf("storing a signing key: %w", err)
	}
	return key, nil
}

// NewestSigningKey reads the key that a site signs with, the newest one in dir; ErrNoSigningKey when there is none. A
// key that others than its owner may read is refused.
func NewestSigningKey(dir, site string) (SigningKey, error) {
	keys, err := SigningKeys(dir, site)
	if err != nil {
		return SigningKey{}, err
	}
	return keys[len(keys)-1], nil
}

// SigningKeys reads all keys of a site in dir, the oldest first; ErrNoSigningKey when there is none. One that others than
// its owner may read makes it refuse them all: whoever read it can sign as the site.
func SigningKeys(dir, site string) ([]SigningKey, error) {
	if !siteName.MatchString(site) {
		return nil, fmt.Errorf("%q is no short name of a site: lower-case letters and digits", site)
	}
	files, err := filepath.Glob(filepath.Join(dir, site+"-*"+keyFileSuffix))
	if err != nil {
		return nil, fmt.Errorf("listing the signing keys of %s: %w", site, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s of %s: %w", dir, site, ErrNoSigningKey)
	}
	keys := make([]SigningKey, 0, len(files))
	for _, file := range files { // Glob sorts
		key, err := readSigningKey(file, site)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func readSigningKey(file, site string) (SigningKey, error) {
	info, err := os.Stat(file)
	if err != nil {
		return SigningKey{}, fmt.Errorf("reading a signing key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return SigningKey{}, fmt.Errorf("others may read the signing key %s: chmod 600 it, or make another one", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return SigningKey{}, fmt.Errorf("reading a signing key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return SigningKey{}, fmt.Errorf("the signing key %s is no PEM file", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return SigningKey{}, fmt.Errorf("decoding the signing key %s: %w", file, err)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return SigningKey{}, fmt.Errorf("the signing key %s is not an Ed25519 key", file)
	}
	id := strings.TrimSuffix(filepath.Base(file), keyFileSuffix)
	made, _, _ := strings.Cut(strings.TrimPrefix(id, site+"-"), "-")
	at, err := time.Parse(keyTimeForm, made)
	if err != nil {
		return SigningKey{}, fmt.Errorf("the name of the signing key %s does not say when it was made", file)
	}
	return SigningKey{ID: id, Made: at, Private: private}, nil
}

// writeNew stores a file that must not exist yet, whole or not at all.
func writeNew(name string, content []byte) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	if _, err := file.Write(content); err != nil {
		return err
	}
	return file.Sync()
}
