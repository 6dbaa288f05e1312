-- Files of the executions, their packages and bundles, how far these have travelled, and where copies lie.

-- One package a scan and module. Row 3 has reached Cologne in its bundle and is being archived there.
CREATE TEMPORARY TABLE demo_package (
    execution text, module text, name text, size_bytes bigint, file_count int, status text, state text, bundle text, retries int, failure text
) ON COMMIT DROP;

INSERT INTO demo_package VALUES
    ('OrionA-280 1', 'Mod280', 'OrionA-280_20260715T112000Z_Mod280_001.tar', 18 * 1214300160::bigint, 18, 'completed', 'archived', 'ccat-20260715-0001', 0, NULL),
    ('OrionA-280 2', 'Mod280', 'OrionA-280_20260715T112900Z_Mod280_001.tar', 18 * 1214300160::bigint, 18, 'completed', 'archived', 'ccat-20260715-0001', 0, NULL),
    ('OrionA-280 3', 'Mod280', 'OrionA-280_20260715T113800Z_Mod280_001.tar', 18 * 1214300160::bigint, 18, 'completed', 'transferring', 'ccat-20260715-0001', 0, NULL),
    ('OrionA-280 4', 'Mod280', 'OrionA-280_20260715T114700Z_Mod280_001.tar', 18 * 1214300160::bigint, 18, 'completed', 'waiting', NULL, 0, NULL),
    ('GEco-OrionA-CO July', 'LFA', 'GEco-OrionA-CO_20260715T102000Z_LFA_001.tar', 64 * 80000000::bigint, 64, 'in_progress', 'waiting', NULL, 0, NULL),
    ('GEco-OrionA-CO July', 'HFA', 'GEco-OrionA-CO_20260715T102000Z_HFA_001.tar', 64 * 80000000::bigint, 64, 'in_progress', 'waiting', NULL, 0, NULL),
    ('Jupiter 1', 'Mod280', 'Cal-Jupiter-beam_20261001T111000Z_Mod280_001.tar', 18 * 944455680::bigint, 18, 'failed', 'failed', NULL, 3, 'tar: input/output error on /data/primecam');

INSERT INTO data_transfer_package (id, name, origin_location_id, size_bytes, package_count, checksum_algorithm, checksum, status, retry_count, version, created_at, updated_at)
SELECT pg_temp.demo_id('bundle ' || v.name), v.name, l.id, v.size, v.packages, 'xxh64', left(md5(v.name), 16), 'completed', 0, 1, v.at, v.at
FROM (VALUES
    ('ccat-20260715-0001', 10400000000000::bigint, 480, '2026-07-15 21:00:00Z'::timestamptz),
    ('ccat-20260716-0001', 11100000000000, 510, '2026-07-16 21:00:00Z'),
    ('ccat-20260717-0001', 2000000000000, 90, '2026-07-17 21:00:00Z')
) v (name, size, packages, at)
JOIN site s ON s.short_name = 'observatory'
JOIN data_location l ON l.site_id = s.id AND l.name = 'output_buffer'
ON CONFLICT DO NOTHING;

INSERT INTO raw_data_package (id, executed_obs_unit_id, instrument_module_id, sequence, name, relative_path, size_bytes, file_count, checksum_algorithm, checksum,
    status, state, data_transfer_package_id, retry_count, failure_message, version, created_at, updated_at)
SELECT pg_temp.demo_id('package ' || p.name), x.id, m.id, 1, p.name, to_char(x.start_time AT TIME ZONE 'UTC', 'YYYYMMDD/') || p.name, p.size_bytes, p.file_count,
    CASE WHEN p.status = 'completed' THEN 'xxh64' END, CASE WHEN p.status = 'completed' THEN left(md5(p.name), 16) END,
    p.status::work_status, p.state::package_state, CASE WHEN p.bundle IS NOT NULL THEN pg_temp.demo_id('bundle ' || p.bundle) END, p.retries, p.failure, 1, x.updated_at, x.updated_at
FROM demo_package p
JOIN executed_obs_unit x ON x.id = pg_temp.demo_id('execution ' || p.execution)
JOIN instrument_module m ON m.name = p.module
ON CONFLICT DO NOTHING;

