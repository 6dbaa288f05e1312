-- Reads of the module "observations". Every one of them answers from the table and
-- from the pending rows that travel along: @replaced names the stored rows that a
-- pending one stands for, @pending holds the pending ones as <table>_pending wants
-- them (at main both are empty). Filters stand in both branches; a filter that is
-- null is folded away when the statement is planned. A filter on one value is written
-- as an equality, which an index can answer in the order of the page. Cone and free
-- text are decided on the few sources and units first, not on every execution.

-- ListExecutedObsUnits gives a page of executions, newest first.
-- name: ListExecutedObsUnits :many
SELECT r.*, o.short_name AS site FROM (
    (
        SELECT t.* FROM executed_obs_unit t
        LEFT JOIN obs_unit u ON u.id = t.obs_unit_id
        LEFT JOIN site o ON o.id = t.origin_site_id
        WHERE t.id <> ALL (@replaced::uuid[])
          AND (cardinality(@status::execution_status[]) IS DISTINCT FROM 1 OR t.status = (@status::execution_status[])[1])
          AND (coalesce(cardinality(@status::execution_status[]), 1) = 1 OR t.status = ANY (@status::execution_status[]))
          AND (cardinality(@obs_unit_id::bigint[]) IS DISTINCT FROM 1 OR t.obs_unit_id = (@obs_unit_id::bigint[])[1])
          AND (coalesce(cardinality(@obs_unit_id::bigint[]), 1) = 1 OR t.obs_unit_id = ANY (@obs_unit_id::bigint[]))
          AND (@observing_program_id::bigint[] IS NULL OR u.observing_program_id = ANY (@observing_program_id::bigint[]))
          AND (@instrument_id::bigint[] IS NULL OR u.instrument_id = ANY (@instrument_id::bigint[]))
          AND (@source_id::bigint[] IS NULL OR u.source_id = ANY (@source_id::bigint[]))
          AND (@site::text[] IS NULL OR o.short_name = ANY (@site::text[]))
          AND (sqlc.narg('start_time_from')::timestamptz IS NULL OR t.start_time >= sqlc.narg('start_time_from')::timestamptz)
          AND (sqlc.narg('start_time_to')::timestamptz IS NULL OR t.start_time < sqlc.narg('start_time_to')::timestamptz)
          AND (sqlc.narg('end_time_from')::timestamptz IS NULL OR t.end_time >= sqlc.narg('end_time_from')::timestamptz)
          AND (sqlc.narg('end_time_to')::timestamptz IS NULL OR t.end_time < sqlc.narg('end_time_to')::timestamptz)
          AND (sqlc.narg('has_end_time')::boolean IS NULL OR (t.end_time IS NOT NULL) = sqlc.narg('has_end_time')::boolean)
          AND (sqlc.narg('pwv_mm_min')::double precision IS NULL OR t.pwv_mm >= sqlc.narg('pwv_mm_min')::double precision)
          AND (sqlc.narg('pwv_mm_max')::double precision IS NULL OR t.pwv_mm <= sqlc.narg('pwv_mm_max')::double precision)
          AND (sqlc.narg('has_pwv_mm')::boolean IS NULL OR (t.pwv_mm IS NOT NULL) = sqlc.narg('has_pwv_mm')::boolean)
          AND (sqlc.narg('comment_contains')::text IS NULL OR position(lower(sqlc.narg('comment_contains')::text) IN lower(t.comment)) > 0)
          AND (sqlc.narg('radius_deg')::double precision IS NULL OR u.source_id = ANY (ARRAY(
                  SELECT s.id FROM source s
                  WHERE 2 * asin(least(1, sqrt(
                            power(sin(radians(coalesce(s.dec_deg, (s.area_dec_min_deg + s.area_dec_max_deg) / 2) - sqlc.narg('dec')::double precision) / 2), 2)
                            + cos(radians(coalesce(s.dec_deg, (s.area_dec_min_deg + s.area_dec_max_deg) / 2))) * cos(radians(sqlc.narg('dec')::double precision))
                              * power(sin(radians(coalesce(s.ra_deg, (s.area_ra_min_deg + s.area_ra_max_deg + CASE WHEN s.area_ra_min_deg > s.area_ra_max_deg THEN 360 ELSE 0 END) / 2) - sqlc.narg('ra')::double precision) / 2), 2)
                        ))) <= radians(sqlc.narg('radius_deg')::double precision)
              )))
          AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')::text) IN lower(t.comment)) > 0
              OR t.obs_unit_id = ANY (ARRAY(
                  SELECT m.id FROM obs_unit m
                  JOIN observing_program g ON g.id = m.observing_program_id
                  JOIN source s ON s.id = m.source_id
                  WHERE position(lower(sqlc.narg('q')::text) IN
                                 lower(concat_ws(chr(10), m.name, g.short_name, g.name, s.name, array_to_string(s.aliases, chr(10))))) > 0
              )))
          AND (sqlc.narg('after_time')::timestamptz IS NULL OR (t.start_time, t.id) < (sqlc.narg('after_time')::timestamptz, sqlc.narg('after_id')::uuid))
          AND (sqlc.narg('bound_time')::timestamptz IS NULL OR (t.start_time, t.id) >= (sqlc.narg('bound_time')::timestamptz, sqlc.narg('bound_id')::uuid))
        ORDER BY t.start_time DESC, t.id DESC LIMIT @page_size
    )
    UNION ALL
    (
        SELECT p.* FROM executed_obs_unit_pending(@pending) p
        LEFT JOIN obs_unit u ON u.id = p.obs_unit_id
        LEFT JOIN site o ON o.id = p.origin_site_id
        WHERE (cardinality(@status::execution_status[]) IS DISTINCT FROM 1 OR p.status = (@status::execution_status[])[1])
          AND (coalesce(cardinality(@status::execution_status[]), 1) = 1 OR p.status = ANY (@status::execution_status[]))
          AND (cardinality(@obs_unit_id::bigint[]) IS DISTINCT FROM 1 OR p.obs_unit_id = (@obs_unit_id::bigint[])[1])
          AND (coalesce(cardinality(@obs_unit_id::bigint[]), 1) = 1 OR p.obs_unit_id = ANY (@obs_unit_id::bigint[]))
          AND (@observing_program_id::bigint[] IS NULL OR u.observing_program_id = ANY (@observing_program_id::bigint[]))
          AND (@instrument_id::bigint[] IS NULL OR u.instrument_id = ANY (@instrument_id::bigint[]))
          AND (@source_id::bigint[] IS NULL OR u.source_id = ANY (@source_id::bigint[]))
          AND (@site::text[] IS NULL OR o.short_name = ANY (@site::text[]))
          AND (sqlc.narg('start_time_from')::timestamptz IS NULL OR p.start_time >= sqlc.narg('start_time_from')::timestamptz)
          AND (sqlc.narg('start_time_to')::timestamptz IS NULL OR p.start_time < sqlc.narg('start_time_to')::timestamptz)
          AND (sqlc.narg('end_time_from')::timestamptz IS NULL OR p.end_time >= sqlc.narg('end_time_from')::timestamptz)
          AND (sqlc.narg('end_time_to')::timestamptz IS NULL OR p.end_time < sqlc.narg('end_time_to')::timestamptz)
          AND (sqlc.narg('has_end_time')::boolean IS NULL OR (p.end_time IS NOT NULL) = sqlc.narg('has_end_time')::boolean)
          AND (sqlc.narg('pwv_mm_min')::double precision IS NULL OR p.pwv_mm >= sqlc.narg('pwv_mm_min')::double precision)
          AND (sqlc.narg('pwv_mm_max')::double precision IS NULL OR p.pwv_mm <= sqlc.narg('pwv_mm_max')::double precision)
          AND (sqlc.narg('has_pwv_mm')::boolean IS NULL OR (p.pwv_mm IS NOT NULL) = sqlc.narg('has_pwv_mm')::boolean)
          AND (sqlc.narg('comment_contains')::text IS NULL OR position(lower(sqlc.narg('comment_contains')::text) IN lower(p.comment)) > 0)
          AND (sqlc.narg('radius_deg')::double precision IS NULL OR u.source_id = ANY (ARRAY(
                  SELECT s.id FROM source s
                  WHERE 2 * asin(least(1, sqrt(
                            power(sin(radians(coalesce(s.dec_deg, (s.area_dec_min_deg + s.area_dec_max_deg) / 2) - sqlc.narg('dec')::double precision) / 2), 2)
                            + cos(radians(coalesce(s.dec_deg, (s.area_dec_min_deg + s.area_dec_max_deg) / 2))) * cos(radians(sqlc.narg('dec')::double precision))
                              * power(sin(radians(coalesce(s.ra_deg, (s.area_ra_min_deg + s.area_ra_max_deg + CASE WHEN s.area_ra_min_deg > s.area_ra_max_deg THEN 360 ELSE 0 END) / 2) - sqlc.narg('ra')::double precision) / 2), 2)
                        ))) <= radians(sqlc.narg('radius_deg')::double precision)
              )))
          AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')::text) IN lower(p.comment)) > 0
              OR p.obs_unit_id = ANY (ARRAY(
                  SELECT m.id FROM obs_unit m
                  JOIN observing_program g ON g.id = m.observing_program_id
                  JOIN source s ON s.id = m.source_id
                  WHERE position(lower(sqlc.narg('q')::text) IN
                                 lower(concat_ws(chr(10), m.name, g.short_name, g.name, s.name, array_to_string(s.aliases, chr(10))))) > 0
              )))
          AND (sqlc.narg('after_time')::timestamptz IS NULL OR (p.start_time, p.id) < (sqlc.narg('after_time')::timestamptz, sqlc.narg('after_id')::uuid))
          AND (sqlc.narg('bound_time')::timestamptz IS NULL OR (p.start_time, p.id) >= (sqlc.narg('bound_time')::timestamptz, sqlc.narg('bound_id')::uuid))
    )
) r
LEFT JOIN site o ON o.id = r.origin_site_id
ORDER BY r.start_time DESC, r.id DESC LIMIT @page_size;

