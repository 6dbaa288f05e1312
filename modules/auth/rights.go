package auth

import (
	"regexp"
	"slices"
	"strings"
)

// scopeForm is a permission (write:files) or all permissions of an action (read:*).
var scopeForm = regexp.MustCompile(`^[a-z]+:(\*|[a-z]+)$`)

// narrow returns those of a user's permissions that the scopes of a token leave. No scopes leave all; a scope that
// the user has no permission for adds nothing.
func narrow(permissions, scopes []string) map[string]bool {
	rights := make(map[string]bool, len(permissions))
	for _, permission := range permissions {
		if len(scopes) == 0 || slices.ContainsFunc(scopes, func(scope string) bool { return covers(scope, permission) }) {
			rights[permission] = true
		}
	}
	return rights
}

// covers tells whether a scope includes a permission.
func covers(scope, permission string) bool {
	if action, ok := strings.CutSuffix(scope, "*"); ok {
		return strings.HasSuffix(action, ":") && strings.HasPrefix(permission, action)
	}
	return scope == permission
}

// meaningless returns the scopes that cover none of the permissions there are: typing errors, most likely.
func meaningless(scopes, permissions []string) []string {
	var out []string
	for _, scope := range scopes {
		if !scopeForm.MatchString(scope) || !slices.ContainsFunc(permissions, func(p string) bool { return covers(scope, p) }) {
			out = append(out, scope)
		}
	}
	return out
}
