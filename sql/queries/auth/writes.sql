-- CreateUser adds a person or a service account, unless the name is taken already.
-- name: CreateUser :execrows
INSERT INTO app_user (username, full_name, is_service, created_at, updated_at)
VALUES (@username, @full_name, @is_service, @created_at, @created_at)
ON CONFLICT DO NOTHING;

-- GrantRole gives a user a role by name; granting it again changes nothing, but that no login takes it away when teams gave it. No row means that one of the two does not exist, or the grant does.
-- name: GrantRole :execrows
WITH given AS (
    INSERT INTO user_role (user_id, role_id, granted_at, created_at)
    SELECT u.id, r.id, @granted_at, @granted_at
    FROM app_user u, role r
    WHERE u.username = @username AND r.name = @role
    ON CONFLICT (user_id, role_id) DO UPDATE SET from_team = false, granted_at = excluded.granted_at WHERE user_role.from_team
    RETURNING user_id
)
UPDATE app_user u SET version = version + 1, updated_at = @granted_at FROM given g WHERE u.id = g.user_id;

-- CreateToken stores the hash of a new API token; of its text nothing else is kept than the prefix.
-- name: CreateToken :one
INSERT INTO api_token (user_id, name, token_hash, prefix, scopes, expires_at, created_at, updated_at)
SELECT u.id, @name, @token_hash, @prefix, @scopes::text[], sqlc.narg('expires_at'), @created_at, @created_at
FROM app_user u
WHERE u.username = @username
RETURNING id, user_id;

-- RevokeToken ends an API token for good; one that is revoked already stays as it is.
-- @sqlc-vet-disable writes-must-change
-- The count of rows tells the caller, who says it in words.
-- name: RevokeToken :execrows
UPDATE api_token SET is_active = false, revoked_at = @revoked_at::timestamptz, updated_at = @revoked_at::timestamptz
WHERE id = @id AND is_active;

-- LinkGitHub says which GitHub account is a person's, NULL for none. What another account has begun ends.
-- @sqlc-vet-disable writes-must-change
-- The count of rows tells the caller, who says it in words.
-- name: LinkGitHub :execrows
UPDATE app_user SET
    github_id = sqlc.narg('github_id'),
    sessions_from = CASE WHEN github_id IS DISTINCT FROM sqlc.narg('github_id') AND github_id IS NOT NULL THEN greatest(sessions_from, @updated_at::timestamptz) ELSE sessions_from END,
    version = version + 1, updated_at = @updated_at::timestamptz
WHERE username = @username AND NOT is_service;

-- CountTokenUses adds what was counted in memory since the last time. It leaves updated_at alone: a use is no change of the token.
-- @sqlc-vet-disable writes-must-change
-- A token that was deleted meanwhile needs no count.
-- name: CountTokenUses :exec
UPDATE api_token t SET
    usage_count = t.usage_count + u.uses,
    last_used_at = greatest(t.last_used_at, u.last_used_at),
    last_used_ip = CASE WHEN t.last_used_at > u.last_used_at THEN t.last_used_ip ELSE nullif(u.last_used_ip, '')::inet END
FROM (
    SELECT unnest(@id::bigint[]) AS id, unnest(@uses::bigint[]) AS uses, unnest(@last_used_at::timestamptz[]) AS last_used_at,
        unnest(@last_used_ip::text[]) AS last_used_ip
) u
WHERE t.id = u.id;

-- AddSigningKey publishes the public part of a site's key. Its predecessors of the same site are retired at a later time: until then they verify what they signed.
-- @sqlc-vet-disable writes-must-change
-- The first key of a site has no predecessor.
-- name: AddSigningKey :execrows
WITH retired AS (
    UPDATE signing_key SET retired_at = @retired_at::timestamptz, updated_at = @created_at
    WHERE site = @site AND kid <> @kid AND retired_at IS NULL
)
INSERT INTO signing_key (kid, site, public_key, created_at, updated_at)
VALUES (@kid, @site, @public_key, @created_at, @created_at)
ON CONFLICT (kid) DO NOTHING;

-- BeginSession stores a session that a login has begun; of its refresh token only the hash. The user's sessions that expired long ago go.
-- A user mostly has none of these.
-- name: BeginSession :exec
-- @sqlc-vet-disable writes-must-change
WITH gone AS (
    DELETE FROM session AS s WHERE s.user_id = @user_id AND s.expires_at < @forget_before::timestamptz
)
INSERT INTO session (id, user_id, site, family_hash, refresh_hash, created_at, updated_at, expires_at, user_agent)
VALUES (@id, @user_id, @site, @family_hash, @refresh_hash, @created_at, @created_at, @expires_at, @user_agent);

