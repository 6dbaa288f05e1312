-- ListSources gives a page of sources, by name.
-- A cone (ra, dec, radius_deg) finds fixed sources by their position, first in a band of declination and then by the distance on the
-- sphere, and survey areas by their centre; bodies of the solar system have no place of their own and are in no cone.
-- name: ListSources :many
SELECT t.* FROM source t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.arg(kind)::text[]::source_kind[] IS NULL OR t.kind = ANY (sqlc.arg(kind)::text[]::source_kind[]))
  AND (@body_name::text[] IS NULL OR t.body_name = ANY (@body_name::text[]))
  AND (sqlc.narg('ra_deg_min')::double precision IS NULL OR t.ra_deg >= sqlc.narg('ra_deg_min'))
  AND (sqlc.narg('ra_deg_max')::double precision IS NULL OR t.ra_deg <= sqlc.narg('ra_deg_max'))
  AND (sqlc.narg('dec_deg_min')::double precision IS NULL OR t.dec_deg >= sqlc.narg('dec_deg_min'))
  AND (sqlc.narg('dec_deg_max')::double precision IS NULL OR t.dec_deg <= sqlc.narg('dec_deg_max'))
  AND (sqlc.narg('v_lsr_km_s_min')::double precision IS NULL OR t.v_lsr_km_s >= sqlc.narg('v_lsr_km_s_min'))
  AND (sqlc.narg('v_lsr_km_s_max')::double precision IS NULL OR t.v_lsr_km_s <= sqlc.narg('v_lsr_km_s_max'))
  AND (sqlc.narg('has_v_lsr_km_s')::boolean IS NULL OR (t.v_lsr_km_s IS NOT NULL) = sqlc.narg('has_v_lsr_km_s'))
  AND (sqlc.narg('radius_deg')::double precision IS NULL
       OR (t.kind = 'constant_elevation' OR t.dec_deg BETWEEN sqlc.narg('dec')::double precision - sqlc.narg('radius_deg') AND sqlc.narg('dec') + sqlc.narg('radius_deg'))
      AND 2 * asin(least(1, sqrt(
              power(sin(radians(coalesce(t.dec_deg, (t.area_dec_min_deg + t.area_dec_max_deg) / 2) - sqlc.narg('dec')) / 2), 2)
              + cos(radians(coalesce(t.dec_deg, (t.area_dec_min_deg + t.area_dec_max_deg) / 2))) * cos(radians(sqlc.narg('dec')))
                * power(sin(radians(coalesce(t.ra_deg, (t.area_ra_min_deg + t.area_ra_max_deg + CASE WHEN t.area_ra_min_deg > t.area_ra_max_deg THEN 360 ELSE 0 END) / 2) - sqlc.narg('ra')::double precision) / 2), 2)
          ))) <= radians(sqlc.narg('radius_deg')))
  AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')) IN lower(concat_ws(chr(10), t.name, array_to_string(t.aliases, chr(10))))) > 0)
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountSources counts the sources that the filters keep.
-- name: CountSources :one
SELECT count(*) FROM source t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (sqlc.arg(kind)::text[]::source_kind[] IS NULL OR t.kind = ANY (sqlc.arg(kind)::text[]::source_kind[]))
  AND (@body_name::text[] IS NULL OR t.body_name = ANY (@body_name::text[]))
  AND (sqlc.narg('ra_deg_min')::double precision IS NULL OR t.ra_deg >= sqlc.narg('ra_deg_min'))
  AND (sqlc.narg('ra_deg_max')::double precision IS NULL OR t.ra_deg <= sqlc.narg('ra_deg_max'))
  AND (sqlc.narg('dec_deg_min')::double precision IS NULL OR t.dec_deg >= sqlc.narg('dec_deg_min'))
  AND (sqlc.narg('dec_deg_max')::double precision IS NULL OR t.dec_deg <= sqlc.narg('dec_deg_max'))
  AND (sqlc.narg('v_lsr_km_s_min')::double precision IS NULL OR t.v_lsr_km_s >= sqlc.narg('v_lsr_km_s_min'))
  AND (sqlc.narg('v_lsr_km_s_max')::double precision IS NULL OR t.v_lsr_km_s <= sqlc.narg('v_lsr_km_s_max'))
  AND (sqlc.narg('has_v_lsr_km_s')::boolean IS NULL OR (t.v_lsr_km_s IS NOT NULL) = sqlc.narg('has_v_lsr_km_s'))
  AND (sqlc.narg('radius_deg')::double precision IS NULL
       OR (t.kind = 'constant_elevation' OR t.dec_deg BETWEEN sqlc.narg('dec')::double precision - sqlc.narg('radius_deg') AND sqlc.narg('dec') + sqlc.narg('radius_deg'))
      AND 2 * asin(least(1, sqrt(
              power(sin(radians(coalesce(t.dec_deg, (t.area_dec_min_deg + t.area_dec_max_deg) / 2) - sqlc.narg('dec')) / 2), 2)
              + cos(radians(coalesce(t.dec_deg, (t.area_dec_min_deg + t.area_dec_max_deg) / 2))) * cos(radians(sqlc.narg('dec')))
                * power(sin(radians(coalesce(t.ra_deg, (t.area_ra_min_deg + t.area_ra_max_deg + CASE WHEN t.area_ra_min_deg > t.area_ra_max_deg THEN 360 ELSE 0 END) / 2) - sqlc.narg('ra')::double precision) / 2), 2)
          ))) <= radians(sqlc.narg('radius_deg')))
  AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')) IN lower(concat_ws(chr(10), t.name, array_to_string(t.aliases, chr(10))))) > 0);

