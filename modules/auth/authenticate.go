package auth

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
)

const (
	// cacheFor is how long a verified token is trusted without looking again: the longest time for which a token
	// that was revoked elsewhere still opens the door.
	cacheFor = 30 * time.Second
	// cacheRememberedFor is the same for one that was verified only by what the site remembers: the replica is asked
	// again soon.
	cacheRememberedFor = 2 * time.Second
	cacheSize          = 10_000
	// rememberFor is how long a site remembers a verified token, for the time its replica cannot be read.
	rememberFor = 24 * time.Hour
	// rememberAgainAfter spares Redis a write for each look-up; rights that have changed are written at once.
	rememberAgainAfter = 10 * time.Minute
	// lookupTimeout is how long a replica may take, and pauseAfterFailure how long it is left alone after it did not
	// answer: a broken one must not stop observing. Where nothing is remembered there is nothing else to go by, so it
	// is worth waiting.
	lookupTimeout       = 200 * time.Millisecond
	lookupTimeoutUnseen = 2 * time.Second
	lookupTimeoutMain   = 5 * time.Second
	pauseAfterFailure   = time.Second
)

// Credentials is where a secondary site remembers the tokens it has verified: pending.Store. Documents hold no secret,
// keys are hashes.
type Credentials interface {
	// Credential returns what was kept under a hash less than its time to live ago, and nil when there is nothing.
	Credential(ctx context.Context, hash string) (json.RawMessage, error)
	KeepCredential(ctx context.Context, hash string, document json.RawMessage, ttl time.Duration) error
	DropCredential(ctx context.Context, hash string) error
}

// DBTX is a pool or connection of the site's database.
type DBTX = db.DBTX

// AuthenticatorOptions says what an Authenticator works with.
type AuthenticatorOptions struct {
	// DB is read for tokens, users and roles: the primary at main, the replica at a secondary site.
	DB DBTX
	// Credentials is the site's memory; nil at main, where the database is the site's own.
	Credentials Credentials
	// Uses counts the uses of tokens; nil counts none.
	Uses *Uses
	// LookupTimeout is how long DB may take to answer for a token; zero is 200 ms at a secondary site, 2 s there for one
	// that it does not remember, and 5 s at main.
	LookupTimeout time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger gets what goes wrong beside a request; nil is slog.Default.
	Logger *slog.Logger
}

// Authenticator turns the bearer text of a request into a principal. It implements api.Authenticator.
//
// A credential is recognised by its form, and each form has one verifier; whatever the form, what comes out is one
// api.Principal. API tokens are the only form so far.
type Authenticator struct {
	db          DBTX
	credentials Credentials
	uses        *Uses
	timeout     time.Duration
	now         func() time.Time
	logger      *slog.Logger
	verifiers   []verifier

	cache  *cache
	flight singleflight.Group

	mu         sync.Mutex
	pauseUntil time.Time                // the replica is not asked before
	remembered map[Hash]rememberedState // what Redis was told of each token, bounded with the cache
}

// verifier recognises one form of credential and checks it.
type verifier struct {
	recognises func(bearer string) bool
	verify     func(ctx context.Context, bearer string) (api.Principal, error)
}

type rememberedState struct {
	at    time.Time
	value string
}

// NewAuthenticator returns an Authenticator.
func NewAuthenticator(o AuthenticatorOptions) *Authenticator {
	a := &Authenticator{
		db: o.DB, credentials: o.Credentials, uses: o.Uses, timeout: o.LookupTimeout, now: o.Now, logger: o.Logger,
		cache: newCache(cacheSize), remembered: map[Hash]rememberedState{},
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.logger == nil {
		a.logger = slog.Default()
	}
	a.verifiers = []verifier{{recognises: IsTokenText, verify: a.verifyToken}}
	return a
}

// Authenticate returns who a bearer text belongs to. A text that is malformed, unknown, revoked or expired is
// problem.Unauthorized; one that cannot be checked now is problem.CredentialsUnavailable.
func (a *Authenticator) Authenticate(ctx context.Context, bearer string) (api.Principal, error) {
	for _, v := range a.verifiers {
		if v.recognises(bearer) {
			return v.verify(ctx, bearer)
		}
	}
	return api.Principal{}, problem.Unauthorized.New("the bearer text is no credential that this server knows")
}

// Forget makes the site check a token anew with its next use, in this process and in what the site remembers: a
// revocation made here is effective at once.
func (a *Authenticator) Forget(ctx context.Context, hash Hash) error {
	a.cache.drop(hash)
	return a.forgetRemembered(ctx, hash)
}

func (a *Authenticator) verifyToken(ctx context.Context, bearer string) (api.Principal, error) {
	hash, _, err := ParseToken(bearer)
	if err != nil {
		return api.Principal{}, problem.Unauthorized.New("the API token is malformed: a character is wrong or missing")
	}
	now := a.now()
	principal, ok := a.cache.get(hash, now)
	if !ok {
		// One look-up for all requests that come with the same token meanwhile; the first one going away must not
		// fail the others.
		shared, err, _ := a.flight.Do(string(hash[:]), func() (any, error) {
			return a.look(context.WithoutCancel(ctx), hash)
		})
		if err != nil {
			return api.Principal{}, err
		}
		principal = shared.(api.Principal)
	}
	if !principal.Expires.IsZero() && !now.Before(principal.Expires) {
		return api.Principal{}, problem.Unauthorized.New("the API token has expired")
	}
	if a.uses != nil {
		a.uses.Count(principal.TokenID, now)
	}
	return principal, nil
}

// look verifies a token by the database, and only while that cannot be read by what the site remembers.
func (a *Authenticator) look(ctx context.Context, hash Hash) (api.Principal, error) {
	remembered, forgotten := a.recall(ctx, hash)
	row, err := a.readCredential(ctx, hash, a.patience(remembered))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		a.refuse(ctx, hash)
		return api.Principal{}, problem.Unauthorized.New("the API token is unknown")
	case err != nil && remembered != nil:
		principal := remembered.principal()
		a.cache.put(&verified{hash: hash, principal: principal, until: a.now().Add(cacheRememberedFor)})
		return principal, nil
	case err != nil:
		if !errors.Is(err, errPaused) {
			a.logger.WarnContext(ctx, "a credential cannot be checked", "error", errors.Join(err, forgotten))
		}
		return api.Principal{}, problem.CredentialsUnavailable.New("the credential cannot be checked at this moment")
	case subtle.ConstantTimeCompare([]byte(row.TokenHash), []byte(hash.String())) != 1:
		return api.Principal{}, problem.Unauthorized.New("the API token is unknown")
	case !row.TokenActive:
		a.refuse(ctx, hash)
		return api.Principal{}, problem.Unauthorized.New("the API token has been revoked")
	case !row.UserActive:
		a.refuse(ctx, hash)
		return api.Principal{}, problem.Unauthorized.New("the user of the API token is not active")
	}
	entry := entitlement{
		TokenID: row.TokenID, UserID: row.UserID, Username: row.Username, Roles: row.Roles, Service: row.IsService,
		Permissions: row.Permissions, Scopes: row.Scopes, Expires: row.ExpiresAt,
	}
	principal := entry.principal()
	a.cache.put(&verified{hash: hash, principal: principal, until: a.now().Add(cacheFor)})
	a.remember(ctx, hash, entry)
	return principal, nil
}

