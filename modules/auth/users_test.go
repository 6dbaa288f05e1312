package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

const boss = "login:boss"

func names(page map[string]any, member string) []string {
	out := []string{}
	for _, item := range page["items"].([]any) {
		out = append(out, item.(map[string]any)[member].(string))
	}
	return out
}

func TestServiceAccountsAreMadeAndChanged(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		body := map[string]any{"username": "svc-chai", "full_name": "CHAI", "roles": []string{"service", "viewer", "service"}}

		planned := s.do(t, boss, "POST", "/users?validate_only=true", body)
		if user := planned.want(http.StatusOK); user["username"] != "svc-chai" || planned.header.Get("X-Commit-LSN") != "" {
			t.Errorf("a dry run: %v", user)
		}
		made := s.do(t, boss, "POST", "/users", body, "Idempotency-Key", "k1")
		user := made.want(http.StatusCreated)
		path := fmt.Sprintf("/users/%v", user["id"])
		if user["is_service"] != true || user["is_active"] != true || made.header.Get("Location") != path || made.header.Get("X-Commit-LSN") == "" {
			t.Errorf("made %v, %v", user, made.header)
		}
		if diff := cmp.Diff([]any{"service", "viewer"}, user["roles"]); diff != "" {
			t.Errorf("roles (-want +got):\n%s", diff)
		}
		again := s.do(t, boss, "POST", "/users", body, "Idempotency-Key", "k1")
		if diff := cmp.Diff(user, again.want(http.StatusCreated)); diff != "" || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("repeated (-first +again):\n%s", diff)
		}
		s.do(t, boss, "POST", "/users", body).refused(problem.Conflict)
		s.do(t, boss, "POST", "/users", map[string]any{"username": "x", "roles": []string{"king"}}).refused(problem.Invalid)
		s.do(t, boss, "POST", "/users", map[string]any{"username": "no spaces", "roles": []string{}}).refused(problem.Invalid)

		// What was answered is what is read, and what is read can be changed.
		got := s.do(t, boss, "GET", path, nil)
		if diff := cmp.Diff(user, got.want(http.StatusOK)); diff != "" || got.header.Get("ETag") != made.header.Get("ETag") {
			t.Errorf("read (-made +read):\n%s", diff)
		}
		patch := map[string]any{"full_name": "CHAI data", "email": "chai@example.org", "roles": []string{"service"}}
		changed := s.do(t, boss, "PATCH", path, patch, "If-Match", got.header.Get("ETag"))
		after := changed.want(http.StatusOK)
		if after["full_name"] != "CHAI data" || after["email"] != "chai@example.org" || after["version"] != 2.0 {
			t.Errorf("changed: %v", after)
		}
		read := s.do(t, boss, "GET", path, nil)
		if diff := cmp.Diff(after, read.want(http.StatusOK)); diff != "" || read.header.Get("ETag") != changed.header.Get("ETag") {
			t.Errorf("read (-answered +read):\n%s", diff)
		}
		s.do(t, boss, "PATCH", path, patch, "If-Match", got.header.Get("ETag")).refused(problem.VersionMismatch)
		s.do(t, boss, "PATCH", path, map[string]any{"is_active": nil}).refused(problem.Invalid)
		s.do(t, boss, "PATCH", "/users/4711", patch).refused(problem.NotFound)
		s.do(t, boss, "GET", "/users/4711", nil).refused(problem.NotFound)
		if cleared := s.do(t, boss, "PATCH", path, map[string]any{"email": nil}).want(http.StatusOK); cleared["email"] != nil || cleared["full_name"] != "CHAI data" {
			t.Errorf("cleared: %v", cleared)
		}

		if got := names(s.do(t, boss, "GET", "/users?count=true", nil).want(http.StatusOK), "username"); !slices.Equal(got, []string{"boss", "svc-chai"}) {
			t.Errorf("users: %v", got)
		}
		for query, want := range map[string][]string{
			"role=admin": {"boss"}, "is_service=true": {"svc-chai"}, "is_service=false": {"boss"}, "q=CHAI": {"svc-chai"}, "username=boss,nobody": {"boss"},
			"username_contains=VC-": {"svc-chai"}, "full_name_contains=data": {"svc-chai"}, "is_active=false": {},
		} {
			if got := names(s.do(t, boss, "GET", "/users?"+query, nil).want(http.StatusOK), "username"); !slices.Equal(got, want) {
				t.Errorf("users with %s: %v, want %v", query, got, want)
			}
		}
		first := s.do(t, boss, "GET", "/users?limit=1", nil).want(http.StatusOK)
		next, _ := first["next_cursor"].(string)
		if got := names(s.do(t, boss, "GET", "/users?limit=1&cursor="+next, nil).want(http.StatusOK), "username"); !slices.Equal(got, []string{"svc-chai"}) {
			t.Errorf("the second page: %v", got)
		}
		// The ledger names the row by its number, and no secret is in it.
		var entries int
		if err := s.Primary(t).QueryRow(sandboxtest.Context(t), `SELECT count(*) FROM applied_transaction, jsonb_array_elements(changes) c
			WHERE c ->> 'table' = 'app_user' AND c -> 'id' = to_jsonb($1::bigint) AND actor = 'user:boss'`, int64(user["id"].(float64))).Scan(&entries); err != nil || entries != 5 {
			t.Errorf("%d entries of the user in the ledger, %v", entries, err)
		}
	})
}

