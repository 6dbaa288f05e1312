-- +goose Up
-- What takes a right away raises a counter, so that every process of a site can see that what it has verified may
-- no longer hold. Uses of a token and logins do not touch these columns.
INSERT INTO table_version (table_name) SELECT unnest(ARRAY['app_user', 'user_role', 'api_token']);

CREATE TRIGGER app_user_version AFTER UPDATE OF is_active OR DELETE OR TRUNCATE ON app_user FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER user_role_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON user_role FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER api_token_version AFTER UPDATE OF is_active OR DELETE OR TRUNCATE ON api_token FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();

-- +goose Down
DROP TRIGGER api_token_version ON api_token;
DROP TRIGGER user_role_version ON user_role;
DROP TRIGGER app_user_version ON app_user;
DELETE FROM table_version WHERE table_name IN ('app_user', 'user_role', 'api_token');
