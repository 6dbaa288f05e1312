-- +goose Up
CREATE VIEW package_overview AS
SELECT
    p.id,
    p.name,
    p.executed_obs_unit_id,
    u.id AS obs_unit_id,
    u.name AS obs_unit_name,
    pr.id AS observing_program_id,
    pr.short_name AS program_short_name,
    i.id AS instrument_id,
    i.name AS instrument_name,
    m.id AS instrument_module_id,
    m.name AS instrument_module_name,
    e.start_time AS execution_start_time,
    p.status,
    p.state,
    p.size_bytes,
    p.file_count,
    p.retry_count,
    p.failure_message,
    p.data_transfer_package_id,
    b.name AS data_transfer_package_name,
    coalesce(c.copy_count, 0) AS copy_count,
    coalesce(c.archive_copy_count, 0) AS archive_copy_count,
    coalesce(c.locations, '{}') AS locations,
    p.created_at,
    p.updated_at
FROM raw_data_package p
JOIN executed_obs_unit e ON e.id = p.executed_obs_unit_id
JOIN obs_unit u ON u.id = e.obs_unit_id
JOIN observing_program pr ON pr.id = u.observing_program_id
JOIN instrument_module m ON m.id = p.instrument_module_id
JOIN instrument i ON i.id = m.instrument_id
LEFT JOIN data_transfer_package b ON b.id = p.data_transfer_package_id
LEFT JOIN LATERAL (
    SELECT
        count(*) AS copy_count,
        count(*) FILTER (WHERE l.location_type = 'long_term_archive' AND c.status = 'present' AND c.verified_at IS NOT NULL) AS archive_copy_count,
        array_agg(s.short_name || '/' || l.name ORDER BY s.short_name, l.name) AS locations
    FROM physical_copy c
    JOIN data_location l ON l.id = c.data_location_id
    JOIN site s ON s.id = l.site_id
    WHERE c.raw_data_package_id = p.id AND c.status <> 'deleted'
) c ON true;
COMMENT ON VIEW package_overview IS 'Every raw data package with what it belongs to and where its copies are.';

CREATE VIEW transfer_overview AS
SELECT
    t.id,
    t.data_transfer_package_id,
    b.name AS data_transfer_package_name,
    b.package_count,
    b.size_bytes,
    t.bytes_transferred,
    CASE WHEN b.size_bytes > 0 THEN t.bytes_transferred::double precision / b.size_bytes END AS fraction,
    t.route_id,
    r.name AS route_name,
    t.method,
    t.is_primary,
    os.short_name AS origin_site,
    ol.name AS origin_location,
    ds.short_name AS destination_site,
    dl.name AS destination_location,
    t.status,
    t.unpack_status,
    t.retry_count,
    t.unpack_retry_count,
    t.start_time,
    t.end_time,
    CASE WHEN t.end_time > t.start_time THEN t.bytes_transferred / extract(epoch FROM t.end_time - t.start_time)::double precision END AS bytes_per_second,
    t.failure_message,
    t.claimed_by,
    t.claimed_until,
    t.created_at,
    t.updated_at
FROM data_transfer t
JOIN data_transfer_package b ON b.id = t.data_transfer_package_id
LEFT JOIN data_transfer_route r ON r.id = t.route_id
JOIN data_location ol ON ol.id = t.origin_location_id
JOIN site os ON os.id = ol.site_id
JOIN data_location dl ON dl.id = t.destination_location_id
JOIN site ds ON ds.id = dl.site_id;
COMMENT ON VIEW transfer_overview IS 'Every transfer with its bundle, its way by name, and its rate.';

CREATE VIEW location_usage AS
SELECT
    l.id AS data_location_id,
    s.id AS site_id,
    s.short_name AS site,
    l.name,
    l.location_type,
    l.storage_type,
    l.active,
    l.capacity_bytes,
    l.used_bytes,
    l.usage_checked_at,
    coalesce(c.copy_count, 0) AS copy_count,
    coalesce(c.copy_bytes, 0)::bigint AS copy_bytes,
    coalesce(c.deletion_count, 0) AS deletion_count,
    coalesce(c.failed_count, 0) AS failed_count,
    CASE WHEN l.capacity_bytes > 0 THEN coalesce(l.used_bytes, c.copy_bytes, 0)::double precision / l.capacity_bytes END AS used_fraction