-- GetSource returns one of the sources.
-- name: GetSource :one
SELECT * FROM source WHERE id = @id;

-- ListObsModes gives a page of modes of observing, by name.
-- name: ListObsModes :many
SELECT t.* FROM obs_mode t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@pattern::text[] IS NULL OR t.pattern = ANY (@pattern::text[]))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountObsModes counts the modes of observing that the filters keep.
-- name: CountObsModes :one
SELECT count(*) FROM obs_mode t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@pattern::text[] IS NULL OR t.pattern = ANY (@pattern::text[]));

-- ListObservationConfigurations gives a page of observation configurations, by name.
-- name: ListObservationConfigurations :many
SELECT t.* FROM observation_configuration t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@instrument_id::bigint[] IS NULL OR t.instrument_id = ANY (@instrument_id::bigint[]))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountObservationConfigurations counts the observation configurations that the filters keep.
-- name: CountObservationConfigurations :one
SELECT count(*) FROM observation_configuration t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@instrument_id::bigint[] IS NULL OR t.instrument_id = ANY (@instrument_id::bigint[]));

-- GetObservationConfiguration returns one of the observation configurations.
-- name: GetObservationConfiguration :one
SELECT * FROM observation_configuration WHERE id = @id;

-- ListObservingPrograms gives a page of programmes, by name.
-- name: ListObservingPrograms :many
SELECT t.* FROM observing_program t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0)
  AND (@kind::text[] IS NULL OR t.kind = ANY (@kind::text[]))
  AND (@instrument_id::bigint[] IS NULL OR t.instrument_id = ANY (@instrument_id::bigint[]))
  AND (sqlc.narg('has_instrument_id')::boolean IS NULL OR (t.instrument_id IS NOT NULL) = sqlc.narg('has_instrument_id'))
  AND (sqlc.narg('allocated_hours_min')::double precision IS NULL OR t.allocated_hours >= sqlc.narg('allocated_hours_min'))
  AND (sqlc.narg('allocated_hours_max')::double precision IS NULL OR t.allocated_hours <= sqlc.narg('allocated_hours_max'))
  AND (sqlc.narg('has_allocated_hours')::boolean IS NULL OR (t.allocated_hours IS NOT NULL) = sqlc.narg('has_allocated_hours'))
  AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')) IN lower(concat_ws(chr(10), t.name, t.short_name, t.lead, t.description))) > 0)
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountObservingPrograms counts the programmes that the filters keep.
-- name: CountObservingPrograms :one
SELECT count(*) FROM observing_program t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0)
  AND (@kind::text[] IS NULL OR t.kind = ANY (@kind::text[]))
  AND (@instrument_id::bigint[] IS NULL OR t.instrument_id = ANY (@instrument_id::bigint[]))
  AND (sqlc.narg('has_instrument_id')::boolean IS NULL OR (t.instrument_id IS NOT NULL) = sqlc.narg('has_instrument_id'))
  AND (sqlc.narg('allocated_hours_min')::double precision IS NULL OR t.allocated_hours >= sqlc.narg('allocated_hours_min'))
  AND (sqlc.narg('allocated_hours_max')::double precision IS NULL OR t.allocated_hours <= sqlc.narg('allocated_hours_max'))
  AND (sqlc.narg('has_allocated_hours')::boolean IS NULL OR (t.allocated_hours IS NOT NULL) = sqlc.narg('has_allocated_hours'))
  AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')) IN lower(concat_ws(chr(10), t.name, t.short_name, t.lead, t.description))) > 0);

