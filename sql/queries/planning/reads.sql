-- GetObsUnit returns one row by its id.
-- name: GetObsUnit :one
SELECT * FROM obs_unit WHERE id = @id;