INSERT INTO raw_data_package_metadata (raw_data_package_id, metadata, ivoa_collection, obs_publisher_did, created_at, updated_at)
SELECT p.id, jsonb_build_object('program', op.short_name, 'source', s.name, 'mode', om.name), 'CCAT', 'ivo://ccat/opsdb?' || p.name, p.created_at, p.created_at
FROM demo_package d
JOIN raw_data_package p ON p.id = pg_temp.demo_id('package ' || d.name)
JOIN executed_obs_unit x ON x.id = p.executed_obs_unit_id
JOIN obs_unit u ON u.id = x.obs_unit_id
JOIN observing_program op ON op.id = u.observing_program_id
JOIN source s ON s.id = u.source_id
JOIN obs_mode om ON om.id = u.obs_mode_id
ON CONFLICT DO NOTHING;

-- {first five digits of ctime}/{stream id}/r{board}d{drone}_{ctime}_{sequence}.g3, 18 feedlines = 4 full boards and 2 drones;
-- 576 tones of I and Q in 4 bytes at 488 Hz.
INSERT INTO raw_data_file (id, executed_obs_unit_id, instrument_module_id, raw_data_package_id, name, relative_path, file_type, size_bytes, checksum_algorithm, checksum,
    start_time, end_time, created_at, updated_at)
SELECT pg_temp.demo_id('file ' || f.path), x.id, m.id, p.id, f.name, f.path, 'g3', (576 * 2 * 4 * 488 * e.seconds)::bigint, 'xxh64', left(md5(f.path), 16),
    x.start_time, x.end_time, x.end_time, x.end_time
FROM demo_execution e
JOIN executed_obs_unit x ON x.id = pg_temp.demo_id('execution ' || e.name)
JOIN instrument_module m ON m.name = 'Mod280'
CROSS JOIN generate_series(1, 5) board
CROSS JOIN generate_series(1, 4) drone
CROSS JOIN LATERAL (SELECT extract(epoch FROM e.start_time)::bigint::text AS ctime) c
CROSS JOIN LATERAL (SELECT format('r%sd%s_%s_000.g3', lpad(board::text, 2, '0'), drone, c.ctime) AS name) n
CROSS JOIN LATERAL (SELECT n.name, format('%s/rfsoc%s_drone%s/%s', left(c.ctime, 5), lpad(board::text, 2, '0'), drone, n.name) AS path) f
LEFT JOIN demo_package d ON d.execution = e.name
LEFT JOIN raw_data_package p ON p.id = pg_temp.demo_id('package ' || d.name)
WHERE (e.name LIKE 'OrionA-280 %' OR e.name LIKE 'Jupiter %') AND (board < 5 OR drone <= 2)
ON CONFLICT DO NOTHING;

INSERT INTO raw_data_file (id, executed_obs_unit_id, instrument_module_id, raw_data_package_id, name, relative_path, file_type, size_bytes, checksum_algorithm, checksum,
    start_time, end_time, created_at, updated_at)
SELECT pg_temp.demo_id('file ' || f.path), x.id, m.id, p.id, f.name, f.path, 'fits', 80000000, 'xxh64', left(md5(f.path), 16),
    x.start_time, x.end_time, x.end_time, x.end_time
FROM (VALUES ('LFA'), ('HFA')) v (module)
JOIN instrument_module m ON m.name = v.module
JOIN executed_obs_unit x ON x.id = pg_temp.demo_id('execution GEco-OrionA-CO July')
CROSS JOIN generate_series(0, 63) pixel
CROSS JOIN LATERAL (SELECT format('scan_000123_px%s.fits', lpad(pixel::text, 2, '0')) AS name) n
CROSS JOIN LATERAL (SELECT n.name, format('chai/20260715/GEco-OrionA-CO/%s/%s', v.module, n.name) AS path) f
LEFT JOIN demo_package d ON d.execution = 'GEco-OrionA-CO July' AND d.module = v.module
LEFT JOIN raw_data_package p ON p.id = pg_temp.demo_id('package ' || d.name)
ON CONFLICT DO NOTHING;

