-- Where data lies and how it moves between the sites.

INSERT INTO data_location (site_id, instrument_id, name, location_type, storage_type, priority, host, path, bucket, endpoint, tape_library, tape_pool, capacity_bytes, retention_days)
SELECT s.id, i.id, v.name, v.type::location_type, v.storage::storage_type, v.priority, v.host, v.path, v.bucket, v.endpoint, v.library, v.pool, v.tb * 1000000000000, v.retention
FROM (VALUES
    ('observatory', 'Prime-Cam', 'primecam_raw_data', 'source', 'disk', 10, 'primecam-daq', '/data/primecam', NULL, NULL, NULL, NULL, 200::bigint, 30),
    ('observatory', 'CHAI', 'chai_raw_data', 'source', 'disk', 10, 'chai-daq', '/data/chai', NULL, NULL, NULL, NULL, 50, 30),
    ('observatory', NULL, 'output_buffer', 'buffer', 'disk', 10, NULL, '/buffer/out', NULL, NULL, NULL, NULL, 300, NULL),
    ('observatory', NULL, 'output_buffer_2', 'buffer', 'disk', 20, NULL, '/buffer/out2', NULL, NULL, NULL, NULL, 300, NULL),
    ('cologne', NULL, 'input_buffer', 'buffer', 'disk', 10, NULL, '/buffer/in', NULL, NULL, NULL, NULL, 500, NULL),
    ('cologne', NULL, 'lta', 'long_term_archive', 's3', 10, NULL, NULL, 'ccat-lta', 'https://datastorage.nrw', NULL, NULL, 5000, NULL),
    ('cologne', NULL, 'ramses_processing', 'processing', 'disk', 10, 'ramses', '/scratch/ccat', NULL, NULL, NULL, NULL, 400, 14),
    ('cornell', NULL, 'input_buffer', 'buffer', 'disk', 10, NULL, '/buffer/in', NULL, NULL, NULL, NULL, 300, NULL),
    ('cornell', NULL, 'lta', 'long_term_archive', 's3', 10, NULL, NULL, 'ccat-us-lta', NULL, NULL, NULL, 5000, NULL),
    ('cornell', NULL, 'tape_vault', 'long_term_archive', 'tape', 90, NULL, NULL, NULL, NULL, 'A', 'ccat', 10000, NULL)
) v (site, instrument, name, type, storage, priority, host, path, bucket, endpoint, library, pool, tb, retention)
JOIN site s ON s.short_name = v.site
LEFT JOIN instrument i ON i.name = v.instrument
ON CONFLICT DO NOTHING;

INSERT INTO data_transfer_route (name, route_type, method, origin_site_id, destination_site_id, relay_site_id, origin_location_id, destination_location_id, priority)
SELECT v.name, v.type::route_type, 'bbcp', o.id, d.id, r.id, ol.id, dl.id, v.priority
FROM (VALUES
    ('ccat_to_cologne', 'direct', 'observatory', 'cologne', NULL, NULL, NULL, 10),
    ('ccat_to_us', 'relay', 'observatory', 'cornell', 'cologne', NULL, NULL, 20),
    ('cologne_to_us', 'direct', 'cologne', 'cornell', NULL, NULL, NULL, 10),
    ('chai_fast_lane', 'custom', 'observatory', 'cologne', NULL, 'output_buffer_2', 'input_buffer', 5)
) v (name, type, origin, destination, relay, origin_location, destination_location, priority)
JOIN site o ON o.short_name = v.origin
JOIN site d ON d.short_name = v.destination
LEFT JOIN site r ON r.short_name = v.relay
LEFT JOIN data_location ol ON ol.site_id = o.id AND ol.name = v.origin_location
LEFT JOIN data_location dl ON dl.site_id = d.id AND dl.name = v.destination_location
ON CONFLICT DO NOTHING;