-- CountExecutedObsUnits counts the executions that the filters keep.
-- name: CountExecutedObsUnits :one
SELECT (
    (
        SELECT count(*) FROM executed_obs_unit t
        LEFT JOIN obs_unit u ON u.id = t.obs_unit_id
        LEFT JOIN site o ON o.id = t.origin_site_id
        WHERE t.id <> ALL (@replaced::uuid[])
          AND (cardinality(@status::execution_status[]) IS DISTINCT FROM 1 OR t.status = (@status::execution_status[])[1])
          AND (coalesce(cardinality(@status::execution_status[]), 1) = 1 OR t.status = ANY (@status::execution_status[]))
          AND (cardinality(@obs_unit_id::bigint[]) IS DISTINCT FROM 1 OR t.obs_unit_id = (@obs_unit_id::bigint[])[1])
          AND (coalesce(cardinality(@obs_unit_id::bigint[]), 1) = 1 OR t.obs_unit_id = ANY (@obs_unit_id::bigint[]))
          AND (@observing_program_id::bigint[] IS NULL OR u.observing_program_id = ANY (@observing_program_id::bigint[]))
          AND (@instrument_id::bigint[] IS NULL OR u.instrument_id = ANY (@instrument_id::bigint[]))
          AND (@source_id::bigint[] IS NULL OR u.source_id = ANY (@source_id::bigint[]))
          AND (@site::text[] IS NULL OR o.short_name = ANY (@site::text[]))
          AND (sqlc.narg('start_time_from')::timestamptz IS NULL OR t.start_time >= sqlc.narg('start_time_from')::timestamptz)
          AND (sqlc.narg('start_time_to')::timestamptz IS NULL OR t.start_time < sqlc.narg('start_time_to')::timestamptz)
          AND (sqlc.narg('end_time_from')::timestamptz IS NULL OR t.end_time >= sqlc.narg('end_time_from')::timestamptz)
          AND (sqlc.narg('end_time_to')::timestamptz IS NULL OR t.end_time < sqlc.narg('end_time_to')::timestamptz)
          AND (sqlc.narg('has_end_time')::boolean IS NULL OR (t.end_time IS NOT NULL) = sqlc.narg('has_end_time')::boolean)
          AND (sqlc.narg('pwv_mm_min')::double precision IS NULL OR t.pwv_mm >= sqlc.narg('pwv_mm_min')::double precision)
          AND (sqlc.narg('pwv_mm_max')::double precision IS NULL OR t.pwv_mm <= sqlc.narg('pwv_mm_max')::double precision)
          AND (sqlc.narg('has_pwv_mm')::boolean IS NULL OR (t.pwv_mm IS NOT NULL) = sqlc.narg('has_pwv_mm')::boolean)
          AND (sqlc.narg('comment_contains')::text IS NULL OR position(lower(sqlc.narg('comment_contains')::text) IN lower(t.comment)) > 0)
          AND (sqlc.narg('radius_deg')::double precision IS NULL OR u.source_id = ANY (ARRAY(
                  SELECT s.id FROM source s
                  WHERE 2 * asin(least(1, sqrt(
                            power(sin(radians(coalesce(s.dec_deg, (s.area_dec_min_deg + s.area_dec_max_deg) / 2) - sqlc.narg('dec')::double precision) / 2), 2)
                            + cos(radians(coalesce(s.dec_deg, (s.area_dec_min_deg + s.area_dec_max_deg) / 2))) * cos(radians(sqlc.narg('dec')::double precision))
                              * power(sin(radians(coalesce(s.ra_deg, (s.area_ra_min_deg + s.area_ra_max_deg + CASE WHEN s.area_ra_min_deg > s.area_ra_max_deg THEN 360 ELSE 0 END) / 2) - sqlc.narg('ra')::double precision) / 2), 2)
                        ))) <= radians(sqlc.narg('radius_deg')::double precision)
              )))
          AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')::text) IN lower(t.comment)) > 0
              OR t.obs_unit_id = ANY (ARRAY(
                  SELECT m.id FROM obs_unit m
                  JOIN observing_program g ON g.id = m.observing_program_id
                  JOIN source s ON s.id = m.source_id
                  WHERE position(lower(sqlc.narg('q')::text) IN
                                 lower(concat_ws(chr(10), m.name, g.short_name, g.name, s.name, array_to_string(s.aliases, chr(10))))) > 0
              )))
    ) + (
        SELECT count(*) FROM executed_obs_unit_pending(@pending) p
        LEFT JOIN obs_unit u ON u.id = p.obs_unit_id
        LEFT JOIN site o ON o.id = p.origin_site_id
        WHERE (cardinality(@status::execution_status[]) IS DISTINCT FROM 1 OR p.status = (@status::execution_status[])[1])
          AND (coalesce(cardinality(@status::execution_status[]), 1) = 1 OR p.status = ANY (@status::execution_status[]))
          AND (cardinality(@obs_unit_id::bigint[]) IS DISTINCT FROM 1 OR p.obs_unit_id = (@obs_unit_id::bigint[])[1])
          AND (coalesce(cardinality(@obs_unit_id::bigint[]), 1) = 1 OR p.obs_unit_id = ANY (@obs_unit_id::bigint[]))
          AND (@observing_program_id::bigint[] IS NULL OR u.observing_program_id = ANY (@observing_program_id::bigint[]))
          AND (@instrument_id::bigint[] IS NULL OR u.instrument_id = ANY (@instrument_id::bigint[]))
          AND (@source_id::bigint[] IS NULL OR u.source_id = ANY (@source_id::bigint[]))
          AND (@site::text[] IS NULL OR o.short_name = ANY (@site::text[]))
          AND (sqlc.narg('start_time_from')::timestamptz IS NULL OR p.start_time >= sqlc.narg('start_time_from')::timestamptz)
          AND (sqlc.narg('start_time_to')::timestamptz IS NULL OR p.start_time < sqlc.narg('start_time_to')::timestamptz)
          AND (sqlc.narg('end_time_from')::timestamptz IS NULL OR p.end_time >= sqlc.narg('end_time_from')::timestamptz)
          AND (sqlc.narg('end_time_to')::timestamptz IS NULL OR p.end_time < sqlc.narg('end_time_to')::timestamptz)
          AND (sqlc.narg('has_end_time')::boolean IS NULL OR (p.end_time IS NOT NULL) = sqlc.narg('has_end_time')::boolean)
          AND (sqlc.narg('pwv_mm_min')::double precision IS NULL OR p.pwv_mm >= sqlc.narg('pwv_mm_min')::double precision)
          AND (sqlc.narg('pwv_mm_max')::double precision IS NULL OR p.pwv_mm <= sqlc.narg('pwv_mm_max')::double precision)
          AND (sqlc.narg('has_pwv_mm')::boolean IS NULL OR (p.pwv_mm IS NOT NULL) = sqlc.narg('has_pwv_mm')::boolean)
          AND (sqlc.narg('comment_contains')::text IS NULL OR position(lower(sqlc.narg('comment_contains')::text) IN lower(p.comment)) > 0)
          AND (sqlc.narg('radius_deg')::double precision IS NULL OR u.source_id = ANY (ARRAY(
                  SELECT s.id FROM source s
                  WHERE 2 * asin(least(1, sqrt(
                            power(sin(radians(coalesce(s.dec_deg, (s.area_dec_min_deg + s.area_dec_max_deg) / 2) - sqlc.narg('dec')::double precision) / 2), 2)
                            + cos(radians(coalesce(s.dec_deg, (s.area_dec_min_deg + s.area_dec_max_deg) / 2))) * cos(radians(sqlc.narg('dec')::double precision))
                              * power(sin(radians(coalesce(s.ra_deg, (s.area_ra_min_deg + s.area_ra_max_deg + CASE WHEN s.area_ra_min_deg > s.area_ra_max_deg THEN 360 ELSE 0 END) / 2) - sqlc.narg('ra')::double precision) / 2), 2)
                        ))) <= radians(sqlc.narg('radius_deg')::double precision)
              )))
          AND (sqlc.narg('q')::text IS NULL OR position(lower(sqlc.narg('q')::text) IN lower(p.comment)) > 0
              OR p.obs_unit_id = ANY (ARRAY(
                  SELECT m.id FROM obs_unit m
                  JOIN observing_program g ON g.id = m.observing_program_id
                  JOIN source s ON s.id = m.source_id
                  WHERE position(lower(sqlc.narg('q')::text) IN
                                 lower(concat_ws(chr(10), m.name, g.short_name, g.name, s.name, array_to_string(s.aliases, chr(10))))) > 0
              )))
    )
)::bigint AS total;

