-- +goose Up
CREATE TABLE app_user (
    id bigint GENERATED ALWAYS AS IDENTITY,
    username text NOT NULL,
    github_id bigint,
    email text,
    full_name text NOT NULL DEFAULT '',
    avatar_url text NOT NULL DEFAULT '',
    is_active boolean NOT NULL DEFAULT true,
    is_service boolean NOT NULL DEFAULT false,
    last_login_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT app_user_pkey PRIMARY KEY (id),
    CONSTRAINT app_user_username_key UNIQUE (username),
    CONSTRAINT app_user_github_id_key UNIQUE (github_id),
    CONSTRAINT app_user_username_check CHECK (username ~ '^[A-Za-z0-9][A-Za-z0-9._-]*$' AND length(username) <= 100)
);
COMMENT ON TABLE app_user IS 'A person or a service account; the actor of its writes is user:<username>.';

CREATE TABLE role (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT role_pkey PRIMARY KEY (id),
    CONSTRAINT role_name_key UNIQUE (name),
    CONSTRAINT role_name_check CHECK (name ~ '^[a-z][a-z0-9_-]*$' AND length(name) <= 63)
);
COMMENT ON TABLE role IS 'A named set of permissions.';

CREATE TABLE permission (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT permission_pkey PRIMARY KEY (id),
    CONSTRAINT permission_name_key UNIQUE (name),
    CONSTRAINT permission_name_check CHECK (name ~ '^(read|write|manage|configure):[a-z]+$')
);
COMMENT ON TABLE permission IS 'One right, action:resource, as operations ask for it.';

CREATE TABLE user_role (
    user_id bigint NOT NULL,
    role_id bigint NOT NULL,
    granted_by bigint,
    granted_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT user_role_pkey PRIMARY KEY (user_id, role_id),
    CONSTRAINT user_role_user_id_fkey FOREIGN KEY (user_id) REFERENCES app_user (id) ON DELETE CASCADE,
    CONSTRAINT user_role_role_id_fkey FOREIGN KEY (role_id) REFERENCES role (id) ON DELETE CASCADE,
    CONSTRAINT user_role_granted_by_fkey FOREIGN KEY (granted_by) REFERENCES app_user (id) ON DELETE SET NULL
);
CREATE INDEX user_role_role_id_idx ON user_role (role_id);
CREATE INDEX user_role_granted_by_idx ON user_role (granted_by) WHERE granted_by IS NOT NULL;
COMMENT ON TABLE user_role IS 'Which roles a user has, and who granted them (null: the team mapping or the command line).';

CREATE TABLE role_permission (
    role_id bigint NOT NULL,
    permission_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT role_permission_pkey PRIMARY KEY (role_id, permission_id),
    CONSTRAINT role_permission_role_id_fkey FOREIGN KEY (role_id) REFERENCES role (id) ON DELETE CASCADE,
    CONSTRAINT role_permission_permission_id_fkey FOREIGN KEY (permission_id) REFERENCES permission (id) ON DELETE CASCADE
);
CREATE INDEX role_permission_permission_id_idx ON role_permission (permission_id);
COMMENT ON TABLE role_permission IS 'Which permissions a role gives.';

CREATE TABLE api_token (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    name text NOT NULL,
    token_hash char(64) NOT NULL,
    prefix varchar(16) NOT NULL,
    scopes text[] NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    expires_at timestamptz,
    last_used_at timestamptz,
    last_used_ip inet,
    usage_count bigint NOT NULL DEFAULT 0,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT api_token_pkey PRIMARY KEY (id),
    CONSTRAINT api_token_user_id_fkey FOREIGN KEY (user_id) REFERENCES app_user (id) ON DELETE CASCADE,
    CONSTRAINT api_token_token_hash_key UNIQUE (token_hash),
    CONSTRAINT api_token_token_hash_check CHECK (token_hash ~ '^[0-9a-f]{64}$'),
    CONSTRAINT api_token_name_check CHECK (length(name) BETWEEN 1 AND 255)
);
CREATE UNIQUE INDEX api_token_user_id_name_key ON api_token (user_id, name) WHERE is_active;
COMMENT ON TABLE api_token IS 'An API token: only the SHA-256 of its text is stored.';
COMMENT ON COLUMN api_token.prefix IS 'First random characters of the text, to recognise a token by.';
COMMENT ON COLUMN api_token.scopes IS 'Permissions the token is narrowed to; empty means all rights of its user.';

CREATE TABLE user_preference (
    user_id bigint NOT NULL,
    preferences jsonb NOT NULL DEFAULT '{}',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT user_preference_pkey PRIMARY KEY (user_id),
    CONSTRAINT user_preference_user_id_fkey FOREIGN KEY (user_id) REFERENCES app_user (id) ON DELETE CASCADE
);
COMMENT ON TABLE user_preference IS 'What a user set in the console, as one JSON document.';

CREATE TABLE session (
    id uuid NOT NULL,
    user_id bigint NOT NULL,
    site text NOT NULL,
    refresh_hash text NOT NULL,
    previous_hash text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    user_agent text NOT NULL DEFAULT '',
    CONSTRAINT session_pkey PRIMARY KEY (id),
    CONSTRAINT session_user_id_fkey FOREIGN KEY (user_id) REFERENCES app_user (id) ON DELETE CASCADE,
    CONSTRAINT session_refresh_hash_key UNIQUE (refresh_hash)
);
CREATE INDEX session_user_id_idx ON session (user_id);
COMMENT ON TABLE session IS 'A console session with its rotating refresh token.';
COMMENT ON COLUMN session.previous_hash IS 'The refresh token before the last rotation: its use means it was stolen.';

CREATE TABLE signing_key (
    kid text NOT NULL,
    site text NOT NULL,
    public_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    CONSTRAINT signing_key_pkey PRIMARY KEY (kid)
);
CREATE INDEX signing_key_site_idx ON signing_key (site);
COMMENT ON TABLE signing_key IS 'Public part of a site''s signing key; the private part never leaves the site.';
COMMENT ON COLUMN signing_key.public_key IS 'Ed25519 public key, base64url without padding (the x of a JWK).';

-- No foreign keys: an event of a cut-off site must be storable whatever became of the user meanwhile.
CREATE TABLE audit_event (
    id uuid NOT NULL,
    at timestamptz NOT NULL,
    site text NOT NULL,
    user_id bigint,
    token_id bigint,
    action text NOT NULL,
    table_name text NOT NULL,
    row_id text NOT NULL,
    detail jsonb NOT NULL,
    request_id text NOT NULL,
    prev_hash text NOT NULL,
    hash text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT audit_event_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_event_at_id_idx ON audit_event (at DESC, id DESC);
CREATE INDEX audit_event_site_at_idx ON audit_event (site, at DESC);
COMMENT ON TABLE audit_event IS 'Logins, tokens, roles and decisions of operators, one hash chain a site; append only.';

-- +goose Down
DROP TABLE audit_event;
DROP TABLE signing_key;
DROP TABLE session;
DROP TABLE user_preference;
DROP TABLE api_token;
DROP TABLE role_permission;
DROP TABLE user_role;
DROP TABLE permission;
DROP TABLE role;
DROP TABLE app_user;
