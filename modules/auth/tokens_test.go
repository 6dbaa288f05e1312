package auth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

func TestTokensAreMadeShownOnceAndRevoked(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		s.user(t, "ada", "observer")
		account := s.do(t, boss, "POST", "/users", map[string]any{"username": "svc", "roles": []string{"service"}}).want(http.StatusCreated)
		body := map[string]any{"name": "laptop", "scopes": []string{"read:*", "write:files", "manage:users"}, "expires_at": time.Now().Add(time.Hour)}
		if dry := s.do(t, "login:ada", "POST", "/api/tokens?validate_only=true", body).want(http.StatusOK); dry["token"] != nil {
			t.Errorf("a dry run shows a secret")
		}
		first := s.do(t, "login:ada", "POST", "/api/tokens", body, "Idempotency-Key", "t1")
		made := first.want(http.StatusCreated)
		text, _ := made["token"].(string)
		if _, prefix, err := auth.ParseToken(text); err != nil || made["prefix"] != prefix || first.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("made %v: %v", made, err)
		}
		again := s.do(t, "login:ada", "POST", "/api/tokens", body, "Idempotency-Key", "t1")
		if repeated := again.want(http.StatusCreated); repeated["token"] != nil || repeated["id"] != made["id"] || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("repeated: %v", repeated)
		}
		// Scopes narrow and never add.
		me := s.do(t, text, "GET", "/auth/me", nil).want(http.StatusOK)
		permissions := fmt.Sprint(me["permissions"])
		if !strings.Contains(permissions, "read:files") || !strings.Contains(permissions, "write:files") || strings.Contains(permissions, "write:sources") || strings.Contains(permissions, "manage") {
			t.Errorf("permissions %s", permissions)
		}
		s.do(t, text, "POST", "/api/tokens", map[string]any{"name": "child"}).refused(problem.Forbidden)
		path := fmt.Sprintf("/api/tokens/%v", made["id"])
		s.do(t, text, "DELETE", path, nil).refused(problem.Forbidden)
		s.do(t, text, "GET", "/api/tokens", nil).refused(problem.Forbidden)
		s.do(t, text, "GET", "/api/tokens/scopes", nil).refused(problem.Forbidden)

		s.do(t, "login:ada", "POST", "/api/tokens", map[string]any{"name": "laptop"}).refused(problem.Conflict)
		s.do(t, "login:ada", "POST", "/api/tokens", map[string]any{"name": "x", "scopes": []string{"read:nothing", "*"}}).refused(problem.Invalid)
		s.do(t, "login:ada", "POST", "/api/tokens", map[string]any{"name": "x", "expires_at": time.Now().Add(-time.Hour)}).refused(problem.Invalid)
		s.do(t, "login:ada", "POST", "/api/tokens", map[string]any{"name": "  "}).refused(problem.Invalid)
		s.do(t, boss, "POST", "/api/tokens", map[string]any{"name": "x", "user_id": s.id(t, "ada")}).refused(problem.Invalid) // a person
		other := map[string]any{"name": "daq", "user_id": account["id"]}
		s.do(t, "login:ada", "POST", "/api/tokens", other).refused(problem.Forbidden)
		daq := s.do(t, boss, "POST", "/api/tokens", other).want(http.StatusCreated)
		if me := s.do(t, daq["token"].(string), "GET", "/auth/me", nil).want(http.StatusOK); me["username"] != "svc" {
			t.Errorf("the token of the service account is %v's", me["username"])
		}

		if got := names(s.do(t, "login:ada", "GET", "/api/tokens", nil).want(http.StatusOK), "name"); !slices.Equal(got, []string{"laptop"}) {
			t.Errorf("ada sees %v", got)
		}
		all := s.do(t, boss, "GET", "/api/tokens", nil)
		if got := names(all.want(http.StatusOK), "name"); !slices.Equal(got, []string{"daq", "laptop"}) || strings.Contains(all.body, text[20:]) {
			t.Errorf("boss sees %v", got)
		}
		s.do(t, "login:svc", "DELETE", path, nil).refused(problem.NotFound)
		s.do(t, "login:ada", "DELETE", path, nil, "Idempotency-Key", "d1").want(http.StatusNoContent)
		s.do(t, text, "GET", "/auth/me", nil).refused(problem.Unauthorized)
		s.do(t, "login:ada", "DELETE", path, nil, "Idempotency-Key", "d1").want(http.StatusNoContent)
		s.do(t, "login:ada", "DELETE", path, nil).refused(auth.TokenRevoked)
		if got := names(s.do(t, "login:ada", "GET", "/api/tokens?is_active=true", nil).want(http.StatusOK), "name"); len(got) != 0 {
			t.Errorf("active after all: %v", got)
		}
		s.do(t, "login:ada", "POST", "/api/tokens", map[string]any{"name": "laptop"}).want(http.StatusCreated)

		// Nothing that was stored has a secret or its hash but the token's own row.
		hash, _, _ := auth.ParseToken(text)
		var leaks int
		if err := s.Primary(t).QueryRow(sandboxtest.Context(t), "SELECT count(*) FROM applied_transaction t WHERE t::text LIKE '%' || $1 || '%' OR t::text LIKE '%' || $2 || '%'",
			hash.String(), text[14:]).Scan(&leaks); err != nil || leaks != 0 {
			t.Errorf("%d rows of the ledger have the hash or the text, %v", leaks, err)
		}
	})
}