-- GetObservingProgram returns one programme by its id, or by its short name.
-- name: GetObservingProgram :one
SELECT * FROM observing_program
WHERE id = sqlc.narg('id')::bigint OR short_name = sqlc.narg('short_name')::text;

-- ListSubObservingPrograms gives a page of parts of a programme, by name.
-- name: ListSubObservingPrograms :many
SELECT t.* FROM sub_observing_program t
WHERE t.observing_program_id = @observing_program_id
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0)
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountSubObservingPrograms counts the parts of a programme that the filters keep.
-- name: CountSubObservingPrograms :one
SELECT count(*) FROM sub_observing_program t
WHERE t.observing_program_id = @observing_program_id
  AND (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@short_name::text[] IS NULL OR t.short_name = ANY (@short_name::text[]))
  AND (sqlc.narg('short_name_contains')::text IS NULL OR position(lower(sqlc.narg('short_name_contains')) IN lower(t.short_name)) > 0);

-- ListObsUnits gives a page of obs units, by name.
-- name: ListObsUnits :many
SELECT t.* FROM obs_unit t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@observing_program_id::bigint[] IS NULL OR t.observing_program_id = ANY (@observing_program_id::bigint[]))
  AND (@sub_observing_program_id::bigint[] IS NULL OR t.sub_observing_program_id = ANY (@sub_observing_program_id::bigint[]))
  AND (sqlc.narg('has_sub_observing_program_id')::boolean IS NULL OR (t.sub_observing_program_id IS NOT NULL) = sqlc.narg('has_sub_observing_program_id'))
  AND (@source_id::bigint[] IS NULL OR t.source_id = ANY (@source_id::bigint[]))
  AND (@obs_mode_id::bigint[] IS NULL OR t.obs_mode_id = ANY (@obs_mode_id::bigint[]))
  AND (@observation_configuration_id::bigint[] IS NULL OR t.observation_configuration_id = ANY (@observation_configuration_id::bigint[]))
  AND (sqlc.narg('has_observation_configuration_id')::boolean IS NULL OR (t.observation_configuration_id IS NOT NULL) = sqlc.narg('has_observation_configuration_id'))
  AND (@instrument_id::bigint[] IS NULL OR t.instrument_id = ANY (@instrument_id::bigint[]))
  AND (@line_id::bigint[] IS NULL OR t.line_id = ANY (@line_id::bigint[]))
  AND (sqlc.narg('has_line_id')::boolean IS NULL OR (t.line_id IS NOT NULL) = sqlc.narg('has_line_id'))
  AND (@priority::bigint[] IS NULL OR t.priority = ANY (@priority::bigint[]))
  AND (sqlc.narg('priority_min')::bigint IS NULL OR t.priority >= sqlc.narg('priority_min'))
  AND (sqlc.narg('priority_max')::bigint IS NULL OR t.priority <= sqlc.narg('priority_max'))
  AND (sqlc.narg('requested_seconds_min')::double precision IS NULL OR t.requested_seconds >= sqlc.narg('requested_seconds_min'))
  AND (sqlc.narg('requested_seconds_max')::double precision IS NULL OR t.requested_seconds <= sqlc.narg('requested_seconds_max'))
  AND (sqlc.narg('max_pwv_mm_min')::double precision IS NULL OR t.max_pwv_mm >= sqlc.narg('max_pwv_mm_min'))
  AND (sqlc.narg('max_pwv_mm_max')::double precision IS NULL OR t.max_pwv_mm <= sqlc.narg('max_pwv_mm_max'))
  AND (sqlc.narg('has_max_pwv_mm')::boolean IS NULL OR (t.max_pwv_mm IS NOT NULL) = sqlc.narg('has_max_pwv_mm'))
  AND (sqlc.narg('available')::boolean IS NULL OR t.available = sqlc.narg('available'))
  AND (sqlc.narg('q')::text IS NULL OR EXISTS (
      SELECT FROM observing_program g, source s
      WHERE g.id = t.observing_program_id AND s.id = t.source_id
        AND position(lower(sqlc.narg('q')) IN lower(concat_ws(chr(10), t.name, t.description, g.name, g.short_name, s.name, array_to_string(s.aliases, chr(10))))) > 0))
  AND (sqlc.narg('after_name')::text IS NULL OR (t.name, t.id) > (sqlc.narg('after_name')::text, sqlc.narg('after_id')::bigint))