-- RenewSession puts the next refresh token in the place of the one that was presented. No row means that it was another one, or that the session has ended.
-- The count of rows tells the caller, who finds out which of both it was.
-- name: RenewSession :execrows
-- @sqlc-vet-disable writes-must-change
UPDATE session SET previous_hash = refresh_hash, refresh_hash = @next_hash, updated_at = @now::timestamptz
WHERE id = @id AND refresh_hash = @presented_hash AND revoked_at IS NULL AND expires_at > @now::timestamptz;

-- EndSession ends a session for good; one that has ended already stays as it is.
-- Ending it twice is no mistake.
-- name: EndSession :exec
-- @sqlc-vet-disable writes-must-change
UPDATE session SET revoked_at = @now::timestamptz, updated_at = @now::timestamptz WHERE id = @id AND revoked_at IS NULL;

-- EndSessions ends all sessions of a user; one without a session is no mistake.
-- name: EndSessions :exec
-- @sqlc-vet-disable writes-must-change
UPDATE session SET revoked_at = @now::timestamptz, updated_at = @now::timestamptz WHERE user_id = @user_id AND revoked_at IS NULL;

-- SignUp adds a person who logs in with GitHub for the first time; the id was taken beforehand.
-- name: SignUp :exec
INSERT INTO app_user (id, username, github_id, email, full_name, avatar_url, last_login_at, created_at, updated_at)
OVERRIDING SYSTEM VALUE
VALUES (@id, @username, @github_id, sqlc.narg('email'), @full_name, @avatar_url, @at::timestamptz, @at::timestamptz, @at::timestamptz);

-- SignIn notes a login of a person and what GitHub says of them now; one who was deactivated meanwhile, or is another account's, is an error. The version stays: a login must not break an edit.
-- name: SignIn :exec
WITH changed AS (
    UPDATE app_user SET email = sqlc.narg('email'), full_name = @full_name, avatar_url = @avatar_url, last_login_at = @at::timestamptz
    WHERE id = @id AND is_active AND github_id = @github_id::bigint
    RETURNING id
)
SELECT must_change(count(*)) FROM changed;

-- SetTeamRoles gives a user the roles that the teams give now, and takes those that they gave at an earlier login. Roles granted by hand stay as they are.
-- @sqlc-vet-disable writes-must-change
-- A login that changes no role is the usual one.
-- name: SetTeamRoles :exec
WITH wanted AS (
    SELECT id FROM role WHERE name = ANY (@roles::text[])
), taken AS (
    DELETE FROM user_role WHERE user_id = @user_id AND from_team AND role_id NOT IN (SELECT id FROM wanted)
)
INSERT INTO user_role (user_id, role_id, from_team, granted_at, created_at)
SELECT @user_id, id, true, @at, @at FROM wanted
ON CONFLICT DO NOTHING;

-- Revoke makes a user inactive, or ends an API token, by id; 0 is none. What is so already stays as it is: main may have decided the same meanwhile.
-- A revocation that changes nothing has its aim.
-- name: Revoke :exec
-- @sqlc-vet-disable writes-must-change
WITH people AS (
    UPDATE app_user AS u SET is_active = false, sessions_from = greatest(u.sessions_from, @at::timestamptz), version = u.version + 1, updated_at = @at::timestamptz
    WHERE u.id = @user_id AND u.is_active
)
UPDATE api_token AS t SET is_active = false, revoked_at = @at::timestamptz, updated_at = @at::timestamptz WHERE t.id = @token_id AND t.is_active;

-- EndSessionsEverywhere ends the sessions of a user that began before a time, at every site. The version stays: it must not break an edit.
-- Ending them twice is no mistake.
-- name: EndSessionsEverywhere :exec
-- @sqlc-vet-disable writes-must-change
UPDATE app_user AS u SET sessions_from = greatest(u.sessions_from, @at::timestamptz) WHERE u.id = @user_id;

-- InsertUser adds a user with the id that was taken for it.
-- name: InsertUser :exec
INSERT INTO app_user (id, username, email, full_name, is_service, created_at, updated_at)
OVERRIDING SYSTEM VALUE VALUES (@id, @username, sqlc.narg('email'), @full_name, @is_service, @created_at, @created_at);

