package auth_test

import (
	"fmt"
	"net/http"
	"testing"

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
	small := s.token(t, auth.NewToken{Username: "small", Name: "laptop"})
	admin := s.token(t, auth.NewToken{Username: "boss", Name: "laptop"})
	s.PauseReplay(t)
	s.Exec(t, "DELETE FROM user_role USING app_user u WHERE u.id = user_id AND u.username = 'fallen'")
	s.Exec(t, "UPDATE app_user SET is_active = false WHERE username = 'out'")
	s.Exec(t, "DELETE FROM role_permission rp USING role r WHERE r.id = rp.role_id AND r.name = 'wide'")
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
	// The roles without what was taken, and the names, are theirs to change.
	s.ResumeReplay(t)
	s.do(t, small, "PATCH", out, map[string]any{"is_active": false, "full_name": "Out"}).want(http.StatusOK)
	for what, request := range requests {
		if answer := request(admin); answer.status != http.StatusOK {
			t.Errorf("%s, by who has it: %d %s", what, answer.status, answer.body)
		}
	}
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