-- GetExecutedObsUnit gives one execution.
-- name: GetExecutedObsUnit :one
SELECT r.*, o.short_name AS site FROM (
    SELECT t.* FROM executed_obs_unit t WHERE t.id = @id AND t.id <> ALL (@replaced::uuid[])
    UNION ALL
    SELECT p.* FROM executed_obs_unit_pending(@pending) p WHERE p.id = @id
) r
LEFT JOIN site o ON o.id = r.origin_site_id;

-- ListExecutedObsUnitModules gives the module configurations of one execution.
-- name: ListExecutedObsUnitModules :many
SELECT t.instrument_module_configuration_id FROM executed_obs_unit_module t
WHERE t.executed_obs_unit_id = @executed_obs_unit_id
UNION
SELECT p.instrument_module_configuration_id FROM executed_obs_unit_module_pending(@pending) p
WHERE p.executed_obs_unit_id = @executed_obs_unit_id
ORDER BY instrument_module_configuration_id;

-- ListRawDataFiles gives a page of files, newest first.
-- name: ListRawDataFiles :many
SELECT r.* FROM (
    (
        SELECT t.* FROM raw_data_file t
        WHERE t.id <> ALL (@replaced::uuid[])
          AND (cardinality(@executed_obs_unit_id::uuid[]) IS DISTINCT FROM 1 OR t.executed_obs_unit_id = (@executed_obs_unit_id::uuid[])[1])
          AND (coalesce(cardinality(@executed_obs_unit_id::uuid[]), 1) = 1 OR t.executed_obs_unit_id = ANY (@executed_obs_unit_id::uuid[]))
          AND (cardinality(@instrument_module_id::bigint[]) IS DISTINCT FROM 1 OR t.instrument_module_id = (@instrument_module_id::bigint[])[1])
          AND (coalesce(cardinality(@instrument_module_id::bigint[]), 1) = 1 OR t.instrument_module_id = ANY (@instrument_module_id::bigint[]))
          AND (cardinality(@raw_data_package_id::uuid[]) IS DISTINCT FROM 1 OR t.raw_data_package_id = (@raw_data_package_id::uuid[])[1])
          AND (coalesce(cardinality(@raw_data_package_id::uuid[]), 1) = 1 OR t.raw_data_package_id = ANY (@raw_data_package_id::uuid[]))
          AND (@file_type::text[] IS NULL OR t.file_type = ANY (@file_type::text[]))
          AND (@size_bytes::bigint[] IS NULL OR t.size_bytes = ANY (@size_bytes::bigint[]))
          AND (sqlc.narg('size_bytes_min')::bigint IS NULL OR t.size_bytes >= sqlc.narg('size_bytes_min')::bigint)
          AND (sqlc.narg('size_bytes_max')::bigint IS NULL OR t.size_bytes <= sqlc.narg('size_bytes_max')::bigint)
          AND (sqlc.narg('unpackaged')::boolean IS NULL OR (t.raw_data_package_id IS NULL) = sqlc.narg('unpackaged')::boolean)
          AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')::text) IN lower(t.name)) > 0)
          AND (sqlc.narg('relative_path_contains')::text IS NULL OR position(lower(sqlc.narg('relative_path_contains')::text) IN lower(t.relative_path)) > 0)
          AND (sqlc.narg('start_time_from')::timestamptz IS NULL OR t.start_time >= sqlc.narg('start_time_from')::timestamptz)
          AND (sqlc.narg('start_time_to')::timestamptz IS NULL OR t.start_time < sqlc.narg('start_time_to')::timestamptz)
          AND (sqlc.narg('has_start_time')::boolean IS NULL OR (t.start_time IS NOT NULL) = sqlc.narg('has_start_time')::boolean)
          AND (sqlc.narg('end_time_from')::timestamptz IS NULL OR t.end_time >= sqlc.narg('end_time_from')::timestamptz)
          AND (sqlc.narg('end_time_to')::timestamptz IS NULL OR t.end_time < sqlc.narg('end_time_to')::timestamptz)
          AND (sqlc.narg('has_end_time')::boolean IS NULL OR (t.end_time IS NOT NULL) = sqlc.narg('has_end_time')::boolean)
          AND (sqlc.narg('created_at_from')::timestamptz IS NULL OR t.created_at >= sqlc.narg('created_at_from')::timestamptz)
          AND (sqlc.narg('created_at_to')::timestamptz IS NULL OR t.created_at < sqlc.narg('created_at_to')::timestamptz)
          AND (sqlc.narg('after_time')::timestamptz IS NULL OR (t.created_at, t.id) < (sqlc.narg('after_time')::timestamptz, sqlc.narg('after_id')::uuid))
          AND (sqlc.narg('bound_time')::timestamptz IS NULL OR (t.created_at, t.id) >= (sqlc.narg('bound_time')::timestamptz, sqlc.narg('bound_id')::uuid))
        ORDER BY t.created_at DESC, t.id DESC LIMIT @page_size
    )
    UNION ALL
    (
        SELECT p.* FROM raw_data_file_pending(@pending) p
        WHERE (cardinality(@executed_obs_unit_id::uuid[]) IS DISTINCT FROM 1 OR p.executed_obs_unit_id = (@executed_obs_unit_id::uuid[])[1])
          AND (coalesce(cardinality(@executed_obs_unit_id::uuid[]), 1) = 1 OR p.executed_obs_unit_id = ANY (@executed_obs_unit_id::uuid[]))
          AND (cardinality(@instrument_module_id::bigint[]) IS DISTINCT FROM 1 OR p.instrument_module_id = (@instrument_module_id::bigint[])[1])
          AND (coalesce(cardinality(@instrument_module_id::bigint[]), 1) = 1 OR p.instrument_module_id = ANY (@instrument_module_id::bigint[]))
          AND (cardinality(@raw_data_package_id::uuid[]) IS DISTINCT FROM 1 OR p.raw_data_package_id = (@raw_data_package_id::uuid[])[1])
          AND (coalesce(cardinality(@raw_data_package_id::uuid[]), 1) = 1 OR p.raw_data_package_id = ANY (@raw_data_package_id::uuid[]))
          AND (@file_type::text[] IS NULL OR p.file_type = ANY (@file_type::text[]))
          AND (@size_bytes::bigint[] IS NULL OR p.size_bytes = ANY (@size_bytes::bigint[]))
          AND (sqlc.narg('size_bytes_min')::bigint IS NULL OR p.size_bytes >= sqlc.narg('size_bytes_min')::bigint)
          AND (sqlc.narg('size_bytes_max')::bigint IS NULL OR p.size_bytes <= sqlc.narg('size_bytes_max')::bigint)
          AND (sqlc.narg('unpackaged')::boolean IS NULL OR (p.raw_data_package_id IS NULL) = sqlc.narg('unpackaged')::boolean)
          AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')::text) IN lower(p.name)) > 0)
          AND (sqlc.narg('relative_path_contains')::text IS NULL OR position(lower(sqlc.narg('relative_path_contains')::text) IN lower(p.relative_path)) > 0)
          AND (sqlc.narg('start_time_from')::timestamptz IS NULL OR p.start_time >= sqlc.narg('start_time_from')::timestamptz)
          AND (sqlc.narg('start_time_to')::timestamptz IS NULL OR p.start_time < sqlc.narg('start_time_to')::timestamptz)
          AND (sqlc.narg('has_start_time')::boolean IS NULL OR (p.start_time IS NOT NULL) = sqlc.narg('has_start_time')::boolean)
          AND (sqlc.narg('end_time_from')::timestamptz IS NULL OR p.end_time >= sqlc.narg('end_time_from')::timestamptz)
          AND (sqlc.narg('end_time_to')::timestamptz IS NULL OR p.end_time < sqlc.narg('end_time_to')::timestamptz)
          AND (sqlc.narg('has_end_time')::boolean IS NULL OR (p.end_time IS NOT NULL) = sqlc.narg('has_end_time')::boolean)
          AND (sqlc.narg('created_at_from')::timestamptz IS NULL OR p.created_at >= sqlc.narg('created_at_from')::timestamptz)
          AND (sqlc.narg('created_at_to')::timestamptz IS NULL OR p.created_at < sqlc.narg('created_at_to')::timestamptz)
          AND (sqlc.narg('after_time')::timestamptz IS NULL OR (p.created_at, p.id) < (sqlc.narg('after_time')::timestamptz, sqlc.narg('after_id')::uuid))
          AND (sqlc.narg('bound_time')::timestamptz IS NULL OR (p.created_at, p.id) >= (sqlc.narg('bound_time')::timestamptz, sqlc.narg('bound_id')::uuid))
    )
) r
ORDER BY r.created_at DESC, r.id DESC LIMIT @page_size;

