package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

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

// matrixCredential is one column of the matrix.
type matrixCredential struct {
	name, bearer string
	// refused, for one that is not valid; else the role and the scopes of a token.
	refused bool
	role    string
	scopes  []string
}

// may tells whether the credential opens an operation.
func (c matrixCredential) may(permission string) bool {
	if c.refused || permission == api.AnyUser {
		return !c.refused
	}
	if permission == api.LoggedIn {
		return false // all of these are API tokens
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
	// Replication brings the newest of them last.
	last := credentials[len(credentials)-1]
	d.wait(time.Minute, "the credentials at the secondary site", func() bool {
		status, _ := knock(t, ready.ObservatoryURL, target{method: http.MethodGet, path: "/auth/me"}, last.bearer)
		return status == http.StatusOK
	})
	asked, opened, closed := 0, 0, 0
	for name, site := range sites {
		for _, to := range targets {
			permission, _ := to.op.Extensions["x-permission"].(string)
			if permission == "" {
				t.Errorf("%s %s has no permission", to.method, to.path)
				continue
			}
			for _, c := range credentials {
				status, challenge := knock(t, site, to, c.bearer)
				// A machine that is too busy to look a credential up says 503.
				for end := time.Now().Add(time.Minute); status == http.StatusServiceUnavailable && c.refused && time.Now().Before(end); {
					status, challenge = knock(t, site, to, c.bearer)
				}
				asked++
				want := ""
				switch {
				case permission == api.Open:
					if status == http.StatusForbidden {
						want = "to be open"
					}
				case c.refused:
					closed++
					if status != http.StatusUnauthorized || challenge == "" {
						want = "401 with a challenge"
					}
				case c.may(permission):
					opened++
					if status == http.StatusUnauthorized || status == http.StatusForbidden && permission != "user" {
						want = "to be let in"
					}
				default:
					closed++
					if status != http.StatusForbidden {
						want = "403"
					}
				}
				if want != "" {
					t.Errorf("%s: %s %s (%s) with %s: got %d, want %s", name, to.method, to.path, permission, c.name, status, want)
				}
			}
		}
	}
	t.Logf("%d operations, %d credentials, 2 sites: %d requests, %d let in, %d refused", len(targets), len(credentials), asked, opened, closed)
	if opened < asked/10 || closed < asked/10 {
		t.Error("one side of the matrix is nearly empty: it shows nothing")
	}
}

// knock calls an operation with a credential and as little else as possible: whether
// it is let in is decided before anything else about the request is looked at.
func knock(t *testing.T, site string, to target, bearer string) (status int, challenge string) {
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
	// The body is left alone: a stream has no end.
	response, err := matrixClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("WWW-Authenticate")
}

// matrixClient shows where a redirect leads instead of going there.
var matrixClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
