-- What was observed: the real schedule rows of the public Prime-Cam simulations, then a simulated tail.
-- Ids come from the names alone (a custom UUID, version 8, of their SHA-256), so that a second run finds its rows.

CREATE OR REPLACE FUNCTION pg_temp.demo_id(name text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT overlay(overlay(encode(substring(sha256(convert_to('opsdb demo ' || name, 'UTF8')) FOR 16), 'hex') PLACING '8' FROM 13) PLACING '8' FROM 17)::uuid
$$;

CREATE TEMPORARY TABLE demo_execution (
    name text, unit text, start_time timestamptz, seconds float8, status text, azimuth float8, elevation float8, pwv float8,
    comment text, modules text[], recorded_by text
) ON COMMIT DROP;

INSERT INTO demo_execution VALUES
    ('OrionA-280 1', 'OrionA-280', '2026-07-15 11:20:00Z', 540, 'completed', 77.29, 41.09, 0.72, '', '{Mod280-default}', 'svc-primecam'),
    ('OrionA-280 2', 'OrionA-280', '2026-07-15 11:29:00Z', 540, 'completed', 75.975, 43.11, 0.71, '', '{Mod280-default}', 'svc-primecam'),
    ('OrionA-280 3', 'OrionA-280', '2026-07-15 11:38:00Z', 540, 'completed', 74.585, 45.13, 0.69, '', '{Mod280-default}', 'svc-primecam'),
    ('OrionA-280 4', 'OrionA-280', '2026-07-15 11:47:00Z', 540, 'completed', 73.105, 47.14, 0.70, '', '{Mod280-default}', 'svc-primecam'),
    ('Jupiter 1', 'Cal-Jupiter-beam', '2026-10-01 11:10:00Z', 420, 'completed', 42.125, 40.57, 1.10, '', '{Mod280-default}', 'svc-primecam'),
    ('Jupiter 2', 'Cal-Jupiter-beam', '2026-10-01 11:17:00Z', 420, 'completed', 40.305, 41.65, 1.12, '', '{Mod280-default}', 'svc-primecam'),
    ('Jupiter 3', 'Cal-Jupiter-beam', '2026-10-01 11:24:00Z', 420, 'completed', 38.47, 42.69, 1.15, '', '{Mod280-default}', 'svc-primecam'),
    ('GEco-OrionA-CO July', 'GEco-OrionA-CO', '2026-07-15 10:20:00Z', 2400, 'completed', 79.4, 33.1, 0.48, '', '{LFA-CO43,HFA-CO76-CI21}', 'svc-chai'),
    ('GEco-OrionA-CO', 'GEco-OrionA-CO', date_trunc('minute', now()) - interval '29 days 4 hours', 2400, 'completed', 64.0, 52.3, 0.41, '', '{LFA-CO43,HFA-CO76-CI21}', 'svc-chai'),
    ('GEco-OrionA-CI', 'GEco-OrionA-CI', date_trunc('minute', now()) - interval '24 days 6 hours', 3600, 'completed', 61.5, 55.0, 0.38, '', '{LFA-CI10,HFA-CO76-CI21}', 'svc-chai'),
    ('GEco-M17-CI', 'GEco-M17-CI', date_trunc('minute', now()) - interval '19 days 2 hours', 1800, 'completed', 301.2, 48.7, 0.55, '', '{LFA-CI10,HFA-CO76-CI21}', 'svc-chai'),
    ('GEco-CMZ-CI', 'GEco-CMZ-CI', date_trunc('minute', now()) - interval '13 days 3 hours', 7200, 'completed', 255.8, 51.9, 0.30, 'Best night of the month', '{LFA-CI10,HFA-CO76-CI21}', 'observer1'),
    ('GEco-30Dor', 'GEco-30Dor', date_trunc('minute', now()) - interval '8 days 5 hours', 5400, 'completed', 172.4, 42.1, 0.52, '', '{LFA-CI10,HFA-CO76-CI21}', 'svc-chai'),
    ('GEco-NGC253', 'GEco-NGC253', date_trunc('minute', now()) - interval '3 days 7 hours', 3600, 'completed', 20.6, 78.3, 0.94, 'PWV too high for HFA', '{LFA-CO43}', 'svc-chai'),
    ('TDS-OrionA-weekly aborted', 'TDS-OrionA-weekly', date_trunc('minute', now()) - interval '2 days 1 hour', 660, 'aborted', 70.2, 44.8, 1.50, 'wind > 20 m/s', '{Mod280-default}', 'observer1'),
    ('Cal-Uranus-flux failed', 'Cal-Uranus-flux', date_trunc('minute', now()) - interval '1 day 9 hours', 180, 'failed', 318.0, 47.3, 0.92, 'azimuth drive fault', '{Mod280-default}', 'svc-primecam'),
    ('TDS-OrionA-weekly running', 'TDS-OrionA-weekly', date_trunc('minute', now()) - interval '10 minutes', NULL, 'running', NULL, NULL, 0.83, '', '{Mod280-default}', 'svc-primecam');

-- The n-th row of a unit with an azimuth table belongs to the table's n-th range.
INSERT INTO executed_obs_unit (id, obs_unit_id, azimuth_range_id, pre_scheduled_slot_id, status, start_time, end_time, mean_azimuth_deg, mean_elevation_deg, pwv_mm,
    conditions, comment, recorded_by, origin_site_id, version, created_at, updated_at)
SELECT pg_temp.demo_id('execution ' || e.name), u.id, r.id, sl.id, e.status::execution_status, e.start_time, e.start_time + make_interval(secs => e.seconds),
    e.azimuth, e.elevation, e.pwv,
    CASE WHEN e.status = 'aborted' THEN '{"wind_m_s": 21.4}'::jsonb ELSE '{}'::jsonb END, e.comment, au.id, s.id, 1, e.start_time,
    coalesce(e.start_time + make_interval(secs => e.seconds), e.start_time)
FROM demo_execution e
JOIN obs_unit u ON u.name = e.unit
JOIN site s ON s.short_name = 'observatory'
LEFT JOIN app_user au ON au.username = e.recorded_by
LEFT JOIN obs_unit_azimuth_range r ON r.obs_unit_id = u.id AND r.elevation_deg = e.elevation
LEFT JOIN pre_scheduled_slot sl ON sl.obs_unit_id = u.id AND sl.start_time <= e.start_time AND e.start_time < sl.end_time
ON CONFLICT DO NOTHING;

INSERT INTO executed_obs_unit_module (executed_obs_unit_id, instrument_module_configuration_id, created_at)
SELECT x.id, c.id, x.created_at
FROM demo_execution e
JOIN executed_obs_unit x ON x.id = pg_temp.demo_id('execution ' || e.name)
JOIN instrument_module_configuration c ON c.name = ANY (e.modules)
ON CONFLICT DO NOTHING;