CREATE OR REPLACE TEMPORARY VIEW demo_location AS
SELECT l.id, s.short_name || '/' || l.name AS name, l.path FROM data_location l JOIN site s ON s.id = l.site_id;

INSERT INTO data_transfer (id, data_transfer_package_id, route_id, origin_location_id, destination_location_id, method, status, unpack_status, retry_count,
    start_time, end_time, bytes_transferred, failure_message, claimed_by, claimed_until, version, created_at, updated_at)
SELECT pg_temp.demo_id('transfer ' || v.bundle || ' ' || v.destination), b.id, r.id, o.id, d.id, 'bbcp', v.status::work_status, v.unpacked::work_status, v.retries,
    b.created_at + interval '1 hour', b.created_at + v.took, (b.size_bytes * v.done)::bigint, v.failure, v.worker, now() + v.claim, 1, b.created_at, b.created_at + coalesce(v.took, interval '1 hour')
FROM (VALUES
    ('ccat-20260715-0001', 'ccat_to_cologne', 'observatory/output_buffer', 'cologne/input_buffer', 'completed', 'completed', 0, interval '31 hours', 1.0, NULL, NULL, NULL::interval),
    ('ccat-20260715-0001', 'cologne_to_us', 'cologne/input_buffer', 'cornell/input_buffer', 'in_progress', 'pending', 0, NULL, 0.12, NULL, 'transfer-cologne-1', interval '1 hour'),
    ('ccat-20260716-0001', 'ccat_to_cologne', 'observatory/output_buffer', 'cologne/input_buffer', 'in_progress', 'pending', 0, NULL, 0.43, NULL, 'transfer-observatory-1', interval '1 hour'),
    ('ccat-20260717-0001', 'ccat_to_us', 'observatory/output_buffer', 'cornell/input_buffer', 'failed', 'pending', 3, interval '9 hours', 0.07, 'bbcp: connection reset by peer', NULL, NULL)
) v (bundle, route, origin, destination, status, unpacked, retries, took, done, failure, worker, claim)
JOIN data_transfer_package b ON b.id = pg_temp.demo_id('bundle ' || v.bundle)
JOIN data_transfer_route r ON r.name = v.route
JOIN demo_location o ON o.name = v.origin
JOIN demo_location d ON d.name = v.destination
ON CONFLICT DO NOTHING;

INSERT INTO long_term_archive_transfer (id, raw_data_package_id, origin_location_id, destination_location_id, status, retry_count, start_time, end_time, failure_message,
    claimed_by, claimed_until, version, created_at, updated_at)
SELECT pg_temp.demo_id('archive ' || v.execution || ' ' || v.destination), p.id, o.id, d.id, v.status::work_status, v.retries,
    '2026-07-17 04:00:00Z'::timestamptz + v.started, '2026-07-17 04:00:00Z'::timestamptz + v.ended, v.failure, v.worker, now() + v.claim, 1,
    '2026-07-17 04:00:00Z', coalesce('2026-07-17 04:00:00Z'::timestamptz + v.ended, '2026-07-17 04:00:00Z')
FROM (VALUES
    ('OrionA-280 1', 'cologne/input_buffer', 'cologne/lta', 'completed', 0, interval '0', interval '4 minutes', NULL, NULL, NULL::interval),
    ('OrionA-280 2', 'cologne/input_buffer', 'cologne/lta', 'completed', 0, interval '4 minutes', interval '8 minutes', NULL, NULL, NULL),
    ('OrionA-280 3', 'cologne/input_buffer', 'cologne/lta', 'in_progress', 0, interval '8 minutes', NULL, NULL, 'archive-cologne-1', interval '1 hour'),
    ('OrionA-280 1', 'cologne/lta', 'cornell/tape_vault', 'pending', 0, NULL, NULL, NULL, NULL, NULL),
    ('OrionA-280 2', 'cologne/lta', 'cornell/lta', 'failed', 3, interval '1 hour', interval '2 hours', 's3: 503 SlowDown', NULL, NULL)
) v (execution, origin, destination, status, retries, started, ended, failure, worker, claim)
JOIN demo_package dp ON dp.execution = v.execution
JOIN raw_data_package p ON p.id = pg_temp.demo_id('package ' || dp.name)
JOIN demo_location o ON o.name = v.origin
JOIN demo_location d ON d.name = v.destination
ON CONFLICT DO NOTHING;

