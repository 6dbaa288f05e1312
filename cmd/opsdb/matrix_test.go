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

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/api"
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
}

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
	observers := at(func(_, site string) string { token, _ := d.deviceLogin(site, "vera"); return token })
	admins := at(func(_, site string) string { token, _ := d.deviceLogin(site, "henrietta"); return token })
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
	return []matrixCredential{
		{name: "a session of role observer", at: observers, role: "observer", session: true},
		{name: "a session of role admin", at: admins, role: "admin", session: true},
		{name: "an ended session", at: ended, refused: true},
		{name: "an expired access token", at: expired, refused: true},
		{name: "a session of the other site", at: elsewhere, refused: true},
		{name: "an access token with one wrong character", at: wrong, refused: true},
	}
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
// document and all kinds of credentials at both sites. An operation without a
// permission, or one that the document does not have, does not exist: a new one is in
// the matrix by itself.
func TestEveryOperationAnswersForItsPermission(t *testing.T) {
	d := startDemo(t, "--no-night")
	ready := d.ready()
	r, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	targets := operationsOf(r.OpenAPI())
	credentials := matrixCredentials(t, ready)
	sites := map[string]string{"main": ready.MainURL, "secondary": ready.ObservatoryURL}
	credentials = append(d.matrixSessions(ready, sites), credentials...)
	// Replication brings the newest of them last.
	last := credentials[len(credentials)-1]
	d.wait(time.Minute, "the credentials at the secondary site", func() bool {
		return d.knock(ready.ObservatoryURL, whoAmIOperation, last.bearer).status == http.StatusOK
	})
	asked, opened, closed, tries := 0, 0, 0, 300
	for name, site := range sites {
		for _, to := range targets {
			permission, _ := to.op.Extensions["x-permission"].(string)
			if permission == "" {
				t.Errorf("%s %s has no permission", to.method, to.path)
				continue
			}
			bare := d.knock(site, to, "")
			for _, c := range credentials {
				got := d.knock(site, to, c.bearerAt(name))
				// A machine that is too busy to look something up says 503, which tells nothing: it is asked again.
				for ; got.status == http.StatusServiceUnavailable && !answersUnavailable(to) && tries > 0; tries-- {
					time.Sleep(100 * time.Millisecond)
					got = d.knock(site, to, c.bearerAt(name))
				}
				asked++
				want := ""
				failed := got.status >= 500 && !(got.status == http.StatusServiceUnavailable && answersUnavailable(to))
				switch {
				case permission == api.Open:
					// Some of them ask for a cookie or a code and say so in the document; a bearer text changes nothing.
					if failed || !to.declares(got.status) || got.status != bare.status && !answersUnavailable(to) {
						want = "to be open"
					}
				case c.refused:
					closed++
					if got.status != http.StatusUnauthorized || got.challenge == "" {
						want = "401 with a challenge"
					}
				case c.may(permission):
					opened++
					if failed || got.status == http.StatusUnauthorized || got.status == http.StatusForbidden {
						want = "to be let in"
					}
				default:
					closed++
					if got.status != http.StatusForbidden {
						want = "403"
					}
				}
				if want != "" {
					t.Errorf("%s: %s %s (%s) with %s: got %d %s, want %s", name, to.method, to.path, permission, c.name, got.status, got.body, want)
				}
			}
		}
	}
	t.Logf("%d operations, %d credentials, 2 sites: %d requests, %d let in, %d refused", len(targets), len(credentials), asked, opened, closed)
	if opened < asked/10 || closed < asked/10 {
		t.Error("one side of the matrix is nearly empty: it shows nothing")
	}
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
	request, err := http.NewRequestWithContext(ctx, to.method, site+strings.Join(parts, "/"), http.NoBody)
	if err != nil {
		t.Fatal(err)
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
	d := startDemo(t, "--no-night")
	ready := d.ready()
	conn, err := pgx.Connect(t.Context(), ready.MainDBURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
	written := func() map[string]int64 {
		t.Helper()
		time.Sleep(2 * time.Second) // a session's counts are shown a second after its transaction
		rows, err := conn.Query(t.Context(), "SELECT relname::text, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables")
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int64{}
		var table string
		var n int64
		if _, err := pgx.ForEachRow(rows, []any{&table, &n}, func() error { counts[table] = n; return nil }); err != nil {
			t.Fatal(err)
		}
		return counts
	}
	var bearers [][2]string
	for _, site := range []string{ready.MainURL, ready.ObservatoryURL} {
		session, _ := d.deviceLogin(site, "vera")
		bearers = append(bearers, [2]string{site, session}, [2]string{site, ready.Service})
	}
	ask := func(times int) {
		t.Helper()
		for range times {
			for _, b := range bearers {
				for _, path := range []string{"/auth/me", "/executed_obs_units?limit=1", "/user_preferences"} {
					if err := (apiClient{base: b[0], token: b[1]}).get(t.Context(), path, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	ask(1)
	time.Sleep(11 * time.Second) // the uses of these are written
	before := written()
	const times = 100
	ask(times)
	time.Sleep(11 * time.Second)
	after := written()
	requests := int64(times * len(bearers) * 3)
	for table, n := range after {
		n -= before[table]
		limit := map[string]int64{"site_status": 1000, "api_token": requests / 50}[table]
		if n > limit {
			t.Errorf("%d requests have written %d rows of %s", requests, n, table)
		}
	}
	if after["api_token"] == before["api_token"] {
		t.Error("not even the uses were counted: nothing shows that writes are noticed")
	}
}
