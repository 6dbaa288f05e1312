// Package auth decides who is asking and what they may do: users with roles, roles with permissions, and API tokens
// that carry a user's rights or a part of them, and sessions, whose short-lived access tokens carry them all.
//
// The rule behind everything here: nobody gets in without a valid credential, and a cut link or a broken replica
// never locks out a telescope script that got in yesterday. So a credential that is wrong is refused (401), one that
// cannot be checked now is 503, and a secondary site remembers for a day what it has verified.
package auth

import (
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// Config is what the module works with.
type Config struct {
	// Site is the short name of the site.
	Site string
	// Reader reads the site's database: the primary at main, the replica at a secondary
	// site.
	Reader record.Reader
	// Direct carries writes out on the primary, from either site; without a link it is
	// main-unreachable. It knows DirectSteps.
	Direct txn.Writer
	// Critical carries out what must work with the link cut: on the primary at main, through
	// the buffer at a secondary site. It knows Steps.
	Critical txn.Writer
	// DB is the site's database as the Authenticator reads it.
	DB DBTX
	// Credentials checks those of requests; what is taken away here is forgotten there.
	Credentials *Authenticator
	// Keys are the keys of the site, and AccessTokens what they sign.
	Keys         *KeyRing
	AccessTokens *AccessTokens
	// Sessions are those of the site.
	Sessions Sessions
	// GitHub is whom people log in with; nil: nobody can.
	GitHub *GitHub
	// FrontendURL is where a login ends, and BackendURL what the API is called from outside.
	FrontendURL, BackendURL string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Audit keeps the audit log; nil keeps none.
	Audit Recorder
	// Demo offers tokens to everybody, for a stack that runs to be looked at.
	Demo bool
	// Logger gets what goes wrong beside a request; nil is slog.Default.
	Logger *slog.Logger
}

// Module is the HTTP side of package auth.
type Module struct {
	config  Config
	origins *http.CrossOriginProtection // of pages that may use the refresh cookie
	refused refusals                    // that the audit log tells of
}

// New returns the module.
func New(config Config) *Module {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	m := &Module{config: config, origins: http.NewCrossOriginProtection()}
	for _, page := range []string{config.FrontendURL, config.BackendURL} {
		if page == "" {
			continue
		}
		u, err := url.Parse(page)
		if err == nil {
			err = m.origins.AddTrustedOrigin(u.Scheme + "://" + u.Host)
		}
		if err != nil {
			config.Logger.Error("a page's address has no origin: it cannot use sessions", "url", page, "error", err)
		}
	}
	return m
}

func (m *Module) now() time.Time { return m.config.Now() }

// Register adds the operations of the module to the router.
func (m *Module) Register(r *api.Router) {
	registerMe(r, m)
	registerKeys(r, m)
	registerGitHub(r, m)
	registerSessions(r, m)
	registerOwnSessions(r, m)
	registerUsers(r, m)
	registerRoles(r, m)
	registerTokens(r, m)
	registerPreferences(r, m)
	registerAudit(r, m)
	if m.config.Demo {
		registerDemo(r, m)
	}
}
