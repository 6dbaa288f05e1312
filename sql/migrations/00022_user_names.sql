-- +goose Up
-- GitHub tells no two names apart by their letters' case, and neither do people: Vera and vera are one user.
-- Where two users differ by case alone, this stops with their name: deactivate one and rename it by hand before.
CREATE UNIQUE INDEX app_user_name_key ON app_user (lower(username));

-- +goose Down
DROP INDEX app_user_name_key;
