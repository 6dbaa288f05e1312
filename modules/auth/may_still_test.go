package auth_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// TestWhoHasLostARightDoesNotGetItBackWhereThatIsNotKnownYet: a site goes by what its replica shows, and a process by what
// it has looked up lately. Whatever a credential has lost meanwhile, main refuses what it would write there.
func TestWhoHasLostARightDoesNotGetItBackWhereThatIsNotKnownYet(t *testing.T) {
	t.Parallel()
	for name, site := range map[string]func(t *testing.T) (s *served, lag func()){
		"main, which has just looked": func(t *testing.T) (*served, func()) {
			s := serve(t, false)
			return s, func() {}
		},
		"a secondary site whose replica lags": func(t *testing.T) (*served, func()) {
			s := serveOn(t, sandboxtest.NewPrivate(t, sandbox.Options{}), true)
			return s, func() { s.PauseReplay(t) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, lag := site(t)
			type loser struct {
				id    any
				token string
			}
			losers := map[string]loser{}
			lost := map[string]string{
				"out":      "UPDATE app_user SET is_active = false WHERE username = 'out'",
				"lowered":  "DELETE FROM user_role USING app_user u WHERE u.id = user_id AND u.username = 'lowered'",
				"revoked":  "UPDATE api_token SET is_active = false, revoked_at = now() FROM app_user u WHERE u.id = user_id AND u.username = 'revoked'",
				"expired":  "UPDATE api_token SET expires_at = now() - interval '1 second' FROM app_user u WHERE u.id = user_id AND u.username = 'expired'",
				"narrowed": "DELETE FROM role_permission rp USING role r, permission p WHERE r.id = rp.role_id AND p.id = rp.permission_id AND r.name = 'service' AND p.name = 'write:files'",
			}
			s.user(t, "boss", "admin")
			token := func(name string) string { return s.token(t, auth.NewToken{Username: name, Name: "laptop"}) }
			change := func(l loser) map[string]said {
				return map[string]said{
					"letting oneself in": s.do(t, l.token, "PATCH", fmt.Sprintf("/users/%v", l.id), map[string]any{"is_active": true, "roles": []string{"admin", "service"}}),
					"an accomplice":      s.do(t, l.token, "POST", "/users", map[string]any{"username": "accomplice", "roles": []string{"admin"}}),
					"a role":             s.do(t, l.token, "PUT", "/roles/viewer", map[string]any{"description": "for all", "permissions": []string{"manage:users"}}),
					"preferences":        s.do(t, l.token, "PUT", "/user_preferences", map[string]any{"preferences": map[string]any{"theme": "dark"}}),
				}
			}
			for name := range lost {
				roles := []string{"admin"}
				if name == "narrowed" {
					roles = []string{"manager", "service"}
					s.Exec(t, "INSERT INTO role (name, description, created_at, updated_at) VALUES ('manager', '', now(), now())")
					s.Exec(t, "INSERT INTO role_permission (role_id, permission_id, created_at) SELECT r.id, p.id, now() FROM role r, permission p WHERE r.name = 'manager' AND p.name = 'manage:users'")
				}
				s.user(t, name, roles...)
				user, err := s.admin.User(sandboxtest.Context(t), name)
				if err != nil {
					t.Fatal(err)
				}
				losers[name] = loser{user.ID, token(name)}
				s.do(t, losers[name].token, "GET", "/auth/me", nil).want(http.StatusOK)
			}
			stays := token("boss")
			s.do(t, stays, "GET", "/auth/me", nil).want(http.StatusOK)
			lag()
			for _, sql := range lost {
				s.Exec(t, sql)
			}
			before := s.rights(t)
			for name, l := range losers {
				s.do(t, l.token, "GET", "/auth/me", nil).want(http.StatusOK) // the site does not know yet
				for what, answer := range change(l) {
					if answer.status != http.StatusForbidden {
						t.Fatalf("%s: %s: %d %s", name, what, answer.status, answer.body)
					}
				}
			}
			if after := s.rights(t); after != before {
				t.Errorf("main has changed from\n%s\nto\n%s", before, after)
			}
			s.do(t, losers["out"].token, "PUT", "/user_preferences", map[string]any{"preferences": map[string]any{}}).refused(problem.Forbidden)
			s.do(t, stays, "PUT", "/user_preferences", map[string]any{"preferences": map[string]any{"theme": "dark"}}).want(http.StatusOK)
		})
	}
}