func TestOnlyWhoManagesUsersSeesThem(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "ada", "observer")
		for _, path := range []string{"/users", "/users/1", "/roles", "/roles/admin", "/permissions"} {
			s.do(t, "login:ada", "GET", path, nil).refused(problem.Forbidden)
			s.do(t, "", "GET", path, nil).refused(problem.Unauthorized)
		}
		s.do(t, "login:ada", "PATCH", "/users/1", "no object").refused(problem.Forbidden) // before the body is looked at
		s.do(t, "login:ada", "POST", "/users", map[string]any{}).refused(problem.Forbidden)
		s.do(t, "login:ada", "PUT", "/roles/admin", map[string]any{}).refused(problem.Forbidden)
	})
}

// TestNobodyGivesWhatTheyMayNotDo: who may manage users and little else makes nobody more than that, neither by roles nor by
// what a role permits nor by a token of a service account.
func TestNobodyGivesWhatTheyMayNotDo(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		s.Exec(t, "INSERT INTO role (name) VALUES ('clerk')")
		s.Exec(t, "INSERT INTO role_permission (role_id, permission_id) SELECT r.id, p.id FROM role r, permission p WHERE r.name = 'clerk' AND p.name IN ('manage:users', 'read:files')")
		s.WaitForReplay(t)
		s.user(t, "kay", "clerk")
		const kay = "login:kay"
		account := s.do(t, boss, "POST", "/users", map[string]any{"username": "svc", "roles": []string{"service"}}).want(http.StatusCreated)
		s.do(t, kay, "POST", "/users", map[string]any{"username": "x", "roles": []string{"viewer"}}).refused(problem.Forbidden)
		made := s.do(t, kay, "POST", "/users", map[string]any{"username": "x", "roles": []string{"clerk"}}).want(http.StatusCreated)
		x := fmt.Sprintf("/users/%v", made["id"])
		own := fmt.Sprintf("/users/%v", s.id(t, "kay"))
		s.do(t, kay, "PATCH", x, map[string]any{"roles": []string{"clerk", "admin"}}).refused(problem.Forbidden)
		s.do(t, kay, "PATCH", own, map[string]any{"roles": []string{"clerk", "admin"}}).refused(problem.Forbidden)
		s.do(t, kay, "PUT", "/roles/clerk", map[string]any{"description": "", "permissions": []string{"manage:users", "read:files", "write:files"}}).refused(problem.Forbidden)
		s.do(t, kay, "POST", "/api/tokens", map[string]any{"name": "daq", "user_id": account["id"]}).refused(problem.Forbidden)

		// Whoever tries that is worth noting.
		tried := map[any]bool{}
		for _, event := range s.do(t, boss, "GET", "/audit?action=permission.refused", nil).want(http.StatusOK)["items"].([]any) {
			if event := event.(map[string]any); event["user_id"] == float64(s.id(t, "kay")) {
				tried[event["detail"].(map[string]any)["operation"]] = true
			}
		}
		if !tried["create-user"] || !tried["update-user"] || !tried["replace-role"] || !tried["create-api-token"] {
			t.Errorf("the audit log has refused %v of kay", tried)
		}

		// What nobody has any more nobody could give back.
		all := s.do(t, boss, "GET", "/roles/admin", nil).want(http.StatusOK)["permissions"].([]any)
		s.do(t, boss, "PUT", "/roles/admin", map[string]any{"description": "less", "permissions": all[1:]}).refused(problem.Invalid)
		s.do(t, boss, "PUT", "/roles/admin", map[string]any{"description": "all", "permissions": all}).want(http.StatusOK)

		s.user(t, "gone", "admin")
		gone := fmt.Sprintf("/users/%v", s.id(t, "gone"))
		s.do(t, kay, "PATCH", gone, map[string]any{"is_active": false}).want(http.StatusOK)
		s.do(t, kay, "PATCH", gone, map[string]any{"is_active": true}).refused(problem.Forbidden)
		s.do(t, kay, "PATCH", gone, map[string]any{"full_name": "Gone"}).want(http.StatusOK)
		s.do(t, boss, "PATCH", gone, map[string]any{"is_active": true}).want(http.StatusOK)

		// What they have they give, and what somebody has already they leave.
		token := s.do(t, kay, "POST", "/api/tokens", map[string]any{"name": "daq", "user_id": account["id"], "scopes": []string{"read:files"}}).want(http.StatusCreated)
		if me := s.do(t, token["token"].(string), "GET", "/auth/me", nil).want(http.StatusOK); fmt.Sprint(me["permissions"]) != "[read:files]" {
			t.Errorf("the token permits %v", me["permissions"])
		}
		s.do(t, kay, "PATCH", fmt.Sprintf("/users/%v", account["id"]), map[string]any{"roles": []string{"service", "clerk"}}).want(http.StatusOK)
		s.do(t, kay, "PUT", "/roles/viewer", map[string]any{"description": "", "permissions": []string{"read:files", "read:observations"}}).want(http.StatusOK)
	})
}