ORDER BY t.name, t.id LIMIT @page_size;

-- CountObsUnits counts the obs units that the filters keep.
-- name: CountObsUnits :one
SELECT count(*) FROM obs_unit t
WHERE (@name::text[] IS NULL OR t.name = ANY (@name::text[]))
  AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')) IN lower(t.name)) > 0)
  AND (@observing_program_id::bigint[] IS NULL OR t.observing_program_id = ANY (@observing_program_id::bigint[]))
  AND (@sub_observing_program_id::bigint[] IS NULL OR t.sub_observing_program_id = ANY (@sub_observing_program_id::bigint[]))
  AND (sqlc.narg('has_sub_observing_program_id')::boolean IS NULL OR (t.sub_observing_program_id IS NOT NULL) = sqlc.narg('has_sub_observing_program_id'))
  AND (@source_id::bigint[] IS NULL OR t.source_id = ANY (@source_id::bigint[]))
  AND (@obs_mode_id::bigint[] IS NULL OR t.obs_mode_id = ANY (@obs_mode_id::bigint[]))
  AND (@observation_configuration_id::bigint[] IS NULL OR t.observation_configuration_id = ANY (@observation_configuration_id::bigint[]))
  AND (sqlc.narg('has_observation_configuration_id')::boolean IS NULL OR (t.observation_configuration_id IS NOT NULL) = sqlc.narg('has_observation_configuration_id'))
  AND (@instrument_id::bigint[] IS NULL OR t.instrument_id = ANY (@instrument_id::bigint[]))
  AND (@line_id::bigint[] IS NULL OR t.line_id = ANY (@line_id::bigint[]))
  AND (sqlc.narg('has_line_id')::boolean IS NULL OR (t.line_id IS NOT NULL) = sqlc.narg('has_line_id'))
  AND (@priority::bigint[] IS NULL OR t.priority = ANY (@priority::bigint[]))
  AND (sqlc.narg('priority_min')::bigint IS NULL OR t.priority >= sqlc.narg('priority_min'))
  AND (sqlc.narg('priority_max')::bigint IS NULL OR t.priority <= sqlc.narg('priority_max'))
  AND (sqlc.narg('requested_seconds_min')::double precision IS NULL OR t.requested_seconds >= sqlc.narg('requested_seconds_min'))
  AND (sqlc.narg('requested_seconds_max')::double precision IS NULL OR t.requested_seconds <= sqlc.narg('requested_seconds_max'))
  AND (sqlc.narg('max_pwv_mm_min')::double precision IS NULL OR t.max_pwv_mm >= sqlc.narg('max_pwv_mm_min'))
  AND (sqlc.narg('max_pwv_mm_max')::double precision IS NULL OR t.max_pwv_mm <= sqlc.narg('max_pwv_mm_max'))
  AND (sqlc.narg('has_max_pwv_mm')::boolean IS NULL OR (t.max_pwv_mm IS NOT NULL) = sqlc.narg('has_max_pwv_mm'))
  AND (sqlc.narg('available')::boolean IS NULL OR t.available = sqlc.narg('available'))
  AND (sqlc.narg('q')::text IS NULL OR EXISTS (
      SELECT FROM observing_program g, source s
      WHERE g.id = t.observing_program_id AND s.id = t.source_id
        AND position(lower(sqlc.narg('q')) IN lower(concat_ws(chr(10), t.name, t.description, g.name, g.short_name, s.name, array_to_string(s.aliases, chr(10))))) > 0));

