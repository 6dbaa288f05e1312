-- GetInstrument returns one row by its id.
-- name: GetInstrument :one
SELECT * FROM instrument WHERE id = @id;
