-- GetCredential returns what an API token entitles to: its own state, its user, and the user's roles and permissions.
-- Whether all that is still valid is the caller's to decide, so that a refusal can say why.
-- name: GetCredential :one
SELECT
    t.id AS token_id, t.token_hash::text AS token_hash, t.scopes, (t.is_active AND t.revoked_at IS NULL)::boolean AS token_active, t.expires_at,
    u.id AS user_id, u.username, u.is_active AS user_active, u.is_service,
    ARRAY(SELECT r.name FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id ORDER BY r.name)::text[] AS roles,
    ARRAY(SELECT DISTINCT p.name FROM user_role ur JOIN role_permission rp ON rp.role_id = ur.role_id JOIN permission p ON p.id = rp.permission_id
          WHERE ur.user_id = u.id ORDER BY p.name)::text[] AS permissions
FROM api_token t
JOIN app_user u ON u.id = t.user_id
WHERE t.token_hash = @token_hash::text;

-- GetUserRights returns a user with the names of the roles and permissions.
-- name: GetUserRights :one
SELECT u.id AS user_id, u.username, u.is_active AS user_active, u.is_service,
    ARRAY(SELECT r.name FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id ORDER BY r.name)::text[] AS roles,
    ARRAY(SELECT DISTINCT p.name FROM user_role ur JOIN role_permission rp ON rp.role_id = ur.role_id JOIN permission p ON p.id = rp.permission_id
          WHERE ur.user_id = u.id ORDER BY p.name)::text[] AS permissions
FROM app_user u
WHERE u.username = @username;

-- GetSession returns a session with its user's name, whatever has become of it.
-- name: GetSession :one
SELECT s.id, s.user_id, u.username, s.refresh_hash, s.previous_hash, s.created_at, s.updated_at, s.expires_at, s.revoked_at, s.user_agent
FROM session s
JOIN app_user u ON u.id = s.user_id
WHERE s.id = @id;

-- ListSigningKeys returns the public keys of all sites that are not retired yet.
-- name: ListSigningKeys :many
SELECT kid, site, public_key FROM signing_key
WHERE retired_at IS NULL OR retired_at > @now::timestamptz
ORDER BY site, created_at, kid;

-- GetUser returns one user by name.
-- name: GetUser :one
SELECT * FROM app_user WHERE username = @username;

-- ListUsers returns all users with the names of their roles.
-- name: ListUsers :many
SELECT u.id, u.username, u.full_name, u.is_active, u.is_service,
    ARRAY(SELECT r.name FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id ORDER BY r.name)::text[] AS roles
FROM app_user u
ORDER BY u.username, u.id;

-- ListTokens returns the API tokens of one user, or of all users; never a secret, for none is stored.
-- name: ListTokens :many
SELECT t.id, u.username, t.name, t.prefix::text AS prefix, t.scopes, (t.is_active AND t.revoked_at IS NULL)::boolean AS active, t.expires_at, t.last_used_at, t.usage_count, t.created_at, t.revoked_at
FROM api_token t
JOIN app_user u ON u.id = t.user_id
WHERE sqlc.narg('username')::text IS NULL OR u.username = sqlc.narg('username')::text
ORDER BY u.username, t.name, t.id;

-- GetActiveToken returns the active token of a user by name.
-- name: GetActiveToken :one
SELECT t.id, t.token_hash::text AS token_hash FROM api_token t
JOIN app_user u ON u.id = t.user_id
WHERE u.username = @username AND t.name = @name AND t.is_active;

-- HasToken tells whether a user ever had a token of this name, revoked ones included.
-- name: HasToken :one
SELECT EXISTS (SELECT FROM api_token t JOIN app_user u ON u.id = t.user_id WHERE u.username = @username AND t.name = @name);

-- ListPermissions returns the names of all permissions, in order.
-- name: ListPermissions :many
SELECT name FROM permission ORDER BY name;

-- ListRolePermissions returns which role gives which permission, in order.
-- name: ListRolePermissions :many
SELECT r.name AS role, p.name AS permission
FROM role r
JOIN role_permission rp ON rp.role_id = r.id
JOIN permission p ON p.id = rp.permission_id
ORDER BY r.name, p.name;

-- HasRole tells whether a role exists.
-- name: HasRole :one
SELECT EXISTS (SELECT FROM role WHERE name = @name);

-- GetPerson returns the user of a GitHub account, or of none who has a name.
-- name: GetPerson :many
SELECT id, username, github_id, is_active FROM app_user WHERE github_id = @github_id::bigint OR username = @username;
