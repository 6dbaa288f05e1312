package auth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/auth/githubtest"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
)

const frontend = "https://console.example/"

// loginSite is a site that serves logins with a stand-in for GitHub.
type loginSite struct {
	*site
	url      string
	github   *githubtest.Server
	standIn  string
	cut      atomic.Bool // the link: direct writes do not reach main
	verifier string
	tls      *http.Transport
	direct   txn.Writer
}

func newLoginSite(t testing.TB, secondary bool) *loginSite {
	t.Helper()
	s := &loginSite{site: newSite(t, sandboxtest.New(t), secondary), verifier: strings.Repeat("v", 43)}
	var handler http.Handler
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	s.url, s.tls = server.URL, server.Client().Transport.(*http.Transport)
	callback := s.url + "/github/callback"
	s.github = githubtest.New([]githubtest.Person{
		{ID: 11, Login: "vera", Name: "Vera Rubin", Teams: []string{"observers"}},
		{ID: 12, Login: "edwin", Outsider: true},
		{ID: 13, Login: "henrietta", Teams: []string{"observers", "instrument-builders", "unmapped"}},
	}, callback)
	standIn := httptest.NewServer(s.github)
	t.Cleanup(standIn.Close)
	s.standIn = standIn.URL

	logger := observetest.Logger(t)
	catalog, err := txn.NewCatalog(append(auth.DirectSteps(), auth.Steps()...)...)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := problem.NewCatalog(txn.Problems, auth.Problems)
	if err != nil {
		t.Fatal(err)
	}
	writerURL, readerURL := s.pair.MainRoleURL, s.pair.MainRoleURL
	if secondary {
		writerURL, readerURL = s.pair.ProcessorURL, s.pair.ReaderURL
	}
	open := func(open func(context.Context, string, pg.Options) (*pgxpool.Pool, error), address string) *pgxpool.Pool {
		pool, err := open(context.Background(), address, pg.Options{ApplicationName: "opsdb-test"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	primary := open(pg.OpenWriter, writerURL)
	reader := pending.NewReader(open(pg.OpenReader, readerURL), s.store, s.name(), pending.Limits{Accept: 10 * time.Second, Check: 10 * time.Second})
	config := txn.DirectConfig{Pool: primary, Reader: reader, Catalog: catalog, Problems: problems, Site: s.name(), SiteID: s.pair.MainSiteID, Logger: logger}
	if secondary {
		config.SiteID = s.pair.SiteID
		config.Replayed = func(ctx context.Context, _ lsn.Position) error { return s.pair.Stack.WaitForReplay(ctx) }
	} else {
		reader.CheckOn(open(pg.OpenChecks, readerURL))
	}
	var audit *auth.Log
	router, err := api.New(api.Options{
		Site: s.name(), Authenticator: s.auth, Problems: problems, Logger: logger,
		Guessing: func(ctx context.Context, address string) { audit.Guessing(ctx, address) },
	})
	if err != nil {
		t.Fatal(err)
	}
	direct := cuttable{txn.NewDirect(config), &s.cut}
	s.direct = direct
	log := auth.LogConfig{Writer: direct, Joint: !secondary, Site: s.name(), Logger: observetest.Logger(t)}
	if secondary {
		log.Capacity, log.Writer = 100, txn.NewBuffered(txn.BufferedConfig{
			Store: s.store, Reader: reader, Catalog: catalog, Problems: problems, Site: s.name(), SiteID: config.SiteID,
		})
	}
	audit = auth.NewLog(log)
	auth.New(auth.Config{
		Audit: audit, Site: s.name(), Reader: reader, Direct: direct, Critical: log.Writer, DB: s.db, Keys: s.keys, AccessTokens: s.access, Sessions: s.sessions, Credentials: s.auth,
		GitHub: auth.NewGitHub(auth.GitHubOptions{
			ClientID: githubtest.ClientID, ClientSecret: githubtest.ClientSecret, Organisation: githubtest.Organisation,
			TeamRoles: map[string]string{"observers": "observer", "instrument-builders": "service", "admins": "admin", "ghosts": "no-such-role"},
			BaseURL:   s.standIn, APIURL: s.standIn + "/api", CallbackURL: callback, Patience: 3 * time.Second, Logger: logger,
		}),
		FrontendURL: frontend, BackendURL: s.url, Now: s.clock.now, Logger: logger,
	}).Register(router)
	handler = router.Handler()
	return s
}

// cuttable is a Direct writer behind a link that can be cut.
type cuttable struct {
	txn.Writer
	cut *atomic.Bool
}

func (c cuttable) Write(ctx context.Context, req txn.Request, build func(ctx context.Context, tx *txn.Builder) error) (txn.Receipt, error) {
	if c.cut.Load() {
		return txn.Receipt{}, problem.MainUnreachable.New("the link is cut")
	}
	return c.Writer.Write(ctx, req, build)
}

func bothLoginSites(t *testing.T, test func(t *testing.T, s *loginSite)) {
	for name, secondary := range map[string]bool{"main": false, "secondary": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newLoginSite(t, secondary))
		})
	}
}

// browser is a client with cookies that stops where the frontend begins.
type browser struct {
	*http.Client
	site *loginSite
}

func (s *loginSite) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{&http.Client{Jar: jar, Transport: s.tls, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), frontend) {
			return http.ErrUseLastResponse
		}
		return nil
	}}, s}
}

// answer is what came back: the status, where it leads, and its JSON.
type answer struct {
	status   int
	location string
	header   http.Header
	text     string
	body     map[string]any
}

func (b *browser) send(t testing.TB, request *http.Request) answer {
	t.Helper()
	response, err := b.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, location: response.Header.Get("Location"), header: response.Header, text: string(content)}
	if strings.Contains(response.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(content, &a.body); err != nil {
			t.Fatalf("%s: %v", content, err)
		}
	}
	if a.location == "" { // a page: where it is
		a.location = response.Request.URL.String()
	}
	return a
}

func (b *browser) get(t testing.TB, address string) answer {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b.send(t, request)
}

func (b *browser) post(t testing.TB, path string, body any, header ...string) answer {
	t.Helper()
	content := ""
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = string(encoded)
	}
	request, err := http.NewRequest(http.MethodPost, b.site.url+path, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return b.send(t, request)
}