// TestNobodyGivesBackWhatMainHasTaken: who manages users and may do little else gives nobody what they may not do themselves,
// also where the site still shows that it is the other's already.
func TestNobodyGivesBackWhatMainHasTaken(t *testing.T) {
	t.Parallel()
	s := serveOn(t, sandboxtest.NewPrivate(t, sandbox.Options{}), true)
	s.Exec(t, "INSERT INTO role (name) VALUES ('clerk'), ('wide')")
	s.Exec(t, "INSERT INTO role_permission (role_id, permission_id) SELECT r.id, p.id FROM role r, permission p WHERE r.name = 'clerk' AND p.name = 'manage:users' OR r.name = 'wide' AND p.name = 'read:audit'")
	s.user(t, "boss", "admin")
	s.user(t, "small", "clerk")
	s.user(t, "fallen", "admin")
	s.user(t, "out", "admin")
	s.user(t, "wider", "wide")
	path := func(user string) string { return fmt.Sprintf("/users/%v", s.id(t, user)) }
	fallen, out := path("fallen"), path("out")
	for _, name := range []string{"svc", "svc-out"} {
		if err := s.admin.CreateUser(sandboxtest.Context(t), name, "", true, "clerk"); err != nil {
			t.Fatal(err)
		}
	}
	s.WaitForReplay(t)
	svc, svcOut := s.id(t, "svc"), s.id(t, "svc-out")
	small := s.token(t, auth.NewToken{Username: "small", Name: "laptop"})
	admin := s.token(t, auth.NewToken{Username: "boss", Name: "laptop"})
	s.PauseReplay(t)
	s.Exec(t, "DELETE FROM user_role USING app_user u WHERE u.id = user_id AND u.username = 'fallen'")
	s.Exec(t, "UPDATE app_user SET is_active = false WHERE username = 'out'")
	s.Exec(t, "DELETE FROM role_permission rp USING role r WHERE r.id = rp.role_id AND r.name = 'wide'")
	s.Exec(t, "INSERT INTO user_role (user_id, role_id) SELECT u.id, r.id FROM app_user u, role r WHERE u.username = 'svc' AND r.name = 'wide'")
	s.Exec(t, "INSERT INTO role_permission (role_id, permission_id) SELECT r.id, p.id FROM role r, permission p WHERE r.name = 'wide' AND p.name = 'write:files'")
	s.Exec(t, "UPDATE app_user SET is_active = false WHERE username = 'svc-out'")
	for what, body := range map[string]map[string]any{
		"a token of who may more by now":           {"name": "x", "user_id": svc},
		"one whose scopes have that":               {"name": "x", "user_id": svc, "scopes": []string{"write:*", "manage:users"}},
		"a token of who was put out":               {"name": "x", "user_id": svcOut},
		"a narrow token of who was put out by now": {"name": "x", "user_id": svcOut, "scopes": []string{"manage:users"}},
	} {
		if answer := s.do(t, "login:small", "POST", "/api/tokens", body); answer.status != http.StatusForbidden {
			t.Fatalf("%s: %d %s", what, answer.status, answer.body)
		}
	}
	before := s.rights(t)
	requests := map[string]func(token string) said{
		"a role": func(token string) said {
			return s.do(t, token, "PATCH", fallen, map[string]any{"roles": []string{"admin"}})
		},
		"the way in": func(token string) said { return s.do(t, token, "PATCH", out, map[string]any{"is_active": true}) },
		"the way in with the roles": func(token string) said {
			return s.do(t, token, "PATCH", out, map[string]any{"is_active": true, "roles": []string{"admin"}})
		},
		"a permission": func(token string) said {
			return s.do(t, token, "PUT", "/roles/wide", map[string]any{"description": "", "permissions": []string{"read:audit"}})
		},
	}
	for what, request := range requests {
		if answer := request(small); answer.status != http.StatusForbidden {
			t.Fatalf("%s: %d %s", what, answer.status, answer.body)
		}
	}
	if after := s.rights(t); after != before {
		t.Errorf("main has changed from\n%s\nto\n%s", before, after)
	}
	// What they have themselves they lend. The answer would wait for the replica.
	s.ResumeReplay(t)
	s.do(t, "login:small", "POST", "/api/tokens", map[string]any{"name": "x", "user_id": svc, "scopes": []string{"manage:users"}}).want(http.StatusCreated)
	// The roles without what was taken, and the names, are theirs to change.
	s.do(t, small, "PATCH", out, map[string]any{"is_active": false, "full_name": "Out"}).want(http.StatusOK)
	for what, request := range requests {
		if answer := request(admin); answer.status != http.StatusOK {
			t.Errorf("%s, by who has it: %d %s", what, answer.status, answer.body)
		}
	}
}

