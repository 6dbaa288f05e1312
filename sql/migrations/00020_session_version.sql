-- +goose Up
-- A session of the main site that ends raises a counter, as what takes a right away does (00017). Renewing one does not.
INSERT INTO table_version (table_name) VALUES ('session');

CREATE TRIGGER session_version AFTER UPDATE OF revoked_at OR DELETE OR TRUNCATE ON session FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();

-- +goose Down
DROP TRIGGER session_version ON session;
DELETE FROM table_version WHERE table_name = 'session';
