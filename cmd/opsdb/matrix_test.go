package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
)

// rolesMay is the table of roles and permissions of the API page: the database is
// held against it, not the other way round.
func rolesMay(role, permission string) bool {
	action, resource, _ := strings.Cut(permission, ":")
	may := map[string][]string{
		"observer": {"observations", "files", "packages", "sources", "programs", "instruments", "staging"},
		"viewer":   {"staging"},
		"service":  {"observations", "files", "packages", "transfers", "staging"},
	}
	switch {
	case role == "admin":
		return true
	case action == "read":
		return resource != "audit"
	case action == "write":
		return slices.Contains(may[role], resource)
	}
	return false
}

// openOperations are those that ask for no credential. Nothing joins them by forgetting its permission: only by being
// named here.
var openOperations = []string{
	"GET /.well-known/jwks.json", "GET /api/site/info", "GET /buffer-stats", "GET /docs", "GET /github/callback", "GET /github/login", "GET /health", "GET /health/live",
	"GET /health/ready", "GET /openapi-3.0.json", "GET /openapi.json", "GET /openapi.yaml", "GET /problems", "GET /problems/{code}", "POST /api/demo/create-demo-token",
	"POST /auth/exchange", "POST /auth/logout", "POST /auth/refresh", "POST /github/device", "POST /github/device/token",
}

// TestOpenOperationsAreTheListed: no other operation of the document does without a credential.
func TestOpenOperationsAreTheListed(t *testing.T) {
	r, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, to := range operationsOf(r.OpenAPI()) {
		permission := to.op.Extensions["x-permission"]
		if (permission == api.Open) != (len(to.op.Security) == 0) {
			t.Errorf("%s %s has the permission %v and the security %v", to.method, to.path, permission, to.op.Security)
		}
		if permission == api.Open {
			open = append(open, to.method+" "+to.path)
		}
	}
	slices.Sort(open)
	if diff := cmp.Diff(openOperations, open); diff != "" {
		t.Errorf("open operations (-listed +are):\n%s", diff)
	}
}

// matrixCredential is one column of the matrix.
type matrixCredential struct {
	name, bearer string
	// at has the bearer text at each site, for those that differ.
	at map[string]string
	// refused, for one that is not valid; else the role, and of a token the scopes.
	refused bool
	role    string
	scopes  []string
	session bool // it is an access token of a login, and no API token
	leaves  bool // its user is deactivated before the link is cut
}

// leaving is the user who is deactivated before the link is cut, and the GitHub account of that person.
const leaving = "matrix-leaving"

var leavingAccount int64 = 1006 // annie

// inNoTeam are people of the stand-in for GitHub who have the role that was granted by hand, and no other.
var inNoTeam = map[string]struct {
	account int64
	role    string
}{"cecilia": {1004, "viewer"}, "jocelyn": {1005, "service"}}

func (c matrixCredential) bearerAt(site string) string {
	if c.at != nil {
		return c.at[site]
	}
	return c.bearer
}

// may tells whether the credential opens an operation.
func (c matrixCredential) may(permission string) bool {
	if c.refused || permission == api.AnyUser {
		return !c.refused
	}
	if permission == api.LoggedIn {
		return c.session
	}
	narrowed := len(c.scopes) == 0 || slices.ContainsFunc(c.scopes, func(scope string) bool {
		return scope == permission || strings.HasSuffix(scope, ":*") && strings.HasPrefix(permission, strings.TrimSuffix(scope, "*"))
	})
	return narrowed && rolesMay(c.role, permission)
}

