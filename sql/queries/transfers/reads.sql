-- ListSites gives a page of sites, by name.
-- name: ListSites :many
SELECT t.* FROM site t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0)
  AND (sqlc.narg('is_main')::boolean IS NULL OR t.is_main = sqlc.narg('is_main'))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountSites counts the sites that the filters keep.
-- name: CountSites :one
SELECT count(*) FROM site t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0)
  AND (sqlc.narg('is_main')::boolean IS NULL OR t.is_main = sqlc.narg('is_main'));

-- ListDataLocations gives a page of data locations, by name.
-- name: ListDataLocations :many
SELECT t.* FROM data_location t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@site_id::bigint[] IS NULL OR t.site_id = ANY (@site_id::bigint[]))
  AND (@instrument_id::bigint[] IS NULL OR t.instrument_id = ANY (@instrument_id::bigint[]))
  AND (sqlc.narg('has_instrument_id')::boolean IS NULL OR (t.instrument_id IS NOT NULL) = sqlc.narg('has_instrument_id'))
  AND (sqlc.arg(location_type)::text[]::location_type[] IS NULL OR t.location_type = ANY (sqlc.arg(location_type)::text[]::location_type[]))
  AND (sqlc.arg(storage_type)::text[]::storage_type[] IS NULL OR t.storage_type = ANY (sqlc.arg(storage_type)::text[]::storage_type[]))
  AND (@priority::bigint[] IS NULL OR t.priority = ANY (@priority::bigint[]))
  AND (sqlc.narg('priority_min')::bigint IS NULL OR t.priority >= sqlc.narg('priority_min'))
  AND (sqlc.narg('priority_max')::bigint IS NULL OR t.priority <= sqlc.narg('priority_max'))
  AND (sqlc.narg('active')::boolean IS NULL OR t.active = sqlc.narg('active'))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountDataLocations counts the data locations that the filters keep.
-- name: CountDataLocations :one
SELECT count(*) FROM data_location t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@site_id::bigint[] IS NULL OR t.site_id = ANY (@site_id::bigint[]))
  AND (@instrument_id::bigint[] IS NULL OR t.instrument_id = ANY (@instrument_id::bigint[]))
  AND (sqlc.narg('has_instrument_id')::boolean IS NULL OR (t.instrument_id IS NOT NULL) = sqlc.narg('has_instrument_id'))
  AND (sqlc.arg(location_type)::text[]::location_type[] IS NULL OR t.location_type = ANY (sqlc.arg(location_type)::text[]::location_type[]))
  AND (sqlc.arg(storage_type)::text[]::storage_type[] IS NULL OR t.storage_type = ANY (sqlc.arg(storage_type)::text[]::storage_type[]))
  AND (@priority::bigint[] IS NULL OR t.priority = ANY (@priority::bigint[]))
  AND (sqlc.narg('priority_min')::bigint IS NULL OR t.priority >= sqlc.narg('priority_min'))
  AND (sqlc.narg('priority_max')::bigint IS NULL OR t.priority <= sqlc.narg('priority_max'))
  AND (sqlc.narg('active')::boolean IS NULL OR t.active = sqlc.narg('active'));

-- ListDataTransferRoutes gives a page of routes, by name.
-- name: ListDataTransferRoutes :many
SELECT t.* FROM data_transfer_route t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.arg(route_type)::text[]::route_type[] IS NULL OR t.route_type = ANY (sqlc.arg(route_type)::text[]::route_type[]))
  AND (@method::text[] IS NULL OR t.method = ANY (@method::text[]))
  AND (@origin_site_id::bigint[] IS NULL OR t.origin_site_id = ANY (@origin_site_id::bigint[]))
  AND (@destination_site_id::bigint[] IS NULL OR t.destination_site_id = ANY (@destination_site_id::bigint[]))
  AND (@relay_site_id::bigint[] IS NULL OR t.relay_site_id = ANY (@relay_site_id::bigint[]))
  AND (@priority::bigint[] IS NULL OR t.priority = ANY (@priority::bigint[]))
  AND (sqlc.narg('priority_min')::bigint IS NULL OR t.priority >= sqlc.narg('priority_min'))
  AND (sqlc.narg('priority_max')::bigint IS NULL OR t.priority <= sqlc.narg('priority_max'))
  AND (sqlc.narg('active')::boolean IS NULL OR t.active = sqlc.narg('active'))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountDataTransferRoutes counts the routes that the filters keep.
-- name: CountDataTransferRoutes :one
SELECT count(*) FROM data_transfer_route t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.arg(route_type)::text[]::route_type[] IS NULL OR t.route_type = ANY (sqlc.arg(route_type)::text[]::route_type[]))
  AND (@method::text[] IS NULL OR t.method = ANY (@method::text[]))
  AND (@origin_site_id::bigint[] IS NULL OR t.origin_site_id = ANY (@origin_site_id::bigint[]))
  AND (@destination_site_id::bigint[] IS NULL OR t.destination_site_id = ANY (@destination_site_id::bigint[]))
  AND (@relay_site_id::bigint[] IS NULL OR t.relay_site_id = ANY (@relay_site_id::bigint[]))
  AND (@priority::bigint[] IS NULL OR t.priority = ANY (@priority::bigint[]))
  AND (sqlc.narg('priority_min')::bigint IS NULL OR t.priority >= sqlc.narg('priority_min'))
  AND (sqlc.narg('priority_max')::bigint IS NULL OR t.priority <= sqlc.narg('priority_max'))
  AND (sqlc.narg('active')::boolean IS NULL OR t.active = sqlc.narg('active'));

-- GetSiteID finds a site by the short name that its processes are configured with.
-- name: GetSiteID :one
SELECT id FROM site WHERE short_name = @short_name;

-- GetMainSite returns the main site, of which there is one at most.
-- name: GetMainSite :one
SELECT id, short_name FROM site WHERE is_main;
