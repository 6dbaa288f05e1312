package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/opsdb/opsdb/platform/problem"
)

const bearer = "bearer"

// The kinds of credential.
const (
	KindToken = "api_token"
	KindLogin = "jwt" // of somebody who has logged in
)

// Principal is who sent a request, and what that credential permits at this time.
type Principal struct {
	UserID      int64
	Username    string
	Roles       []string
	Permissions map[string]bool // effective ones: those of the roles, narrowed by the scopes
	Kind        string          // KindToken or KindLogin
	TokenID     int64           // of an API token
	SessionID   string          // of a JWT
	Began       time.Time       // of a JWT: when its session began
	Expires     time.Time       // zero: never
	Service     bool            // a service account
}

// Actor returns the name under which the principal's writes are recorded, the same
// for each of its credentials.
func (p Principal) Actor() string { return "user:" + p.Username }

// Can reports whether the principal has a permission such as "read:buffer".
func (p Principal) Can(permission string) bool { return p.Permissions[permission] }

// Authenticator checks the text after "Bearer ". Its errors are problems:
// problem.Unauthorized for a credential that is not valid, and
// problem.CredentialsUnavailable for one that cannot be checked at the moment.
type Authenticator interface {
	Authenticate(ctx context.Context, bearer string) (Principal, error)
}

// ErrWrongSecret is what the error of an Authenticator, or of an operation that takes another secret, wraps when that is
// well-formed and nobody has it. A typing error is none, its checksum tells; such a one is a guess, and guesses are counted.
var ErrWrongSecret = errors.New("the credential is well-formed, and nobody has it")

// How many wrong secrets an address may send: so many at once, and then one in a while.
const (
	guessesAtOnce    = 20
	guessesPerSecond = 0.2
)

// arrival is what an Authenticator may ask about a request.
type arrival struct {
	from  netip.Addr
	spent bool
}

type arrivalKey struct{}

func arrived(ctx context.Context) arrival {
	a, _ := ctx.Value(arrivalKey{}).(arrival)
	return a
}

// From is the context of a request that comes from an address, for an Authenticator: what ClientAddr and GuessesSpent say.
func From(ctx context.Context, client netip.Addr, guessesSpent bool) context.Context {
	return context.WithValue(ctx, arrivalKey{}, arrival{from: client, spent: guessesSpent})
}

// ClientAddr tells an Authenticator the address that a credential comes from, trusted proxies left out; the zero Addr where
// there is none.
func ClientAddr(ctx context.Context) netip.Addr { return arrived(ctx).from }

// GuessesSpent tells an Authenticator that the request's address has sent too many wrong secrets: a credential that it
// has never seen to be valid is not worth looking up, and refused with problem.TooManyRequests. One that it has seen is
// let in as ever, so that nobody can lock out who shares an address with him.
func GuessesSpent(ctx context.Context) bool { return arrived(ctx).spent }

// admit decides whether the request may call the operation in st, before anything
// else about it is looked at: credential, permission, rate.
func (r *Router) admit(w http.ResponseWriter, req *http.Request, st *state) *problem.Problem {
	if st.op.Permission == Open {
		if req.Header.Get("Authorization") != "" {
			if p, err := r.authenticate(req); err == nil {
				st.principal = &p
			}
		}
		return r.limit(w, req, st)
	}
	principal, err := r.authenticate(req)
	if err != nil {
		p := r.problems.From(err)
		if p.Status >= 500 {
			r.logger.WarnContext(req.Context(), "credential could not be checked", slogOperation(st), slogError(err))
		}
		return p
	}
	st.principal = &principal
	if p := permit(st.op, principal); p != nil {
		if limited := r.limit(w, req, st); limited != nil {
			return limited
		}
		if r.opts.Refused != nil {
			r.opts.Refused(req.Context(), st.op.ID, st.op.Permission)
		}
		return p
	}
	return r.limit(w, req, st)
}

// permit says why a principal may not call an operation, nil when it may.
func permit(op *Op, principal Principal) *problem.Problem {
	switch {
	case op.Permission == AnyUser:
		return nil
	case op.Permission == LoggedIn && principal.Kind == KindToken:
		return problem.Forbidden.New("an API token may not do this: log in")
	case op.Permission == LoggedIn, principal.Can(op.Permission):
		return nil
	}
	return problem.Forbidden.New("the permission %s is needed", op.Permission)
}

func (r *Router) authenticate(req *http.Request) (Principal, error) {
	headers := req.Header.Values("Authorization")
	if len(headers) == 0 {
		return Principal{}, problem.Unauthorized.New("the request has no credential: send Authorization: Bearer <token>")
	}
	scheme, token, found := strings.Cut(headers[0], " ")
	token = strings.Trim(token, " \t")
	if len(headers) > 1 || !found || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return Principal{}, problem.Unauthorized.New("the credential is not of the form Authorization: Bearer <token>")
	}
	if r.opts.Authenticator == nil {
		return Principal{}, problem.Unauthorized.New("the credential is not valid")
	}
	client := r.proxies.client(req)
	spent := !r.guesses.unused() && r.guesses.spent(caller(client), time.Now())
	principal, err := r.opts.Authenticator.Authenticate(From(req.Context(), client, spent), token)
	r.countGuess(req.Context(), caller(client), err)
	return principal, err
}

// countGuess counts a request of an address that was refused for a wrong secret.
func (r *Router) countGuess(ctx context.Context, from string, err error) {
	if !errors.Is(err, ErrWrongSecret) {
		return
	}
	if left, _ := r.guesses.take(from, time.Now()); left == 0 && r.opts.Guessing != nil {
		r.opts.Guessing(ctx, from)
	}
}

// credential names what a request was sent with, for what is counted by it.
func (p Principal) credential() string {
	if p.TokenID != 0 {
		return "token:" + strconv.FormatInt(p.TokenID, 10)
	}
	return "session:" + p.SessionID
}

// limit counts the request against its credential, or its address when it has none, and says so in the headers of
// https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ (draft 10).
func (r *Router) limit(w http.ResponseWriter, req *http.Request, st *state) *problem.Problem {
	if scarce := st.op.scarce; scarce != nil {
		if _, wait := scarce.take(caller(r.proxies.client(req)), time.Now()); wait > 0 {
			p := problem.TooManyRequests.New("more than %d of these from one address in %d s", scarce.burst, scarce.window)
			p.RetryAfter = wait
			return p
		}
	}
	if r.opts.RateLimit <= 0 {
		return nil
	}
	var policy, key string
	switch p := st.principal; {
	case p == nil:
		policy, key = "address", "address:"+caller(r.proxies.client(req))
	case st.op.Critical && p.Service:
		return nil // an instrument's writes are never held up
	default:
		policy, key = "credential", p.credential()
	}
	left, wait := r.limiter.take(key, time.Now())
	w.Header().Set("RateLimit-Policy", `"`+policy+`"`+r.limiter.policy)
	w.Header().Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", policy, left, r.limiter.window))
	if wait > 0 {
		p := problem.TooManyRequests.New("more than %g requests a second", r.opts.RateLimit)
		p.RetryAfter = wait
		return p
	}
	return nil
}
