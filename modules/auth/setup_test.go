package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/buffer"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// served is one site that serves the operations of the module, wired as serve wires it,
// with the rights that real servers have.
type served struct {
	*sandboxtest.Pair
	admin    *auth.Admin
	db       *pgxpool.Pool // of the site's own database
	store    *pending.Store
	checks   *auth.Authenticator
	direct   *txn.Direct
	line     *sandbox.Line // to main; nil at main
	router   *api.Router
	reader   *pending.Reader
	catalog  *txn.Catalog // of what may be buffered
	problems *problem.Catalog
	clock    *clock
}

// eachSite runs a test at a main and at a secondary site.
func eachSite(t *testing.T, test func(t *testing.T, s *served)) {
	t.Helper()
	t.Parallel()
	for name, secondary := range map[string]bool{"main": false, "secondary": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, serve(t, secondary))
		})
	}
}

func serve(t testing.TB, secondary bool) *served {
	t.Helper()
	return serveOn(t, sandboxtest.New(t), secondary)
}

func serveOn(t testing.TB, pair *sandboxtest.Pair, secondary bool) *served {
	t.Helper()
	s := &served{Pair: pair, clock: &clock{at: time.Now()}}
	s.admin = auth.NewAdmin(s.Primary(t))
	logger := observetest.Logger(t)
	catalog, err := txn.NewCatalog(append(auth.DirectSteps(), auth.Steps()...)...)
	if err != nil {
		t.Fatal(err)
	}
	if s.catalog, err = txn.NewCatalog(auth.Steps()...); err != nil {
		t.Fatal(err)
	}
	problems, err := problem.NewCatalog(txn.Problems, auth.Problems, buffer.Problems)
	if err != nil {
		t.Fatal(err)
	}
	s.problems = problems
	config := txn.DirectConfig{Catalog: catalog, Problems: problems, Site: sandboxtest.MainSite, SiteID: s.MainSiteID, Logger: logger}
	credentials := auth.AuthenticatorOptions{Now: s.clock.now, Logger: logger}
	limits := pending.Limits{Read: 30 * time.Second, Accept: 30 * time.Second, Check: 30 * time.Second}
	if !secondary {
		config.Pool, s.db = pool(t, pg.OpenWriter, s.MainRoleURL), pool(t, pg.OpenReader, s.MainRoleURL)
		config.Reader = pending.NewReader(s.db, nil, config.Site, limits)
		config.Reader.CheckOn(pool(t, pg.OpenChecks, s.MainRoleURL))
	} else {
		var url string
		s.line, url = txntest.Line(t, s.ProcessorURL)
		config.Site, config.SiteID = s.Site, s.SiteID
		config.Pool, s.db = pool(t, pg.OpenWriter, url), pool(t, pg.OpenReader, s.ReaderURL)
		s.store = s.process(t)
		config.Reader = pending.NewReader(s.db, s.store, s.Site, limits)
		tracker := lsn.New(lsn.Config{Pool: s.db, Site: s.Site})
		tracker.Start(t.Context())
		t.Cleanup(tracker.Stop)
		config.Replayed = func(ctx context.Context, at lsn.Position) error {
			limited, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			return tracker.Wait(limited, at)
		}
		credentials.Credentials, credentials.LookupTimeout = s.store, 20*time.Second
	}
	credentials.DB, s.reader = s.db, config.Reader
	s.checks = auth.NewAuthenticator(credentials)
	s.direct = txn.NewDirect(config)
	audit := s.log(t)
	s.router, err = api.New(api.Options{Site: config.Site, Authenticator: logins{s.checks, s.Primary(t)}, Problems: problems, Logger: logger, Refused: audit.Refused, Guessing: audit.Guessing})
	if err != nil {
		t.Fatal(err)
	}
	auth.New(auth.Config{Reader: config.Reader, Direct: s.direct, Credentials: s.checks, Audit: audit, Demo: true, Logger: logger}).Register(s.router)
	return s
}