// as asks who it is with an access token.
func (b *browser) as(t testing.TB, token string) answer {
	t.Helper()
	return b.call(t, http.MethodGet, "/auth/me", token)
}

// call sends a request with a credential, and with a body unless that is empty.
func (b *browser) call(t testing.TB, method, path, token string, body ...string) answer {
	t.Helper()
	request, err := http.NewRequest(method, b.site.url+path, strings.NewReader(strings.Join(body, "")))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	return b.send(t, request)
}

// toGitHub begins a login and returns the page of the stand-in that asks who it is.
func (b *browser) toGitHub(t testing.TB) string {
	t.Helper()
	sum := sha256.Sum256([]byte(b.site.verifier))
	page := b.get(t, b.site.url+"/github/login?code_challenge_method=S256&code_challenge="+base64.RawURLEncoding.EncodeToString(sum[:]))
	if page.status != http.StatusOK || !strings.Contains(page.text, "Stand-in") {
		t.Fatalf("the login leads to %d %s", page.status, page.text)
	}
	return page.location
}

// confirm says who it is at the stand-in and returns where that leads in the end.
func (b *browser) confirm(t testing.TB, page, login string) answer {
	t.Helper()
	values := url.Values{"login": {login}}
	if login == "" {
		values = url.Values{"cancel": {"1"}}
	}
	request, err := http.NewRequest(http.MethodPost, page, strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.send(t, request)
}

// code logs in as far as the frontend and returns the code that comes there.
func (b *browser) code(t testing.TB, login string) string {
	t.Helper()
	end := b.confirm(t, b.toGitHub(t), login)
	code, ok := strings.CutPrefix(end.location, frontend+"#code=")
	if end.status != http.StatusFound || !ok {
		t.Fatalf("the login of %s ends with %d at %q: %s", login, end.status, end.location, end.text)
	}
	return code
}

func (b *browser) exchange(t testing.TB, code string) answer {
	t.Helper()
	return b.post(t, "/auth/exchange", map[string]any{"code": code, "code_verifier": b.site.verifier})
}

// login logs in and returns the access token.
func (b *browser) login(t testing.TB, login string) string {
	t.Helper()
	granted := b.exchange(t, b.code(t, login))
	token, _ := granted.body["access_token"].(string)
	if granted.status != http.StatusOK || token == "" {
		t.Fatalf("exchanging the code: %d %s", granted.status, granted.text)
	}
	return token
}

// cookie is the browser's refresh cookie.
func (b *browser) cookie(t testing.TB) *http.Cookie {
	t.Helper()
	at, err := url.Parse(b.site.url + "/auth/refresh")
	if err != nil {
		t.Fatal(err)
	}
	cookies := b.Jar.Cookies(at)
	if len(cookies) != 1 {
		t.Fatalf("the browser has %d cookies for /auth", len(cookies))
	}
	return cookies[0]
}

func (b *browser) keep(t testing.TB, cookie *http.Cookie) {
	t.Helper()
	at, err := url.Parse(b.site.url + "/auth/refresh")
	if err != nil {
		t.Fatal(err)
	}
	b.Jar.SetCookies(at, []*http.Cookie{{Name: cookie.Name, Value: cookie.Value, Path: "/auth", Secure: true, HttpOnly: true}})
}

func is(a answer, status int, kind string) bool {
	return a.status == status && a.body["type"] == "/problems/"+kind
}

func TestLoginWithGitHub(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		b := s.browser(t)
		page := b.toGitHub(t)
		sent, err := url.Parse(page)
		if err != nil {
			t.Fatal(err)
		}
		if q := sent.Query(); q.Get("redirect_uri") != s.url+"/github/callback" || q.Get("scope") != "read:org" || len(q.Get("state")) < 40 || q.Get("code_challenge_method") != "S256" {
			t.Errorf("GitHub is asked with %v", q)
		}
		end := b.confirm(t, page, "vera")
		code, ok := strings.CutPrefix(end.location, frontend+"#code=")
		if !ok || strings.Contains(end.location, "eyJ") {
			t.Fatalf("%d %q %s", end.status, end.location, end.text)
		}
		granted := b.exchange(t, code)
		if granted.status != http.StatusOK || granted.body["token_type"] != "Bearer" || granted.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %s", granted.status, granted.text)
		}
		set := granted.header.Get("Set-Cookie")
		for _, attribute := range []string{"__Secure-opsdb_refresh_" + s.name() + "=", "Path=/auth", "HttpOnly", "Secure", "SameSite=Strict"} {
			if !strings.Contains(set, attribute) {
				t.Errorf("the refresh cookie lacks %s: %s", attribute, set)
			}
		}
		me := b.as(t, granted.body["access_token"].(string))
		if me.status != http.StatusOK || me.body["username"] != "vera" || me.body["credential"] != "jwt" || me.body["token_id"] != nil || me.body["expires_at"] == nil {
			t.Errorf("who am I: %d %s", me.status, me.text)
		}
		if diff := cmp.Diff([]any{"observer"}, me.body["roles"]); diff != "" {
			t.Errorf("roles (-want +got):\n%s", diff)
		}
		var name string
		if err := s.main.QueryRow(sandboxtest.Context(t), "SELECT full_name FROM app_user WHERE github_id = 11 AND last_login_at IS NOT NULL").Scan(&name); err != nil || name != "Vera Rubin" {
			t.Errorf("the user at main: %q, %v", name, err)
		}
		for _, stored := range s.everythingStored(t) {
			for what, text := range map[string]string{"code": code, "refresh token": b.cookie(t).Value, "access token": granted.body["access_token"].(string)} {
				if strings.Contains(stored, text) {
					t.Errorf("the %s is stored: %s", what, stored)
				}
			}
		}
		if again := b.exchange(t, code); !is(again, http.StatusBadRequest, "code-invalid") {
			t.Errorf("the code a second time: %d %s", again.status, again.text)
		}
		if refreshed := b.post(t, "/auth/refresh", nil); !is(refreshed, http.StatusUnauthorized, "unauthenticated") {
			t.Errorf("the session of a code that was used twice goes on: %d %s", refreshed.status, refreshed.text)
		}
	})
}