-- CountRawDataFiles counts the files that the filters keep.
-- name: CountRawDataFiles :one
SELECT (
    (
        SELECT count(*) FROM raw_data_file t
        WHERE t.id <> ALL (@replaced::uuid[])
          AND (cardinality(@executed_obs_unit_id::uuid[]) IS DISTINCT FROM 1 OR t.executed_obs_unit_id = (@executed_obs_unit_id::uuid[])[1])
          AND (coalesce(cardinality(@executed_obs_unit_id::uuid[]), 1) = 1 OR t.executed_obs_unit_id = ANY (@executed_obs_unit_id::uuid[]))
          AND (cardinality(@instrument_module_id::bigint[]) IS DISTINCT FROM 1 OR t.instrument_module_id = (@instrument_module_id::bigint[])[1])
          AND (coalesce(cardinality(@instrument_module_id::bigint[]), 1) = 1 OR t.instrument_module_id = ANY (@instrument_module_id::bigint[]))
          AND (cardinality(@raw_data_package_id::uuid[]) IS DISTINCT FROM 1 OR t.raw_data_package_id = (@raw_data_package_id::uuid[])[1])
          AND (coalesce(cardinality(@raw_data_package_id::uuid[]), 1) = 1 OR t.raw_data_package_id = ANY (@raw_data_package_id::uuid[]))
          AND (@file_type::text[] IS NULL OR t.file_type = ANY (@file_type::text[]))
          AND (@size_bytes::bigint[] IS NULL OR t.size_bytes = ANY (@size_bytes::bigint[]))
          AND (sqlc.narg('size_bytes_min')::bigint IS NULL OR t.size_bytes >= sqlc.narg('size_bytes_min')::bigint)
          AND (sqlc.narg('size_bytes_max')::bigint IS NULL OR t.size_bytes <= sqlc.narg('size_bytes_max')::bigint)
          AND (sqlc.narg('unpackaged')::boolean IS NULL OR (t.raw_data_package_id IS NULL) = sqlc.narg('unpackaged')::boolean)
          AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')::text) IN lower(t.name)) > 0)
          AND (sqlc.narg('relative_path_contains')::text IS NULL OR position(lower(sqlc.narg('relative_path_contains')::text) IN lower(t.relative_path)) > 0)
          AND (sqlc.narg('start_time_from')::timestamptz IS NULL OR t.start_time >= sqlc.narg('start_time_from')::timestamptz)
          AND (sqlc.narg('start_time_to')::timestamptz IS NULL OR t.start_time < sqlc.narg('start_time_to')::timestamptz)
          AND (sqlc.narg('has_start_time')::boolean IS NULL OR (t.start_time IS NOT NULL) = sqlc.narg('has_start_time')::boolean)
          AND (sqlc.narg('end_time_from')::timestamptz IS NULL OR t.end_time >= sqlc.narg('end_time_from')::timestamptz)
          AND (sqlc.narg('end_time_to')::timestamptz IS NULL OR t.end_time < sqlc.narg('end_time_to')::timestamptz)
          AND (sqlc.narg('has_end_time')::boolean IS NULL OR (t.end_time IS NOT NULL) = sqlc.narg('has_end_time')::boolean)
          AND (sqlc.narg('created_at_from')::timestamptz IS NULL OR t.created_at >= sqlc.narg('created_at_from')::timestamptz)
          AND (sqlc.narg('created_at_to')::timestamptz IS NULL OR t.created_at < sqlc.narg('created_at_to')::timestamptz)
    ) + (
        SELECT count(*) FROM raw_data_file_pending(@pending) p
        WHERE (cardinality(@executed_obs_unit_id::uuid[]) IS DISTINCT FROM 1 OR p.executed_obs_unit_id = (@executed_obs_unit_id::uuid[])[1])
          AND (coalesce(cardinality(@executed_obs_unit_id::uuid[]), 1) = 1 OR p.executed_obs_unit_id = ANY (@executed_obs_unit_id::uuid[]))
          AND (cardinality(@instrument_module_id::bigint[]) IS DISTINCT FROM 1 OR p.instrument_module_id = (@instrument_module_id::bigint[])[1])
          AND (coalesce(cardinality(@instrument_module_id::bigint[]), 1) = 1 OR p.instrument_module_id = ANY (@instrument_module_id::bigint[]))
          AND (cardinality(@raw_data_package_id::uuid[]) IS DISTINCT FROM 1 OR p.raw_data_package_id = (@raw_data_package_id::uuid[])[1])
          AND (coalesce(cardinality(@raw_data_package_id::uuid[]), 1) = 1 OR p.raw_data_package_id = ANY (@raw_data_package_id::uuid[]))
          AND (@file_type::text[] IS NULL OR p.file_type = ANY (@file_type::text[]))
          AND (@size_bytes::bigint[] IS NULL OR p.size_bytes = ANY (@size_bytes::bigint[]))
          AND (sqlc.narg('size_bytes_min')::bigint IS NULL OR p.size_bytes >= sqlc.narg('size_bytes_min')::bigint)
          AND (sqlc.narg('size_bytes_max')::bigint IS NULL OR p.size_bytes <= sqlc.narg('size_bytes_max')::bigint)
          AND (sqlc.narg('unpackaged')::boolean IS NULL OR (p.raw_data_package_id IS NULL) = sqlc.narg('unpackaged')::boolean)
          AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')::text) IN lower(p.name)) > 0)
          AND (sqlc.narg('relative_path_contains')::text IS NULL OR position(lower(sqlc.narg('relative_path_contains')::text) IN lower(p.relative_path)) > 0)
          AND (sqlc.narg('start_time_from')::timestamptz IS NULL OR p.start_time >= sqlc.narg('start_time_from')::timestamptz)
          AND (sqlc.narg('start_time_to')::timestamptz IS NULL OR p.start_time < sqlc.narg('start_time_to')::timestamptz)
          AND (sqlc.narg('has_start_time')::boolean IS NULL OR (p.start_time IS NOT NULL) = sqlc.narg('has_start_time')::boolean)
          AND (sqlc.narg('end_time_from')::timestamptz IS NULL OR p.end_time >= sqlc.narg('end_time_from')::timestamptz)
          AND (sqlc.narg('end_time_to')::timestamptz IS NULL OR p.end_time < sqlc.narg('end_time_to')::timestamptz)
          AND (sqlc.narg('has_end_time')::boolean IS NULL OR (p.end_time IS NOT NULL) = sqlc.narg('has_end_time')::boolean)
          AND (sqlc.narg('created_at_from')::timestamptz IS NULL OR p.created_at >= sqlc.narg('created_at_from')::timestamptz)
          AND (sqlc.narg('created_at_to')::timestamptz IS NULL OR p.created_at < sqlc.narg('created_at_to')::timestamptz)
    )
)::bigint AS total;

