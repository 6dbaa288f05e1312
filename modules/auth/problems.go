package auth

import (
	"net/http"
	"time"

	"github.com/opsdb/opsdb/platform/problem"
)

// The problems of this module.
var (
	// LastAdministrator: somebody must be left who can mend what an administrator does.
	LastAdministrator = &problem.Kind{Code: "last-administrator", Status: http.StatusConflict, Title: "Nobody would be left who may manage users",
		Doc: "The change would take `manage:users` from the last active user who has it. Give it to another one first."}
	// RoleUnknown: a role went away while it was given to somebody.
	RoleUnknown = &problem.Kind{Code: "role-unknown", Status: http.StatusUnprocessableEntity, Title: "There is no such role",
		Doc: "A role that the request names does not exist. `GET /roles` lists those that do."}
	// PermissionUnknown: the same of a permission.
	PermissionUnknown = &problem.Kind{Code: "permission-unknown", Status: http.StatusUnprocessableEntity, Title: "There is no such permission",
		Doc: "A permission that the request names does not exist. `GET /permissions` lists those that do."}
	// TokenRevoked: a token is revoked once.
	TokenRevoked = &problem.Kind{Code: "token-revoked", Status: http.StatusConflict, Title: "The token has been revoked already",
		Doc: "An API token is revoked once, and for good. Make a new one where one is needed."}
)

// The problems of logins.
var (
	loginNotConfigured = &problem.Kind{Code: "login-not-configured", Status: http.StatusNotFound, Title: "This site has no login with GitHub",
		Doc: "`GITHUB_CLIENT_ID` and the settings beside it are not set here. API tokens work all the same."}
	loginExpired = &problem.Kind{Code: "login-expired", Status: http.StatusBadRequest, Title: "The login is over",
		Doc: "A login ends in the browser, or on the device, that began it, within ten minutes (a device: fifteen), once. This one was begun elsewhere, too long ago, or has ended. Begin again at `/github/login`. A browser that takes no cookies cannot log in."}
	loginRefused = &problem.Kind{Code: "login-refused", Status: http.StatusForbidden, Title: "GitHub does not confirm the login",
		Doc: "The person cancelled at GitHub, or GitHub does not take the code that it gave. Begin again; when it stays so, an administrator looks at the OAuth application at GitHub and at `GITHUB_CLIENT_SECRET`."}
	notAMember = &problem.Kind{Code: "not-a-member", Status: http.StatusForbidden, Title: "Not a member of the organisation",
		Doc: "Only active members of the organisation `GITHUB_ORG_NAME` may log in. Accept the invitation to it, or ask for one; the organisation may also have to approve the OAuth application."}
	usernameTaken = &problem.Kind{Code: "username-taken", Status: http.StatusConflict, Title: "The user name belongs to somebody else",
		Doc: "A user of the name of this GitHub account exists already, was not made by a login of it, and so may be another person. If it is the same person, an administrator says so: `opsdb user link`. Else one of both gets another name."}
	githubUnreachable = &problem.Kind{Code: "github-unreachable", Status: http.StatusServiceUnavailable, Title: "GitHub does not answer", RetryAfter: 10 * time.Second,
		Doc: "GitHub was not reached, took too long, or answered with an error of its own. Sessions that go on and API tokens need no GitHub."}
	authorizationPending = &problem.Kind{Code: "authorization-pending", Status: http.StatusBadRequest, Title: "The login is not confirmed yet", RetryAfter: 5 * time.Second,
		Doc: "Nobody has entered the device's code at GitHub yet. Ask again after the interval that the login was begun with."}
	codeInvalid = &problem.Kind{Code: "code-invalid", Status: http.StatusBadRequest, Title: "The code is not good",
		Doc: "A login's one-time code is good for 60 seconds, once, and with the verifier whose challenge the login began with. Log in again."}
)