// TestCodeOfARenewedSessionEndsItWhenUsedAgain: also when the session no longer remembers the code, while the code with
// another's verifier ends nothing (https://www.rfc-editor.org/rfc/rfc9700#section-2.1.1).
func TestCodeOfARenewedSessionEndsItWhenUsedAgain(t *testing.T) {
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		b := s.browser(t)
		code := b.code(t, "vera")
		if granted := b.exchange(t, code); granted.status != http.StatusOK {
			t.Fatalf("the exchange: %d %s", granted.status, granted.text)
		}
		for range 3 {
			if refreshed := b.post(t, "/auth/refresh", nil); refreshed.status != http.StatusOK {
				t.Fatalf("the refresh: %d %s", refreshed.status, refreshed.text)
			}
		}
		if stolen := b.post(t, "/auth/exchange", map[string]any{"code": code, "code_verifier": strings.Repeat("x", 43)}); !is(stolen, http.StatusBadRequest, "code-invalid") {
			t.Errorf("the code without its verifier: %d %s", stolen.status, stolen.text)
		}
		if refreshed := b.post(t, "/auth/refresh", nil); refreshed.status != http.StatusOK {
			t.Errorf("the code without its verifier has ended the session: %d %s", refreshed.status, refreshed.text)
		}
		// Nor is there anything in it that makes a refresh cookie, of which a used one would end the session.
		kept := b.cookie(t)
		token, err := base64.RawURLEncoding.DecodeString(kept.Value)
		if err != nil {
			t.Fatal(err)
		}
		content, err := base64.RawURLEncoding.DecodeString(code[strings.LastIndexByte(code, '.')+1:])
		if err != nil || bytes.Contains(content, token[:16]) || bytes.Contains(content, token[16:32]) {
			t.Errorf("the code has a part of the session's refresh tokens, or is none: %v", err)
		}
		for _, value := range []string{code, base64.RawURLEncoding.EncodeToString(content[:64])} {
			forged := *kept
			forged.Value = value
			for _, path := range []string{"/auth/refresh", "/auth/logout"} {
				b.keep(t, &forged)
				if answer := b.post(t, path, map[string]any{"everywhere": true}); !is(answer, http.StatusUnauthorized, "unauthenticated") {
					t.Errorf("%s with the code for a cookie: %d %s", path, answer.status, answer.text)
				}
			}
		}
		b.keep(t, kept)
		if refreshed := b.post(t, "/auth/refresh", nil); refreshed.status != http.StatusOK {
			t.Errorf("the code for a cookie has ended the session: %d %s", refreshed.status, refreshed.text)
		}
		if again := b.exchange(t, code); !is(again, http.StatusBadRequest, "code-invalid") {
			t.Errorf("the code a second time: %d %s", again.status, again.text)
		}
		if refreshed := b.post(t, "/auth/refresh", nil); !is(refreshed, http.StatusUnauthorized, "unauthenticated") {
			t.Errorf("the session of a code that was used twice goes on: %d %s", refreshed.status, refreshed.text)
		}
	})
}

// TestEndingALoginHasARate: each try asks GitHub, whoever has begun it.
func TestEndingALoginHasARate(t *testing.T) {
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		b := s.browser(t)
		limited := 0
		for range 65 {
			if end := b.get(t, s.url+"/github/callback?code=x&state=y"); end.status == http.StatusTooManyRequests {
				limited++
			}
		}
		if limited < 3 || limited > 5 {
			t.Errorf("%d of 65 are limited", limited)
		}
	})
}

// TestDeniedSessionIsOut: of a user or by itself, it gives no access and is not renewed, until it is let in again.
func TestDeniedSessionIsOut(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t, true)
	ctx := sandboxtest.Context(t)
	b := s.browser(t)
	access := b.login(t, "vera")
	var id string
	for _, item := range b.call(t, http.MethodGet, "/auth/sessions", access).body["sessions"].([]any) {
		id = item.(map[string]any)["id"].(string)
	}
	for _, subject := range []auth.Subject{{Username: "vera"}, {SessionID: id}} {
		if err := s.store.Deny(ctx, subject.String(), "a test"); err != nil {
			t.Fatal(err)
		}
		s.clock.advance(2 * time.Second)
		if me := b.as(t, access); me.status != http.StatusUnauthorized {
			t.Errorf("%s is denied: %d %s", subject, me.status, me.text)
		}
		kept := b.cookie(t)
		if refreshed := b.post(t, "/auth/refresh", nil); !is(refreshed, http.StatusUnauthorized, "unauthenticated") {
			t.Errorf("%s is denied, and renewed: %d %s", subject, refreshed.status, refreshed.text)
		}
		if _, err := s.store.Admit(ctx, subject.String()); err != nil {
			t.Fatal(err)
		}
		s.clock.advance(2 * time.Second)
		b.keep(t, kept)
		if refreshed := b.post(t, "/auth/refresh", nil); refreshed.status != http.StatusOK {
			t.Errorf("%s is let in again: %d %s", subject, refreshed.status, refreshed.text)
		}
	}
}

// TestDeniedUserDoesNotLogIn: nor is there an event of a login that has let nobody in.
func TestDeniedUserDoesNotLogIn(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t, true)
	boss := s.auditor(t)
	b := s.browser(t)
	b.login(t, "vera")
	if err := s.store.Deny(sandboxtest.Context(t), auth.Subject{Username: "vera"}.String(), "a test"); err != nil {
		t.Fatal(err)
	}
	s.clock.advance(2 * time.Second)
	for _, cut := range []bool{false, true} {
		s.cut.Store(cut)
		if end := b.confirm(t, b.toGitHub(t), "vera"); !is(end, http.StatusForbidden, "forbidden") {
			t.Errorf("the link is cut: %t: %d %s", cut, end.status, end.text)
		}
	}
	logins, text := s.logged(t, boss, "login")
	refused, more := s.logged(t, boss, "login.refused")
	if len(logins) != 1 || len(refused) != 2 {
		t.Errorf("%d logins and %d refused: %s%s", len(logins), len(refused), text, more)
	}
	s.cut.Store(false)
	b.login(t, "henrietta")
}