INSERT INTO staging_job (id, requested_by, origin_location_id, destination_location_id, status, active, reason, retry_count, start_time, end_time, expires_at, version, created_at, updated_at)
SELECT pg_temp.demo_id('staging ' || v.number), u.id, o.id, d.id, v.status::work_status, v.active, v.reason, 0,
    now() - v.started, now() - v.ended, now() + v.expires, 1, now() - interval '5 days', now() - coalesce(v.ended, interval '1 hour')
FROM (VALUES
    (1, 'cologne/input_buffer', 'completed', true, 'Orion A map at 280 GHz', interval '3 days', interval '2 days', interval '12 days'),
    (2, 'cologne/lta', 'pending', true, 'Repeat with new calibration', NULL, NULL, NULL),
    (3, 'cologne/lta', 'completed', false, 'Quick look', interval '4 days', interval '4 days', NULL)
) v (number, origin, status, active, reason, started, ended, expires)
JOIN app_user u ON u.username = 'scientist1'
JOIN demo_location o ON o.name = v.origin
JOIN demo_location d ON d.name = 'cologne/ramses_processing'
ON CONFLICT DO NOTHING;

INSERT INTO staging_job_package (staging_job_id, raw_data_package_id, status)
SELECT j.id, p.id, v.status::work_status
FROM (VALUES
    (1, 'OrionA-280 1', 'completed'), (1, 'OrionA-280 2', 'completed'), (1, 'OrionA-280 3', 'completed'),
    (2, 'OrionA-280 1', 'pending'), (3, 'OrionA-280 2', 'completed')
) v (number, execution, status)
JOIN staging_job j ON j.id = pg_temp.demo_id('staging ' || v.number)
JOIN demo_package dp ON dp.execution = v.execution
JOIN raw_data_package p ON p.id = pg_temp.demo_id('package ' || dp.name)
ON CONFLICT DO NOTHING;

INSERT INTO transfer_log (data_transfer_id, logged_at, status, message, log_path)
SELECT t.id, t.start_time + v.after, v.status::work_status, v.message, v.log
FROM (VALUES
    ('ccat-20260715-0001', 'cologne/input_buffer', interval '0', 'in_progress', 'bbcp started with 8 streams', '/var/log/ccat/ccat-20260715-0001.log'),
    ('ccat-20260715-0001', 'cologne/input_buffer', interval '30 hours', 'completed', 'unpacked and verified', NULL),
    ('ccat-20260717-0001', 'cornell/input_buffer', interval '2 hours', 'failed', 'bbcp: connection reset by peer (1 of 3)', NULL),
    ('ccat-20260717-0001', 'cornell/input_buffer', interval '5 hours', 'failed', 'bbcp: connection reset by peer (2 of 3)', NULL),
    ('ccat-20260717-0001', 'cornell/input_buffer', interval '8 hours', 'failed', 'bbcp: connection reset by peer (3 of 3)', NULL)
) v (bundle, destination, after, status, message, log)
JOIN data_transfer t ON t.id = pg_temp.demo_id('transfer ' || v.bundle || ' ' || v.destination)
WHERE NOT EXISTS (SELECT FROM transfer_log l WHERE l.data_transfer_id = t.id);

-- The files of every scan were written at their instrument. Those of scan 2 may go, for its package is archived and has left all buffers: one is gone, one would not go.
INSERT INTO physical_copy (id, kind, raw_data_file_id, data_location_id, path, status, size_bytes, checksum, verified_at, deletion_scheduled_at, deleted_at,
    retry_count, failure_message, version, created_at, updated_at)
SELECT pg_temp.demo_id('copy ' || f.relative_path), 'raw_data_file', f.id, l.id, l.path || '/' || f.relative_path, c.status::copy_status, f.size_bytes, f.checksum, f.created_at,
    CASE WHEN c.status IN ('deleted', 'deletion_failed') THEN now() - interval '2 days' END, CASE WHEN c.status = 'deleted' THEN now() - interval '1 day' END,
    CASE WHEN c.status = 'deletion_failed' THEN 3 ELSE 0 END, CASE WHEN c.status = 'deletion_failed' THEN 'unlink: read-only file system' END, 1, f.created_at, f.created_at
