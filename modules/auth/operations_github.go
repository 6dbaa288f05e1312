package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

type loginInput struct {
	Challenge string `query:"code_challenge" required:"true" pattern:"^[A-Za-z0-9_-]{43}$" patternDescription:"43 characters of base64url" doc:"S256 of the verifier that POST /auth/exchange will have (RFC 7636), so that nobody else who sees the code can exchange it." example:"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"`
	Method    string `query:"code_challenge_method" required:"true" enum:"S256" doc:"S256 is the only one."`
}

type callbackInput struct {
	Code        string `query:"code" maxLength:"500" doc:"GitHub's code."`
	State       string `query:"state" maxLength:"200" doc:"As the login began with it."`
	Error       string `query:"error" maxLength:"200" doc:"Why GitHub does not confirm the login."`
	Description string `query:"error_description" maxLength:"2000" doc:"Is ignored."`
	URI         string `query:"error_uri" maxLength:"2000" doc:"Is ignored."`
	Issuer      string `query:"iss" maxLength:"2000" doc:"Is ignored."`
}

type redirectOutput struct {
	Location     string        `header:"Location" doc:"Where to go on."`
	CacheControl string        `header:"Cache-Control" doc:"no-store: the address is of this login alone."`
	SetCookie    []http.Cookie `header:"Set-Cookie" doc:"The login, sealed, until it comes back."`
}

// DeviceLogin tells a person where to confirm the login of a device.
type DeviceLogin struct {
	DeviceCode      string    `json:"device_code" doc:"What POST /github/device/token asks with."`
	UserCode        string    `json:"user_code" doc:"What the person enters." example:"WDJB-MJHT"`
	VerificationURI string    `json:"verification_uri" doc:"Where the person enters it." example:"https://github.com/login/device"`
	ExpiresIn       int64     `json:"expires_in" doc:"For how many seconds the codes are good." example:"900"`
	ExpiresAt       time.Time `json:"expires_at" doc:"Until when they are."`
	Interval        int64     `json:"interval" doc:"How many seconds to wait between two questions, at least." example:"5"`
}

// DeviceCode asks what has become of a device's login.
type DeviceCode struct {
	DeviceCode string `json:"device_code" minLength:"1" maxLength:"2000" doc:"As POST /github/device gave it."`
}

type deviceOutput struct {
	CacheControl string `header:"Cache-Control" doc:"no-store: the answer is a secret."`
	Body         DeviceLogin
}

type deviceTokenInput struct{ Body DeviceCode }

func registerGitHub(r *api.Router, m *Module) {
	tags := []string{"shared", "auth"}
	api.Register(r, api.Op{
		ID: "begin-login", Method: http.MethodGet, Path: "/github/login", Permission: api.Open, Tags: tags, Status: http.StatusFound,
		Summary: "Log in with GitHub",
		Description: "Sends the browser to GitHub, and from there by /github/callback to FRONTEND_URL, with `#code=…` for POST /auth/exchange. No token is ever in an address. " +
			"The login has ten minutes, and ends in the browser that began it.",
		Problems: []*problem.Kind{loginNotConfigured},
	}, m.beginLogin)
	api.Register(r, api.Op{
		ID: "end-login", Method: http.MethodGet, Path: "/github/callback", Permission: api.Open, Tags: tags, Status: http.StatusFound, PerMinute: 60,
		Summary: "Where GitHub sends the browser back to",
		Description: "Checks that this browser began the login, asks GitHub who it is and whether that is a member of the organisation, writes the user at main with the roles that the teams give, " +
			"and goes on to FRONTEND_URL. With main out of reach, a secondary site lets in whom it knows already, with the roles that it knows.",
		Problems: []*problem.Kind{
			loginNotConfigured, loginExpired, loginRefused, notAMember, usernameTaken, githubUnreachable, problem.MainUnreachable, problem.PendingUnavailable, problem.ReplicaUnreachable,
			problem.CredentialsUnavailable,
		},
	}, m.endLogin)
	api.Register(r, api.Op{
		ID: "begin-device-login", Method: http.MethodPost, Path: "/github/device", Permission: api.Open, Tags: tags, NoIdempotency: true, PerMinute: 10,
		Summary:     "Log in on a device without a browser",
		Description: "Gives a code that a person enters at GitHub, in any browser, while the device asks POST /github/device/token (RFC 8628). `opsdb login` does both.",
		Problems:    []*problem.Kind{loginNotConfigured, githubUnreachable},
	}, m.beginDevice)
	api.Register(r, api.Op{
		ID: "end-device-login", Method: http.MethodPost, Path: "/github/device/token", Permission: api.Open, Tags: tags, NoIdempotency: true, PerMinute: 120,
		Summary:     "Ask whether a device's login is confirmed",
		Description: "Until it is, the answer is `authorization-pending`. Then it is an access token and a refresh cookie, as of POST /auth/exchange.",
		Problems: []*problem.Kind{
			loginNotConfigured, authorizationPending, loginExpired, loginRefused, notAMember, usernameTaken, githubUnreachable, problem.MainUnreachable,
			problem.PendingUnavailable, problem.ReplicaUnreachable, problem.CredentialsUnavailable, problem.TooManyRequests,
		},
	}, m.endDevice)
}

