package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// AccessToken is what a login or a refresh gives.
type AccessToken struct {
	Token     string    `json:"access_token" doc:"A JWT for Authorization: Bearer, at this site alone."`
	Type      string    `json:"token_type" doc:"Bearer." example:"Bearer"`
	ExpiresIn int64     `json:"expires_in" doc:"For how many seconds it is valid." example:"1200"`
	ExpiresAt time.Time `json:"expires_at" doc:"Until when it is valid. POST /auth/refresh gives another one, as long as the session lasts."`
}

type accessOutput struct {
	CacheControl string        `header:"Cache-Control" doc:"no-store: the answer is a secret."`
	SetCookie    []http.Cookie `header:"Set-Cookie" doc:"The refresh token, for /auth alone, out of reach of scripts."`
	Body         AccessToken
}

// CodeExchange is what a login's end is exchanged with.
type CodeExchange struct {
	Code     string `json:"code" minLength:"1" maxLength:"1000" doc:"The code with which the login came back, within 60 seconds, once."`
	Verifier string `json:"code_verifier" pattern:"^[A-Za-z0-9._~-]{43,128}$" patternDescription:"43-128 letters, digits, dots, hyphens, underscores and tildes" doc:"What the code_challenge of the login was made of."`
}

// Logout says which sessions end.
type Logout struct {
	Everywhere bool `json:"everywhere,omitempty" doc:"true ends every session of the user, at this site at once and at the others as soon as they hear of it."`
}

type exchangeInput struct{ Body CodeExchange }

type logoutInput struct {
	Body *Logout `required:"false"`
}

type logoutOutput struct {
	SetCookie []http.Cookie `header:"Set-Cookie" doc:"Takes the refresh token out of the browser."`
}

func registerSessions(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "exchange-code", Method: http.MethodPost, Path: "/auth/exchange", Permission: api.Open, Tags: []string{"shared", "auth"}, NoIdempotency: true,
		Summary: "Get the tokens of a login",
		Description: "Turns the one-time code with which a login with GitHub came back into an access token and a refresh cookie. A code is good for 60 seconds and once: used again, " +
			"it ends the session that it has begun, for two must have it.",
		Problems: []*problem.Kind{codeInvalid, problem.Forbidden, problem.CredentialsUnavailable},
	}, m.exchange)
	api.Register(r, api.Op{
		ID: "refresh-session", Method: http.MethodPost, Path: "/auth/refresh", Permission: api.Open, Tags: []string{"shared", "auth"}, NoIdempotency: true, PerMinute: 600,
		Summary: "Get another access token",
		Description: "Needs the refresh cookie, and gives another one with each access token. A refresh cookie that was replaced before ends the session, for two must have it; within 10 seconds " +
			"of its replacement it still gives an access token, for two tabs that refresh at once. A session ends 7 days after its login. At a secondary site it goes on with the link cut.",
		Problems: []*problem.Kind{problem.Unauthorized, problem.Forbidden, problem.CredentialsUnavailable},
	}, m.refresh)
	api.Register(r, api.Op{
		ID: "end-session", Method: http.MethodPost, Path: "/auth/logout", Permission: api.Open, Tags: []string{"shared", "auth"}, NoIdempotency: true, PerMinute: 600,
		Summary:     "Log out",
		Description: "Ends the session of the refresh cookie, or every session of its user: at this site at once, and at the others, also after a cut link, as soon as it is replicated there. Access tokens of it are refused at once by this process and within a second or two by others of the site.",
		Problems:    []*problem.Kind{problem.Unauthorized, problem.Forbidden, problem.MainUnreachable, problem.PendingUnavailable, problem.BufferFull},
	}, m.logout)
}

func (m *Module) exchange(ctx context.Context, in *exchangeInput) (*accessOutput, error) {
	if err := api.CheckOrigin(ctx, m.origins); err != nil {
		return nil, err
	}
	code, ok := m.config.Keys.openCode(in.Body.Code, in.Body.Verifier)
	if !ok {
		return nil, codeInvalid.New("the code is none of this site, or was not made for this verifier")
	}
	session, refresh, access, err := m.renew(ctx, code, 0, codeLife)
	if errors.Is(err, problem.Unauthorized) {
		return nil, codeInvalid.New("the code is used or older than a minute")
	}
	if err != nil {
		return nil, err
	}
	return m.granted(session, refresh, access), nil
}

