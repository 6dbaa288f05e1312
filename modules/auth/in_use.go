package auth

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
)

// inUse are the API tokens that there are, as far as they have room, those in use first. A process that has seen none yet
// thus tells them from guesses, with one look-up in a while for all guesses together.
type inUse struct {
	mu     sync.Mutex
	asked  time.Time
	hashes map[string]bool
}

// inUseFor is how long the list of tokens in use is trusted: so long a new token waits beside somebody who guesses.
const inUseFor = 5 * time.Second

func (u *inUse) has(ctx context.Context, a *Authenticator, hash Hash) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := a.now()
	if u.asked.IsZero() || now.Sub(u.asked) >= inUseFor {
		u.asked = now // also when it fails: what was read last still is a help
		if err := u.read(ctx, a); err != nil {
			a.logger.WarnContext(ctx, "which API tokens are in use cannot be read", "error", err)
		}
	}
	return u.hashes[hash.String()]
}

func (u *inUse) read(ctx context.Context, a *Authenticator) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.patience(nil))
	defer cancel()
	hashes, err := db.New(a.db).ListTokensInUse(ctx, cacheSize)
	if err != nil {
		return fmt.Errorf("reading which API tokens are in use: %w", err)
	}
	u.hashes = make(map[string]bool, len(hashes))
	for _, hash := range hashes {
		u.hashes[hash] = true
	}
	return nil
}
