package auth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/api"
)

// TestGuessesCostNoLookUpAndLockNobodyOut: an address that has sent many tokens that
// nobody has costs the database nothing more, and who is known from before goes on
// working from there, also when what was cached has to be looked up again.
func TestGuessesCostNoLookUpAndLockNobodyOut(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		at := func(authenticator api.Authenticator) (status func(token string) int, guess func() int) {
			router, err := api.New(api.Options{Site: s.name(), Authenticator: authenticator})
			if err != nil {
				t.Fatal(err)
			}
			auth.New(auth.Config{}).Register(router)
			status = func(token string) int {
				w := httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodGet, "/auth/me", http.NoBody)
				r.Header.Set("Authorization", "Bearer "+token)
				router.Handler().ServeHTTP(w, r)
				return w.Code
			}
			return status, func() int {
				text, err := auth.NewTokenText()
				if err != nil {
					t.Fatal(err)
				}
				return status(text)
			}
		}
		spend := func(guess func() int) {
			for range 100 {
				if guess() == http.StatusTooManyRequests {
					return
				}
			}
			t.Error("100 guesses are not too many")
		}
		status, guess := at(s.auth)
		s.user(t, "ada", "observer")
		known := s.token(t, auth.NewToken{Username: "ada", Name: "known"})
		unseen := s.token(t, auth.NewToken{Username: "ada", Name: "unseen"})
		s.replay(t)
		if got := status(known); got != 200 {
			t.Fatalf("a valid token is %d", got)
		}
		spend(guess)
		before := s.db.queries.Load()
		for range 10 {
			if got := guess(); got != http.StatusTooManyRequests {
				t.Errorf("a guess too many is %d", got)
			}
		}
		if got := s.db.queries.Load() - before; got > 2 {
			t.Errorf("10 guesses too many cost %d look-ups", got)
		}
		s.clock.advance(time.Minute)
		s.auth.ForgetAll() // as when anybody anywhere has lost a right
		if got := status(known); got != 200 {
			t.Errorf("a token that was valid before is %d from the same address", got)
		}
		// One that this process has not seen, or one that no process has: it costs one look-up of all that are in use, for all
		// guesses of five seconds together.
		if got := status(unseen); got != 200 {
			t.Errorf("a token that nobody has seen here is %d from that address", got)
		}
		another := s.another(t)
		status, guess = at(another)
		spend(guess)
		for name, token := range map[string]string{"known": known, "unseen": unseen} {
			if got := status(token); got != 200 {
				t.Errorf("the %s token is %d from that address at another process", name, got)
			}
		}
		late := s.token(t, auth.NewToken{Username: "ada", Name: "late"})
		s.replay(t)
		if got := status(late); got != http.StatusTooManyRequests {
			t.Errorf("a token that was made a moment ago is %d from that address", got)
		}
		s.clock.advance(5 * time.Second)
		if got := status(late); got != 200 {
			t.Errorf("five seconds later it is %d", got)
		}
		s.exec(t, "UPDATE api_token SET is_active = false, revoked_at = now()")
		s.replay(t)
		another.ForgetAll()
		s.clock.advance(5 * time.Second)
		for _, token := range []string{known, unseen, late} {
			if got := status(token); got == 200 {
				t.Error("a revoked token passes")
			}
		}
	})
}
