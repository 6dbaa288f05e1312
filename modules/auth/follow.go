package auth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/problem"
)

// followEvery is how often a process asks whether somebody has lost a right, or logged out.
const followEvery = time.Second

// Follow drops what was verified as soon as the site's database shows that somebody may have lost a right: a user who
// is not active any more, a token that was revoked, a role that gives less; or where the site's sessions are kept, that
// one has ended. So every process of a site follows within a
// second what one of them, or the command line, has done. While the database does not answer, what was verified is
// trusted as long as ever, 30 seconds. Follow returns when ctx ends.
func (a *Authenticator) Follow(ctx context.Context) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	seen := versions{-1, -1, -1}
	for {
		seen = a.follow(ctx, seen)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// versions are numbers that rise when a right is lost, and when a session ends; rechecked is that of the rights by which what
// the site remembers was read last.
type versions struct{ rights, sessions, rechecked int64 }

// follow asks once, and returns the versions that are shown; what cannot be read is as it was seen last.
func (a *Authenticator) follow(ctx context.Context, seen versions) versions {
	now := seen
	now.rights = a.version(ctx, seen.rights, db.New(a.db).GetCredentialVersion)
	if a.sessions != nil {
		now.sessions = a.version(ctx, seen.sessions, a.sessions.SessionsEnded)
	}
	if now != seen {
		a.ForgetAll()
	}
	if now.rights != now.rechecked {
		if err := a.recheck(ctx); err != nil { // once more with the next look
			a.logger.DebugContext(ctx, "what the site remembers of credentials cannot be checked again", "error", err)
		} else {
			now.rechecked = now.rights
		}
	}
	return now
}

// recheck asks the database again for all that the site remembers, so that who was put out before the replica is lost stays
// out while it is. What has not changed is not remembered for longer by it.
func (a *Authenticator) recheck(ctx context.Context) error {
	if a.credentials == nil {
		return nil
	}
	keys, err := a.credentials.CredentialKeys(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		remembered, err := a.recall(ctx, key)
		if err != nil {
			return err
		}
		if remembered == nil { // its day is over
			a.refuse(ctx, key)
			continue
		}
		entry, err := a.ask(ctx, lookupTimeoutMain, func(ctx context.Context, q *db.Queries) (entitlement, error) { return readKey(ctx, q, key) })
		switch {
		case errors.Is(err, problem.Unauthorized):
			a.refuse(ctx, key)
		case err != nil:
			return err
		case !entry.equal(*remembered):
			a.remember(ctx, key, entry)
		}
	}
	return nil
}

// readKey reads what is remembered under a key.
func readKey(ctx context.Context, q *db.Queries, key string) (entitlement, error) {
	if username, ok := strings.CutPrefix(key, "user:"); ok {
		return readUser(ctx, q, username)
	}
	hash, err := parseHash(key)
	if err != nil {
		return entitlement{}, problem.Unauthorized.New("this is no credential")
	}
	return readToken(ctx, q, hash)
}

func (a *Authenticator) version(ctx context.Context, seen int64, read func(context.Context) (int64, error)) int64 {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeoutMain)
	defer cancel()
	version, err := read(ctx)
	if err != nil {
		a.logger.DebugContext(ctx, "whether somebody has lost a right cannot be seen", "error", err)
		return seen
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
		hash, err := parseHash(text)
		if err != nil {
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