// TestLedgerNamesWhoLogsInAsTheyAreCalledHere: whatever GitHub calls them.
func TestLedgerNamesWhoLogsInAsTheyAreCalledHere(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		ctx := sandboxtest.Context(t)
		s.user(t, "ada", "observer")
		account := int64(11) // vera's
		if err := s.admin.LinkGitHub(ctx, "ada", &account); err != nil {
			t.Fatal(err)
		}
		s.replay(t)
		b := s.browser(t)
		if me := b.as(t, b.login(t, "vera")); me.body["username"] != "ada" {
			t.Fatalf("%d %s", me.status, me.text)
		}
		b.login(t, "henrietta") // for the first time
		rows, err := s.main.Query(ctx, "SELECT actor FROM applied_transaction WHERE operation = 'end-login' ORDER BY applied_at")
		if err != nil {
			t.Fatal(err)
		}
		actors, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || !slices.Equal(actors, []string{"user:ada", "user:henrietta"}) {
			t.Errorf("the ledger has %q, %v", actors, err)
		}
	})
}

// TestUserOfAnotherAccountIsOut: what the account that was linked before has begun ends, at every site, and it begins nothing
// where it still is that user's.
func TestUserOfAnotherAccountIsOut(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		ctx := sandboxtest.Context(t)
		b := s.browser(t)
		access := b.login(t, "vera")
		if me := b.as(t, access); me.status != http.StatusOK {
			t.Fatalf("%d %s", me.status, me.text)
		}
		// A login that was judged before, and is written after.
		err := s.admin.LinkGitHub(ctx, "vera", nil)
		if err != nil {
			t.Fatal(err)
		}
		var id int64
		if err := s.main.QueryRow(ctx, "SELECT id FROM app_user WHERE username = 'vera'").Scan(&id); err != nil {
			t.Fatal(err)
		}
		stale := auth.SignIn{ID: id, GithubID: 11, FullName: "Vera", At: time.Now()}
		if _, err := s.direct.Write(ctx, txn.Request{Operation: "end-login", Actor: "user:vera"}, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(stale)
			return nil
		}); !errors.Is(err, problem.Forbidden) {
			t.Errorf("a login by an account that is no longer the user's: %v", err)
		}
		s.replay(t)
		s.auth.ForgetAll() // as Follow does
		if me := b.as(t, access); me.status != http.StatusUnauthorized {
			t.Errorf("an access token of the account before: %d %s", me.status, me.text)
		}
		if again := b.post(t, "/auth/refresh", nil); again.status != http.StatusUnauthorized {
			t.Errorf("its session is refreshed: %d %s", again.status, again.text)
		}
	})
}

// TestWrongRefreshTokensAreGuesses: the audit log tells of the address; the session goes on.
func TestWrongRefreshTokensAreGuesses(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		boss := s.auditor(t)
		b := s.browser(t)
		b.login(t, "vera")
		good := b.cookie(t)
		content, err := base64.RawURLEncoding.DecodeString(good.Value)
		if err != nil {
			t.Fatal(err)
		}
		wrong := *good
		wrong.Value = base64.RawURLEncoding.EncodeToString(slices.Concat(content[:16], make([]byte, 48)))
		for n := range 30 {
			b.keep(t, &wrong)
			path := []string{"/auth/refresh", "/auth/logout"}[n%2]
			if guess := b.post(t, path, nil); guess.status != http.StatusUnauthorized {
				t.Errorf("%s: %d %s", path, guess.status, guess.text)
			}
		}
		if events, text := s.logged(t, boss, "credential.guessing"); len(events) < 1 || len(events) > 10 {
			t.Errorf("%d events of 30 guesses: %s", len(events), text)
		}
		b.keep(t, good)
		if owner := b.post(t, "/auth/refresh", nil); owner.status != http.StatusOK {
			t.Errorf("the session: %d %s", owner.status, owner.text)
		}
		// Of a session that there is not it is one, too; and there is a rate for all.
		limited := 0
		for range 620 {
			wrong.Value = base64.RawURLEncoding.EncodeToString(make([]byte, 64))
			b.keep(t, &wrong)
			switch guess := b.post(t, "/auth/refresh", nil); guess.status {
			case http.StatusTooManyRequests:
				limited++
			case http.StatusUnauthorized:
			default:
				t.Fatalf("%d %s", guess.status, guess.text)
			}
		}
		if limited < 20 || limited > 100 {
			t.Errorf("%d of 636 are limited", limited)
		}
	})
}

// TestOwnSessionsAreListedAndEnded: one's own at this site, and nobody else's, by who has logged in.
func TestOwnSessionsAreListedAndEnded(t *testing.T) {
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		here, there, other := s.browser(t), s.browser(t), s.browser(t)
		access, elsewhere, another := here.login(t, "vera"), there.login(t, "vera"), other.login(t, "henrietta")
		list := func(access string) (current string, others []string) {
			t.Helper()
			answer := here.call(t, http.MethodGet, "/auth/sessions", access)
			if answer.status != http.StatusOK || answer.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("the list: %d %s", answer.status, answer.text)
			}
			for _, item := range answer.body["sessions"].([]any) {
				session := item.(map[string]any)
				if session["current"] == true {
					current += session["id"].(string)
				} else {
					others = append(others, session["id"].(string))
				}
				if session["user_agent"] == "" || session["created_at"] == nil || session["expires_at"] == nil {
					t.Errorf("a session: %v", session)
				}
			}
			return current, others
		}
		mine, others := list(access)
		seen, also := list(elsewhere)
		if len(others) != 1 || mine == others[0] || seen != others[0] || len(also) != 1 || also[0] != mine {
			t.Fatalf("vera has %s and %v, and by the other session %s and %v", mine, others, seen, also)
		}
		theirs, more := list(another)
		if len(more) != 0 || theirs == mine || theirs == seen {
			t.Fatalf("henrietta has %s and %v", theirs, more)
		}
		for _, id := range []string{theirs, "01890000-0000-4000-8000-000000000001"} {
			if answer := here.call(t, http.MethodDelete, "/auth/sessions/"+id, access); !is(answer, http.StatusNotFound, "not-found") {
				t.Errorf("ending another's: %d %s", answer.status, answer.text)
			}
		}
		if answer := here.call(t, http.MethodDelete, "/auth/sessions/"+strings.ToUpper(others[0]), access); answer.status != http.StatusNoContent {
			t.Errorf("ending the other one: %d %s", answer.status, answer.text)
		}
		if me := there.as(t, elsewhere); me.status != http.StatusUnauthorized {
			t.Errorf("the session that was ended goes on: %d %s", me.status, me.text)
		}
		kept := there.cookie(t)
		if refreshed := there.post(t, "/auth/refresh", nil); !is(refreshed, http.StatusUnauthorized, "unauthenticated") {
			t.Errorf("the session that was ended is refreshed: %d %s", refreshed.status, refreshed.text)
		}
		there.keep(t, kept)
		if again := there.post(t, "/auth/logout", map[string]any{"everywhere": true}); !is(again, http.StatusUnauthorized, "unauthenticated") {
			t.Errorf("logging out everywhere with a session that has ended: %d %s", again.status, again.text)
		}
		if left, more := list(access); left != mine || len(more) != 0 {
			t.Errorf("vera has %s and %v left", left, more)
		}
		token := s.token(t, auth.NewToken{Username: "vera", Name: "laptop"})
		s.replay(t)
		if answer := here.call(t, http.MethodGet, "/auth/sessions", token); !is(answer, http.StatusForbidden, "forbidden") {
			t.Errorf("by an API token: %d %s", answer.status, answer.text)
		}
	})
}