// patience is how long the database may take to say what a token is worth.
func (a *Authenticator) patience(remembered *entitlement) time.Duration {
	switch {
	case a.timeout > 0:
		return a.timeout
	case a.credentials == nil:
		return lookupTimeoutMain
	case remembered == nil:
		return lookupTimeoutUnseen
	}
	return lookupTimeout
}

// readCredential asks the database, unless it has just failed to answer.
func (a *Authenticator) readCredential(ctx context.Context, hash Hash, timeout time.Duration) (db.GetCredentialRow, error) {
	now := a.now()
	a.mu.Lock()
	paused := now.Before(a.pauseUntil)
	a.mu.Unlock()
	if paused {
		return db.GetCredentialRow{}, errPaused
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	row, err := db.New(a.db).GetCredential(ctx, hash.String())
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		if a.credentials != nil {
			a.mu.Lock()
			a.pauseUntil = now.Add(pauseAfterFailure)
			a.mu.Unlock()
		}
		return db.GetCredentialRow{}, fmt.Errorf("looking up a credential: %w", err)
	}
	return row, err
}

var errPaused = errors.New("the database did not answer a moment ago")

// recall returns what the site remembers of a token, and nil when that is nothing.
func (a *Authenticator) recall(ctx context.Context, hash Hash) (*entitlement, error) {
	if a.credentials == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	value, err := a.credentials.Credential(ctx, hash.String())
	if err != nil {
		return nil, fmt.Errorf("reading a remembered credential: %w", err)
	}
	if value == nil {
		return nil, nil
	}
	entry := new(entitlement)
	if err := json.Unmarshal(value, entry); err != nil {
		return nil, fmt.Errorf("decoding a remembered credential: %w", err)
	}
	return entry, nil
}

// remember stores what the database said for the time it cannot be read. The request goes on whether that works or not.
func (a *Authenticator) remember(ctx context.Context, hash Hash, entry entitlement) {
	if a.credentials == nil {
		return
	}
	value, err := json.Marshal(entry)
	if err != nil {
		a.logger.ErrorContext(ctx, "encoding a credential", "error", err)
		return
	}
	now := a.now()
	a.mu.Lock()
	last, known := a.remembered[hash]
	a.mu.Unlock()
	if known && last.value == string(value) && now.Sub(last.at) < rememberAgainAfter {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if err := a.credentials.KeepCredential(ctx, hash.String(), value, rememberFor); err != nil {
		a.logger.WarnContext(ctx, "a verified credential is not remembered", "error", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.remembered) >= cacheSize {
		clear(a.remembered)
	}
	a.remembered[hash] = rememberedState{at: now, value: string(value)}
}

// refuse makes sure that a token the database no longer accepts is not accepted later from memory.
func (a *Authenticator) refuse(ctx context.Context, hash Hash) {
	if err := a.forgetRemembered(ctx, hash); err != nil {
		a.logger.WarnContext(ctx, "a refused credential may still be remembered", "error", err)
	}
}

func (a *Authenticator) forgetRemembered(ctx context.Context, hash Hash) error {
	a.mu.Lock()
	delete(a.remembered, hash)
	a.mu.Unlock()
	if a.credentials == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if err := a.credentials.DropCredential(ctx, hash.String()); err != nil {
		return fmt.Errorf("forgetting a credential: %w", err)
	}
	return nil
}

// entitlement is what a token entitles to, as the database said; the form in which a site remembers it.
type entitlement struct {
	TokenID     int64      `json:"token_id"`
	UserID      int64      `json:"user_id"`
	Username    string     `json:"username"`
	Roles       []string   `json:"roles"`
	Service     bool       `json:"service"`
	Permissions []string   `json:"permissions"`
	Scopes      []string   `json:"scopes"`
	Expires     *time.Time `json:"expires"`
}

func (e entitlement) principal() api.Principal {
	p := api.Principal{
		UserID: e.UserID, Username: e.Username, Roles: e.Roles, Permissions: narrow(e.Permissions, e.Scopes),
		Kind: "api_token", TokenID: e.TokenID, Service: e.Service,
	}
	if e.Expires != nil {
		p.Expires = *e.Expires
	}
	return p
}