// TestNamesDifferByMoreThanCase: at GitHub Vera and vera are one account, and here one user.
func TestNamesDifferByMoreThanCase(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		s.do(t, boss, "POST", "/users", map[string]any{"username": "svc-chai", "roles": []string{"service"}}).want(http.StatusCreated)
		s.do(t, boss, "POST", "/users", map[string]any{"username": "SVC-Chai", "roles": []string{"service"}}).refused(problem.Conflict)
		if err := s.admin.CreateUser(sandboxtest.Context(t), "Boss", "", false); !errors.Is(err, auth.ErrUserExists) {
			t.Errorf("the command line makes a second boss: %v", err)
		}
		s.do(t, boss, "POST", "/users", map[string]any{"username": "person", "roles": []string{}, "is_service": false}).refused(problem.Invalid)
	})
}

// TestTokensOfAUserAreRevokedTogether: with the user out for good, or the secrets lost.
func TestTokensOfAUserAreRevokedTogether(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		s.user(t, "ada", "observer")
		texts := []string{s.token(t, auth.NewToken{Username: "ada", Name: "laptop"}), s.token(t, auth.NewToken{Username: "ada", Name: "desk"})}
		other := s.token(t, auth.NewToken{Username: "boss", Name: "laptop"})
		s.WaitForReplay(t)
		for _, text := range append(texts, other) {
			s.do(t, text, "GET", "/auth/me", nil).want(http.StatusOK)
		}
		path := fmt.Sprintf("/users/%v", s.id(t, "ada"))
		s.do(t, boss, "PATCH", path, map[string]any{"revoke_tokens": nil}).refused(problem.Invalid)
		s.do(t, boss, "PATCH", path, map[string]any{"revoke_tokens": false}).want(http.StatusOK)
		s.do(t, texts[0], "GET", "/auth/me", nil).want(http.StatusOK)
		changed := s.do(t, boss, "PATCH", path, map[string]any{"is_active": false, "revoke_tokens": true})
		changed.want(http.StatusOK)
		s.do(t, boss, "PATCH", path, map[string]any{"is_active": true}).want(http.StatusOK)
		for _, text := range texts {
			s.do(t, text, "GET", "/auth/me", nil).refused(problem.Unauthorized)
		}
		s.do(t, other, "GET", "/auth/me", nil).want(http.StatusOK)
		var revoked int
		if err := s.Primary(t).QueryRow(sandboxtest.Context(t), `SELECT count(*) FROM applied_transaction, jsonb_array_elements(changes) c
			WHERE id = $1 AND c ->> 'table' = 'api_token'`, changed.header.Get("X-Transaction-Id")).Scan(&revoked); err != nil || revoked != 2 {
			t.Errorf("the ledger has %d revoked tokens, %v", revoked, err)
		}
		if ended, err := s.admin.PutOut(sandboxtest.Context(t), "boss"); !errors.Is(err, auth.ErrLastAdministrator) || ended != 1 {
			t.Errorf("the command line puts the last administrator out: %d tokens, %v", ended, err)
		}
		s.do(t, other, "GET", "/auth/me", nil).want(http.StatusOK)
		s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
		if ended, err := s.admin.PutOut(sandboxtest.Context(t), "ada"); err != nil || ended != 1 {
			t.Errorf("the command line revokes %d tokens, %v", ended, err)
		}
	})
}