-- GetRawDataFile gives one file.
-- name: GetRawDataFile :one
SELECT r.* FROM (
    SELECT t.* FROM raw_data_file t WHERE t.id = @id AND t.id <> ALL (@replaced::uuid[])
    UNION ALL
    SELECT p.* FROM raw_data_file_pending(@pending) p WHERE p.id = @id
) r;

-- ListPhysicalCopiesOfFile says where one file lies, oldest copy first.
-- name: ListPhysicalCopiesOfFile :many
SELECT r.* FROM (
    SELECT t.* FROM physical_copy t WHERE t.raw_data_file_id = @raw_data_file_id::uuid AND t.id <> ALL (@replaced::uuid[])
    UNION ALL
    SELECT p.* FROM physical_copy_pending(@pending) p WHERE p.raw_data_file_id = @raw_data_file_id::uuid
) r
ORDER BY r.created_at, r.id;

-- ListRawDataPackages gives a page of packages, newest first.
-- name: ListRawDataPackages :many
SELECT r.* FROM (
    (
        SELECT t.* FROM raw_data_package t
        WHERE t.id <> ALL (@replaced::uuid[])
          AND (cardinality(@status::work_status[]) IS DISTINCT FROM 1 OR t.status = (@status::work_status[])[1])
          AND (coalesce(cardinality(@status::work_status[]), 1) = 1 OR t.status = ANY (@status::work_status[]))
          AND (cardinality(@state::package_state[]) IS DISTINCT FROM 1 OR t.state = (@state::package_state[])[1])
          AND (coalesce(cardinality(@state::package_state[]), 1) = 1 OR t.state = ANY (@state::package_state[]))
          AND (cardinality(@executed_obs_unit_id::uuid[]) IS DISTINCT FROM 1 OR t.executed_obs_unit_id = (@executed_obs_unit_id::uuid[])[1])
          AND (coalesce(cardinality(@executed_obs_unit_id::uuid[]), 1) = 1 OR t.executed_obs_unit_id = ANY (@executed_obs_unit_id::uuid[]))
          AND (cardinality(@instrument_module_id::bigint[]) IS DISTINCT FROM 1 OR t.instrument_module_id = (@instrument_module_id::bigint[])[1])
          AND (coalesce(cardinality(@instrument_module_id::bigint[]), 1) = 1 OR t.instrument_module_id = ANY (@instrument_module_id::bigint[]))
          AND (@sequence::bigint[] IS NULL OR t.sequence = ANY (@sequence::bigint[]))
          AND (sqlc.narg('sequence_min')::bigint IS NULL OR t.sequence >= sqlc.narg('sequence_min')::bigint)
          AND (sqlc.narg('sequence_max')::bigint IS NULL OR t.sequence <= sqlc.narg('sequence_max')::bigint)
          AND (cardinality(@data_transfer_package_id::uuid[]) IS DISTINCT FROM 1 OR t.data_transfer_package_id = (@data_transfer_package_id::uuid[])[1])
          AND (coalesce(cardinality(@data_transfer_package_id::uuid[]), 1) = 1 OR t.data_transfer_package_id = ANY (@data_transfer_package_id::uuid[]))
          AND (sqlc.narg('has_data_transfer_package_id')::boolean IS NULL OR (t.data_transfer_package_id IS NOT NULL) = sqlc.narg('has_data_transfer_package_id')::boolean)
          AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')::text) IN lower(t.name)) > 0)
          AND (@size_bytes::bigint[] IS NULL OR t.size_bytes = ANY (@size_bytes::bigint[]))
          AND (sqlc.narg('size_bytes_min')::bigint IS NULL OR t.size_bytes >= sqlc.narg('size_bytes_min')::bigint)
          AND (sqlc.narg('size_bytes_max')::bigint IS NULL OR t.size_bytes <= sqlc.narg('size_bytes_max')::bigint)
          AND (sqlc.narg('has_size_bytes')::boolean IS NULL OR (t.size_bytes IS NOT NULL) = sqlc.narg('has_size_bytes')::boolean)
          AND (@file_count::bigint[] IS NULL OR t.file_count = ANY (@file_count::bigint[]))
          AND (sqlc.narg('file_count_min')::bigint IS NULL OR t.file_count >= sqlc.narg('file_count_min')::bigint)
          AND (sqlc.narg('file_count_max')::bigint IS NULL OR t.file_count <= sqlc.narg('file_count_max')::bigint)
          AND (@retry_count::bigint[] IS NULL OR t.retry_count = ANY (@retry_count::bigint[]))
          AND (sqlc.narg('retry_count_min')::bigint IS NULL OR t.retry_count >= sqlc.narg('retry_count_min')::bigint)
          AND (sqlc.narg('retry_count_max')::bigint IS NULL OR t.retry_count <= sqlc.narg('retry_count_max')::bigint)
          AND (sqlc.narg('failure_message_contains')::text IS NULL OR position(lower(sqlc.narg('failure_message_contains')::text) IN lower(t.failure_message)) > 0)
          AND (sqlc.narg('has_failure_message')::boolean IS NULL OR (t.failure_message IS NOT NULL) = sqlc.narg('has_failure_message')::boolean)
          AND (sqlc.narg('created_at_from')::timestamptz IS NULL OR t.created_at >= sqlc.narg('created_at_from')::timestamptz)
          AND (sqlc.narg('created_at_to')::timestamptz IS NULL OR t.created_at < sqlc.narg('created_at_to')::timestamptz)
          AND (sqlc.narg('after_time')::timestamptz IS NULL OR (t.created_at, t.id) < (sqlc.narg('after_time')::timestamptz, sqlc.narg('after_id')::uuid))
          AND (sqlc.narg('bound_time')::timestamptz IS NULL OR (t.created_at, t.id) >= (sqlc.narg('bound_time')::timestamptz, sqlc.narg('bound_id')::uuid))
        ORDER BY t.created_at DESC, t.id DESC LIMIT @page_size
    )
    UNION ALL
    (
        SELECT p.* FROM raw_data_package_pending(@pending) p
        WHERE (cardinality(@status::work_status[]) IS DISTINCT FROM 1 OR p.status = (@status::work_status[])[1])
          AND (coalesce(cardinality(@status::work_status[]), 1) = 1 OR p.status = ANY (@status::work_status[]))
          AND (cardinality(@state::package_state[]) IS DISTINCT FROM 1 OR p.state = (@state::package_state[])[1])
          AND (coalesce(cardinality(@state::package_state[]), 1) = 1 OR p.state = ANY (@state::package_state[]))
          AND (cardinality(@executed_obs_unit_id::uuid[]) IS DISTINCT FROM 1 OR p.executed_obs_unit_id = (@executed_obs_unit_id::uuid[])[1])
          AND (coalesce(cardinality(@executed_obs_unit_id::uuid[]), 1) = 1 OR p.executed_obs_unit_id = ANY (@executed_obs_unit_id::uuid[]))
          AND (cardinality(@instrument_module_id::bigint[]) IS DISTINCT FROM 1 OR p.instrument_module_id = (@instrument_module_id::bigint[])[1])
          AND (coalesce(cardinality(@instrument_module_id::bigint[]), 1) = 1 OR p.instrument_module_id = ANY (@instrument_module_id::bigint[]))
          AND (@sequence::bigint[] IS NULL OR p.sequence = ANY (@sequence::bigint[]))
          AND (sqlc.narg('sequence_min')::bigint IS NULL OR p.sequence >= sqlc.narg('sequence_min')::bigint)
          AND (sqlc.narg('sequence_max')::bigint IS NULL OR p.sequence <= sqlc.narg('sequence_max')::bigint)
          AND (cardinality(@data_transfer_package_id::uuid[]) IS DISTINCT FROM 1 OR p.data_transfer_package_id = (@data_transfer_package_id::uuid[])[1])
          AND (coalesce(cardinality(@data_transfer_package_id::uuid[]), 1) = 1 OR p.data_transfer_package_id = ANY (@data_transfer_package_id::uuid[]))
          AND (sqlc.narg('has_data_transfer_package_id')::boolean IS NULL OR (p.data_transfer_package_id IS NOT NULL) = sqlc.narg('has_data_transfer_package_id')::boolean)
          AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')::text) IN lower(p.name)) > 0)
          AND (@size_bytes::bigint[] IS NULL OR p.size_bytes = ANY (@size_bytes::bigint[]))
          AND (sqlc.narg('size_bytes_min')::bigint IS NULL OR p.size_bytes >= sqlc.narg('size_bytes_min')::bigint)
          AND (sqlc.narg('size_bytes_max')::bigint IS NULL OR p.size_bytes <= sqlc.narg('size_bytes_max')::bigint)
          AND (sqlc.narg('has_size_bytes')::boolean IS NULL OR (p.size_bytes IS NOT NULL) = sqlc.narg('has_size_bytes')::boolean)
          AND (@file_count::bigint[] IS NULL OR p.file_count = ANY (@file_count::bigint[]))
          AND (sqlc.narg('file_count_min')::bigint IS NULL OR p.file_count >= sqlc.narg('file_count_min')::bigint)
          AND (sqlc.narg('file_count_max')::bigint IS NULL OR p.file_count <= sqlc.narg('file_count_max')::bigint)
          AND (@retry_count::bigint[] IS NULL OR p.retry_count = ANY (@retry_count::bigint[]))
          AND (sqlc.narg('retry_count_min')::bigint IS NULL OR p.retry_count >= sqlc.narg('retry_count_min')::bigint)
          AND (sqlc.narg('retry_count_max')::bigint IS NULL OR p.retry_count <= sqlc.narg('retry_count_max')::bigint)
          AND (sqlc.narg('failure_message_contains')::text IS NULL OR position(lower(sqlc.narg('failure_message_contains')::text) IN lower(p.failure_message)) > 0)
          AND (sqlc.narg('has_failure_message')::boolean IS NULL OR (p.failure_message IS NOT NULL) = sqlc.narg('has_failure_message')::boolean)
          AND (sqlc.narg('created_at_from')::timestamptz IS NULL OR p.created_at >= sqlc.narg('created_at_from')::timestamptz)
          AND (sqlc.narg('created_at_to')::timestamptz IS NULL OR p.created_at < sqlc.narg('created_at_to')::timestamptz)
          AND (sqlc.narg('after_time')::timestamptz IS NULL OR (p.created_at, p.id) < (sqlc.narg('after_time')::timestamptz, sqlc.narg('after_id')::uuid))
          AND (sqlc.narg('bound_time')::timestamptz IS NULL OR (p.created_at, p.id) >= (sqlc.narg('bound_time')::timestamptz, sqlc.narg('bound_id')::uuid))
    )
) r
ORDER BY r.created_at DESC, r.id DESC LIMIT @page_size;