// everythingStored is what a site has stored of sessions.
func (s *loginSite) everythingStored(t testing.TB) (out []string) {
	t.Helper()
	ctx := sandboxtest.Context(t)
	rows, err := s.main.Query(ctx, "SELECT to_jsonb(s)::text FROM session s UNION ALL SELECT to_jsonb(t)::text FROM applied_transaction t")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	if s.redis != nil {
		keys, err := s.redis.Keys(ctx, "site:*:login:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			fields, err := s.redis.HGetAll(ctx, key).Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range fields {
				out = append(out, key+" "+value)
			}
		}
	}
	if len(out) < 2 {
		t.Errorf("nothing of a session is stored: %v", out)
	}
	return out
}

func TestRolesFollowTheTeamsAndThoseGrantedByHandStay(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		roles := func(login string) any {
			b := s.browser(t)
			return b.as(t, b.login(t, login)).body["roles"]
		}
		if diff := cmp.Diff([]any{"observer", "service"}, roles("henrietta")); diff != "" {
			t.Errorf("first login (-want +got):\n%s", diff)
		}
		if err := s.admin.GrantRole(sandboxtest.Context(t), "henrietta", "viewer"); err != nil {
			t.Fatal(err)
		}
		s.github.Change(githubtest.Person{ID: 13, Login: "henrietta-l", Teams: []string{"observers"}})
		s.clock.advance(31 * time.Second)
		if diff := cmp.Diff([]any{"observer", "viewer"}, roles("henrietta-l")); diff != "" {
			t.Errorf("out of a team, under another name at GitHub (-want +got):\n%s", diff)
		}
	})
}