-- UpdateUser changes some columns of a user, of one version where one is expected.
-- name: UpdateUser :exec
WITH changed AS (
    UPDATE app_user SET
        is_active = coalesce(sqlc.narg('is_active')::boolean, is_active),
        sessions_from = CASE WHEN NOT sqlc.narg('is_active')::boolean THEN greatest(sessions_from, @updated_at::timestamptz) ELSE sessions_from END,
        full_name = coalesce(sqlc.narg('full_name')::text, full_name),
        email = CASE WHEN @set_email::boolean THEN sqlc.narg('email')::text ELSE email END,
        version = version + 1, updated_at = @updated_at::timestamptz
    WHERE id = @id AND (sqlc.narg('expected_version')::integer IS NULL OR version = sqlc.narg('expected_version'))
    RETURNING id
)
SELECT must_change(count(*)) FROM changed;

-- SetUserRoles gives a user exactly these roles; one that is not there is an error. New ones are by hand, so that no login takes them; what a team has given stays the team's to take.
-- name: SetUserRoles :exec
WITH wanted AS (
    SELECT id FROM role WHERE name = ANY (@roles::text[])
), gone AS (
    DELETE FROM user_role ur WHERE ur.user_id = @user_id AND ur.role_id NOT IN (SELECT w.id FROM wanted w)
), added AS (
    INSERT INTO user_role (user_id, role_id, granted_by, granted_at, created_at)
    SELECT @user_id, w.id, sqlc.narg('granted_by')::bigint, @granted_at, @granted_at FROM wanted w
    ON CONFLICT DO NOTHING
)
SELECT must_change(count(*), cardinality(@roles::text[])) FROM wanted;

-- TakeRole takes one role from a user; one that is not there is an error. How the user came by the others stays as it is.
-- name: TakeRole :exec
WITH gone AS (
    DELETE FROM user_role ur USING role r WHERE ur.user_id = @user_id AND r.id = ur.role_id AND r.name = @role RETURNING ur.user_id
), changed AS (
    UPDATE app_user u SET version = version + 1, updated_at = @taken_at::timestamptz FROM gone g WHERE u.id = g.user_id RETURNING u.id
)
SELECT must_change(count(*)) FROM changed;

-- LockRoles makes changes of who may manage users wait for each other.
-- name: LockRoles :exec
SELECT id FROM role ORDER BY id FOR NO KEY UPDATE;