// process is what another process of the secondary site has of its Redis.
func (s *served) process(t testing.TB) *pending.Store {
	t.Helper()
	client, err := rdb.Open(rdb.Options{URL: s.RedisURL})
	if err != nil {
		t.Fatal(err)
	}
	store, err := pending.Open(sandboxtest.Context(t), client, pending.Options{Site: s.Site, Tables: auth.Tables(), Decoder: s.catalog, Durability: pending.Relaxed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// log is the audit log of another process of the site.
func (s *served) log(t testing.TB) *auth.Log {
	t.Helper()
	logger := observetest.Logger(t)
	if s.store == nil {
		return auth.NewLog(auth.LogConfig{Writer: s.direct, Joint: true, Site: sandboxtest.MainSite, Logger: logger})
	}
	store := s.process(t)
	reader := pending.NewReader(s.db, store, s.Site, pending.Limits{Read: 30 * time.Second, Accept: 30 * time.Second, Check: 30 * time.Second})
	return auth.NewLog(auth.LogConfig{Site: s.Site, Logger: logger, Capacity: 100, Writer: txn.NewBuffered(txn.BufferedConfig{
		Store: store, Reader: reader, Catalog: s.catalog, Problems: s.problems, Site: s.Site, SiteID: s.SiteID,
	})})
}

// unreadable is a pool that leads nowhere.
func unreadable(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return pool(t, pg.OpenReader, "postgres://opsdb@127.0.0.1:1/opsdb")
}

func pool(t testing.TB, open func(context.Context, string, pg.Options) (*pgxpool.Pool, error), url string) *pgxpool.Pool {
	t.Helper()
	p, err := open(context.Background(), url, pg.Options{ApplicationName: "opsdb-test", MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// logins knows API tokens as a server does, and "login:<user>" as somebody who has
// logged in.
type logins struct {
	tokens  *auth.Authenticator
	primary *pgxpool.Pool
}

func (l logins) Authenticate(ctx context.Context, bearer string) (api.Principal, error) {
	username, ok := strings.CutPrefix(bearer, "login:")
	if !ok {
		return l.tokens.Authenticate(ctx, bearer)
	}
	p := api.Principal{Username: username, Kind: api.KindLogin, Permissions: map[string]bool{}}
	var permissions []string
	err := l.primary.QueryRow(ctx, `SELECT u.id, array(SELECT p.name FROM user_role ur JOIN role_permission rp USING (role_id) JOIN permission p ON p.id = rp.permission_id WHERE ur.user_id = u.id)
		FROM app_user u WHERE u.username = $1 AND u.is_active`, username).Scan(&p.UserID, &permissions)
	if err != nil {
		return api.Principal{}, problem.Unauthorized.New("nobody of that name has logged in")
	}
	for _, name := range permissions {
		p.Permissions[name] = true
	}
	return p, nil
}

// user makes a user and waits until the site knows it.
func (s *served) user(t testing.TB, name string, roles ...string) {
	t.Helper()
	if err := s.admin.CreateUser(sandboxtest.Context(t), name, "", false, roles...); err != nil {
		t.Fatal(err)
	}
	s.WaitForReplay(t)
}

// token makes an API token and waits until the site knows it.
func (s *served) token(t testing.TB, n auth.NewToken) string {
	t.Helper()
	text, _, err := s.admin.CreateToken(sandboxtest.Context(t), n)
	if err != nil {
		t.Fatal(err)
	}
	s.WaitForReplay(t)
	return text
}

// said is what the site has answered.
type said struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   string
}

// do sends a request with a credential; headers are names and values in turn.
func (s *served) do(t testing.TB, bearer, method, path string, body any, headers ...string) said {
	t.Helper()
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	request := httptest.NewRequestWithContext(sandboxtest.Context(t), method, path, bytes.NewReader(content))
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	s.router.Handler().ServeHTTP(recorder, request)
	return said{t, method + " " + path, recorder.Code, recorder.Header(), recorder.Body.String()}
}

// want fails unless the answer has this status, and returns its body.
func (a said) want(status int) map[string]any {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, want %d: %s", a.what, a.status, status, a.body)
	}
	out := map[string]any{}
	if a.body != "" {
		if err := json.Unmarshal([]byte(a.body), &out); err != nil {
			a.t.Fatalf("%s: %v in %s", a.what, err, a.body)
		}
	}
	return out
}

// refused fails unless the answer is this problem.
func (a said) refused(kind *problem.Kind) {
	a.t.Helper()
	if got := a.want(kind.Status)["type"]; got != "/problems/"+kind.Code {
		a.t.Errorf("%s: %v, want %s: %s", a.what, got, kind.Code, a.body)
	}
}

// cut takes the line to main away, and heals it again.
func (s *served) cut(t testing.TB) {
	t.Helper()
	down := false
	if err := s.line.Apply(sandbox.Change{Up: &down}); err != nil {
		t.Fatal(err)
	}
}