// TestWhatIsBeingTakenIsNotGivenMeanwhile: a change that waits for a login, which takes the roles that teams no longer give,
// goes by what that has left.
func TestWhatIsBeingTakenIsNotGivenMeanwhile(t *testing.T) {
	t.Parallel()
	s := serve(t, false)
	ctx := sandboxtest.Context(t)
	s.Exec(t, "INSERT INTO role (name) VALUES ('clerk')")
	s.Exec(t, "INSERT INTO role_permission (role_id, permission_id) SELECT r.id, p.id FROM role r, permission p WHERE r.name = 'clerk' AND p.name = 'manage:users'")
	s.user(t, "boss", "admin")
	s.user(t, "small", "clerk")
	for user, request := range map[string]func(id int64) said{
		"target": func(id int64) said {
			return s.do(t, "login:small", "PATCH", fmt.Sprintf("/users/%d", id), map[string]any{"roles": []string{"admin"}})
		},
		"fallen": func(int64) said {
			return s.do(t, "login:fallen", "POST", "/users", map[string]any{"username": "accomplice", "roles": []string{"admin"}})
		},
	} {
		s.user(t, user, "admin")
		id := s.id(t, user)
		login, err := s.Primary(t).Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, sql := range []string{"UPDATE app_user SET last_login_at = now() WHERE id = $1", "DELETE FROM user_role WHERE user_id = $1"} {
			if _, err := login.Exec(ctx, sql, id); err != nil {
				t.Fatal(err)
			}
		}
		answered := make(chan said, 1)
		go func() { answered <- request(int64(id)) }()
		sandboxtest.Eventually(t, 10*time.Second, "the request to wait for the login", func() bool {
			var waits bool
			if err := s.Primary(t).QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())").Scan(&waits); err != nil {
				t.Fatal(err)
			}
			return waits
		})
		if err := login.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if answer := <-answered; answer.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", user, answer.status, answer.body)
		}
	}
}

