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
SELECT u.id AS user_id, u.username, u.is_active AS user_active, u.is_service, u.sessions_from,
    ARRAY(SELECT r.name FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id ORDER BY r.name)::text[] AS roles,
    ARRAY(SELECT DISTINCT p.name FROM user_role ur JOIN role_permission rp ON rp.role_id = ur.role_id JOIN permission p ON p.id = rp.permission_id
          WHERE ur.user_id = u.id ORDER BY p.name)::text[] AS permissions
FROM app_user u
WHERE u.username = @username;

-- GetSession returns a session with its user's name, whatever has become of it.
-- name: GetSession :one
SELECT s.id, s.user_id, u.username, s.family_hash, s.previous_hash, s.created_at, s.updated_at, s.expires_at, s.revoked_at, s.user_agent
FROM session s
JOIN app_user u ON u.id = s.user_id
WHERE s.id = @id;

-- ListSessions returns the sessions of a user that go on, the newest first.
-- name: ListSessions :many
SELECT s.id, u.username, s.family_hash, s.created_at, s.expires_at, s.user_agent
FROM session s
JOIN app_user u ON u.id = s.user_id
WHERE s.user_id = @user_id AND s.revoked_at IS NULL AND s.expires_at > @now::timestamptz
ORDER BY s.created_at DESC, s.id LIMIT @max_rows;

-- ListSigningKeys returns the public keys of all sites that are not retired yet.
-- name: ListSigningKeys :many
SELECT kid, site, public_key FROM signing_key
WHERE retired_at IS NULL OR retired_at > @now::timestamptz
ORDER BY site, created_at, kid;

-- GetUser returns one user by name.
-- name: GetUser :one
SELECT * FROM app_user WHERE username = @username;

-- ListUsers gives a page of users with the names of their roles, by name.
-- name: ListUsers :many
SELECT u.id, u.username, u.github_id, u.email, u.full_name, u.avatar_url, u.is_active, u.is_service, u.last_login_at,
    ARRAY(SELECT r.name FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id ORDER BY r.name)::text[] AS roles,
    u.version, u.created_at, u.updated_at
