-- ListObservatories gives a page of observatories, by name.
-- name: ListObservatories :many
SELECT t.* FROM observatory t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0)
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountObservatories counts the observatories that the filters keep.
-- name: CountObservatories :one
SELECT count(*) FROM observatory t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0);

-- ListTelescopes gives a page of telescopes, by name.
-- name: ListTelescopes :many
SELECT t.* FROM telescope t
WHERE (@observatory_id::bigint[] IS NULL OR t.observatory_id = ANY (@observatory_id::bigint[]))
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0)
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountTelescopes counts the telescopes that the filters keep.
-- name: CountTelescopes :one
SELECT count(*) FROM telescope t
WHERE (@observatory_id::bigint[] IS NULL OR t.observatory_id = ANY (@observatory_id::bigint[]))
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0);

-- ListInstruments gives a page of instruments, by name.
-- name: ListInstruments :many
SELECT t.* FROM instrument t
WHERE (@telescope_id::bigint[] IS NULL OR t.telescope_id = ANY (@telescope_id::bigint[]))
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.arg(kind)::text[]::instrument_kind[] IS NULL OR t.kind = ANY (sqlc.arg(kind)::text[]::instrument_kind[]))
  AND (sqlc.narg('available')::boolean IS NULL OR t.available = sqlc.narg('available'))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountInstruments counts the instruments that the filters keep.
-- name: CountInstruments :one
SELECT count(*) FROM instrument t
WHERE (@telescope_id::bigint[] IS NULL OR t.telescope_id = ANY (@telescope_id::bigint[]))
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.arg(kind)::text[]::instrument_kind[] IS NULL OR t.kind = ANY (sqlc.arg(kind)::text[]::instrument_kind[]))
  AND (sqlc.narg('available')::boolean IS NULL OR t.available = sqlc.narg('available'));

-- GetInstrument returns one of the instruments.
-- name: GetInstrument :one
SELECT * FROM instrument WHERE id = @id;

-- ListInstrumentModules gives a page of modules of an instrument, by name.
-- name: ListInstrumentModules :many
SELECT t.* FROM instrument_module t
WHERE t.instrument_id = @instrument_id
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.narg('available')::boolean IS NULL OR t.available = sqlc.narg('available'))
  AND (@pixel_count::bigint[] IS NULL OR t.pixel_count = ANY (@pixel_count::bigint[]))
  AND (sqlc.narg('pixel_count_min')::bigint IS NULL OR t.pixel_count >= sqlc.narg('pixel_count_min'))
  AND (sqlc.narg('pixel_count_max')::bigint IS NULL OR t.pixel_count <= sqlc.narg('pixel_count_max'))
  AND (sqlc.narg('frequency_min_ghz_min')::double precision IS NULL OR t.frequency_min_ghz >= sqlc.narg('frequency_min_ghz_min'))
  AND (sqlc.narg('frequency_min_ghz_max')::double precision IS NULL OR t.frequency_min_ghz <= sqlc.narg('frequency_min_ghz_max'))
  AND (sqlc.narg('frequency_max_ghz_min')::double precision IS NULL OR t.frequency_max_ghz >= sqlc.narg('frequency_max_ghz_min'))
  AND (sqlc.narg('frequency_max_ghz_max')::double precision IS NULL OR t.frequency_max_ghz <= sqlc.narg('frequency_max_ghz_max'))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountInstrumentModules counts the modules of an instrument that the filters keep.
-- name: CountInstrumentModules :one
SELECT count(*) FROM instrument_module t
WHERE t.instrument_id = @instrument_id
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.narg('available')::boolean IS NULL OR t.available = sqlc.narg('available'))
  AND (@pixel_count::bigint[] IS NULL OR t.pixel_count = ANY (@pixel_count::bigint[]))
  AND (sqlc.narg('pixel_count_min')::bigint IS NULL OR t.pixel_count >= sqlc.narg('pixel_count_min'))
  AND (sqlc.narg('pixel_count_max')::bigint IS NULL OR t.pixel_count <= sqlc.narg('pixel_count_max'))
  AND (sqlc.narg('frequency_min_ghz_min')::double precision IS NULL OR t.frequency_min_ghz >= sqlc.narg('frequency_min_ghz_min'))
  AND (sqlc.narg('frequency_min_ghz_max')::double precision IS NULL OR t.frequency_min_ghz <= sqlc.narg('frequency_min_ghz_max'))
  AND (sqlc.narg('frequency_max_ghz_min')::double precision IS NULL OR t.frequency_max_ghz >= sqlc.narg('frequency_max_ghz_min'))
  AND (sqlc.narg('frequency_max_ghz_max')::double precision IS NULL OR t.frequency_max_ghz <= sqlc.narg('frequency_max_ghz_max'));

-- GetInstrumentModule returns one of the modules of an instrument.
-- name: GetInstrumentModule :one
SELECT * FROM instrument_module WHERE id = @id;

-- ListInstrumentModuleConfigurations gives a page of configurations of an instrument module, by name.
-- name: ListInstrumentModuleConfigurations :many
SELECT t.* FROM instrument_module_configuration t
WHERE t.instrument_module_id = @instrument_module_id
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@line_id::bigint[] IS NULL OR t.line_id = ANY (@line_id::bigint[]))
  AND (sqlc.narg('has_line_id')::boolean IS NULL OR (t.line_id IS NOT NULL) = sqlc.narg('has_line_id'))
  AND (sqlc.narg('available')::boolean IS NULL OR t.available = sqlc.narg('available'))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountInstrumentModuleConfigurations counts the configurations of an instrument module that the filters keep.
-- name: CountInstrumentModuleConfigurations :one
SELECT count(*) FROM instrument_module_configuration t
WHERE t.instrument_module_id = @instrument_module_id
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@line_id::bigint[] IS NULL OR t.line_id = ANY (@line_id::bigint[]))
  AND (sqlc.narg('has_line_id')::boolean IS NULL OR (t.line_id IS NOT NULL) = sqlc.narg('has_line_id'))
  AND (sqlc.narg('available')::boolean IS NULL OR t.available = sqlc.narg('available'));

-- ListSpectralLines gives a page of spectral lines, by name.
-- name: ListSpectralLines :many
SELECT t.* FROM spectral_line t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@species::text[] IS NULL OR t.species = ANY (@species::text[]))
  AND (sqlc.narg('species_contains')::text IS NULL OR position(lower(sqlc.narg('species_contains')) IN lower(t.species)) > 0)
  AND (sqlc.narg('rest_frequency_ghz_min')::double precision IS NULL OR t.rest_frequency_ghz >= sqlc.narg('rest_frequency_ghz_min'))
  AND (sqlc.narg('rest_frequency_ghz_max')::double precision IS NULL OR t.rest_frequency_ghz <= sqlc.narg('rest_frequency_ghz_max'))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountSpectralLines counts the spectral lines that the filters keep.
-- name: CountSpectralLines :one
SELECT count(*) FROM spectral_line t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@species::text[] IS NULL OR t.species = ANY (@species::text[]))
  AND (sqlc.narg('species_contains')::text IS NULL OR position(lower(sqlc.narg('species_contains')) IN lower(t.species)) > 0)
  AND (sqlc.narg('rest_frequency_ghz_min')::double precision IS NULL OR t.rest_frequency_ghz >= sqlc.narg('rest_frequency_ghz_min'))
  AND (sqlc.narg('rest_frequency_ghz_max')::double precision IS NULL OR t.rest_frequency_ghz <= sqlc.narg('rest_frequency_ghz_max'));