-- CountRawDataPackages counts the packages that the filters keep.
-- name: CountRawDataPackages :one
SELECT (
    (
        SELECT count(*) FROM raw_data_package t
        WHERE t.id <> ALL (@replaced::uuid[])
          AND (cardinality(@status::work_status[]) IS DISTINCT FROM 1 OR t.status = (@status::work_status[])[1])
          AND (coalesce(cardinality(@status::work_status[]), 1) = 1 OR t.status = ANY (@status::work_status[]))
          AND (cardinality(@state::package_state[]) IS DISTINCT FROM 1 OR t.state = (@state::package_state[])[1])
          AND (coalesce(cardinality(@state::package_state[]), 1) = 1 OR t.state = ANY (@state::package_state[]))
          AND (cardinality(@executed_obs_unit_id::uuid[]) IS DISTINCT FROM 1 OR t.executed_obs_unit_id = (@executed_obs_unit_id::uuid[])[1])
          AND (coalesce(cardinality(@executed_obs_unit_id::uuid[]), 1) = 1 OR t.executed_obs_unit_id = ANY (@executed_obs_unit_id::uuid[]))
          AND (cardinality(@instrument_module_id::bigint[]) IS DISTINCT FROM 1 OR t.instrument_module_id = (@instrument_module_id::bigint[])[1])
          AND (coalesce(cardinality(@instrument_module_id::bigint[]), 1) = 1 OR t.instrument_module_id = ANY (@instrument_module_id::bigint[]))
          AND (@sequence::bigint[] IS NULL OR t.sequence = ANY (@sequence::bigint[]))
          AND (sqlc.narg('sequence_min')::bigint IS NULL OR t.sequence >= sqlc.narg('sequence_min')::bigint)
          AND (sqlc.narg('sequence_max')::bigint IS NULL OR t.sequence <= sqlc.narg('sequence_max')::bigint)
          AND (cardinality(@data_transfer_package_id::uuid[]) IS DISTINCT FROM 1 OR t.data_transfer_package_id = (@data_transfer_package_id::uuid[])[1])
          AND (coalesce(cardinality(@data_transfer_package_id::uuid[]), 1) = 1 OR t.data_transfer_package_id = ANY (@data_transfer_package_id::uuid[]))
          AND (sqlc.narg('has_data_transfer_package_id')::boolean IS NULL OR (t.data_transfer_package_id IS NOT NULL) = sqlc.narg('has_data_transfer_package_id')::boolean)
          AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')::text) IN lower(t.name)) > 0)
          AND (@size_bytes::bigint[] IS NULL OR t.size_bytes = ANY (@size_bytes::bigint[]))
          AND (sqlc.narg('size_bytes_min')::bigint IS NULL OR t.size_bytes >= sqlc.narg('size_bytes_min')::bigint)
          AND (sqlc.narg('size_bytes_max')::bigint IS NULL OR t.size_bytes <= sqlc.narg('size_bytes_max')::bigint)
          AND (sqlc.narg('has_size_bytes')::boolean IS NULL OR (t.size_bytes IS NOT NULL) = sqlc.narg('has_size_bytes')::boolean)
          AND (@file_count::bigint[] IS NULL OR t.file_count = ANY (@file_count::bigint[]))
          AND (sqlc.narg('file_count_min')::bigint IS NULL OR t.file_count >= sqlc.narg('file_count_min')::bigint)
          AND (sqlc.narg('file_count_max')::bigint IS NULL OR t.file_count <= sqlc.narg('file_count_max')::bigint)
          AND (@retry_count::bigint[] IS NULL OR t.retry_count = ANY (@retry_count::bigint[]))
          AND (sqlc.narg('retry_count_min')::bigint IS NULL OR t.retry_count >= sqlc.narg('retry_count_min')::bigint)
          AND (sqlc.narg('retry_count_max')::bigint IS NULL OR t.retry_count <= sqlc.narg('retry_count_max')::bigint)
          AND (sqlc.narg('failure_message_contains')::text IS NULL OR position(lower(sqlc.narg('failure_message_contains')::text) IN lower(t.failure_message)) > 0)
          AND (sqlc.narg('has_failure_message')::boolean IS NULL OR (t.failure_message IS NOT NULL) = sqlc.narg('has_failure_message')::boolean)
          AND (sqlc.narg('created_at_from')::timestamptz IS NULL OR t.created_at >= sqlc.narg('created_at_from')::timestamptz)
          AND (sqlc.narg('created_at_to')::timestamptz IS NULL OR t.created_at < sqlc.narg('created_at_to')::timestamptz)
    ) + (
        SELECT count(*) FROM raw_data_package_pending(@pending) p
        WHERE (cardinality(@status::work_status[]) IS DISTINCT FROM 1 OR p.status = (@status::work_status[])[1])
          AND (coalesce(cardinality(@status::work_status[]), 1) = 1 OR p.status = ANY (@status::work_status[]))
          AND (cardinality(@state::package_state[]) IS DISTINCT FROM 1 OR p.state = (@state::package_state[])[1])
          AND (coalesce(cardinality(@state::package_state[]), 1) = 1 OR p.state = ANY (@state::package_state[]))
          AND (cardinality(@executed_obs_unit_id::uuid[]) IS DISTINCT FROM 1 OR p.executed_obs_unit_id = (@executed_obs_unit_id::uuid[])[1])
          AND (coalesce(cardinality(@executed_obs_unit_id::uuid[]), 1) = 1 OR p.executed_obs_unit_id = ANY (@executed_obs_unit_id::uuid[]))
          AND (cardinality(@instrument_module_id::bigint[]) IS DISTINCT FROM 1 OR p.instrument_module_id = (@instrument_module_id::bigint[])[1])
          AND (coalesce(cardinality(@instrument_module_id::bigint[]), 1) = 1 OR p.instrument_module_id = ANY (@instrument_module_id::bigint[]))
          AND (@sequence::bigint[] IS NULL OR p.sequence = ANY (@sequence::bigint[]))
          AND (sqlc.narg('sequence_min')::bigint IS NULL OR p.sequence >= sqlc.narg('sequence_min')::bigint)
          AND (sqlc.narg('sequence_max')::bigint IS NULL OR p.sequence <= sqlc.narg('sequence_max')::bigint)
          AND (cardinality(@data_transfer_package_id::uuid[]) IS DISTINCT FROM 1 OR p.data_transfer_package_id = (@data_transfer_package_id::uuid[])[1])
          AND (coalesce(cardinality(@data_transfer_package_id::uuid[]), 1) = 1 OR p.data_transfer_package_id = ANY (@data_transfer_package_id::uuid[]))
          AND (sqlc.narg('has_data_transfer_package_id')::boolean IS NULL OR (p.data_transfer_package_id IS NOT NULL) = sqlc.narg('has_data_transfer_package_id')::boolean)
          AND (sqlc.narg('name_contains')::text IS NULL OR position(lower(sqlc.narg('name_contains')::text) IN lower(p.name)) > 0)
          AND (@size_bytes::bigint[] IS NULL OR p.size_bytes = ANY (@size_bytes::bigint[]))
          AND (sqlc.narg('size_bytes_min')::bigint IS NULL OR p.size_bytes >= sqlc.narg('size_bytes_min')::bigint)
          AND (sqlc.narg('size_bytes_max')::bigint IS NULL OR p.size_bytes <= sqlc.narg('size_bytes_max')::bigint)
          AND (sqlc.narg('has_size_bytes')::boolean IS NULL OR (p.size_bytes IS NOT NULL) = sqlc.narg('has_size_bytes')::boolean)
          AND (@file_count::bigint[] IS NULL OR p.file_count = ANY (@file_count::bigint[]))
          AND (sqlc.narg('file_count_min')::bigint IS NULL OR p.file_count >= sqlc.narg('file_count_min')::bigint)
          AND (sqlc.narg('file_count_max')::bigint IS NULL OR p.file_count <= sqlc.narg('file_count_max')::bigint)
          AND (@retry_count::bigint[] IS NULL OR p.retry_count = ANY (@retry_count::bigint[]))
          AND (sqlc.narg('retry_count_min')::bigint IS NULL OR p.retry_count >= sqlc.narg('retry_count_min')::bigint)
          AND (sqlc.narg('retry_count_max')::bigint IS NULL OR p.retry_count <= sqlc.narg('retry_count_max')::bigint)
          AND (sqlc.narg('failure_message_contains')::text IS NULL OR position(lower(sqlc.narg('failure_message_contains')::text) IN lower(p.failure_message)) > 0)
          AND (sqlc.narg('has_failure_message')::boolean IS NULL OR (p.failure_message IS NOT NULL) = sqlc.narg('has_failure_message')::boolean)
          AND (sqlc.narg('created_at_from')::timestamptz IS NULL OR p.created_at >= sqlc.narg('created_at_from')::timestamptz)
          AND (sqlc.narg('created_at_to')::timestamptz IS NULL OR p.created_at < sqlc.narg('created_at_to')::timestamptz)
    )
)::bigint AS total;

