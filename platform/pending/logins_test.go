package pending

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestLoginsThatHaveEndedAreForgotten: somebody who logs in for years leaves no more behind than what is shown of a user.
func TestLoginsThatHaveEndedAreForgotten(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	begin := func() string {
		id := uuid.NewString()
		must(t, s.BeginSession(t.Context(), Login{ID: id, UserID: 7, Username: "vera", Created: s.now(), Expires: s.now().Add(time.Hour)}, "hash of "+id))
		return id
	}
	ids := func() int64 {
		n, err := s.client.SCard(t.Context(), s.loginsKey(7)).Result()
		must(t, err)
		return n
	}
	lasting := begin()
	for range 3 * MaxLogins {
		must(t, s.EndSession(t.Context(), begin()))
	}
	if n := ids(); n > MaxLogins+1 {
		t.Errorf("%d ids are kept for one login", n)
	}
	if logins, err := s.SessionsOf(t.Context(), 7); err != nil || len(logins) != 1 || logins[0].ID != lasting || ids() != 1 {
		t.Errorf("%v go on of %d, %v", logins, ids(), err)
	}
	must(t, s.EndSessions(t.Context(), 7))
	if n := ids(); n != 0 {
		t.Errorf("%d ids are left", n)
	}
	if login, err := s.Session(t.Context(), lasting); err != nil || login != nil {
		t.Errorf("the login goes on: %v, %v", login, err)
	}
}
