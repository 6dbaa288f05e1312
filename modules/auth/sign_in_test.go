package auth

import (
	"testing"

	"github.com/opsdb/opsdb/platform/problem"
)

// TestOnlyAUserMadeElsewhereIsWaitedFor: a login that met another conflict is not tried for ten seconds.
func TestOnlyAUserMadeElsewhereIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"the name":       {problem.Conflict.Field("body.username", nil, "the name is taken"), true},
		"the account":    {problem.Conflict.Field("body.github_id", nil, "the GitHub account belongs to another user"), true},
		"a session's id": {problem.Conflict.New("the session exists already"), false},
		"a role":         {problem.Conflict.Field("body.roles", nil, "the user has the role already"), false},
		"another's name": {usernameTaken.New("an administrator has to make room"), false},
		"no link":        {problem.MainUnreachable.New("the link is cut"), false},
		"nothing at all": {nil, false},
	} {
		if got := madeElsewhere(c.err); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