func TestDeactivatedUserIsRefusedAtOnce(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		s.user(t, "ada", "observer")
		text := s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
		me := s.do(t, text, "GET", "/auth/me", nil).want(http.StatusOK)
		path := fmt.Sprintf("/users/%v", me["user_id"])
		s.do(t, boss, "PATCH", path+"?validate_only=true", map[string]any{"is_active": false}).want(http.StatusOK)
		s.do(t, text, "GET", "/auth/me", nil).want(http.StatusOK)
		s.do(t, boss, "PATCH", path, map[string]any{"is_active": false}).want(http.StatusOK)
		s.do(t, text, "GET", "/auth/me", nil).refused(problem.Unauthorized)
		s.do(t, boss, "PATCH", path, map[string]any{"is_active": true, "roles": []string{"viewer"}}).want(http.StatusOK)
		if me := s.do(t, text, "GET", "/auth/me", nil).want(http.StatusOK); fmt.Sprint(me["roles"]) != "[viewer]" {
			t.Errorf("active again with other roles: %v", me)
		}
	})
}

// TestAnotherProcessFollowsWhatWasTakenAway: what one process, or the command line, has
// done is seen by all processes of the site.
func TestAnotherProcessFollowsWhatWasTakenAway(t *testing.T) {
	for name, take := range map[string]func(ctx context.Context, a *auth.Admin) error{
		"active":  func(ctx context.Context, a *auth.Admin) error { return a.SetActive(ctx, "ada", false) },
		"a role":  func(ctx context.Context, a *auth.Admin) error { return a.RevokeRole(ctx, "ada", "observer") },
		"a token": func(ctx context.Context, a *auth.Admin) error { return revokeNamed(ctx, a, "ada", "laptop") },
	} {
		t.Run(name, func(t *testing.T) {
			eachSite(t, func(t *testing.T, s *served) {
				s.user(t, "boss", "admin")
				s.user(t, "ada", "observer")
				text := s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
				ctx, stop := context.WithCancel(sandboxtest.Context(t))
				var following sync.WaitGroup
				following.Go(func() { s.checks.Follow(ctx) })
				t.Cleanup(func() { stop(); following.Wait() })
				allowed := func() bool {
					p, err := s.checks.Authenticate(ctx, text)
					return err == nil && p.Can("read:files")
				}
				if !allowed() {
					t.Fatal("not allowed before anything was taken")
				}
				if err := take(ctx, s.admin); err != nil {
					t.Fatal(err)
				}
				// The clock of the cache stands still, so that nothing expires by itself.
				sandboxtest.Eventually(t, 30*time.Second, "the process to follow", func() bool { return !allowed() })
			})
		})
	}
}

