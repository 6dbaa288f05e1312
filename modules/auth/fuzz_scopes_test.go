package auth

import (
	"slices"
	"strings"
	"testing"
)

// FuzzScopes: whatever the scopes are, they add nothing to what the user may do, and a
// scope that is called meaningless permits nothing.
func FuzzScopes(f *testing.F) {
	for _, seed := range []string{"", "read:*", "*", ":*", "read:files,write:*", "read:file*", "READ:files", "read:*:*", "\x00"} {
		f.Add(seed)
	}
	all := []string{"read:files", "read:buffer", "write:files", "manage:users"}
	rights := []string{"read:files", "write:files"}
	f.Fuzz(func(t *testing.T, text string) {
		scopes := strings.Split(text, ",")
		got := narrow(rights, scopes)
		for permission, granted := range got {
			if granted && !slices.Contains(rights, permission) {
				t.Errorf("scopes %q give %s, which the user does not have", scopes, permission)
			}
		}
		if wrong := meaningless(scopes, all); len(wrong) == len(scopes) && len(got) > 0 {
			t.Errorf("scopes %q mean nothing and leave %v", scopes, got)
		}
	})
}