-- GetRawDataPackage gives one package.
-- name: GetRawDataPackage :one
SELECT r.* FROM (
    SELECT t.* FROM raw_data_package t WHERE t.id = @id AND t.id <> ALL (@replaced::uuid[])
    UNION ALL
    SELECT p.* FROM raw_data_package_pending(@pending) p WHERE p.id = @id
) r;

-- GetRawDataPackageMetadata gives the metadata of one package.
-- name: GetRawDataPackageMetadata :one
SELECT r.* FROM (
    SELECT t.* FROM raw_data_package_metadata t
    WHERE t.raw_data_package_id = @raw_data_package_id AND t.raw_data_package_id <> ALL (@replaced::uuid[])
    UNION ALL
    SELECT p.* FROM raw_data_package_metadata_pending(@pending) p WHERE p.raw_data_package_id = @raw_data_package_id
) r;

-- FindStartReferences says which parents of a new execution exist, and whether its id
-- is taken by a stored row.
-- name: FindStartReferences :one
SELECT
    EXISTS (SELECT 1 FROM obs_unit u WHERE u.id = @obs_unit_id)::boolean AS obs_unit,
    EXISTS (SELECT 1 FROM obs_unit_azimuth_range a WHERE a.id = sqlc.narg('azimuth_range_id'))::boolean AS azimuth_range,
    EXISTS (SELECT 1 FROM pre_scheduled_slot l WHERE l.id = sqlc.narg('pre_scheduled_slot_id'))::boolean AS pre_scheduled_slot,
    EXISTS (SELECT 1 FROM executed_obs_unit e WHERE e.id = @id)::boolean AS taken,
    ARRAY(
        SELECT c.id FROM instrument_module_configuration c WHERE c.id = ANY (@module_configuration_ids::bigint[])
    )::bigint[] AS module_configurations;