// matrixCredentials makes every kind of credential but one that nobody has: so many of
// those from one address are told to wait (TestGuessesCostNoLookUpAndLockNobodyOut).
func matrixCredentials(t *testing.T, ready readyFile) []matrixCredential {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, ready.MainDBURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the test is over
	admin := auth.NewAdmin(conn)
	token := func(user, name string, lifetime time.Duration, scopes ...string) (string, int64) {
		text, id, err := admin.CreateToken(ctx, auth.NewToken{Username: user, Name: name, Lifetime: lifetime, Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
		return text, id
	}
	out := []matrixCredential{
		{name: "no credential", refused: true},
		{name: "a malformed token", bearer: ready.Admin[:len(ready.Admin)-1] + "!", refused: true},
		{name: "a token with one wrong character", bearer: mistyped(ready.Admin), refused: true},
		{name: "a malformed JWT", bearer: "eyJhbGciOiJub25lIn0.e30.", refused: true},
	}
	expired, _ := token("admin", "matrix expired", -time.Second)
	revoked, id := token("admin", "matrix revoked", time.Hour)
	if err := admin.RevokeToken(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := admin.CreateUser(ctx, "matrix-gone", "", true, "admin"); err != nil {
		t.Fatal(err)
	}
	inactive, _ := token("matrix-gone", "matrix", time.Hour)
	if _, err := conn.Exec(ctx, "UPDATE app_user SET is_active = false WHERE username = 'matrix-gone'"); err != nil {
		t.Fatal(err)
	}
	out = append(out,
		matrixCredential{name: "an expired token", bearer: expired, refused: true},
		matrixCredential{name: "a revoked token", bearer: revoked, refused: true},
		matrixCredential{name: "a token of an inactive user", bearer: inactive, refused: true})
	for _, role := range []string{"admin", "observer", "viewer", "service"} {
		user := "matrix-" + role
		if err := admin.CreateUser(ctx, user, "", role == "service", role); err != nil {
			t.Fatal(err)
		}
		bearer, _ := token(user, "matrix", time.Hour)
		out = append(out, matrixCredential{name: "a token of role " + role, bearer: bearer, role: role})
	}
	if err := admin.CreateUser(ctx, leaving, "", false, "observer"); err != nil {
		t.Fatal(err)
	}
	if err := admin.LinkGitHub(ctx, leaving, &leavingAccount); err != nil {
		t.Fatal(err)
	}
	bearer, _ := token(leaving, "matrix", time.Hour)
	out = append(out, matrixCredential{name: "a token of who will be deactivated", bearer: bearer, role: "observer", leaves: true})
	for login, person := range inNoTeam {
		if err := admin.CreateUser(ctx, login, "", false, person.role); err != nil {
			t.Fatal(err)
		}
		if err := admin.LinkGitHub(ctx, login, &person.account); err != nil {
			t.Fatal(err)
		}
	}
	for _, scopes := range [][]string{{"read:history"}, {"read:*"}, {"write:*"}, {"write:staging", "read:buffer"}} {
		for _, role := range []string{"admin", "viewer"} {
			name := fmt.Sprintf("a token of role %s with scopes %v", role, scopes)
			bearer, _ := token("matrix-"+role, name, time.Hour, scopes...)
			out = append(out, matrixCredential{name: name, bearer: bearer, role: role, scopes: scopes})
		}
	}
	return out
}

// matrixSessions are the access tokens of logins at each site.
func (d *runningDemo) matrixSessions(ready readyFile, sites map[string]string) []matrixCredential {
	d.t.Helper()
	at := func(text func(name, site string) string) map[string]string {
		out := map[string]string{}
		for name, site := range sites {
			out[name] = text(name, site)
		}
		return out
	}
	logins := func(login string) map[string]string {
		return at(func(_, site string) string { token, _ := d.deviceLogin(site, login); return token })
	}
	admins := logins("henrietta")
	ended := at(func(_, site string) string {
		token, cookie := d.deviceLogin(site, "vera")
		if _, err := (apiClient{base: site}).send(d.t.Context(), http.MethodPost, "/auth/logout", nil, nil, "Cookie", cookie); err != nil {
			d.t.Fatal(err)
		}
		return token
	})
	elsewhere := map[string]string{"main": admins["secondary"], "secondary": admins["main"]}
	wrong := at(func(name, _ string) string { return mistyped(admins[name]) })
	// Of a session that goes on, signed with the site's own key: nothing but its age is wrong.
	expired := at(func(name, site string) string {
		text := d.issuedAgo(ready, name, admins[name], time.Hour)
		if got := d.knock(site, whoAmIOperation, d.issuedAgo(ready, name, admins[name], 0)); got.status != http.StatusOK {
			d.t.Fatalf("%s: an access token made like the expired one is not valid: %d %s", name, got.status, got.body)
		}
		if got := d.knock(site, whoAmIOperation, text); got.status != http.StatusUnauthorized || !strings.Contains(got.body, "has expired") {
			d.t.Errorf("%s: the expired access token: %d %s, want 401 that says so", name, got.status, got.body)
		}
		return text
	})
	out := []matrixCredential{
		{name: "a session of role observer", at: logins("vera"), role: "observer", session: true},
		{name: "a session of role admin", at: admins, role: "admin", session: true},
		{name: "a session of who will be deactivated", at: logins("annie"), role: "observer", session: true, leaves: true},
		{name: "an ended session", at: ended, refused: true},
		{name: "an expired access token", at: expired, refused: true},
		{name: "a session of the other site", at: elsewhere, refused: true},
		{name: "an access token with one wrong character", at: wrong, refused: true},
	}
	for login, person := range inNoTeam {
		out = append(out, matrixCredential{name: "a session of role " + person.role, at: logins(login), role: person.role, session: true})
	}
	return out
}

// issuedAgo returns the access token that a site would have issued some time ago for the session of another one.
func (d *runningDemo) issuedAgo(ready readyFile, site, access string, age time.Duration) string {
	d.t.Helper()
	var claims struct {
		jwt.RegisteredClaims
		SessionID string `json:"sid"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(access, &claims); err != nil {
		d.t.Fatal(err)
	}
	name := map[string]string{"main": mainSite, "secondary": observatorySite}[site]
	keys := auth.NewKeyRing(auth.KeyRingOptions{Dir: filepath.Join(ready.DataDir, "keys", name), Site: name})
	then := func() time.Time { return time.Now().Add(-age) }
	text, expires, err := auth.NewAccessTokens(name, keys, then).Issue(auth.Session{ID: claims.SessionID, Username: claims.Subject, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		d.t.Fatal(err)
	}
	if age > 0 && time.Now().Before(expires) {
		d.t.Fatalf("issued %v ago it is valid until %v", age, expires)
	}
	d.secrets = append(d.secrets, text)
	return text
}

// mistyped exchanges one character in the middle for another.
func mistyped(token string) string {
	at := len(token) - 20
	other := byte('a')
	if token[at] == other {
		other = 'b'
	}
	return token[:at] + string(other) + token[at+1:]
}

// TestEveryOperationAnswersForItsPermission is the matrix of all operations of the
// document and all kinds of credentials at both sites, and once more at the secondary
// site with its link cut. An operation without a permission, or one that the document
// does not have, does not exist: a new one is in the matrix by itself.
func TestEveryOperationAnswersForItsPermission(t *testing.T) {
	d := startDemo(t, "--no-night")
	ready := d.ready()
	r, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	credentials := matrixCredentials(t, ready)
	sites := map[string]string{"main": ready.MainURL, "secondary": ready.ObservatoryURL}
	credentials = append(d.matrixSessions(ready, sites), credentials...)
	// Replication brings the newest of them last.
	last := credentials[len(credentials)-1]
	d.wait(time.Minute, "the credentials at the secondary site", func() bool {
		return d.knock(ready.ObservatoryURL, whoAmIOperation, last.bearer).status == http.StatusOK
	})
	for name, site := range sites {
		headers, err := (apiClient{base: site, token: ready.Admin}).send(t.Context(), http.MethodGet, "/auth/me", nil, nil)
		if policy := headers.Get("RateLimit-Policy"); err != nil || policy != `"credential";q=2000;w=1` {
			t.Errorf("%s counts requests by %q, %v", name, policy, err)
		}
	}
	m := &matrix{runningDemo: d, document: r.OpenAPI(), credentials: credentials, tries: 300}
	for name, site := range sites {
		m.ask(name, site)
	}
	m.filled(len(sites))
	d.deactivate(ready, m.credentials)
	setLink(t, ready, map[string]any{"up": false})
	d.wait(time.Minute, "the site to notice that main is away", func() bool { return d.secondary(ready).Status == "degraded" })
	m.cut = true
	m.ask("secondary", ready.ObservatoryURL)
	m.filled(1)
	if status := d.secondary(ready).Status; status != "degraded" {
		t.Errorf("the site is %s: it has reached main meanwhile", status)
	}
	setLink(t, ready, map[string]any{"up": true})
	d.wait(time.Minute, "main to be told of what was done meanwhile", func() bool {
		site := d.secondary(ready)
		return site.Status == "healthy" && site.Buffer.Size == 0
	})
}

// deactivate puts out at main the users of the credentials that leave, and waits until the secondary site, which has let
// them in, refuses them.
func (d *runningDemo) deactivate(ready readyFile, credentials []matrixCredential) {
	t := d.t
	t.Helper()
	conn, err := pgx.Connect(t.Context(), ready.MainDBURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
	if err := auth.NewAdmin(conn).SetActive(t.Context(), leaving, false); err != nil {
		t.Fatal(err)
	}
	for i, c := range credentials {
		if c.leaves {
			d.wait(time.Minute, c.name+" to be refused", func() bool {
				return d.knock(ready.ObservatoryURL, whoAmIOperation, c.bearerAt("secondary")).status == http.StatusUnauthorized
			})
			credentials[i].refused = true
		}
	}
}

// siteHealth is what the tests read of a site's health: degraded is a secondary site without main.
type siteHealth struct {
	Status string
	Buffer struct{ Size int } `json:"transaction_buffer"`
}

// secondary is the health of the secondary site.
func (d *runningDemo) secondary(ready readyFile) siteHealth {
	d.t.Helper()
	var health siteHealth
	if err := (apiClient{base: ready.ObservatoryURL, token: ready.Admin}).get(d.t.Context(), "/health", &health); err != nil {
		d.t.Fatal(err)
	}
	return health
}

// matrix is a pass through all operations and credentials.
type matrix struct {
	*runningDemo
	document    *huma.OpenAPI
	credentials []matrixCredential
	cut         bool // the link is: what needs main may be main-unreachable
	tries       int  // how often a machine that is too busy may be asked again

	asked, opened, closed, unreachable int
}

// ask calls every operation of a site with every credential.
func (m *matrix) ask(name, site string) {
	t := m.t
	t.Helper()
	for _, to := range operationsOf(m.document) {
		permission, _ := to.op.Extensions["x-permission"].(string)
		if permission == "" {
			t.Errorf("%s %s has no permission", to.method, to.path)
			continue
		}
		bare := m.knock(site, to, "")
		for _, c := range m.credentials {
			got := m.knock(site, to, c.bearerAt(name))
			// A machine that is too busy to look something up says 503, which tells nothing: it is asked again.
			for ; got.status == http.StatusServiceUnavailable && m.failed(to, got) && m.tries > 0; m.tries-- {
				time.Sleep(100 * time.Millisecond)
				got = m.knock(site, to, c.bearerAt(name))
			}
			if want := m.wrong(to, permission, c, got, bare); want != "" {
				t.Errorf("%s, link cut %t: %s %s (%s) with %s: got %d %s, want %s", name, m.cut, to.method, to.path, permission, c.name, got.status, got.body, want)
			}
		}
	}
}

// wrong counts an answer, and says what it should have been; "" when it is right.
func (m *matrix) wrong(to target, permission string, c matrixCredential, got, bare knocked) string {
	m.asked++
	if m.needsMain(to, got) {
		m.unreachable++
	}
	switch {
	case permission == api.Open:
		// Some of them ask for a cookie or a code and say so in the document; a bearer text changes nothing. What has a rate of
		// its own for an address is open, too, when that is spent.
		if got.status == http.StatusTooManyRequests {
			return ""
		}
		if m.failed(to, got) || !to.declares(got.status) || got.status != bare.status && !answersUnavailable(to) {
			return "to be open"
		}
	case c.refused:
		m.closed++
		if got.status != http.StatusUnauthorized || got.challenge == "" {
			return "401 with a challenge"
		}
	case c.may(permission):
		m.opened++
		if m.failed(to, got) || got.status == http.StatusUnauthorized || got.status == http.StatusForbidden {
			return "to be let in"
		}
	default:
		m.closed++
		if got.status != http.StatusForbidden {
			return "403"
		}
	}
	return ""
}

// failed tells whether an answer is a fault of the site.
func (m *matrix) failed(to target, got knocked) bool {
	return got.status >= http.StatusInternalServerError && !(got.status == http.StatusServiceUnavailable && answersUnavailable(to)) && !m.needsMain(to, got)
}

// needsMain tells whether the link is cut and the operation says that it needs main. Those that read and the critical
// ones go on without.
func (m *matrix) needsMain(to target, got knocked) bool {
	may := m.cut && to.method != http.MethodGet && to.op.Extensions["x-critical"] != true && to.declares(got.status)
	return may && got.status == problem.MainUnreachable.Status && strings.Contains(got.body, `"/problems/`+problem.MainUnreachable.Code+`"`)
}

// filled fails when a pass through some sites shows nothing, and begins to count anew.
func (m *matrix) filled(sites int) {
	m.t.Helper()
	m.t.Logf("link cut %t: %d operations, %d credentials, %d sites: %d requests, %d let in, %d refused, %d needed main",
		m.cut, len(operationsOf(m.document)), len(m.credentials), sites, m.asked, m.opened, m.closed, m.unreachable)
	if m.opened < m.asked/10 || m.closed < m.asked/10 {
		m.t.Error("one side of the matrix is nearly empty: it shows nothing")
	}
	if m.cut && m.unreachable == 0 {
		m.t.Error("nobody has needed main: nothing shows that it is away")
	}
	m.asked, m.opened, m.closed, m.unreachable = 0, 0, 0, 0
}

// declares tells whether the document has a status among the answers of the operation.
func (to target) declares(status int) bool {
	return to.op.Responses[strconv.Itoa(status)] != nil
}

// answersUnavailable tells whether 503 is an answer like others of the operation, with the same body as its success: that of
// a site's health. Of every other one it is a problem, and with both sites and their link whole there is none.
func answersUnavailable(to target) bool {
	response := to.op.Responses[strconv.Itoa(http.StatusServiceUnavailable)]
	return response != nil && response.Content["application/json"] != nil
}

// knocked is an answer, with the body when it is an error.
type knocked struct {
	status    int
	challenge string
	body      string
}

// inFull are bodies of operations that are asked for in full: one that anybody may do and that needs main, so that some
// answers with the link cut are those of a site without main.
var inFull = map[string]string{"PUT /user_preferences": `{"preferences": {}}`}

var whoAmIOperation = target{method: http.MethodGet, path: "/auth/me"}

// knock calls an operation with a credential and as little else as possible: whether
// it is let in is decided before anything else about the request is looked at.
func (d *runningDemo) knock(site string, to target, bearer string) knocked {
	t := d.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	parts := strings.Split(to.path, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "{") {
			parts[i] = url.PathEscape(uuid.NewString())
		}
	}
	body := inFull[to.method+" "+to.path]
	request, err := http.NewRequestWithContext(ctx, to.method, site+strings.Join(parts, "/"), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := matrixClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	got := knocked{status: response.StatusCode, challenge: response.Header.Get("WWW-Authenticate")}
	if got.status >= http.StatusBadRequest {
		got.body = readAll(t, response)
	} else if err := response.Body.Close(); err != nil { // the body is left alone: a stream has no end
		t.Fatal(err)
	}
	return got
}

// matrixClient shows where a redirect leads instead of going there.
var matrixClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// TestRequestsWriteNothing: whoever reads with a credential that was seen lately costs no write in main's database, but
// for the counts of uses, a few rows for any number of requests, and the pulse of the sites.
func TestRequestsWriteNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole product")
	}
	s := newRestoring(t, buildProgram(t), false)
	var clients []apiClient
	for server := range s.apis {
		session, _ := (&runningDemo{t: t}).deviceLogin(s.url(server), "vera")
		clients = append(clients, apiClient{base: s.url(server), token: session}, apiClient{base: s.url(server), token: s.tokens.Service})
	}
	paths := []string{"/auth/me", "/executed_obs_units?limit=1", "/user_preferences"}
	ask := func(times int) {
		t.Helper()
		for range times {
			for _, client := range clients {
				for _, path := range paths {
					s.must(client.get(s.ctx, path, nil))
				}
			}
		}
	}
	ask(1)
	before := s.written()
	for _, api := range s.apis {
		s.must(api.Start(s.ctx))
	}
	const times = 100
	ask(times)
	after := s.written()
	requests := int64(times * len(clients) * len(paths))
	limits := map[string]int64{"site_status": 1000, "api_token": requests / 50, "table_version": 1} // the last by main's start
	for table, n := range after {
		if n -= before[table]; n > limits[table] {
			t.Errorf("%d requests have written %d rows of %s", requests, n, table)
		}
	}
	if after["api_token"] == before["api_token"] {
		t.Error("not even the uses were counted: nothing shows that writes are noticed")
	}
}

// written ends the APIs of both sites, and counts the rows that were ever written of each table at main. What a process has
// gathered it writes as it ends, and with its sessions PostgreSQL's counts are complete: there is nothing to wait for.
func (s *restoring) written() map[string]int64 {
	s.t.Helper()
	for _, api := range s.apis {
		s.must(api.Stop(s.ctx))
	}
	conn, err := pgx.Connect(s.ctx, s.stack.Primary.URL(demoDatabase))
	s.must(err)
	defer conn.Close(context.WithoutCancel(s.ctx)) //nolint:errcheck // the test is over
	s.eventually("the end of all sessions at main", func() bool {
		var sessions int
		s.must(conn.QueryRow(s.ctx, `SELECT count(*) FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()`).Scan(&sessions))
		return sessions == 0
	})
	rows, err := conn.Query(s.ctx, "SELECT relname::text, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables")
	s.must(err)
	counts := map[string]int64{}
	var table string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&table, &n}, func() error { counts[table] = n; return nil })
	s.must(err)
	return counts
}
