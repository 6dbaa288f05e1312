package auth

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
)

// followEvery is how often a process asks whether somebody has lost a right.
const followEvery = time.Second

// Follow drops what was verified as soon as the site's database shows that somebody may have lost a right: a user who
// is not active any more, a token that was revoked, a role that gives less. So every process of a site follows within a
// second what one of them, or the command line, has done. While the database does not answer, what was verified is
// trusted as long as ever, 30 seconds. Follow returns when ctx ends.
func (a *Authenticator) Follow(ctx context.Context) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	seen := int64(-1)
	for {
		seen = a.follow(ctx, seen)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// follow asks once, and returns the version that the database shows, or seen when it shows none.
func (a *Authenticator) follow(ctx context.Context, seen int64) int64 {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeoutMain)
	defer cancel()
	version, err := db.New(a.db).GetCredentialVersion(ctx)
	if err != nil {
		a.logger.DebugContext(ctx, "whether somebody has lost a right cannot be seen", "error", err)
		return seen
	}
	if version != seen {
		a.ForgetAll()
	}
	return version
}

// ForgetAll makes this process check every credential anew with its next use.
func (a *Authenticator) ForgetAll() { a.cache.drop(func(*verified) bool { return true }) }

// forget makes this site check a user's credentials anew, and takes them out of what it remembers for the time its
// replica cannot be read: hashes are those of the user's tokens. The change itself is done, whatever comes of this.
func (m *Module) forget(ctx context.Context, username string, hashes []string) {
	if m.config.Credentials == nil {
		return
	}
	m.forgetAll()
	if err := m.config.Credentials.ForgetUser(ctx, username); err != nil {
		m.config.Logger.WarnContext(ctx, "a user may still be remembered while the replica cannot be read", "username", username, "error", err)
	}
	for _, text := range hashes {
		var hash Hash
		if _, err := hex.Decode(hash[:], []byte(text)); err != nil {
			m.config.Logger.ErrorContext(ctx, "the hash of a token is malformed", "username", username, "error", err)
			continue
		}
		if err := m.config.Credentials.Forget(ctx, hash); err != nil {
			m.config.Logger.WarnContext(ctx, "a token may still be remembered while the replica cannot be read", "username", username, "error", err)
		}
	}
}

func (m *Module) forgetAll() {
	if m.config.Credentials != nil {
		m.config.Credentials.ForgetAll()
	}
}