// Problems are the problems of this module and what its tables' constraints mean to a client.
var Problems = problem.Set{
	Kinds: []*problem.Kind{
		LastAdministrator, RoleUnknown, PermissionUnknown, TokenRevoked, EventFollowed,
		loginNotConfigured, loginExpired, loginRefused, notAMember, usernameTaken, githubUnreachable, authorizationPending, codeInvalid,
	},
	Constraints: map[string]problem.Constraint{
		"app_user_pkey":                      {Kind: problem.Conflict, Message: "the user exists already"},
		"app_user_username_key":              {Kind: problem.Conflict, Field: "body.username", Message: "the name is taken"},
		"app_user_name_key":                  {Kind: problem.Conflict, Field: "body.username", Message: "the name is taken"},
		"app_user_github_id_key":             {Kind: problem.Conflict, Field: "body.github_id", Message: "the GitHub account belongs to another user"},
		"app_user_username_check":            {Kind: problem.Invalid, Field: "body.username", Message: "1-100 letters, digits, dots, underscores and hyphens, beginning with a letter or digit"},
		"role_pkey":                          {Kind: problem.Conflict, Message: "the role exists already"},
		"role_name_key":                      {Kind: problem.Conflict, Field: "body.name", Message: "the name is taken"},
		"role_name_check":                    {Kind: problem.Invalid, Field: "body.name", Message: "1-63 lower-case letters, digits, underscores and hyphens, beginning with a letter"},
		"permission_pkey":                    {Kind: problem.Conflict, Message: "the permission exists already"},
		"permission_name_key":                {Kind: problem.Conflict, Field: "body.name", Message: "the name is taken"},
		"permission_name_check":              {Kind: problem.Invalid, Field: "body.name", Message: "an action, a colon and a resource"},
		"user_role_pkey":                     {Kind: problem.Conflict, Field: "body.roles", Message: "the user has the role already"},
		"user_role_user_id_fkey":             {Kind: problem.Invalid, Field: "body.user_id", Message: "there is no such user"},
		"user_role_role_id_fkey":             {Kind: problem.Invalid, Field: "body.roles", Message: "there is no such role"},
		"user_role_granted_by_fkey":          {Kind: problem.Invalid, Field: "body.granted_by", Message: "there is no such user"},
		"role_permission_pkey":               {Kind: problem.Conflict, Field: "body.permissions", Message: "the role has the permission already"},
		"role_permission_role_id_fkey":       {Kind: problem.Invalid, Field: "body.role_id", Message: "there is no such role"},
		"role_permission_permission_id_fkey": {Kind: problem.Invalid, Field: "body.permissions", Message: "there is no such permission"},
		"api_token_pkey":                     {Kind: problem.Conflict, Message: "the token exists already"},
		"api_token_user_id_fkey":             {Kind: problem.Invalid, Field: "body.user_id", Message: "there is no such user"},
		"api_token_token_hash_key":           {Kind: problem.Conflict, Message: "the token exists already"},
		"api_token_token_hash_check":         {Kind: problem.Invalid, Message: "the hash of the token is malformed"},
		"api_token_name_check":               {Kind: problem.Invalid, Field: "body.name", Message: "1-255 characters"},
		"api_token_user_id_name_key":         {Kind: problem.Conflict, Field: "body.name", Message: "the user has an active token of that name"},
		"user_preference_pkey":               {Kind: problem.Conflict, Message: "the user has preferences already"},
		"user_preference_user_id_fkey":       {Kind: problem.Invalid, Message: "there is no such user"},
		"session_pkey":                       {Kind: problem.Conflict, Message: "the session exists already"},
		"session_user_id_fkey":               {Kind: problem.Invalid, Message: "there is no such user"},
		"session_refresh_hash_key":           {Kind: problem.Conflict, Message: "the session exists already"},
		"signing_key_pkey":                   {Kind: problem.Conflict, Message: "the key is published already"},
		"audit_event_site_prev_hash_key":     {Kind: EventFollowed, Message: "another event of the site follows the same one"},
		"audit_event_pkey":                   {Kind: problem.IDTaken, Message: "the event is recorded already"},
	},
}