-- FindFileReferences says which of the given parents of new files are stored, and
-- which of the ids are taken by stored rows.
-- name: FindFileReferences :one
SELECT
    ARRAY(SELECT e.id FROM executed_obs_unit e WHERE e.id = ANY (@executed_obs_unit_ids::uuid[]))::uuid[] AS executions,
    ARRAY(SELECT m.id FROM instrument_module m WHERE m.id = ANY (@instrument_module_ids::bigint[]))::bigint[] AS modules,
    ARRAY(SELECT l.id FROM data_location l WHERE l.id = ANY (@data_location_ids::bigint[]))::bigint[] AS locations,
    ARRAY(SELECT f.id FROM raw_data_file f WHERE f.id = ANY (@ids::uuid[]))::uuid[] AS taken;

-- FindRawDataFilePaths gives those of the wanted paths that exist already; the n-th
-- path belongs to the n-th execution.
-- name: FindRawDataFilePaths :many
WITH wanted AS (
    SELECT unnest(@executed_obs_unit_ids::uuid[]) AS executed_obs_unit_id, unnest(@relative_paths::text[]) AS relative_path
)
SELECT t.id, t.executed_obs_unit_id, t.relative_path FROM wanted w
JOIN raw_data_file t ON t.executed_obs_unit_id = w.executed_obs_unit_id AND t.relative_path = w.relative_path
WHERE t.id <> ALL (@replaced::uuid[])
UNION ALL
SELECT p.id, p.executed_obs_unit_id, p.relative_path FROM wanted w
JOIN raw_data_file_pending(@pending) p ON p.executed_obs_unit_id = w.executed_obs_unit_id AND p.relative_path = w.relative_path;

-- ListUnpackagedFiles gives all files of one execution and instrument module that are
-- in no package, oldest first.
-- name: ListUnpackagedFiles :many
SELECT r.id, r.executed_obs_unit_id, r.instrument_module_id, r.raw_data_package_id, r.size_bytes, r.created_at FROM (
    SELECT t.* FROM raw_data_file t
    WHERE t.executed_obs_unit_id = @executed_obs_unit_id AND t.instrument_module_id = @instrument_module_id
      AND t.raw_data_package_id IS NULL AND t.id <> ALL (@replaced::uuid[])
    UNION ALL
    SELECT p.* FROM raw_data_file_pending(@pending) p
    WHERE p.executed_obs_unit_id = @executed_obs_unit_id AND p.instrument_module_id = @instrument_module_id
      AND p.raw_data_package_id IS NULL
) r
ORDER BY r.created_at, r.id;

-- FindRawDataFiles gives those of the wanted files that exist.
-- name: FindRawDataFiles :many
SELECT r.id, r.executed_obs_unit_id, r.instrument_module_id, r.raw_data_package_id, r.size_bytes, r.created_at FROM (
    SELECT t.* FROM raw_data_file t WHERE t.id = ANY (@ids::uuid[]) AND t.id <> ALL (@replaced::uuid[])
    UNION ALL
    SELECT p.* FROM raw_data_file_pending(@pending) p WHERE p.id = ANY (@ids::uuid[])
) r;

-- FindPackageSequences gives the sequences of one execution and instrument module
-- that are in use.
-- name: FindPackageSequences :many
SELECT r.sequence FROM (
    SELECT t.* FROM raw_data_package t
    WHERE t.executed_obs_unit_id = @executed_obs_unit_id AND t.instrument_module_id = @instrument_module_id
      AND t.id <> ALL (@replaced::uuid[])
    UNION ALL
    SELECT p.* FROM raw_data_package_pending(@pending) p
    WHERE p.executed_obs_unit_id = @executed_obs_unit_id AND p.instrument_module_id = @instrument_module_id
) r
ORDER BY r.sequence;

-- FindPackageName gives the package that has a name, if any.
-- name: FindPackageName :many
SELECT t.id FROM raw_data_package t WHERE t.name = @name AND t.id <> ALL (@replaced::uuid[])
UNION ALL
SELECT p.id FROM raw_data_package_pending(@pending) p WHERE p.name = @name;

-- FindPackageParents gives the parts of a package's default name: what was observed
-- and with which module. A part is empty when its row is missing.
-- name: FindPackageParents :one
SELECT
    coalesce((SELECT u.name FROM obs_unit u WHERE u.id = @obs_unit_id), '')::text AS obs_unit,
    coalesce((SELECT m.name FROM instrument_module m WHERE m.id = @instrument_module_id), '')::text AS instrument_module;

-- FindObsUnit says whether a planned unit exists.
-- name: FindObsUnit :one
SELECT EXISTS (SELECT 1 FROM obs_unit u WHERE u.id = @id)::boolean AS found;