-- GetObsUnit returns one of the obs units.
-- name: GetObsUnit :one
SELECT * FROM obs_unit WHERE id = @id;

-- ListObsUnitModuleConfigurations returns the ids of the module configurations that some obs units are observed with.
-- name: ListObsUnitModuleConfigurations :many
SELECT obs_unit_id, instrument_module_configuration_id
FROM obs_unit_module_configuration
WHERE obs_unit_id = ANY (@obs_unit_ids::bigint[])
ORDER BY obs_unit_id, instrument_module_configuration_id;

-- ListObsUnitAzimuthRanges returns the azimuth tables of some obs units, in the order in which they were given.
-- name: ListObsUnitAzimuthRanges :many
SELECT id, obs_unit_id, elevation_deg, azimuth_min_deg, azimuth_max_deg, duration_seconds, rising, label
FROM obs_unit_azimuth_range
WHERE obs_unit_id = ANY (@obs_unit_ids::bigint[])
ORDER BY obs_unit_id, id;

-- ListObsUnitSlots returns the slots of some obs units, earliest first.
-- name: ListObsUnitSlots :many
SELECT id, obs_unit_id, azimuth_range_id, start_time, end_time
FROM pre_scheduled_slot
WHERE obs_unit_id = ANY (@obs_unit_ids::bigint[])
ORDER BY obs_unit_id, start_time, id;

-- GetProgramProgress returns what a programme asks for and what was observed of it, the pending executions included.
-- Only completed executions count as executed time.
-- name: GetProgramProgress :one
SELECT
    (SELECT coalesce(sum(u.requested_seconds), 0) / 3600 FROM obs_unit u WHERE u.observing_program_id = @observing_program_id)::double precision AS requested_hours,
    (coalesce(sum(extract(epoch FROM e.end_time - e.start_time)) FILTER (WHERE e.status = 'completed'), 0) / 3600)::double precision AS executed_hours,
    (SELECT count(*) FROM obs_unit u WHERE u.observing_program_id = @observing_program_id)::bigint AS obs_units,
    (count(*) FILTER (WHERE e.status = 'running'))::bigint AS running,
    (count(*) FILTER (WHERE e.status = 'completed'))::bigint AS completed,
    (count(*) FILTER (WHERE e.status = 'aborted'))::bigint AS aborted,
    (count(*) FILTER (WHERE e.status = 'failed'))::bigint AS failed
FROM (
    SELECT t.obs_unit_id, t.status, t.start_time, t.end_time FROM executed_obs_unit t WHERE t.id <> ALL (@replaced::uuid[])
    UNION ALL
    SELECT p.obs_unit_id, p.status, p.start_time, p.end_time FROM executed_obs_unit_pending(@pending) p
) e
JOIN obs_unit u ON u.id = e.obs_unit_id
WHERE u.observing_program_id = @observing_program_id;