func revokeNamed(ctx context.Context, a *auth.Admin, username, name string) error {
	id, err := a.TokenID(ctx, username, name)
	if err != nil {
		return err
	}
	return a.RevokeToken(ctx, id)
}

func TestLastAdministratorStays(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		s.user(t, "gone", "admin")
		if err := s.admin.SetActive(sandboxtest.Context(t), "gone", false); err != nil {
			t.Fatal(err)
		}
		s.WaitForReplay(t)
		me := s.do(t, boss, "GET", "/auth/me", nil).want(http.StatusOK)
		path := fmt.Sprintf("/users/%v", me["user_id"])
		before := s.do(t, boss, "GET", path, nil).body
		for _, patch := range []map[string]any{{"is_active": false}, {"roles": []string{"viewer"}}, {"roles": []string{}, "full_name": "X"}} {
			s.do(t, boss, "PATCH", path, patch).refused(auth.LastAdministrator)
			s.do(t, boss, "PATCH", path+"?validate_only=true", patch).refused(auth.LastAdministrator)
		}
		s.do(t, boss, "PUT", "/roles/admin", map[string]any{"description": "less", "permissions": []string{"read:audit"}}).refused(auth.LastAdministrator)
		if after := s.do(t, boss, "GET", path, nil).body; after != before {
			t.Errorf("after the refusals:\n%s\n%s", before, after)
		}
		if err := s.admin.SetActive(sandboxtest.Context(t), "boss", false); err == nil {
			t.Error("the command line deactivates the last one")
		}
		// Another role that may manage users does as well.
		s.do(t, boss, "PUT", "/roles/viewer", map[string]any{"description": "", "permissions": []string{"manage:users"}}).want(http.StatusOK)
		s.do(t, boss, "PATCH", path, map[string]any{"roles": []string{"viewer"}}).want(http.StatusOK)
	})
}

// TestTwoAdministratorsCannotRemoveEachOther: each sees the other, and yet one must stay.
func TestTwoAdministratorsCannotRemoveEachOther(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "one", "admin")
		s.user(t, "two", "admin")
		paths := map[string]string{}
		for _, name := range []string{"one", "two"} {
			paths[name] = fmt.Sprintf("/users/%v", s.do(t, "login:"+name, "GET", "/auth/me", nil).want(http.StatusOK)["user_id"])
		}
		answers := make([]said, 2)
		var both sync.WaitGroup
		both.Go(func() { answers[0] = s.do(t, "login:one", "PATCH", paths["two"], map[string]any{"is_active": false}) })
		both.Go(func() { answers[1] = s.do(t, "login:two", "PATCH", paths["one"], map[string]any{"is_active": false}) })
		both.Wait()
		var active int
		if err := s.Primary(t).QueryRow(sandboxtest.Context(t), "SELECT count(*) FROM app_user WHERE is_active").Scan(&active); err != nil || active != 1 {
			t.Errorf("%d are active, %v: %d %s, %d %s", active, err, answers[0].status, answers[0].body, answers[1].status, answers[1].body)
		}
	})
}

