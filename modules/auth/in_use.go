package auth

import (
	"context"
	"sync"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
)

const (
	// inUseFor is how long the list of tokens in use is trusted: so long a new token waits beside somebody who guesses.
	inUseFor = 5 * time.Second
	// inUsePatience is how long the database may take to give it.
	inUsePatience = time.Second
)

// inUse are the API tokens that there are, as far as they have room, those in use first. A process that has seen none yet
// thus tells them from guesses, with one look-up in a while for all guesses together.
type inUse struct {
	mu     sync.Mutex
	read   time.Time // when the list was read last, or could not be
	hashes map[string]bool
	all    bool // it has all tokens
}

// isInUse tells whether a token is on the list, and whether the list has all there are.
func (a *Authenticator) isInUse(ctx context.Context, hash Hash) (in, all bool) {
	u := &a.inUse
	u.mu.Lock()
	stale := u.read.IsZero() || a.now().Sub(u.read) >= inUseFor
	u.mu.Unlock()
	if stale {
		// One look-up for all who ask meanwhile.
		a.flight.Do("tokens in use", func() (any, error) { //nolint:errcheck // it has none
			a.readInUse(context.WithoutCancel(ctx))
			return nil, nil
		})
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.hashes[hash.String()], u.all
}

// readInUse reads the list; one that cannot be read stays as it was, and is not all there is.
func (a *Authenticator) readInUse(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, inUsePatience)
	defer cancel()
	hashes, err := db.New(a.db).ListTokensInUse(ctx, cacheSize)
	u := &a.inUse
	u.mu.Lock()
	defer u.mu.Unlock()
	u.read, u.all = a.now(), err == nil && len(hashes) < cacheSize
	if err != nil {
		a.logger.WarnContext(ctx, "which API tokens are in use cannot be read", "error", err)
		return
	}
	u.hashes = make(map[string]bool, len(hashes))
	for _, hash := range hashes {
		u.hashes[hash] = true
	}
}
