package auth

import (
	"bytes"
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
	// cacheRefusedFor is how long one that was valid once is refused without looking again: a script that goes on with a
	// revoked token costs no look-up for each request.
	cacheRefusedFor = 2 * time.Second
	cacheSize       = 10_000
	// lookAgain is how often a credential is looked up at most while others are being revoked.
	lookAgain = 5
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

// Credentials is where a secondary site remembers what it has verified: pending.Store. Documents hold no secret; keys are
// the hashes of API tokens, and user:<name> for the rights of a user.
type Credentials interface {
	// Credential returns what was kept under a hash less than its time to live ago, and nil when there is nothing.
	Credential(ctx context.Context, hash string) (json.RawMessage, error)
	// CredentialKeys are the keys under which something was kept, also longer ago.
	CredentialKeys(ctx context.Context) ([]string, error)
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
	// AccessTokens verifies the site's JWTs, whose sessions are in Sessions; nil accepts none.
	AccessTokens *AccessTokens
	Sessions     Sessions
	// Denied is the site's own deny-list; nil is none.
	Denied DenyList
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
// api.Principal. The forms are API tokens (token.go) and access tokens (jwt.go).
type Authenticator struct {
	db          DBTX
	credentials Credentials
	uses        *Uses
	timeout     time.Duration
	now         func() time.Time
	logger      *slog.Logger
	verifiers   []verifier
	access      *AccessTokens
	sessions    Sessions
	denied      denied

	cache  *cache
	flight singleflight.Group
	inUse  inUse

	mu         sync.Mutex
	pauseUntil time.Time                  // the replica is not asked before
	remembered map[string]rememberedState // what Redis was told of each credential, bounded with the cache
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
		cache: newCache(cacheSize), remembered: map[string]rememberedState{},
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.logger == nil {
		a.logger = slog.Default()
	}
	a.denied.list = o.Denied
	a.verifiers = []verifier{{recognises: IsTokenText, verify: a.verifyToken}}
	if o.AccessTokens != nil {
		a.access, a.sessions = o.AccessTokens, o.Sessions
		a.verifiers = append(a.verifiers, verifier{recognises: isJWT, verify: a.verifyJWT})
	}
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
	a.cache.drop(func(v *verified) bool { return v.hash == hash })
	return a.forgetRemembered(ctx, hash.String())
}

// ForgetUser does the same for every credential of a user: one that is deactivated here is out at once.
func (a *Authenticator) ForgetUser(ctx context.Context, username string) error {
	a.cache.drop(func(v *verified) bool { return v.principal.Username == username })
	return a.forgetRemembered(ctx, "user:"+username)
}

// forgetSession makes this process check the access tokens of a session anew with their next use.
func (a *Authenticator) forgetSession(id string) {
	a.cache.drop(func(v *verified) bool { return v.principal.SessionID == id })
}

func (a *Authenticator) verifyToken(ctx context.Context, bearer string) (api.Principal, error) {
	hash, _, err := ParseToken(bearer)
	if err != nil {
		return api.Principal{}, problem.Unauthorized.New("the API token is malformed: a character is wrong or missing")
	}
	principal, now, err := a.verified(ctx, hash, func(ctx context.Context) (api.Principal, time.Duration, error) {
		if api.GuessesSpent(ctx) && !a.knows(ctx, hash) {
			p := problem.TooManyRequests.New("too many credentials from this address were nobody's")
			p.RetryAfter = inUseFor
			return api.Principal{}, 0, p
		}
		entry, lasts, err := a.entitled(ctx, hash.String(), func(ctx context.Context, q *db.Queries) (entitlement, error) { return readToken(ctx, q, hash) })
		return entry.principal(), lasts, err
	})
	if err != nil {
		return api.Principal{}, err
	}
	if a.uses != nil {
		a.uses.Count(principal.TokenID, now, api.ClientAddr(ctx))
	}
	return principal, nil
}

// knows tells whether an API token was valid when this process, or the site while it remembers, saw it last, or is among
// those in use.
func (a *Authenticator) knows(ctx context.Context, hash Hash) bool {
	if a.cache.has(hash) {
		return true
	}
	if in, all := a.isInUse(ctx, hash); in || all {
		return in
	}
	remembered, err := a.recall(ctx, hash.String())
	return err == nil && remembered != nil
}

// verified returns the principal of a credential by the hash of its text: as it was found lately, or as look finds it,
// with how long that may be trusted.
func (a *Authenticator) verified(ctx context.Context, hash Hash, look func(ctx context.Context) (api.Principal, time.Duration, error)) (api.Principal, time.Time, error) {
	now := a.now()
	principal, err := a.found(ctx, hash, now, look)
	if err != nil {
		return api.Principal{}, now, err
	}
	if !principal.Expires.IsZero() && !now.Before(principal.Expires) {
		return api.Principal{}, now, problem.Unauthorized.New("the credential has expired")
	}
	if err := a.admitted(ctx, principal, now); err != nil {
		return api.Principal{}, now, err
	}
	return principal, now, nil
}

// lookedUp is what one look-up found, and the cache's generation when it began.
type lookedUp struct {
	principal  api.Principal
	generation uint64
}

// found is verified without what every request is asked for anew.
func (a *Authenticator) found(ctx context.Context, hash Hash, now time.Time, look func(ctx context.Context) (api.Principal, time.Duration, error)) (api.Principal, error) {
	for range lookAgain {
		principal, refused, ok := a.cache.get(hash, now)
		if ok {
			return principal, refused
		}
		// One look-up for all requests that come with the same credential meanwhile; the first one going away must not
		// fail the others.
		shared, err, _ := a.flight.Do(string(hash[:]), func() (any, error) {
			generation := a.cache.generation()
			found, lasts, err := look(context.WithoutCancel(ctx))
			if err == nil {
				a.cache.put(&verified{hash: hash, principal: found, until: a.now().Add(lasts)}, generation)
			}
			if errors.Is(err, problem.Unauthorized) {
				a.cache.remove(hash)
			}
			if errors.Is(err, errValidOnce) {
				a.cache.put(&verified{hash: hash, refused: err, until: a.now().Add(cacheRefusedFor)}, generation)
			}
			return lookedUp{found, generation}, err
		})
		if err != nil {
			return api.Principal{}, err
		}
		// A look-up that was begun before something was revoked may not have seen that, and so is not for who comes after.
		if result := shared.(lookedUp); result.generation == a.cache.generation() {
			return result.principal, nil
		}
	}
	return api.Principal{}, problem.CredentialsUnavailable.New("the credential cannot be checked at this moment")
}

// admitted refuses whom this site denies.
func (a *Authenticator) admitted(ctx context.Context, p api.Principal, now time.Time) error {
	refused, err := a.denied.refuses(ctx, p, now)
	if errors.Is(err, errUnread) {
		a.logger.WarnContext(ctx, "who is denied at this site is not known", "error", err)
		return problem.CredentialsUnavailable.New("the credential cannot be checked at this moment")
	}
	if err != nil {
		a.logger.WarnContext(ctx, "who is denied at this site cannot be read", "error", err)
	}
	if refused {
		return problem.Unauthorized.New("the credential is denied at this site")
	}
	return nil
}

// errValidOnce is what the refusal of a credential wraps that this installation has made itself. Only such refusals are kept:
// others anybody can cause, as many as he likes.
var errValidOnce = errors.New("the credential was valid once")

// validOnce marks the refusal of a credential that this installation has made.
func validOnce(err error) error {
	if errors.Is(err, problem.Unauthorized) {
		return fmt.Errorf("%w: %w", errValidOnce, err)
	}
	return err
}

// readToken reads what an API token entitles to. One that is not valid is problem.Unauthorized.
func readToken(ctx context.Context, q *db.Queries, hash Hash) (entitlement, error) {
	row, err := q.GetCredential(ctx, hash.String())
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return entitlement{}, fmt.Errorf("%w: %w", api.ErrWrongSecret, problem.Unauthorized.New("the API token is unknown"))
	case err != nil:
		return entitlement{}, err
	case subtle.ConstantTimeCompare([]byte(row.TokenHash), []byte(hash.String())) != 1:
		return entitlement{}, problem.Unauthorized.New("the API token is unknown")
	case !row.TokenActive:
		return entitlement{}, validOnce(problem.Unauthorized.New("the API token has been revoked"))
	case !row.UserActive:
		return entitlement{}, validOnce(problem.Unauthorized.New("the user of the API token is not active"))
	}
	return entitlement{
		TokenID: row.TokenID, UserID: row.UserID, Username: row.Username, Roles: row.Roles, Service: row.IsService,
		Permissions: row.Permissions, Scopes: row.Scopes, Expires: row.ExpiresAt,
	}, nil
}

// readUser reads the rights of a user. One that is not there or not active is problem.Unauthorized.
func readUser(ctx context.Context, q *db.Queries, username string) (entitlement, error) {
	row, err := q.GetUserRights(ctx, username)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return entitlement{}, problem.Unauthorized.New("the user is unknown at this site")
	case err != nil:
		return entitlement{}, err
	case !row.UserActive:
		return entitlement{}, problem.Unauthorized.New("the user is not active")
	}
	return entitlement{UserID: row.UserID, Username: row.Username, Roles: row.Roles, Service: row.IsService, Permissions: row.Permissions, SessionsFrom: row.SessionsFrom}, nil
}