// TestRolesThatTeamsGaveAndThatAreGrantedByHandStay: whoever grants a role by hand means it, also when a team gives the same
// at the time. A list of roles that has one of a team's, since the person has it, leaves it the team's.
func TestRolesThatTeamsGaveAndThatAreGrantedByHandStay(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		boss, b := s.auditor(t), s.browser(t)
		me := b.as(t, b.login(t, "henrietta"))
		if diff := cmp.Diff([]any{"observer", "service"}, me.body["roles"]); diff != "" {
			t.Fatalf("first login (-want +got):\n%s", diff)
		}
		request, err := http.NewRequest(http.MethodPatch, fmt.Sprintf("%s/users/%v", s.url, me.body["user_id"]), strings.NewReader(`{"roles": ["service", "viewer"]}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+boss)
		if set := b.send(t, request); set.status != http.StatusOK {
			t.Fatalf("setting roles by hand: %d %s", set.status, set.text)
		}
		b.login(t, "henrietta") // observer is back, by the team
		if err := s.admin.GrantRole(sandboxtest.Context(t), "henrietta", "observer"); err != nil {
			t.Fatal(err)
		}
		s.github.Change(githubtest.Person{ID: 13, Login: "henrietta"})
		s.clock.advance(31 * time.Second)
		if diff := cmp.Diff([]any{"observer", "viewer"}, b.as(t, b.login(t, "henrietta")).body["roles"]); diff != "" {
			t.Errorf("out of all teams (-want +got):\n%s", diff)
		}
		// A mapping to a role that there is not keeps nobody out, and is called no role given.
		s.github.Change(githubtest.Person{ID: 13, Login: "henrietta", Teams: []string{"ghosts", "instrument-builders"}})
		s.clock.advance(31 * time.Second)
		if diff := cmp.Diff([]any{"observer", "service", "viewer"}, b.as(t, b.login(t, "henrietta")).body["roles"]); diff != "" {
			t.Errorf("in a team whose role there is not (-want +got):\n%s", diff)
		}
		if s.store == nil {
			var given []string
			if err := s.main.QueryRow(sandboxtest.Context(t), "SELECT ARRAY(SELECT jsonb_array_elements_text(detail->'team_roles')) FROM audit_event WHERE action = 'login' ORDER BY created_at DESC LIMIT 1").Scan(&given); err != nil || !slices.Equal(given, []string{"service"}) {
				t.Errorf("the audit log says that the teams gave %v, %v", given, err)
			}
		}
	})
}

func TestLoginEndsOnlyWhereItBegan(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		b, other := s.browser(t), s.browser(t)
		page := b.toGitHub(t)
		other.toGitHub(t)
		if end := other.confirm(t, page, "vera"); !is(end, http.StatusBadRequest, "login-expired") {
			t.Errorf("in another browser: %d %s", end.status, end.text)
		}
		if end := s.browser(t).get(t, s.url+"/github/callback?code=x&state=y"); !is(end, http.StatusBadRequest, "login-expired") {
			t.Errorf("without a cookie: %d %s", end.status, end.text)
		}
		s.clock.advance(11 * time.Minute)
		if end := b.confirm(t, page, "vera"); !is(end, http.StatusBadRequest, "login-expired") {
			t.Errorf("11 minutes later: %d %s", end.status, end.text)
		}
		late := b.code(t, "vera")
		s.clock.advance(61 * time.Second)
		if end := b.exchange(t, late); !is(end, http.StatusBadRequest, "code-invalid") {
			t.Errorf("a code of 61 s: %d %s", end.status, end.text)
		}
		code := b.code(t, "vera")
		for name, body := range map[string]map[string]any{
			"another verifier": {"code": code, "code_verifier": strings.Repeat("w", 43)},
			"no code":          {"code": "x", "code_verifier": s.verifier},
		} {
			if end := b.post(t, "/auth/exchange", body); !is(end, http.StatusBadRequest, "code-invalid") {
				t.Errorf("%s: %d %s", name, end.status, end.text)
			}
		}
		if end := b.exchange(t, code); end.status != http.StatusOK {
			t.Errorf("the right verifier after wrong ones: %d %s", end.status, end.text)
		}
		// Without a verifier the code would be of use to whoever sees it.
		for _, query := range []string{"", "?code_challenge_method=S256", "?code_challenge=" + strings.Repeat("c", 43), "?code_challenge_method=plain&code_challenge=" + strings.Repeat("c", 43)} {
			if end := b.get(t, s.url+"/github/login"+query); !is(end, http.StatusUnprocessableEntity, "invalid") {
				t.Errorf("a login that begins with %q: %d %s", query, end.status, end.text)
			}
		}
		if end := b.post(t, "/auth/exchange", map[string]any{"code": b.code(t, "vera")}); !is(end, http.StatusUnprocessableEntity, "invalid") {
			t.Errorf("a code without a verifier: %d %s", end.status, end.text)
		}
	})
}

func TestWhoMayNotLogIn(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		s.user(t, "vera", "admin") // made by hand: may be somebody else
		s.replay(t)
		b := s.browser(t)
		for name, c := range map[string]struct {
			login, kind string
			status      int
		}{
			"an outsider":             {"edwin", "not-a-member", http.StatusForbidden},
			"who cancels":             {"", "login-refused", http.StatusForbidden},
			"the name of another one": {"vera", "username-taken", http.StatusConflict},
		} {
			if end := b.confirm(t, b.toGitHub(t), c.login); !is(end, c.status, c.kind) {
				t.Errorf("%s: %d %s", name, end.status, end.text)
			}
		}
		token := b.login(t, "henrietta")
		s.exec(t, "UPDATE app_user SET is_active = false WHERE username = 'henrietta'")
		s.replay(t)
		if err := s.auth.ForgetUser(sandboxtest.Context(t), "henrietta"); err != nil {
			t.Fatal(err)
		}
		if me := b.as(t, token); me.status != http.StatusUnauthorized {
			t.Errorf("a deactivated user's token: %d %s", me.status, me.text)
		}
		if refreshed := b.post(t, "/auth/refresh", nil); refreshed.status != http.StatusUnauthorized {
			t.Errorf("a deactivated user refreshes: %d %s", refreshed.status, refreshed.text)
		}
		if end := b.confirm(t, b.toGitHub(t), "henrietta"); !is(end, http.StatusForbidden, "forbidden") {
			t.Errorf("a deactivated user logs in: %d %s", end.status, end.text)
		}
	})
}

// TestUserMadeByHandIsLinkedToAnAccount: by its number, and by nothing else.
func TestUserMadeByHandIsLinkedToAnAccount(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		ctx := sandboxtest.Context(t)
		s.user(t, "henrietta", "admin")
		s.user(t, "other", "viewer")
		if err := s.admin.CreateUser(ctx, "robot", "", true, "service"); err != nil {
			t.Fatal(err)
		}
		s.replay(t)
		b := s.browser(t)
		if end := b.confirm(t, b.toGitHub(t), "henrietta"); !is(end, http.StatusConflict, "username-taken") {
			t.Fatalf("before it is linked: %d %s", end.status, end.text)
		}
		account, another := int64(13), int64(4711)
		for _, err := range []error{s.admin.LinkGitHub(ctx, "henrietta", &account), s.admin.LinkGitHub(ctx, "other", &another)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]error{"other": auth.ErrAccountTaken, "nobody": auth.ErrUserUnknown, "robot": auth.ErrUserUnknown} {
			if err := s.admin.LinkGitHub(ctx, name, &account); !errors.Is(err, want) {
				t.Errorf("linking %s: %v, want %v", name, err, want)
			}
		}
		s.replay(t)
		b = s.browser(t)
		me := b.as(t, b.login(t, "henrietta")).body
		if me["username"] != "henrietta" || !slices.Contains(me["roles"].([]any), any("admin")) {
			t.Errorf("linked, it is %v", me)
		}
		if err := s.admin.LinkGitHub(ctx, "henrietta", nil); err != nil {
			t.Fatal(err)
		}
		s.replay(t)
		b = s.browser(t)
		if end := b.confirm(t, b.toGitHub(t), "henrietta"); !is(end, http.StatusConflict, "username-taken") {
			t.Errorf("no longer linked: %d %s", end.status, end.text)
		}
	})
}

// TestFirstLoginAtTwoSitesAtOnce: the site whose replica does not show the new user yet waits for it.
func TestFirstLoginAtTwoSitesAtOnce(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t, true)
	s.replay(t)
	s.pair.PauseReplay(t)
	s.exec(t, "INSERT INTO app_user (username, github_id, full_name, created_at, updated_at) VALUES ('henrietta', 13, '', now(), now())")
	go func() {
		time.Sleep(time.Second)
		s.pair.ResumeReplay(t)
	}()
	b := s.browser(t)
	if me := b.as(t, b.login(t, "henrietta")); me.body["username"] != "henrietta" {
		t.Errorf("%d %s", me.status, me.text)
	}
}

func TestGitHubThatDoesNotWork(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		s.github.Delay = time.Minute
		for mode, want := range map[githubtest.Mode]struct {
			status int
			kind   string
		}{
			githubtest.Down:    {http.StatusServiceUnavailable, "github-unreachable"},
			githubtest.Slow:    {http.StatusServiceUnavailable, "github-unreachable"},
			githubtest.Endless: {http.StatusServiceUnavailable, "github-unreachable"},
			githubtest.Refuses: {http.StatusForbidden, "login-refused"},
			githubtest.Limits:  {http.StatusServiceUnavailable, "github-unreachable"},
			githubtest.Hides:   {http.StatusServiceUnavailable, "github-unreachable"},
			githubtest.Moves:   {http.StatusServiceUnavailable, "github-unreachable"}, // the code and our secret go to no other address
		} {
			b := s.browser(t)
			page := b.toGitHub(t)
			b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			back := b.confirm(t, page, "vera").location
			s.github.Behave(mode)
			end := b.get(t, back)
			s.github.Behave(githubtest.Well)
			if !is(end, want.status, want.kind) || strings.Contains(end.text, "secret-of-the-stand-in") {
				t.Errorf("%s: %d %s", mode, end.status, end.text)
			}
			if (end.header.Get("Retry-After") != "") != (want.status == http.StatusServiceUnavailable) {
				t.Errorf("%s: Retry-After %q", mode, end.header.Get("Retry-After"))
			}
		}
		s.github.Behave(githubtest.Down)
		if began := s.browser(t).post(t, "/github/device", nil); !is(began, http.StatusServiceUnavailable, "github-unreachable") {
			t.Errorf("a device: %d %s", began.status, began.text)
		}
	})
}

func TestRefreshRotatesAndNoticesReuse(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		b := s.browser(t)
		b.login(t, "vera")
		first := b.cookie(t)
		refreshed := b.post(t, "/auth/refresh", nil)
		if refreshed.status != http.StatusOK {
			t.Fatalf("%d %s", refreshed.status, refreshed.text)
		}
		second := b.cookie(t)
		if first.Value == second.Value {
			t.Error("the refresh token is the same as before")
		}
		token := refreshed.body["access_token"].(string)
		if me := b.as(t, token); me.status != http.StatusOK {
			t.Errorf("with the new access token: %d %s", me.status, me.text)
		}
		// Another tab, at the same time.
		b.keep(t, first)
		if tab := b.post(t, "/auth/refresh", nil); tab.status != http.StatusOK || tab.header.Get("Set-Cookie") != "" {
			t.Errorf("a second tab: %d %v", tab.status, tab.header)
		}
		for _, from := range []string{"https://evil.example", "null"} {
			b.keep(t, second)
			for path, body := range map[string]any{
				"/auth/refresh": nil, "/auth/logout": nil,
				"/auth/exchange": map[string]any{"code": "x", "code_verifier": s.verifier}, "/github/device/token": map[string]any{"device_code": "x"},
			} {
				if forged := b.post(t, path, body, "Origin", from, "Sec-Fetch-Site", "cross-site"); !is(forged, http.StatusForbidden, "forbidden") {
					t.Errorf("%s from %s: %d %s", path, from, forged.status, forged.text)
				}
			}
		}
		b.keep(t, second)
		if own := b.post(t, "/auth/refresh", nil, "Origin", strings.TrimSuffix(frontend, "/"), "Sec-Fetch-Site", "same-site"); own.status != http.StatusOK {
			t.Errorf("from the frontend: %d %s", own.status, own.text)
		}
		third := b.cookie(t)
		s.clock.advance(11 * time.Second)
		b.keep(t, second)
		if thief := b.post(t, "/auth/refresh", nil); !is(thief, http.StatusUnauthorized, "unauthenticated") || !strings.Contains(thief.header.Get("Set-Cookie"), "Max-Age=0") {
			t.Errorf("the token before, 11 s later: %d %s", thief.status, thief.text)
		}
		b.keep(t, third)
		if owner := b.post(t, "/auth/refresh", nil); owner.status != http.StatusUnauthorized {
			t.Errorf("the session goes on after a reuse: %d %s", owner.status, owner.text)
		}
		if me := b.as(t, token); me.status != http.StatusUnauthorized {
			t.Errorf("an access token of the ended session: %d %s", me.status, me.text)
		}
	})
}

// A refresh token that was stolen is noticed whenever it is used, by its owner or by the thief, however often the session
// was refreshed since.
func TestEveryUsedRefreshTokenEndsItsSession(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		for _, path := range []string{"/auth/refresh", "/auth/logout"} {
			b, other := s.browser(t), s.browser(t)
			b.login(t, "vera")
			other.login(t, "vera")
			old := b.cookie(t)
			for range 3 {
				s.clock.advance(11 * time.Second)
				if refreshed := b.post(t, "/auth/refresh", nil); refreshed.status != http.StatusOK {
					t.Fatalf("%d %s", refreshed.status, refreshed.text)
				}
			}
			newest := b.cookie(t)
			// Another session's secret with this one's id is nobody's.
			mixed, wrong := *old, *old
			content, err := base64.RawURLEncoding.DecodeString(old.Value)
			if err != nil {
				t.Fatal(err)
			}
			foreign, err := base64.RawURLEncoding.DecodeString(other.cookie(t).Value)
			if err != nil {
				t.Fatal(err)
			}
			mixed.Value = base64.RawURLEncoding.EncodeToString(slices.Concat(content[:16], foreign[16:]))
			wrong.Value = base64.RawURLEncoding.EncodeToString(slices.Concat(content[:16], make([]byte, 48)))
			for _, c := range []http.Cookie{mixed, wrong} {
				b.keep(t, &c)
				if guess := b.post(t, path, nil); guess.status != http.StatusUnauthorized {
					t.Errorf("%s with a secret of none: %d %s", path, guess.status, guess.text)
				}
			}
			b.keep(t, newest)
			if owner := b.post(t, "/auth/refresh", nil); owner.status != http.StatusOK {
				t.Fatalf("%s: who knows a session's id ends it: %d %s", path, owner.status, owner.text)
			}
			newest = b.cookie(t)
			b.keep(t, old)
			thief := b.post(t, path, nil)
			if want := map[string]int{"/auth/refresh": http.StatusUnauthorized, "/auth/logout": http.StatusNoContent}[path]; thief.status != want {
				t.Errorf("%s with a token of three refreshes before: %d %s", path, thief.status, thief.text)
			}
			b.keep(t, newest)
			if owner := b.post(t, "/auth/refresh", nil); owner.status != http.StatusUnauthorized {
				t.Errorf("the session goes on after %s with a token of three refreshes before: %d %s", path, owner.status, owner.text)
			}
			if still := other.post(t, "/auth/refresh", nil); still.status != http.StatusOK {
				t.Errorf("another session has ended with it: %d %s", still.status, still.text)
			}
		}
	})
}

func TestLogout(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		one, two, three := s.browser(t), s.browser(t), s.browser(t)
		tokens := map[*browser]string{}
		for _, b := range []*browser{one, two, three} {
			tokens[b] = b.login(t, "vera")
			if me := b.as(t, tokens[b]); me.status != http.StatusOK {
				t.Fatalf("%d %s", me.status, me.text)
			}
		}
		out := func(b *browser) bool {
			return b.as(t, tokens[b]).status == http.StatusUnauthorized && b.post(t, "/auth/refresh", nil).status == http.StatusUnauthorized
		}
		left := one.post(t, "/auth/logout", nil)
		if left.status != http.StatusNoContent || !strings.Contains(left.header.Get("Set-Cookie"), "Max-Age=0") {
			t.Errorf("%d %s %v", left.status, left.text, left.header)
		}
		if !out(one) || out(two) {
			t.Error("a logout ends its own session and no other")
		}
		if left := two.post(t, "/auth/logout", map[string]any{"everywhere": true}); left.status != http.StatusNoContent {
			t.Errorf("%d %s", left.status, left.text)
		}
		if !out(two) || !out(three) {
			t.Error("a logout everywhere leaves a session")
		}
		// Other sites hear of it, at a secondary site by the buffer.
		if s.store == nil {
			var from *time.Time
			if err := s.main.QueryRow(sandboxtest.Context(t), "SELECT sessions_from FROM app_user WHERE username = 'vera'").Scan(&from); err != nil || from == nil {
				t.Errorf("main does not know that the sessions are to end everywhere: %v, %v", from, err)
			}
		} else if view, err := s.store.CatchUp(sandboxtest.Context(t)); err != nil || !slices.ContainsFunc(slices.Collect(view.Buffered()), func(tx *pending.Tx) bool { return tx.Operation == "end-session" }) {
			t.Errorf("the buffer does not tell main that the sessions are to end everywhere: %v", err)
		}
		if again := s.browser(t).post(t, "/auth/logout", nil); !is(again, http.StatusUnauthorized, "unauthenticated") {
			t.Errorf("without a session: %d %s", again.status, again.text)
		}
	})
}

// TestLoginAndSessionsWithTheLinkCut: at a secondary site, who is known there logs in and stays in; who is not is told why.
func TestLoginAndSessionsWithTheLinkCut(t *testing.T) {
	t.Parallel()
	s := newLoginSite(t, true)
	b := s.browser(t)
	b.login(t, "vera")
	s.cut.Store(true)
	stranger := s.browser(t)
	if end := stranger.confirm(t, stranger.toGitHub(t), "henrietta"); !is(end, http.StatusServiceUnavailable, "main-unreachable") {
		t.Errorf("a stranger: %d %s", end.status, end.text)
	}
	again := s.browser(t)
	if me := again.as(t, again.login(t, "vera")); me.status != http.StatusOK || !slices.Equal(me.body["roles"].([]any), []any{"observer"}) {
		t.Errorf("who is known: %d %s", me.status, me.text)
	}
	s.db.broken.Store(true) // and the replica with it
	s.clock.advance(24*time.Hour - time.Minute)
	if refreshed := b.post(t, "/auth/refresh", nil); refreshed.status != http.StatusOK {
		t.Errorf("refreshing: %d %s", refreshed.status, refreshed.text)
	}
	s.db.broken.Store(false)
	s.clock.advance(6*24*time.Hour + 2*time.Minute)
	if refreshed := b.post(t, "/auth/refresh", nil); refreshed.status != http.StatusUnauthorized {
		t.Errorf("after 7 days: %d %s", refreshed.status, refreshed.text)
	}
}

func TestDeviceLogin(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		device, person := s.browser(t), s.browser(t)
		began := device.post(t, "/github/device", nil)
		if began.status != http.StatusOK || began.body["verification_uri"] != s.standIn+"/login/device" {
			t.Fatalf("%d %s", began.status, began.text)
		}
		ask := map[string]any{"device_code": began.body["device_code"]}
		if pending := device.post(t, "/github/device/token", ask); !is(pending, http.StatusBadRequest, "authorization-pending") || pending.header.Get("Retry-After") == "" {
			t.Errorf("before it is confirmed: %d %s", pending.status, pending.text)
		}
		confirm := url.Values{"user_code": {began.body["user_code"].(string)}, "login": {"vera"}}
		response, err := person.PostForm(began.body["verification_uri"].(string), confirm)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("confirming: %v", err)
		}
		response.Body.Close()
		granted := device.post(t, "/github/device/token", ask)
		if granted.status != http.StatusOK {
			t.Fatalf("%d %s", granted.status, granted.text)
		}
		if me := device.as(t, granted.body["access_token"].(string)); me.body["username"] != "vera" {
			t.Errorf("%d %s", me.status, me.text)
		}
		if refreshed := device.post(t, "/auth/refresh", nil); refreshed.status != http.StatusOK {
			t.Errorf("refreshing: %d %s", refreshed.status, refreshed.text)
		}
		if again := device.post(t, "/github/device/token", ask); !is(again, http.StatusForbidden, "login-refused") {
			t.Errorf("the code a second time: %d %s", again.status, again.text)
		}
		for name, code := range map[string]any{"GitHub's own": "ABCDEFGH", "changed": began.body["device_code"].(string) + "x"} {
			if refused := device.post(t, "/github/device/token", map[string]any{"device_code": code}); !is(refused, http.StatusBadRequest, "login-expired") {
				t.Errorf("a code that is %s: %d %s", name, refused.status, refused.text)
			}
		}
	})
}