FROM app_user u
WHERE
  (@username::text[] IS NULL OR u.username = ANY (@username::text[]))
  AND (sqlc.narg('username_contains')::text IS NULL OR position(lower(sqlc.narg('username_contains')) IN lower(u.username)) > 0)
  AND (sqlc.narg('full_name_contains')::text IS NULL OR position(lower(sqlc.narg('full_name_contains')) IN lower(u.full_name)) > 0)
  AND (sqlc.narg('is_active')::boolean IS NULL OR u.is_active = sqlc.narg('is_active'))
  AND (sqlc.narg('is_service')::boolean IS NULL OR u.is_service = sqlc.narg('is_service'))
  AND (@role::text[] IS NULL OR EXISTS (SELECT FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id AND r.name = ANY (@role::text[])))
  AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')) IN lower(concat_ws(chr(10), u.username, u.full_name, u.email))) > 0)
  AND (sqlc.narg('after_name')::text IS NULL OR (u.username, u.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY u.username, u.id LIMIT @page_size;

-- CountUsers counts the users that the filters keep.
-- name: CountUsers :one
SELECT count(*) FROM app_user u
WHERE
  (@username::text[] IS NULL OR u.username = ANY (@username::text[]))
  AND (sqlc.narg('username_contains')::text IS NULL OR position(lower(sqlc.narg('username_contains')) IN lower(u.username)) > 0)
  AND (sqlc.narg('full_name_contains')::text IS NULL OR position(lower(sqlc.narg('full_name_contains')) IN lower(u.full_name)) > 0)
  AND (sqlc.narg('is_active')::boolean IS NULL OR u.is_active = sqlc.narg('is_active'))
  AND (sqlc.narg('is_service')::boolean IS NULL OR u.is_service = sqlc.narg('is_service'))
  AND (@role::text[] IS NULL OR EXISTS (SELECT FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id AND r.name = ANY (@role::text[])))
  AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')) IN lower(concat_ws(chr(10), u.username, u.full_name, u.email))) > 0);

-- GetUserRecord returns one user with the names of the roles, by id or by name.
-- name: GetUserRecord :one
SELECT u.id, u.username, u.github_id, u.email, u.full_name, u.avatar_url, u.is_active, u.is_service, u.last_login_at,
    ARRAY(SELECT r.name FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id ORDER BY r.name)::text[] AS roles,
    u.version, u.created_at, u.updated_at
FROM app_user u
WHERE u.id = sqlc.narg('id')::bigint OR u.username = sqlc.narg('username')::text;

-- CountOtherManagers counts the active users beside one who may manage users.
-- name: CountOtherManagers :one
SELECT count(*) FROM app_user u
WHERE u.is_active AND u.id <> @user_id AND EXISTS (
    SELECT FROM user_role ur JOIN role_permission rp ON rp.role_id = ur.role_id JOIN permission p ON p.id = rp.permission_id
    WHERE ur.user_id = u.id AND p.name = 'manage:users');

-- CountManagersWithout counts the active users who may manage users by another role than one.
-- name: CountManagersWithout :one
SELECT count(*) FROM app_user u
WHERE u.is_active AND EXISTS (
    SELECT FROM user_role ur JOIN role_permission rp ON rp.role_id = ur.role_id JOIN permission p ON p.id = rp.permission_id
    WHERE ur.user_id = u.id AND ur.role_id <> @role_id AND p.name = 'manage:users');

-- ListRoles gives a page of roles with their permissions, by name.
-- name: ListRoles :many
SELECT r.id, r.name, r.description,
    ARRAY(SELECT p.name FROM role_permission rp JOIN permission p ON p.id = rp.permission_id WHERE rp.role_id = r.id ORDER BY p.name)::text[] AS permissions,
    r.version, r.created_at, r.updated_at
FROM role r
WHERE
  (@name::text[] IS NULL OR r.name = ANY (@name::text[]))
  AND (@permission::text[] IS NULL OR EXISTS (SELECT FROM role_permission rp JOIN permission p ON p.id = rp.permission_id WHERE rp.role_id = r.id AND p.name = ANY (@permission::text[])))
  AND (sqlc.narg('after_name')::text IS NULL OR (r.name, r.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY r.name, r.id LIMIT @page_size;

-- CountRoles counts the roles that the filters keep.
-- name: CountRoles :one
SELECT count(*) FROM role r
WHERE
  (@name::text[] IS NULL OR r.name = ANY (@name::text[]))
  AND (@permission::text[] IS NULL OR EXISTS (SELECT FROM role_permission rp JOIN permission p ON p.id = rp.permission_id WHERE rp.role_id = r.id AND p.name = ANY (@permission::text[])));

-- GetRole returns one role with its permissions, by id or by name.
-- name: GetRole :one
SELECT r.id, r.name, r.description,
    ARRAY(SELECT p.name FROM role_permission rp JOIN permission p ON p.id = rp.permission_id WHERE rp.role_id = r.id ORDER BY p.name)::text[] AS permissions,
    r.version, r.created_at, r.updated_at
FROM role r
WHERE r.id = sqlc.narg('id')::bigint OR r.name = sqlc.narg('name')::text;

-- FindRoles returns those of some roles that there are, and what they permit.
-- name: FindRoles :many
SELECT r.name,
    ARRAY(SELECT p.name FROM role_permission rp JOIN permission p ON p.id = rp.permission_id WHERE rp.role_id = r.id ORDER BY p.name)::text[] AS permissions
FROM role r WHERE r.name = ANY (@names::text[]);

-- ListPermissionRecords gives a page of permissions, by name.
-- name: ListPermissionRecords :many
SELECT p.id, p.name, p.description,
    ARRAY(SELECT r.name FROM role_permission rp JOIN role r ON r.id = rp.role_id WHERE rp.permission_id = p.id ORDER BY r.name)::text[] AS roles
FROM permission p
WHERE
  (@name::text[] IS NULL OR p.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(p.name)) > 0)
  AND (sqlc.narg('after_name')::text IS NULL OR (p.name, p.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY p.name, p.id LIMIT @page_size;

-- CountPermissions counts the permissions that the filters keep.
-- name: CountPermissions :one
SELECT count(*) FROM permission p
WHERE
  (@name::text[] IS NULL OR p.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(p.name)) > 0);

-- ListTokens gives a page of API tokens, by name; never a secret, for none is stored.
-- name: ListTokens :many
SELECT t.id, t.user_id, u.username, t.name, t.prefix::text AS prefix, t.scopes, (t.is_active AND t.revoked_at IS NULL)::boolean AS is_active,
    t.expires_at, t.last_used_at, t.last_used_ip, t.usage_count, t.revoked_at, t.created_at
FROM api_token t
JOIN app_user u ON u.id = t.user_id
WHERE
  (sqlc.narg('of_user')::bigint IS NULL OR t.user_id = sqlc.narg('of_user'))
  AND (@username::text[] IS NULL OR u.username = ANY (@username::text[]))
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.narg('is_active')::boolean IS NULL OR (t.is_active AND t.revoked_at IS NULL) = sqlc.narg('is_active'))
  AND (sqlc.narg('expires_at_from')::timestamptz IS NULL OR t.expires_at >= sqlc.narg('expires_at_from'))
  AND (sqlc.narg('expires_at_to')::timestamptz IS NULL OR t.expires_at < sqlc.narg('expires_at_to'))
  AND (sqlc.narg('has_expires_at')::boolean IS NULL OR (t.expires_at IS NOT NULL) = sqlc.narg('has_expires_at'))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountTokens counts the tokens that the filters keep.
-- name: CountTokens :one
SELECT count(*) FROM api_token t
JOIN app_user u ON u.id = t.user_id
WHERE
  (sqlc.narg('of_user')::bigint IS NULL OR t.user_id = sqlc.narg('of_user'))
  AND (@username::text[] IS NULL OR u.username = ANY (@username::text[]))
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.narg('is_active')::boolean IS NULL OR (t.is_active AND t.revoked_at IS NULL) = sqlc.narg('is_active'))
  AND (sqlc.narg('expires_at_from')::timestamptz IS NULL OR t.expires_at >= sqlc.narg('expires_at_from'))
  AND (sqlc.narg('expires_at_to')::timestamptz IS NULL OR t.expires_at < sqlc.narg('expires_at_to'))
  AND (sqlc.narg('has_expires_at')::boolean IS NULL OR (t.expires_at IS NOT NULL) = sqlc.narg('has_expires_at'));

-- GetToken returns one API token, and the hash of its text.
-- name: GetToken :one
SELECT t.id, t.user_id, u.username, t.name, t.prefix::text AS prefix, t.scopes, (t.is_active AND t.revoked_at IS NULL)::boolean AS is_active,
    t.expires_at, t.last_used_at, t.last_used_ip, t.usage_count, t.revoked_at, t.created_at, t.token_hash::text AS token_hash
FROM api_token t
JOIN app_user u ON u.id = t.user_id
WHERE t.id = @id;

-- HasActiveToken tells whether a user has an active token of a name.
-- name: HasActiveToken :one
SELECT EXISTS (SELECT FROM api_token t WHERE t.user_id = @user_id AND t.name = @name AND t.is_active);

-- ListActiveTokens returns the ids and hashes of a user's active tokens.
-- name: ListActiveTokens :many
SELECT t.id, t.token_hash::text AS token_hash FROM api_token t WHERE t.user_id = @user_id AND t.is_active ORDER BY t.id;

-- ListTokensInUse returns the hashes of the active tokens that were used, or made, last.
-- name: ListTokensInUse :many
SELECT t.token_hash::text AS token_hash FROM api_token t
WHERE t.is_active ORDER BY greatest(t.last_used_at, t.created_at) DESC, t.id LIMIT @max_rows;

-- GetPreferences returns what a user has set.
-- name: GetPreferences :one
SELECT preferences, version, updated_at FROM user_preference WHERE user_id = @user_id;

-- GetCredentialVersion is a number that rises whenever somebody may have lost a right.
-- name: GetCredentialVersion :one
SELECT coalesce(sum(version), 0)::bigint AS version FROM table_version WHERE table_name IN ('app_user', 'user_role', 'api_token', 'role_permission');

-- GetSessionVersion is a number that rises whenever a session of the main site ends.
-- name: GetSessionVersion :one
SELECT version FROM table_version WHERE table_name = 'session';

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

-- GetPerson returns the user of a GitHub account, or of none who has a name, whatever the case of its letters.
-- name: GetPerson :many
SELECT id, username, github_id, is_active FROM app_user WHERE github_id = @github_id::bigint OR lower(username) = lower(@username::text);

-- HasUsername tells whether a name is a user's, whatever the case of its letters.
-- name: HasUsername :one
SELECT EXISTS (SELECT FROM app_user WHERE lower(username) = lower(@username::text));

-- ListAuditEvents gives a page of the audit log, newest first.
-- name: ListAuditEvents :many
SELECT r.* FROM (
    (
        SELECT t.* FROM audit_event t
        WHERE t.id <> ALL (@replaced::uuid[])
          AND (@action::text[] IS NULL OR t.action = ANY (@action::text[]))
          AND (@site::text[] IS NULL OR t.site = ANY (@site::text[]))
          AND (@user_id::bigint[] IS NULL OR t.user_id = ANY (@user_id::bigint[]))
          AND (@table_name::text[] IS NULL OR t.table_name = ANY (@table_name::text[]))
          AND (@row_id::text[] IS NULL OR t.row_id = ANY (@row_id::text[]))
          AND (sqlc.narg('at_from')::timestamptz IS NULL OR t.at >= sqlc.narg('at_from')::timestamptz)
          AND (sqlc.narg('at_to')::timestamptz IS NULL OR t.at < sqlc.narg('at_to')::timestamptz)
          AND (sqlc.narg('after_time')::timestamptz IS NULL OR (t.at, t.id) < (sqlc.narg('after_time')::timestamptz, sqlc.narg('after_id')::uuid))
          AND (sqlc.narg('bound_time')::timestamptz IS NULL OR (t.at, t.id) >= (sqlc.narg('bound_time')::timestamptz, sqlc.narg('bound_id')::uuid))
        ORDER BY t.at DESC, t.id DESC LIMIT @page_size
    )
    UNION ALL
    (
        SELECT p.* FROM audit_event_pending(@pending) p
        WHERE true
          AND (@action::text[] IS NULL OR p.action = ANY (@action::text[]))
          AND (@site::text[] IS NULL OR p.site = ANY (@site::text[]))
          AND (@user_id::bigint[] IS NULL OR p.user_id = ANY (@user_id::bigint[]))
          AND (@table_name::text[] IS NULL OR p.table_name = ANY (@table_name::text[]))
          AND (@row_id::text[] IS NULL OR p.row_id = ANY (@row_id::text[]))
          AND (sqlc.narg('at_from')::timestamptz IS NULL OR p.at >= sqlc.narg('at_from')::timestamptz)
          AND (sqlc.narg('at_to')::timestamptz IS NULL OR p.at < sqlc.narg('at_to')::timestamptz)
          AND (sqlc.narg('after_time')::timestamptz IS NULL OR (p.at, p.id) < (sqlc.narg('after_time')::timestamptz, sqlc.narg('after_id')::uuid))
          AND (sqlc.narg('bound_time')::timestamptz IS NULL OR (p.at, p.id) >= (sqlc.narg('bound_time')::timestamptz, sqlc.narg('bound_id')::uuid))
    )
) r
ORDER BY r.at DESC, r.id DESC LIMIT @page_size;

-- CountAuditEvents counts the events that the filters keep.
-- name: CountAuditEvents :one
SELECT (
    (SELECT count(*) FROM audit_event t
        WHERE t.id <> ALL (@replaced::uuid[])
          AND (@action::text[] IS NULL OR t.action = ANY (@action::text[]))
          AND (@site::text[] IS NULL OR t.site = ANY (@site::text[]))
          AND (@user_id::bigint[] IS NULL OR t.user_id = ANY (@user_id::bigint[]))
          AND (@table_name::text[] IS NULL OR t.table_name = ANY (@table_name::text[]))
          AND (@row_id::text[] IS NULL OR t.row_id = ANY (@row_id::text[]))
          AND (sqlc.narg('at_from')::timestamptz IS NULL OR t.at >= sqlc.narg('at_from')::timestamptz)
          AND (sqlc.narg('at_to')::timestamptz IS NULL OR t.at < sqlc.narg('at_to')::timestamptz)
    )
    + (SELECT count(*) FROM audit_event_pending(@pending) p
        WHERE true
          AND (@action::text[] IS NULL OR p.action = ANY (@action::text[]))
          AND (@site::text[] IS NULL OR p.site = ANY (@site::text[]))
          AND (@user_id::bigint[] IS NULL OR p.user_id = ANY (@user_id::bigint[]))
          AND (@table_name::text[] IS NULL OR p.table_name = ANY (@table_name::text[]))
          AND (@row_id::text[] IS NULL OR p.row_id = ANY (@row_id::text[]))
          AND (sqlc.narg('at_from')::timestamptz IS NULL OR p.at >= sqlc.narg('at_from')::timestamptz)
          AND (sqlc.narg('at_to')::timestamptz IS NULL OR p.at < sqlc.narg('at_to')::timestamptz)
    ))::bigint AS total;

-- GetAuditHead returns the newest event of a site, which the next one follows.
-- name: GetAuditHead :one
SELECT hash, at FROM audit_event WHERE site = @site ORDER BY at DESC, id DESC LIMIT 1;

-- ListAuditChain gives some events of the audit log, oldest first, from behind one on.
-- name: ListAuditChain :many
SELECT t.* FROM audit_event t
WHERE (sqlc.narg('site')::text IS NULL OR t.site = sqlc.narg('site')::text)
  AND (sqlc.narg('after_time')::timestamptz IS NULL OR (t.at, t.id) > (sqlc.narg('after_time')::timestamptz, sqlc.narg('after_id')::uuid))
ORDER BY t.at, t.id LIMIT @page_size;

-- ListLostAuditEvents returns what the ledger says was recorded and the audit log does not have, or not like that.
-- name: ListLostAuditEvents :many
SELECT l.site, (c.entry ->> 'id')::uuid AS id, coalesce(c.entry -> 'values' ->> 'action', '')::text AS action, l.accepted_at
FROM applied_transaction l, jsonb_array_elements(l.changes) AS c(entry)
WHERE l.changes @> '[{"table": "audit_event"}]' AND l.outcome = 'applied' AND c.entry ->> 'table' = 'audit_event'
  AND (sqlc.narg('site')::text IS NULL OR l.site = sqlc.narg('site')::text)
  AND NOT EXISTS (SELECT FROM audit_event t WHERE t.id = (c.entry ->> 'id')::uuid AND t.hash = c.entry -> 'values' ->> 'hash')
ORDER BY l.accepted_at LIMIT @page_size;

-- ListForeignAuditEvents returns events that no transaction of their own site has recorded like that: a hand at the database writes such, or another site.
-- name: ListForeignAuditEvents :many
SELECT t.site, t.id, t.action, t.at
FROM audit_event t
WHERE (sqlc.narg('site')::text IS NULL OR t.site = sqlc.narg('site')::text)
  AND NOT EXISTS (
    SELECT FROM applied_transaction l, jsonb_array_elements(l.changes) AS c(entry)
    WHERE l.changes @> '[{"table": "audit_event"}]' AND l.outcome = 'applied' AND (c.entry ->> 'id') = t.id::text
      AND l.site = t.site AND c.entry -> 'values' ->> 'hash' = t.hash)
ORDER BY t.at LIMIT @page_size;