FROM data_location l
JOIN site s ON s.id = l.site_id
LEFT JOIN (
    SELECT
        data_location_id,
        count(*) AS copy_count,
        sum(size_bytes) AS copy_bytes,
        count(*) FILTER (WHERE status IN ('deletion_possible', 'deletion_scheduled', 'deletion_in_progress')) AS deletion_count,
        count(*) FILTER (WHERE status = 'deletion_failed') AS failed_count
    FROM physical_copy
    WHERE status <> 'deleted'
    GROUP BY data_location_id
) c ON c.data_location_id = l.id;
COMMENT ON VIEW location_usage IS 'Every data location with the copies it holds and how full it is.';

CREATE VIEW program_progress AS
SELECT
    p.id AS observing_program_id,
    p.short_name,
    p.name,
    p.allocated_hours,
    coalesce(u.unit_count, 0) AS unit_count,
    coalesce(u.requested_hours, 0) AS requested_hours,
    coalesce(e.executed_hours, 0) AS executed_hours,
    CASE WHEN u.requested_hours > 0 THEN coalesce(e.executed_hours, 0) / u.requested_hours END AS fraction,
    coalesce(e.running_count, 0) AS running_count,
    coalesce(e.completed_count, 0) AS completed_count,
    coalesce(e.aborted_count, 0) AS aborted_count,
    coalesce(e.failed_count, 0) AS failed_count,
    e.last_start_time
FROM observing_program p
LEFT JOIN (
    SELECT observing_program_id, count(*) AS unit_count, sum(requested_seconds) / 3600 AS requested_hours
    FROM obs_unit
    GROUP BY observing_program_id
) u ON u.observing_program_id = p.id
LEFT JOIN (
    SELECT
        u.observing_program_id,
        sum(extract(epoch FROM e.end_time - e.start_time)) FILTER (WHERE e.status = 'completed')::double precision / 3600 AS executed_hours,
        count(*) FILTER (WHERE e.status = 'running') AS running_count,
        count(*) FILTER (WHERE e.status = 'completed') AS completed_count,
        count(*) FILTER (WHERE e.status = 'aborted') AS aborted_count,
        count(*) FILTER (WHERE e.status = 'failed') AS failed_count,
        max(e.start_time) AS last_start_time
    FROM executed_obs_unit e
    JOIN obs_unit u ON u.id = e.obs_unit_id
    GROUP BY u.observing_program_id
) e ON e.observing_program_id = p.id;
COMMENT ON VIEW program_progress IS 'Every programme with its requested and executed hours and its executions by status.';

CREATE VIEW observation_search AS
SELECT
    e.id,
    e.status,
    e.start_time,
    e.end_time,
    extract(epoch FROM e.end_time - e.start_time)::double precision AS duration_seconds,
    e.mean_azimuth_deg,
    e.mean_elevation_deg,
    e.pwv_mm,
    e.comment,
    si.short_name AS site,
    u.id AS obs_unit_id,
    u.name AS obs_unit_name,
    pr.id AS observing_program_id,
    pr.short_name AS program_short_name,
    sp.short_name AS sub_program_short_name,
    mo.name AS obs_mode_name,
    i.id AS instrument_id,
    i.name AS instrument_name,
    li.name AS line_name,
    so.id AS source_id,
    so.name AS source_name,
    so.aliases AS source_aliases,
    so.kind AS source_kind,
    so.ra_deg,
    so.dec_deg
FROM executed_obs_unit e
JOIN site si ON si.id = e.origin_site_id
JOIN obs_unit u ON u.id = e.obs_unit_id
JOIN observing_program pr ON pr.id = u.observing_program_id
LEFT JOIN sub_observing_program sp ON sp.id = u.sub_observing_program_id
JOIN obs_mode mo ON mo.id = u.obs_mode_id
JOIN instrument i ON i.id = u.instrument_id
LEFT JOIN spectral_line li ON li.id = u.line_id
JOIN source so ON so.id = u.source_id;
COMMENT ON VIEW observation_search IS 'Every execution with its unit, programme, source and instrument, for people at psql; the API also merges pending rows.';

-- +goose Down
DROP VIEW observation_search;
DROP VIEW program_progress;
DROP VIEW location_usage;
DROP VIEW transfer_overview;
DROP VIEW package_overview;