FROM demo_execution e
JOIN raw_data_file f ON f.executed_obs_unit_id = pg_temp.demo_id('execution ' || e.name)
JOIN demo_location l ON l.name = CASE f.file_type WHEN 'g3' THEN 'observatory/primecam_raw_data' ELSE 'observatory/chai_raw_data' END
CROSS JOIN LATERAL (SELECT CASE
    WHEN e.name <> 'OrionA-280 2' THEN 'present'
    WHEN f.name LIKE 'r01d1%' THEN 'deleted'
    WHEN f.name LIKE 'r01d2%' THEN 'deletion_failed'
    ELSE 'deletion_possible' END AS status) c
ON CONFLICT DO NOTHING;

INSERT INTO physical_copy (id, kind, raw_data_package_id, data_location_id, path, status, size_bytes, checksum, verified_at, deletion_scheduled_at, deleted_at,
    retry_count, version, created_at, updated_at)
SELECT pg_temp.demo_id('copy ' || v.location || ' ' || p.name), 'raw_data_package', p.id, l.id, coalesce(l.path || '/', '') || p.relative_path, v.status::copy_status, p.size_bytes, p.checksum,
    p.created_at + v.age, now() - v.scheduled, now() - v.gone, 0, 1, p.created_at + v.age, p.created_at + v.age
FROM (VALUES
    ('OrionA-280 1', 'observatory/output_buffer', 'deletion_scheduled', interval '1 hour', interval '1 day', NULL::interval),
    ('OrionA-280 1', 'cologne/input_buffer', 'deletion_in_progress', interval '40 hours', interval '1 day', NULL),
    ('OrionA-280 1', 'cologne/lta', 'present', interval '41 hours', NULL, NULL),
    ('OrionA-280 1', 'cologne/ramses_processing', 'staged', interval '50 hours', NULL, NULL),
    ('OrionA-280 2', 'observatory/output_buffer', 'deleted', interval '1 hour', interval '4 days', interval '3 days'),
    ('OrionA-280 2', 'cologne/input_buffer', 'deleted', interval '40 hours', interval '4 days', interval '3 days'),
    ('OrionA-280 2', 'cologne/lta', 'present', interval '41 hours', NULL, NULL),
    ('OrionA-280 2', 'cologne/ramses_processing', 'staged', interval '50 hours', NULL, NULL),
    ('OrionA-280 3', 'observatory/output_buffer', 'present', interval '1 hour', NULL, NULL),
    ('OrionA-280 3', 'cologne/input_buffer', 'present', interval '40 hours', NULL, NULL),
    ('OrionA-280 3', 'cologne/ramses_processing', 'staged', interval '50 hours', NULL, NULL),
    ('OrionA-280 4', 'observatory/output_buffer', 'present', interval '1 hour', NULL, NULL)
) v (execution, location, status, age, scheduled, gone)
JOIN demo_package dp ON dp.execution = v.execution
JOIN raw_data_package p ON p.id = pg_temp.demo_id('package ' || dp.name)
JOIN demo_location l ON l.name = v.location
ON CONFLICT DO NOTHING;

INSERT INTO physical_copy (id, kind, data_transfer_package_id, data_location_id, path, status, size_bytes, checksum, verified_at, retry_count, version, created_at, updated_at)
SELECT pg_temp.demo_id('copy ' || v.location || ' ' || b.name), 'data_transfer_package', b.id, l.id, l.path || '/' || b.name, 'present', b.size_bytes, b.checksum, b.created_at, 0, 1, b.created_at, b.created_at
FROM (VALUES
    ('ccat-20260715-0001', 'observatory/output_buffer'), ('ccat-20260715-0001', 'cologne/input_buffer'),
    ('ccat-20260716-0001', 'observatory/output_buffer'), ('ccat-20260717-0001', 'observatory/output_buffer')
) v (bundle, location)
JOIN data_transfer_package b ON b.id = pg_temp.demo_id('bundle ' || v.bundle)
JOIN demo_location l ON l.name = v.location
ON CONFLICT DO NOTHING;