func (m *Module) beginLogin(_ context.Context, in *loginInput) (*redirectOutput, error) {
	if m.config.GitHub == nil {
		return nil, loginNotConfigured.New("this site has no login with GitHub")
	}
	begun := begunLogin{State: oauth2.GenerateVerifier(), Verifier: oauth2.GenerateVerifier(), Challenge: in.Challenge, Until: m.now().Add(loginPatience)}
	sealed, err := m.config.Keys.seal(purposeLogin, begun)
	if err != nil {
		return nil, err
	}
	return &redirectOutput{
		Location: m.config.GitHub.authorizeURL(begun.State, begun.Verifier), CacheControl: "no-store",
		SetCookie: []http.Cookie{m.loginCookie(sealed)},
	}, nil
}

func (m *Module) endLogin(ctx context.Context, in *callbackInput) (out *redirectOutput, err error) {
	if m.config.GitHub == nil {
		return nil, loginNotConfigured.New("this site has no login with GitHub")
	}
	var person GitHubPerson
	defer func() { m.recordRefused(ctx, "browser", person, err) }()
	var begun begunLogin
	sealed, there := api.Cookie(ctx, m.loginCookieName())
	if !there || !m.config.Keys.unseal(purposeLogin, sealed, &begun) || !begun.ends(in.State, m.now()) {
		return nil, loginExpired.New("this browser has begun no such login within the last ten minutes: begin again")
	}
	if in.Error != "" || in.Code == "" {
		return nil, loginRefused.New("GitHub has not confirmed the login")
	}
	person, err = m.config.GitHub.exchange(ctx, in.Code, begun.Verifier)
	if err != nil {
		return nil, err
	}
	code, err := m.config.Keys.newCode(begun.Challenge)
	if err != nil {
		return nil, err
	}
	who, err := m.signIn(ctx, loginRequest("end-login", person), "browser", person, code)
	if err != nil {
		return nil, err
	}
	if err := m.begin(ctx, who, api.UserAgent(ctx), code); err != nil {
		return nil, err
	}
	return &redirectOutput{
		Location: m.config.FrontendURL + "#code=" + code.text, CacheControl: "no-store", SetCookie: []http.Cookie{m.loginCookie("")},
	}, nil
}

func (m *Module) beginDevice(ctx context.Context, _ *struct{}) (*deviceOutput, error) {
	if m.config.GitHub == nil {
		return nil, loginNotConfigured.New("this site has no login with GitHub")
	}
	began, err := m.config.GitHub.beginDevice(ctx)
	if err != nil {
		return nil, err
	}
	now := m.now().UTC().Truncate(time.Second)
	until := now.Add(15 * time.Minute)
	if began.Expiry.Before(until) && began.Expiry.After(now) {
		until = began.Expiry.UTC().Truncate(time.Second)
	}
	// Sealed: GitHub gives its own token to whoever has its device code.
	sealed, err := m.config.Keys.seal(purposeDevice, begunDevice{Code: began.DeviceCode, Until: until})
	if err != nil {
		return nil, err
	}
	return &deviceOutput{CacheControl: "no-store", Body: DeviceLogin{
		DeviceCode: sealed, UserCode: cut(began.UserCode, 50), VerificationURI: began.VerificationURI,
		ExpiresIn: int64(until.Sub(now).Seconds()), ExpiresAt: until, Interval: max(began.Interval, 1),
	}}, nil
}

func (m *Module) endDevice(ctx context.Context, in *deviceTokenInput) (out *accessOutput, err error) {
	if m.config.GitHub == nil {
		return nil, loginNotConfigured.New("this site has no login with GitHub")
	}
	if err := api.CheckOrigin(ctx, m.origins); err != nil {
		return nil, err
	}
	var person GitHubPerson
	defer func() { m.recordRefused(ctx, "device", person, err) }()
	var begun begunDevice
	if !m.config.Keys.unseal(purposeDevice, in.Body.DeviceCode, &begun) || !m.now().Before(begun.Until) {
		return nil, loginExpired.New("this is no code of a login that goes on")
	}
	person, err = m.config.GitHub.pollDevice(ctx, begun.Code)
	if err != nil {
		return nil, err
	}
	begins, err := newSession()
	if err != nil {
		return nil, err
	}
	first, err := begins.next()
	if err != nil {
		return nil, err
	}
	who, err := m.signIn(ctx, loginRequest("end-device-login", person), "device", person, first)
	if err != nil {
		return nil, err
	}
	if err := m.begin(ctx, who, api.UserAgent(ctx), first); err != nil {
		return nil, err
	}
	session, refresh, access, err := m.renew(ctx, first, 0, 0)
	if err != nil {
		return nil, err
	}
	return m.granted(session, refresh, access), nil
}

// loginRequest is what the ledger has of a login: the person is its actor.
func loginRequest(operation string, person GitHubPerson) txn.Request {
	return txn.Request{Operation: operation, Actor: "user:" + person.Login}
}

// challengeOf is the S256 challenge of a verifier (RFC 7636, 4.2).
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (m *Module) loginCookieName() string { return "__Secure-opsdb_login_" + m.config.Site }

// loginCookie is the cookie that holds a begun login, or takes it out of the browser when that is empty. It is Lax, for the
// browser comes back with it from another site.
func (m *Module) loginCookie(sealed string) http.Cookie {
	cookie := http.Cookie{
		Name: m.loginCookieName(), Value: sealed, Path: "/github", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(loginPatience.Seconds()),
	}
	if sealed == "" {
		cookie.MaxAge = -1
	}
	return cookie
}