// TestRolesOfAnotherVersionAreNotPutBack: an ETag is of the roles, too, whoever has changed them.
func TestRolesOfAnotherVersionAreNotPutBack(t *testing.T) {
	eachSite(t, func(t *testing.T, s *served) {
		ctx := sandboxtest.Context(t)
		s.user(t, "boss", "admin")
		s.user(t, "ada", "admin", "observer")
		path := fmt.Sprintf("/users/%v", s.id(t, "ada"))
		for _, change := range []func() error{
			func() error { return s.admin.RevokeRole(ctx, "ada", "admin") },
			func() error { return s.admin.GrantRole(ctx, "ada", "viewer") },
		} {
			got := s.do(t, boss, "GET", path, nil)
			version := got.want(http.StatusOK)["version"]
			if err := change(); err != nil {
				t.Fatal(err)
			}
			s.WaitForReplay(t)
			s.do(t, boss, "PATCH", path, map[string]any{"roles": []string{"admin", "observer"}}, "If-Match", got.header.Get("ETag")).refused(problem.VersionMismatch)
			if after := s.do(t, boss, "GET", path, nil).want(http.StatusOK)["version"]; after == version {
				t.Errorf("the version stays %v", version)
			}
		}
	})
}

// TestSessionThatHasEndedElsewhereThrowsNobodyOut: with a stolen one that was ended, its thief ends no other.
func TestSessionThatHasEndedElsewhereThrowsNobodyOut(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		thief, owner := s.browser(t), s.browser(t)
		thief.login(t, "vera")
		s.exec(t, "UPDATE app_user SET sessions_from = now() WHERE username = 'vera'") // as a logout everywhere at another site
		s.replay(t)
		s.auth.ForgetAll()
		s.clock.advance(time.Hour)
		access := owner.login(t, "vera")
		if answer := thief.post(t, "/auth/logout", map[string]any{"everywhere": true}); !is(answer, http.StatusUnauthorized, "unauthenticated") {
			t.Errorf("the thief: %d %s", answer.status, answer.text)
		}
		if me := owner.as(t, access); me.status != http.StatusOK {
			t.Errorf("the owner's access: %d %s", me.status, me.text)
		}
		if again := owner.post(t, "/auth/refresh", nil); again.status != http.StatusOK {
			t.Errorf("the owner's session: %d %s", again.status, again.text)
		}
	})
}

// rights is all that main has of who may do what.
func (s *served) rights(t testing.TB) (all string) {
	t.Helper()
	if err := s.Primary(t).QueryRow(sandboxtest.Context(t), `SELECT concat_ws(E'\n',
		(SELECT string_agg(u::text, E'\n' ORDER BY u.id) FROM app_user u), (SELECT string_agg(ur::text, E'\n' ORDER BY ur::text) FROM user_role ur),
		(SELECT string_agg(rp::text, E'\n' ORDER BY rp::text) FROM role_permission rp), (SELECT string_agg(p::text, E'\n' ORDER BY p::text) FROM user_preference p),
		(SELECT string_agg(concat(t.id, t.is_active, t.expires_at), E'\n' ORDER BY t.id) FROM api_token t))`).Scan(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestSessionThatHasEndedElsewhereMakesNoToken: nor anything else at main, where the site does not know of its end yet.
func TestSessionThatHasEndedElsewhereMakesNoToken(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"logged out everywhere": "UPDATE app_user SET sessions_from = now() WHERE username = 'vera'",
		"put out":               "UPDATE app_user SET is_active = false WHERE username = 'vera'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothLoginSites(t, func(t *testing.T, s *loginSite) {
				b := s.browser(t)
				access := b.login(t, "vera")
				made := b.call(t, http.MethodPost, "/api/tokens", access, `{"name":"laptop"}`)
				if made.status != http.StatusCreated {
					t.Fatalf("a token before: %d %s", made.status, made.text)
				}
				s.exec(t, end)
				for what, answer := range map[string]answer{
					"a token":      b.call(t, http.MethodPost, "/api/tokens", access, `{"name":"later"}`),
					"a revocation": b.call(t, http.MethodDelete, fmt.Sprintf("/api/tokens/%v", made.body["id"]), access),
					"preferences":  b.call(t, http.MethodPut, "/user_preferences", access, `{"preferences":{}}`),
				} {
					if !is(answer, http.StatusForbidden, "forbidden") {
						t.Errorf("%s: %d %s", what, answer.status, answer.text)
					}
				}
			})
		})
	}
}