func TestRevokedTokenIsForgottenForTheTimeWithoutAReplica(t *testing.T) {
	t.Parallel()
	s := serve(t, true)
	s.user(t, "ada", "observer")
	made := s.do(t, "login:ada", "POST", "/api/tokens", map[string]any{"name": "laptop"}).want(http.StatusCreated)
	text := made["token"].(string)
	s.do(t, text, "GET", "/auth/me", nil).want(http.StatusOK)
	hash, _, _ := auth.ParseToken(text)
	kept := func() bool {
		document, err := s.store.Credential(sandboxtest.Context(t), hash.String())
		if err != nil {
			t.Fatal(err)
		}
		return document != nil
	}
	if !kept() {
		t.Fatal("the site does not remember the token it has verified")
	}
	s.do(t, "login:ada", "DELETE", fmt.Sprintf("/api/tokens/%v", made["id"]), nil).want(http.StatusNoContent)
	if kept() {
		t.Error("the site remembers a token that was revoked here")
	}
}

func TestScopesAreListed(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "ada", "viewer")
		scopes := s.do(t, "login:ada", "GET", "/api/tokens/scopes", nil).want(http.StatusOK)["scopes"].([]any)
		permitted := map[string]bool{}
		for _, scope := range scopes {
			scope := scope.(map[string]any)
			permitted[scope["scope"].(string)] = scope["permitted"].(bool)
		}
		for scope, want := range map[string]bool{"read:*": true, "read:files": true, "write:staging": true, "write:*": true, "manage:*": false, "write:files": false} {
			if got, there := permitted[scope]; !there || got != want {
				t.Errorf("%s: permitted %t, there %t", scope, got, there)
			}
		}
	})
}

// TestOnlyADemoGivesTokensAway: elsewhere there is no such operation.
func TestOnlyADemoGivesTokensAway(t *testing.T) {
	for _, demo := range []bool{false, true} {
		r, err := api.New(api.Options{Site: "cologne"})
		if err != nil {
			t.Fatal(err)
		}
		auth.New(auth.Config{Demo: demo}).Register(r)
		if _, there := r.OpenAPI().Paths["/api/demo/create-demo-token"]; there != demo {
			t.Errorf("DEMO_MODE=%t: the operation is there: %t", demo, there)
		}
	}
}

func TestDemoGivesTokensAway(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		for range 2 {
			made := s.do(t, "", "POST", "/api/demo/create-demo-token", map[string]any{}).want(http.StatusCreated)
			me := s.do(t, made["token"].(string), "GET", "/auth/me", nil).want(http.StatusOK)
			if me["username"] != "demo-observer" || made["role"] != "observer" || me["user_id"] != made["user_id"] || me["expires_at"] != made["expires_at"] {
				t.Errorf("made %v for %v", made, me)
			}
		}
		viewer := s.do(t, "", "POST", "/api/demo/create-demo-token", map[string]any{"role": "viewer"}).want(http.StatusCreated)
		s.user(t, "boss", "admin")
		if made := names(s.do(t, boss, "GET", "/audit?action=token.create", nil).want(http.StatusOK), "action"); len(made) < 2 {
			t.Errorf("the audit log has %v of two demo tokens", made)
		}
		if me := s.do(t, viewer["token"].(string), "GET", "/auth/me", nil).want(http.StatusOK); fmt.Sprint(me["roles"]) != "[viewer]" {
			t.Errorf("a viewer: %v", me)
		}
	})
}

func TestPreferencesAreOneDocument(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "ada", "viewer")
		empty := s.do(t, "login:ada", "GET", "/user_preferences", nil)
		if got := empty.want(http.StatusOK); fmt.Sprint(got["preferences"]) != "map[]" || got["version"] != 0.0 {
			t.Errorf("at first: %v", got)
		}
		body := map[string]any{"preferences": map[string]any{"theme": "dark", "columns": []int{1, 2}}}
		set := s.do(t, "login:ada", "PUT", "/user_preferences", body, "If-Match", empty.header.Get("ETag"))
		set.want(http.StatusOK)
		read := s.do(t, "login:ada", "GET", "/user_preferences", nil)
		if got := read.want(http.StatusOK); got["version"] != 1.0 || fmt.Sprint(got["preferences"]) != "map[columns:[1 2] theme:dark]" || read.header.Get("ETag") != set.header.Get("ETag") {
			t.Errorf("read: %v", got)
		}
		s.do(t, "login:ada", "PUT", "/user_preferences", body, "If-Match", empty.header.Get("ETag")).refused(problem.VersionMismatch)
		s.do(t, "login:ada", "PUT", "/user_preferences", map[string]any{"preferences": map[string]any{"x": strings.Repeat("x", 64<<10)}}).refused(problem.Invalid)
		s.do(t, "login:ada", "PUT", "/user_preferences", map[string]any{"preferences": map[string]any{"x": slices.Repeat([]json.Number{"1e300"}, 300)}}).refused(problem.Invalid)
		if got := s.do(t, "login:ada", "PUT", "/user_preferences", body).want(http.StatusOK); got["version"] != 2.0 {
			t.Errorf("set again: %v", got)
		}
	})
}

// id is the id of a user.
func (s *served) id(t testing.TB, username string) int64 {
	t.Helper()
	user, err := s.admin.User(sandboxtest.Context(t), username)
	if err != nil {
		t.Fatal(err)
	}
	return user.ID
}