-- LockUsers makes what gives users something wait for what takes it from them. It is a statement of its own: what is asked after it sees what was committed meanwhile.
-- name: LockUsers :exec
SELECT id FROM app_user WHERE id = ANY (@ids::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- MayStill fails unless a user is active and has these permissions, and the credential of the request is good: its token, where that is not 0, and its session by when it began, where that is known.
-- name: MayStill :exec
SELECT must_change(count(*)) FROM app_user u
WHERE u.id = @user_id AND u.is_active AND (sqlc.narg('session_began')::timestamptz IS NULL OR u.sessions_from IS NULL OR u.sessions_from <= sqlc.narg('session_began'))
  AND (@token_id::bigint = 0 OR EXISTS (
        SELECT FROM api_token t WHERE t.id = @token_id AND t.user_id = u.id AND t.is_active AND (t.expires_at IS NULL OR t.expires_at > now())))
  AND NOT EXISTS (
        SELECT unnest(@permissions::text[])
        EXCEPT
        SELECT p.name FROM user_role ur JOIN role_permission rp ON rp.role_id = ur.role_id JOIN permission p ON p.id = rp.permission_id WHERE ur.user_id = u.id);

-- MayGive fails when a user would get what is not among some permissions: by a role that they do not have, or by any when they are not active and let in. Without roles to be, they are those that the user has.
-- name: MayGive :exec
SELECT must_change(count(*), 0) FROM app_user u
JOIN role r ON CASE WHEN @set_roles::boolean THEN r.name = ANY (@roles::text[]) ELSE EXISTS (SELECT FROM user_role ur WHERE ur.user_id = u.id AND ur.role_id = r.id) END
JOIN role_permission rp ON rp.role_id = r.id
JOIN permission p ON p.id = rp.permission_id
WHERE u.id = @user_id AND p.name <> ALL (@own_permissions::text[])
  AND (@lets_in::boolean AND NOT u.is_active OR NOT EXISTS (SELECT FROM user_role ur WHERE ur.user_id = u.id AND ur.role_id = r.id));

-- MayLend fails unless a user is an active service account, and what it may do, as far as the scopes of a token leave that, is among some permissions.
-- name: MayLend :exec
SELECT must_change(count(*)) FROM app_user u
WHERE u.id = @user_id AND u.is_active AND u.is_service AND NOT EXISTS (
    SELECT FROM user_role ur JOIN role_permission rp ON rp.role_id = ur.role_id JOIN permission p ON p.id = rp.permission_id
    WHERE ur.user_id = u.id AND p.name <> ALL (@own_permissions::text[])
      AND (cardinality(@scopes::text[]) = 0 OR EXISTS (
            SELECT FROM unnest(@scopes::text[]) AS s (scope) WHERE s.scope = p.name OR right(s.scope, 2) = ':*' AND starts_with(p.name, left(s.scope, -1)))));

-- MayPermit fails when a role would get a permission that is not among some.
-- name: MayPermit :exec
SELECT must_change(count(*), 0) FROM permission p
WHERE p.name = ANY (@permissions::text[]) AND p.name <> ALL (@own_permissions::text[])
  AND NOT EXISTS (SELECT FROM role_permission rp WHERE rp.role_id = @role_id AND rp.permission_id = p.id);

-- KeepManager fails when nobody is left who may manage users.
-- name: KeepManager :exec
SELECT must_change(least(count(*), 1)) FROM app_user u
WHERE u.is_active AND EXISTS (
    SELECT FROM user_role ur JOIN role_permission rp ON rp.role_id = ur.role_id JOIN permission p ON p.id = rp.permission_id
    WHERE ur.user_id = u.id AND p.name = 'manage:users');

-- UpdateRole changes the description of a role, of one version where one is expected.
-- name: UpdateRole :exec
WITH changed AS (
    UPDATE role SET description = @description, version = version + 1, updated_at = @updated_at
    WHERE id = @id AND (sqlc.narg('expected_version')::integer IS NULL OR version = sqlc.narg('expected_version'))
    RETURNING id
)
SELECT must_change(count(*)) FROM changed;

-- SetRolePermissions gives a role exactly these permissions; one that is not there is an error.
-- name: SetRolePermissions :exec
WITH wanted AS (
    SELECT id FROM permission WHERE name = ANY (@permissions::text[])
), gone AS (
    DELETE FROM role_permission rp WHERE rp.role_id = @role_id AND rp.permission_id NOT IN (SELECT w.id FROM wanted w)
), added AS (
    INSERT INTO role_permission (role_id, permission_id, created_at)
    SELECT @role_id, w.id, @created_at FROM wanted w
    ON CONFLICT DO NOTHING
)
SELECT must_change(count(*), cardinality(@permissions::text[])) FROM wanted;

-- InsertToken stores the hash of a new API token with the id that was taken for it.
-- name: InsertToken :exec
INSERT INTO api_token (id, user_id, name, token_hash, prefix, scopes, expires_at, created_at, updated_at)
OVERRIDING SYSTEM VALUE VALUES (@id, @user_id, @name, @token_hash, @prefix, @scopes::text[], sqlc.narg('expires_at'), @created_at, @created_at);

-- EndToken ends an API token for good; one that has ended already is an error.
-- name: EndToken :exec
WITH changed AS (
    UPDATE api_token SET is_active = false, revoked_at = @revoked_at::timestamptz, updated_at = @revoked_at::timestamptz
    WHERE id = @id AND is_active
    RETURNING id
)
SELECT must_change(count(*)) FROM changed;

-- EndTokens ends all API tokens of a user for good.
-- A user may have none.
-- name: EndTokens :execrows
-- @sqlc-vet-disable writes-must-change
UPDATE api_token SET is_active = false, revoked_at = @revoked_at::timestamptz, updated_at = @revoked_at::timestamptz WHERE user_id = @user_id AND is_active;

-- SetPreferences stores a user's document whole, over one version where one is expected (0: none).
-- name: SetPreferences :exec
WITH changed AS (
    INSERT INTO user_preference AS p (user_id, preferences, version, created_at, updated_at)
    SELECT @user_id, @preferences, 1, @updated_at, @updated_at
    WHERE sqlc.narg('expected_version')::integer IS NULL OR sqlc.narg('expected_version') = 0
       OR EXISTS (SELECT FROM user_preference up WHERE up.user_id = @user_id)
    ON CONFLICT (user_id) DO UPDATE SET preferences = excluded.preferences, version = p.version + 1, updated_at = excluded.updated_at
    WHERE sqlc.narg('expected_version')::integer IS NULL OR p.version = sqlc.narg('expected_version')
    RETURNING user_id
)
SELECT must_change(count(*)) FROM changed;

-- InsertAuditEvent appends an event to the audit log; every column is the step's.
-- name: InsertAuditEvent :exec
INSERT INTO audit_event (id, at, site, user_id, token_id, action, table_name, row_id, detail, request_id, prev_hash, hash, created_at)
VALUES (@id, @at, @site, sqlc.narg('user_id'), sqlc.narg('token_id'), @action, @table_name, @row_id, @detail, @request_id, @prev_hash, @hash, @created_at);