func (m *Module) refresh(ctx context.Context, _ *struct{}) (*accessOutput, error) {
	presented, err := m.presented(ctx)
	if err != nil {
		return nil, err
	}
	session, refresh, access, err := m.renew(ctx, presented, repeatGrace, 0)
	var refused *problem.Problem
	if errors.As(err, &refused) && errors.Is(err, problem.Unauthorized) {
		gone := m.refreshCookie("", time.Time{})
		return nil, fmt.Errorf("%w: %w", refused.WithHeader("Set-Cookie", gone.String()), err)
	}
	if err != nil {
		return nil, err
	}
	return m.granted(session, refresh, access), nil
}

func (m *Module) logout(ctx context.Context, in *logoutInput) (*logoutOutput, error) {
	presented, err := m.presented(ctx)
	if err != nil {
		return nil, err
	}
	session, err := m.config.Sessions.Session(ctx, presented.sessionID.String())
	if err != nil {
		return nil, err
	}
	everywhere := in.Body != nil && in.Body.Everywhere
	if session == nil && everywhere {
		return nil, problem.Unauthorized.New("the session has ended already: log in to end the others")
	}
	if session != nil {
		// Whoever renews it may end it: to know a session's id is not enough.
		turn, err := m.turn(ctx, *session, presented, hashOf("ended", presented.text), repeatGrace)
		switch {
		case err != nil:
			return nil, err
		case turn == pending.LoginRefused:
			return nil, notOfTheSession()
		}
		// One that was ended elsewhere, or is denied here, throws nobody out any more. What cannot be told keeps nobody in.
		over := everywhere && errors.Is(m.goesOn(ctx, *session), problem.Unauthorized)
		if err := m.end(ctx, *session, everywhere && !over); err != nil {
			return nil, err
		}
		if over {
			return nil, problem.Unauthorized.New("the session has ended already: log in to end the others")
		}
		m.recordSession(ctx, "logout", *session, "everywhere", everywhere)
	}
	return &logoutOutput{SetCookie: []http.Cookie{m.refreshCookie("", time.Time{})}}, nil
}

// end ends a session, or all of its user: here at once, at other sites by a write that the buffer keeps while the link is cut.
func (m *Module) end(ctx context.Context, session Session, everywhere bool) error {
	if everywhere {
		request := txn.Request{Operation: "end-session", Actor: "user:" + session.Username, UserID: &session.UserID}
		if _, err := m.config.Critical.Write(ctx, request, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(EndSessions{UserID: session.UserID, At: tx.Now()})
			return nil
		}); err != nil {
			return err
		}
		if err := m.config.Sessions.EndSessions(ctx, session.UserID); err != nil {
			return err
		}
		return m.config.Credentials.ForgetUser(ctx, session.Username)
	}
	if err := m.config.Sessions.EndSession(ctx, session.ID); err != nil {
		return err
	}
	m.config.Credentials.forgetSession(session.ID)
	return nil
}

// presented returns the refresh token of the request, which must not come from another origin's page.
func (m *Module) presented(ctx context.Context) (secret, error) {
	if err := api.CheckOrigin(ctx, m.origins); err != nil {
		return secret{}, err
	}
	text, there := api.Cookie(ctx, m.refreshCookieName())
	presented, ok := parseRefresh(text)
	if !there || !ok {
		return secret{}, problem.Unauthorized.New("the request has no refresh cookie: log in")
	}
	return presented, nil
}

func (m *Module) granted(session Session, refresh string, access *AccessToken) *accessOutput {
	out := &accessOutput{CacheControl: "no-store", Body: *access}
	if refresh != "" {
		out.SetCookie = []http.Cookie{m.refreshCookie(refresh, session.Expires)}
	}
	return out
}

// The name has the site in it: two sites may be two ports of one host, which share their cookies. A browser takes one of
// __Secure- from an encrypted page alone, or from localhost; __Host- would not let it be of one path.
func (m *Module) refreshCookieName() string { return "__Secure-opsdb_refresh_" + m.config.Site }

// refreshCookie is the cookie that holds a refresh token, or takes it out of the browser when that is empty.
func (m *Module) refreshCookie(value string, expires time.Time) http.Cookie {
	cookie := http.Cookie{
		Name: m.refreshCookieName(), Value: value, Path: "/auth", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, Expires: expires,
	}
	if value == "" {
		cookie.MaxAge, cookie.Expires = -1, time.Time{}
	}
	return cookie
}
