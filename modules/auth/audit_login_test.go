package auth_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// logged is what the audit log of a site has of an action, the newest first.
func (s *loginSite) logged(t testing.TB, token, action string) (out []map[string]any, text string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, s.url+"/audit?limit=100&action="+action, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	page := s.browser(t).send(t, request)
	if page.status != http.StatusOK {
		t.Fatalf("the audit log: %d %s", page.status, page.text)
	}
	for _, item := range page.body["items"].([]any) {
		out = append(out, item.(map[string]any))
	}
	return out, page.text
}

// auditor is a token that reads the audit log.
func (s *loginSite) auditor(t testing.TB) string {
	t.Helper()
	s.user(t, "boss", "admin")
	token := s.token(t, auth.NewToken{Username: "boss", Name: "audit"})
	s.replay(t)
	return token
}

func TestLoginsAndTheirEndsAreInTheAuditLog(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		boss := s.auditor(t)
		b := s.browser(t)
		code := b.code(t, "vera")
		granted := b.exchange(t, code)
		first := b.cookie(t)
		b.post(t, "/auth/refresh", nil)
		second := b.cookie(t)
		s.clock.advance(11 * time.Second)
		b.keep(t, first)
		b.post(t, "/auth/refresh", nil) // a thief
		b.post(t, "/auth/refresh", nil) // once more: the session is over, and nothing new
		// With the link cut, as far as the site goes on then.
		s.cut.Store(s.store != nil)
		b.login(t, "vera")
		if left := b.post(t, "/auth/logout", map[string]any{"everywhere": true}); left.status != http.StatusNoContent {
			t.Fatalf("%d %s", left.status, left.text)
		}

		logins, texts := s.logged(t, boss, "login")
		reuses, text := s.logged(t, boss, "session.reuse")
		texts += text
		logouts, text := s.logged(t, boss, "logout")
		texts += text
		if len(logins) != 2 || len(reuses) != 1 || len(logouts) != 1 {
			t.Fatalf("%d logins, %d reuses, %d logouts: %s", len(logins), len(reuses), len(logouts), texts)
		}
		var vera int64
		if err := s.main.QueryRow(sandboxtest.Context(t), "SELECT id FROM app_user WHERE username = 'vera'").Scan(&vera); err != nil {
			t.Fatal(err)
		}
		for _, event := range slices.Concat(logins, reuses, logouts) {
			if event["user_id"] != float64(vera) || event["table_name"] != "session" || event["site"] != s.name() || event["detail"].(map[string]any)["username"] != "vera" {
				t.Errorf("an event: %v", event)
			}
		}
		if logins[1]["row_id"] != reuses[0]["row_id"] || logins[0]["row_id"] != logouts[0]["row_id"] || logouts[0]["detail"].(map[string]any)["everywhere"] != true {
			t.Errorf("they are of other sessions: %s", texts)
		}
		// The newest first: at a secondary site the second login was not told to main.
		begun, again := logins[1]["detail"].(map[string]any), logins[0]["detail"].(map[string]any)
		if begun["new_user"] != true || begun["by"] != "browser" || again["new_user"] != nil {
			t.Errorf("whether it was the first login: %v, %v", begun, again)
		}
		if _, told := again["team_roles"]; begun["team_roles"] == nil || told != (s.store == nil) {
			t.Errorf("what the teams give: %v, %v", begun, again)
		}
		for what, secret := range map[string]string{"code": code, "refresh token": first.Value, "next one": second.Value, "access token": granted.body["access_token"].(string)} {
			if strings.Contains(texts, secret) {
				t.Errorf("the log has the %s", what)
			}
		}
	})
}

func TestRefusedLoginsAreInTheAuditLog(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		boss := s.auditor(t)
		b := s.browser(t)
		b.login(t, "vera")
		s.exec(t, "UPDATE app_user SET is_active = false WHERE username = 'vera'")
		s.replay(t)
		s.cut.Store(s.store != nil)
		b.confirm(t, b.toGitHub(t), "edwin")
		b.confirm(t, b.toGitHub(t), "vera")
		b.confirm(t, b.toGitHub(t), "")
		page := b.toGitHub(t)
		s.browser(t).confirm(t, page, "vera") // begun in another browser
		var got []string
		refused, text := s.logged(t, boss, "login.refused")
		for _, event := range refused {
			detail := event["detail"].(map[string]any)
			got = append(got, fmt.Sprint(detail["problem"], " ", detail["github_login"]))
		}
		if want := []string{"login-expired <nil>", "login-refused <nil>", "forbidden vera", "not-a-member edwin"}; !slices.Equal(got, want) {
			t.Errorf("refused: %q, want %q: %s", got, want, text)
		}
	})
}

// TestNobodyFillsTheAuditLog: refused logins cost nobody anything, so that only some a minute are recorded.
func TestNobodyFillsTheAuditLog(t *testing.T) {
	t.Parallel()
	bothLoginSites(t, func(t *testing.T, s *loginSite) {
		boss := s.auditor(t)
		b := s.browser(t)
		for range 25 {
			b.get(t, s.url+"/github/callback?code=x&state=y")
		}
		if refused, text := s.logged(t, boss, "login.refused"); len(refused) != 10 {
			t.Errorf("%d of 25 are recorded, want 10: %s", len(refused), text)
		}
		b.confirm(t, b.toGitHub(t), "edwin")
		if refused, text := s.logged(t, boss, "login.refused"); len(refused) != 11 || refused[0]["detail"].(map[string]any)["problem"] != "not-a-member" {
			t.Errorf("behind 25 of another kind, one is hidden: %s", text)
		}
		s.clock.advance(time.Minute)
		b.get(t, s.url+"/github/callback?code=x&state=y")
		if refused, text := s.logged(t, boss, "login.refused"); len(refused) != 12 || refused[0]["detail"].(map[string]any)["not_recorded_before"] != float64(15) {
			t.Errorf("a minute later: %s", text)
		}
	})
}
