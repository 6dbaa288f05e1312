-- +goose Up
ALTER TABLE user_role ADD COLUMN from_team boolean NOT NULL DEFAULT false;
COMMENT ON TABLE user_role IS 'Which roles a user has, and who granted them (null: the team mapping or the command line).';
COMMENT ON COLUMN user_role.from_team IS 'The mapping of GitHub teams gave it: each login decides anew. Granted by hand it stays.';

-- +goose Down
ALTER TABLE user_role DROP COLUMN from_team;
