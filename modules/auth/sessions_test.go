package auth_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// What ends a user's sessions at one site, or puts the user out, ends those that another site keeps, and they stay ended
// when the user is let in again.
func TestSessionsEndAtEverySite(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"a logout everywhere": "UPDATE app_user SET sessions_from = now() WHERE username = 'vera'",
		"out and in again":    "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothLoginSites(t, func(t *testing.T, s *loginSite) {
				ctx := sandboxtest.Context(t)
				b := s.browser(t)
				token := b.login(t, "vera")
				if me := b.as(t, token); me.status != http.StatusOK {
					t.Fatalf("%d %s", me.status, me.text)
				}
				if end != "" {
					s.exec(t, end)
				} else {
					for _, active := range []bool{false, true} {
						if err := s.admin.SetActive(ctx, "vera", active); err != nil {
							t.Fatal(err)
						}
					}
				}
				s.replay(t)
				s.auth.ForgetAll() // as Follow does
				if me := b.as(t, token); me.status != http.StatusUnauthorized {
					t.Errorf("an access token of the session: %d %s", me.status, me.text)
				}
				if again := b.post(t, "/auth/refresh", nil); again.status != http.StatusUnauthorized {
					t.Errorf("the session is refreshed: %d %s", again.status, again.text)
				}
				s.clock.advance(time.Hour) // the test's clock stands still
				if me := b.as(t, b.login(t, "vera")); me.status != http.StatusOK {
					t.Errorf("a later session: %d %s", me.status, me.text)
				}
			})
		})
	}
}

// TestWhoWasPutOutStaysOutWithoutTheReplica: a site remembers for a day what it has verified, for the time its replica
// cannot be read. What main took away before that, and the replica showed, is not remembered, though nobody used the
// credential meanwhile.
func TestWhoWasPutOutStaysOutWithoutTheReplica(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), true)
	ctx := sandboxtest.Context(t)
	texts := map[string]string{}
	for _, name := range []string{"stays", "deactivated", "revoked", "lowered", "logged-out"} {
		s.user(t, name, "observer")
		s.replay(t)
		texts[name] = s.token(t, auth.NewToken{Username: name, Name: "laptop"})
	}
	s.replay(t)
	session := s.session(t, "logged-out")
	texts["logged-out"] = s.accessToken(t, session)
	for name, text := range texts {
		if _, err := s.auth.Authenticate(ctx, text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	following, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { s.auth.Follow(following) })
	t.Cleanup(func() { stop(); done.Wait() })
	s.exec(t, "UPDATE app_user SET is_active = false WHERE username = 'deactivated'")
	s.exec(t, "UPDATE api_token SET is_active = false, revoked_at = now() FROM app_user u WHERE u.id = user_id AND u.username = 'revoked'")
	s.exec(t, "UPDATE user_role SET role_id = (SELECT id FROM role WHERE name = 'viewer') FROM app_user u WHERE u.id = user_id AND u.username = 'lowered'")
	s.exec(t, "UPDATE app_user SET sessions_from = now() WHERE username = 'logged-out'")
	s.replay(t)
	// Another process, and after it the replica is gone: it knows only what the site remembers.
	blind := func() *auth.Authenticator {
		return auth.NewAuthenticator(auth.AuthenticatorOptions{
			DB: unreadable(t), Credentials: s.store, AccessTokens: s.access, Sessions: s.sessions, LookupTimeout: 10 * time.Second, Now: s.clock.now, Logger: observetest.Logger(t),
		})
	}
	refused := map[string]*problem.Kind{"deactivated": problem.CredentialsUnavailable, "revoked": problem.CredentialsUnavailable, "logged-out": problem.Unauthorized}
	sandboxtest.Eventually(t, 30*time.Second, "the site to have forgotten who was put out", func() bool {
		a := blind()
		for name, kind := range refused {
			if _, err := a.Authenticate(ctx, texts[name]); !errors.Is(err, kind) {
				return false
			}
		}
		p, err := a.Authenticate(ctx, texts["lowered"])
		return err == nil && !p.Can("write:sources")
	})
	if p, err := blind().Authenticate(ctx, texts["stays"]); err != nil || !p.Can("write:sources") {
		t.Errorf("who stays: %+v, %v", p, err)
	}
}

// TestNothingIsLookedUpAgainWithoutACause: the counters that make every process of every site look all credentials up
// again rise when somebody loses something, and with nothing that each login or use of a token writes.
func TestNothingIsLookedUpAgainWithoutACause(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), false)
	s.user(t, "vera", "viewer")
	s.token(t, auth.NewToken{Username: "vera", Name: "laptop"})
	s.session(t, "vera")
	count := func() (n int64) {
		t.Helper()
		if err := s.main.QueryRow(sandboxtest.Context(t),
			"SELECT sum(version) FROM table_version WHERE table_name IN ('app_user', 'user_role', 'api_token', 'session', 'role', 'role_permission')").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for sql, rises := range map[string]bool{
		"UPDATE app_user SET last_login_at = now(), is_active = is_active":          false,
		"UPDATE api_token SET usage_count = usage_count + 1, is_active = is_active": false,
		"DELETE FROM user_role WHERE user_id = 0":                                   false,
		"INSERT INTO user_role (user_id, role_id) SELECT user_id, role_id FROM user_role ON CONFLICT (user_id, role_id) DO UPDATE SET from_team = excluded.from_team": false,
		"UPDATE session SET refresh_hash = 'x', revoked_at = revoked_at":                                                                                              false,
		"UPDATE app_user SET sessions_from = now()":                                                                                                                   true,
		"UPDATE session SET revoked_at = now()":                                                                                                                       true,
		"UPDATE api_token SET is_active = false":                                                                                                                      true,
		"DELETE FROM user_role":                                                                                                                                       true,
	} {
		before := count()
		s.exec(t, sql)
		if got := count() > before; got != rises {
			t.Errorf("%s: the counters rise: %t", sql, got)
		}
	}
}

// TestSessionsOfLongAgoGo: the table does not grow for ever.
func TestSessionsOfLongAgoGo(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), false)
	s.user(t, "vera", "viewer")
	s.user(t, "max", "viewer")
	for range 3 {
		s.session(t, "vera")
	}
	s.session(t, "max")
	s.clock.advance(36 * 24 * time.Hour)
	s.session(t, "vera")
	s.clock.advance(2 * 24 * time.Hour)
	s.session(t, "vera")
	var vera, others int
	if err := s.main.QueryRow(sandboxtest.Context(t),
		"SELECT count(*) FILTER (WHERE u.username = 'vera'), count(*) FILTER (WHERE u.username <> 'vera') FROM session JOIN app_user u ON u.id = user_id").Scan(&vera, &others); err != nil {
		t.Fatal(err)
	}
	if vera != 2 || others != 1 {
		t.Errorf("%d sessions are left, and %d of others", vera, others)
	}
}
