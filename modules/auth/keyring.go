package auth

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
)

const (
	// ownKeysFor is how long the files of the site's own keys are trusted to be all there are. A key that was made
	// meanwhile signs from then on.
	ownKeysFor = 10 * time.Second
	// publishedFor is the same for the keys of all sites in the database, and publishedAgain the pause after it did not
	// answer.
	publishedFor   = 30 * time.Second
	publishedAgain = 2 * time.Second
	// unknownKeyAgain is how often an unknown key id may make the site look again: whoever invents ids costs no more.
	unknownKeyAgain = time.Second
	// keyOverlap is how long a key verifies after its successor was made: the life of what it signed last, which a
	// process does until it has seen the successor.
	keyOverlap = accessLife + time.Minute
)

// KeyRing holds the keys of a site: those in its own files, which sign, and the published public keys of every site. It
// works without the database for what the site itself has signed.
type KeyRing struct {
	dir, site string
	db        DBTX
	now       func() time.Time
	logger    *slog.Logger

	mu    sync.Mutex
	own   []SigningKey // the oldest first
	ownAt time.Time

	publishedMu sync.Mutex // apart: who needs the own keys alone does not wait for the database
	published   []publishedKey
	publishedAt time.Time // when the database was asked last
	answered    bool      // whether it has ever answered
	stale       bool      // whether it did not the last time
}

type publishedKey struct {
	kid, site string
	public    ed25519.PublicKey
}

// KeyRingOptions says what a KeyRing works with.
type KeyRingOptions struct {
	Dir, Site string
	// DB is read for the keys of all sites.
	DB DBTX
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger gets what goes wrong with the files and the database; nil is slog.Default.
	Logger *slog.Logger
}

// NewKeyRing returns the keys of a site. Files and database are read when they are needed.
func NewKeyRing(o KeyRingOptions) *KeyRing {
	k := &KeyRing{dir: o.Dir, site: o.Site, db: o.DB, now: o.Now, logger: o.Logger}
	if k.now == nil {
		k.now = time.Now
	}
	if k.logger == nil {
		k.logger = slog.Default()
	}
	return k
}

// Signing returns the key that the site signs with, its newest.
func (k *KeyRing) Signing() (SigningKey, error) {
	own, err := k.ownKeys(ownKeysFor)
	if err != nil {
		return SigningKey{}, err
	}
	return own[len(own)-1], nil
}

// current returns those of the site's own keys that still verify, the oldest first.
func (k *KeyRing) current() ([]SigningKey, error) {
	own, err := k.ownKeys(ownKeysFor)
	if err != nil {
		return nil, err
	}
	now := k.now()
	for len(own) > 1 && !now.Before(own[1].Made.Add(keyOverlap)) {
		own = own[1:]
	}
	return own, nil
}

// ownKeys returns what the files hold, or held less than maxAge ago.
func (k *KeyRing) ownKeys(maxAge time.Duration) ([]SigningKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if len(k.own) > 0 && now.Sub(k.ownAt) < maxAge {
		return k.own, nil
	}
	keys, err := SigningKeys(k.dir, k.site)
	switch {
	case err == nil:
		k.own, k.ownAt = keys, now
	case len(k.own) == 0:
		return nil, err
	default: // what was read before goes on
		k.ownAt = now
		k.logger.Error("the signing keys cannot be read again", "error", err)
	}
	return k.own, nil
}

// errKeysUnknown says that a key cannot be looked up, which is no verdict on what it has signed.
var errKeysUnknown = errors.New("the published keys cannot be read")

// verifying returns the key of this site with an id, nil when there is none that verifies now. Other sites' keys never
// verify here: what one site's key can do ends at that site.
func (k *KeyRing) verifying(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	for _, maxAge := range []time.Duration{ownKeysFor, unknownKeyAgain} {
		if _, err := k.ownKeys(maxAge); err != nil && !errors.Is(err, ErrNoSigningKey) {
			return nil, fmt.Errorf("%w: %w", errKeysUnknown, err)
		}
		own, err := k.current()
		if err != nil {
			own = nil // this process has no key; another one of the site may
		}
		for _, key := range own {
			if key.ID == kid {
				return key.Private.Public().(ed25519.PublicKey), nil
			}
		}
		// Another process of this site may have made it, with a folder of its own.
		published, fresh := k.publishedKeys(ctx, maxAge)
		for _, key := range published {
			if key.kid == kid && key.site == k.site {
				return key.public, nil
			}
		}
		if maxAge == unknownKeyAgain && !fresh {
			return nil, errKeysUnknown
		}
	}
	return nil, nil
}

// publishedKeys returns the keys of all sites as the database had them less than maxAge ago, or when it answered last, and
// whether it answers.
func (k *KeyRing) publishedKeys(ctx context.Context, maxAge time.Duration) (keys []publishedKey, fresh bool) {
	k.publishedMu.Lock()
	defer k.publishedMu.Unlock()
	now := k.now()
	limit := min(maxAge, publishedFor)
	if k.stale {
		limit = min(publishedAgain, publishedFor)
	}
	if (k.answered || k.stale) && now.Sub(k.publishedAt) < limit {
		return k.published, !k.stale
	}
	k.publishedAt = now
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeoutUnseen)
	defer cancel()
	rows, err := db.New(k.db).ListSigningKeys(limited, now.UTC())
	if err != nil {
		k.stale = true
		k.logger.Warn("the published signing keys cannot be read", "error", err)
		return k.published, false
	}
	k.stale, k.answered, k.published = false, true, nil
	for _, row := range rows {
		public, err := base64.RawURLEncoding.DecodeString(row.PublicKey)
		if err != nil || len(public) != ed25519.PublicKeySize {
			k.logger.Error("a published signing key is no Ed25519 key", "kid", row.Kid)
			continue
		}
		k.published = append(k.published, publishedKey{kid: row.Kid, site: row.Site, public: public})
	}
	return k.published, true
}

// PublicKeys returns the public keys of all sites as a JWK set. Without the database it has those of the site itself, and
// the others as they were read last.
func (k *KeyRing) PublicKeys(ctx context.Context) SigningKeySet {
	set := SigningKeySet{Keys: []SigningPublicKey{}}
	seen := map[string]bool{}
	add := func(kid string, public ed25519.PublicKey) {
		if !seen[kid] {
			seen[kid] = true
			set.Keys = append(set.Keys, SigningPublicKey{
				KeyType: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(public), ID: kid, Use: "sig", Algorithm: "EdDSA",
			})
		}
	}
	if own, err := k.current(); err == nil { // a site without a key still publishes those of the others
		for _, key := range own {
			add(key.ID, key.Private.Public().(ed25519.PublicKey))
		}
	}
	published, _ := k.publishedKeys(ctx, publishedFor)
	for _, key := range published {
		add(key.kid, key.public)
	}
	return set
}
