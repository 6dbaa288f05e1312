-- GetSite returns one row by its id.
-- name: GetSite :one
SELECT * FROM site WHERE id = @id;
