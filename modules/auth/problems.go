package auth

import "github.com/opsdb/opsdb/platform/problem"

// Problems maps the constraints of this module's tables to what they mean to a client.
var Problems = problem.Set{
	Constraints: map[string]problem.Constraint{
		"app_user_pkey":                      {Kind: problem.Conflict, Message: "the user exists already"},
		"app_user_username_key":              {Kind: problem.Conflict, Field: "body.username", Message: "the name is taken"},
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
		"audit_event_pkey":                   {Kind: problem.IDTaken, Message: "the event is recorded already"},
	},
}
