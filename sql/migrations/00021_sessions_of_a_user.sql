-- +goose Up
-- Sessions of before have no family: of their refresh tokens only the one before the last is known as used.
ALTER TABLE session ADD COLUMN family_hash text NOT NULL DEFAULT '';
COMMENT ON COLUMN session.family_hash IS 'Of what all refresh tokens of the session have in common: any but the newest was used before.';

-- Each site keeps its own sessions; this ends those of a user at all of them.
ALTER TABLE app_user ADD COLUMN sessions_from timestamptz;
COMMENT ON COLUMN app_user.sessions_from IS 'Sessions that began earlier have ended, at every site.';

-- The counters of 00017 and 00020 rise by row, so that a statement that takes nothing away, as each login has one, makes no
-- process look everything up again. What the sites verify shall go by real changes.
DROP TRIGGER app_user_version ON app_user;
CREATE TRIGGER app_user_version AFTER UPDATE ON app_user FOR EACH ROW
    WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active OR OLD.sessions_from IS DISTINCT FROM NEW.sessions_from) EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER app_user_gone AFTER DELETE ON app_user FOR EACH ROW EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER app_user_emptied AFTER TRUNCATE ON app_user FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();

DROP TRIGGER user_role_version ON user_role;
CREATE TRIGGER user_role_version AFTER INSERT OR UPDATE OF user_id, role_id OR DELETE ON user_role FOR EACH ROW EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER user_role_emptied AFTER TRUNCATE ON user_role FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();

DROP TRIGGER api_token_version ON api_token;
CREATE TRIGGER api_token_version AFTER UPDATE ON api_token FOR EACH ROW WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active) EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER api_token_gone AFTER DELETE ON api_token FOR EACH ROW EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER api_token_emptied AFTER TRUNCATE ON api_token FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();

DROP TRIGGER session_version ON session;
CREATE TRIGGER session_version AFTER UPDATE ON session FOR EACH ROW WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at) EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER session_gone AFTER DELETE ON session FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND OLD.expires_at > now()) EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER session_emptied AFTER TRUNCATE ON session FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();

-- +goose Down
DROP TRIGGER session_emptied ON session;
DROP TRIGGER session_gone ON session;
DROP TRIGGER session_version ON session;
CREATE TRIGGER session_version AFTER UPDATE OF revoked_at OR DELETE OR TRUNCATE ON session FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
DROP TRIGGER api_token_emptied ON api_token;
DROP TRIGGER api_token_gone ON api_token;
DROP TRIGGER api_token_version ON api_token;
CREATE TRIGGER api_token_version AFTER UPDATE OF is_active OR DELETE OR TRUNCATE ON api_token FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
DROP TRIGGER user_role_emptied ON user_role;
DROP TRIGGER user_role_version ON user_role;
CREATE TRIGGER user_role_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON user_role FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
DROP TRIGGER app_user_emptied ON app_user;
DROP TRIGGER app_user_gone ON app_user;
DROP TRIGGER app_user_version ON app_user;
CREATE TRIGGER app_user_version AFTER UPDATE OF is_active OR DELETE OR TRUNCATE ON app_user FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
ALTER TABLE app_user DROP COLUMN sessions_from;
ALTER TABLE session DROP COLUMN family_hash;