// user returns the rights of a user, by the database or, while that cannot be read, by what the site remembers, and how
// long they may be trusted.
func (a *Authenticator) user(ctx context.Context, username string) (entitlement, time.Duration, error) {
	return a.entitled(ctx, "user:"+username, func(ctx context.Context, q *db.Queries) (entitlement, error) { return readUser(ctx, q, username) })
}

// entitled returns what read finds in the database, and only while that cannot be read what the site remembers under a
// key.
func (a *Authenticator) entitled(ctx context.Context, key string, read func(ctx context.Context, q *db.Queries) (entitlement, error)) (entitlement, time.Duration, error) {
	remembered, forgotten := a.recall(ctx, key)
	generation := a.cache.generation()
	entry, err := a.ask(ctx, a.patience(remembered), read)
	switch {
	case errors.Is(err, problem.Unauthorized):
		a.refuse(ctx, key)
		return entitlement{}, 0, err
	case err != nil && remembered != nil:
		return *remembered, cacheRememberedFor, nil
	case err != nil:
		if !errors.Is(err, errPaused) {
			a.logger.WarnContext(ctx, "a credential cannot be checked", "error", errors.Join(err, forgotten))
		}
		return entitlement{}, 0, problem.CredentialsUnavailable.New("the credential cannot be checked at this moment")
	}
	a.remember(ctx, key, entry)
	if a.cache.generation() != generation {
		a.refuse(ctx, key) // what was read before a revocation must not outlive it
	}
	return entry, cacheFor, nil
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

// ask reads from the database, unless it has just failed to answer.
func (a *Authenticator) ask(ctx context.Context, timeout time.Duration, read func(ctx context.Context, q *db.Queries) (entitlement, error)) (entitlement, error) {
	now := a.now()
	a.mu.Lock()
	paused := now.Before(a.pauseUntil)
	a.mu.Unlock()
	if paused {
		return entitlement{}, errPaused
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	entry, err := read(ctx, db.New(a.db))
	if err != nil && !errors.Is(err, problem.Unauthorized) {
		if a.credentials != nil {
			a.mu.Lock()
			a.pauseUntil = now.Add(pauseAfterFailure)
			a.mu.Unlock()
		}
		return entitlement{}, fmt.Errorf("looking up a credential: %w", err)
	}
	return entry, err
}

var errPaused = errors.New("the database did not answer a moment ago")

// recall returns what the site remembers of a token, and nil when that is nothing.
func (a *Authenticator) recall(ctx context.Context, key string) (*entitlement, error) {
	if a.credentials == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	value, err := a.credentials.Credential(ctx, key)
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
func (a *Authenticator) remember(ctx context.Context, key string, entry entitlement) {
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
	last, known := a.remembered[key]
	a.mu.Unlock()
	if known && last.value == string(value) && now.Sub(last.at) < rememberAgainAfter {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if err := a.credentials.KeepCredential(ctx, key, value, rememberFor); err != nil {
		a.logger.WarnContext(ctx, "a verified credential is not remembered", "error", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.remembered) >= cacheSize {
		clear(a.remembered)
	}
	a.remembered[key] = rememberedState{at: now, value: string(value)}
}

// refuse makes sure that a credential the database no longer accepts is not accepted later from memory.
func (a *Authenticator) refuse(ctx context.Context, key string) {
	if err := a.forgetRemembered(ctx, key); err != nil {
		a.logger.WarnContext(ctx, "a refused credential may still be remembered", "error", err)
	}
}

func (a *Authenticator) forgetRemembered(ctx context.Context, key string) error {
	a.mu.Lock()
	delete(a.remembered, key)
	a.mu.Unlock()
	if a.credentials == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if err := a.credentials.DropCredential(ctx, key); err != nil {
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
	// SessionsFrom is before which the user's sessions have ended; nil: none has.
	SessionsFrom *time.Time `json:"sessions_from,omitempty"`
}

// equal tells whether two are remembered as the same.
func (e entitlement) equal(other entitlement) bool {
	one, err := json.Marshal(e)
	if err != nil {
		return false
	}
	two, err := json.Marshal(other)
	return err == nil && bytes.Equal(one, two)
}

func (e entitlement) principal() api.Principal {
	p := api.Principal{
		UserID: e.UserID, Username: e.Username, Roles: e.Roles, Permissions: narrow(e.Permissions, e.Scopes),
		Kind: api.KindToken, TokenID: e.TokenID, Service: e.Service,
	}
	if e.Expires != nil {
		p.Expires = *e.Expires
	}
	return p
}