func TestRolesAreShownAndReplaced(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		s.user(t, "boss", "admin")
		s.user(t, "ada", "viewer")
		text := s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
		s.do(t, text, "GET", "/auth/me", nil).want(http.StatusOK)
		if got := names(s.do(t, boss, "GET", "/roles", nil).want(http.StatusOK), "name"); !slices.Equal(got, []string{"admin", "observer", "service", "viewer"}) {
			t.Errorf("roles: %v", got)
		}
		if got := names(s.do(t, boss, "GET", "/roles?permission=write:transfers", nil).want(http.StatusOK), "name"); !slices.Equal(got, []string{"admin", "service"}) {
			t.Errorf("roles that may write transfers: %v", got)
		}
		role := s.do(t, boss, "GET", "/roles/viewer", nil)
		id := role.want(http.StatusOK)["id"]
		if byID := s.do(t, boss, "GET", fmt.Sprintf("/roles/%v", id), nil); byID.body != role.body {
			t.Errorf("by id: %s", byID.body)
		}
		body := map[string]any{"description": "Reads files", "permissions": []string{"read:files"}}
		replaced := s.do(t, boss, "PUT", "/roles/viewer", body, "If-Match", role.header.Get("ETag"), "Idempotency-Key", "r1")
		now := replaced.want(http.StatusOK)
		if diff := cmp.Diff([]any{"read:files"}, now["permissions"]); diff != "" || now["version"] != 2.0 {
			t.Errorf("replaced: %v", now)
		}
		if again := s.do(t, boss, "PUT", "/roles/viewer", body, "If-Match", role.header.Get("ETag"), "Idempotency-Key", "r1"); again.body != replaced.body {
			t.Errorf("repeated: %s\nwant %s", again.body, replaced.body)
		}
		s.do(t, boss, "PUT", "/roles/viewer", body, "If-Match", role.header.Get("ETag")).refused(problem.VersionMismatch)
		s.do(t, boss, "PUT", "/roles/king", body).refused(problem.NotFound)
		s.do(t, boss, "PUT", "/roles/viewer", map[string]any{"description": "", "permissions": []string{"read:everything"}}).refused(problem.Invalid)
		// Whoever has the role has what is left of it, at once.
		if me := s.do(t, text, "GET", "/auth/me", nil).want(http.StatusOK); fmt.Sprint(me["permissions"]) != "[read:files]" {
			t.Errorf("ada: %v", me)
		}
		permissions := s.do(t, boss, "GET", "/permissions?name=read:files", nil).want(http.StatusOK)["items"].([]any)
		if fmt.Sprint(permissions[0].(map[string]any)["roles"]) != "[admin observer service viewer]" {
			t.Errorf("permissions: %v", permissions)
		}
	})
}

func TestWithoutALinkUsersAreReadAndNotWritten(t *testing.T) {
	t.Parallel()
	s := serve(t, true)
	s.user(t, "boss", "admin")
	s.cut(t)
	s.do(t, boss, "GET", "/users", nil).want(http.StatusOK)
	s.do(t, boss, "POST", "/users", map[string]any{"username": "late", "roles": []string{}}).refused(problem.MainUnreachable)
	s.do(t, boss, "PATCH", "/users/1", map[string]any{"full_name": "late"}).refused(problem.MainUnreachable)
	s.do(t, boss, "PUT", "/roles/viewer", map[string]any{"description": "", "permissions": []string{}}).refused(problem.MainUnreachable)
	s.do(t, boss, "PUT", "/user_preferences", map[string]any{"preferences": map[string]any{}}).refused(problem.MainUnreachable)
	s.do(t, boss, "POST", "/api/tokens", map[string]any{"name": "late"}).refused(problem.MainUnreachable)
}
