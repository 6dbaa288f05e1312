-- Observatory, telescope and sites: the places. https://www.ccatobservatory.org for the real values.

INSERT INTO observatory (name, short_name, description) VALUES
    ('CCAT Observatory', 'CCAT', 'Submillimetre astronomy from Cerro Chajnantor, Chile')
ON CONFLICT DO NOTHING;

INSERT INTO telescope (observatory_id, name, short_name, latitude_deg, longitude_deg, altitude_m, elevation_min_deg, elevation_max_deg, description)
SELECT id, 'Fred Young Submillimeter Telescope', 'FYST', -22.985639, -67.740278, 5611.8, 20, 90, 'Six metres, on Cerro Chajnantor, Atacama, Chile'
FROM observatory WHERE short_name = 'CCAT'
ON CONFLICT DO NOTHING;

-- A main site of another name stays the only one.
INSERT INTO site (name, short_name, location, is_main, latitude_deg, longitude_deg)
SELECT v.name, v.short_name, v.location, v.is_main AND NOT EXISTS (SELECT FROM site WHERE is_main), v.latitude, v.longitude
FROM (VALUES
    ('Cologne', 'cologne', 'University of Cologne, Germany', true, 50.928::float8, 6.928::float8),
    ('CCAT observatory', 'observatory', 'Cerro Chajnantor, Chile', false, -22.985639, -67.740278),
    ('Cornell', 'cornell', 'Cornell University, Ithaca, USA', false, 42.447, -76.484)
) v (name, short_name, location, is_main, latitude, longitude)
ON CONFLICT DO NOTHING;

INSERT INTO site_status (site) VALUES ('cologne'), ('observatory'), ('cornell')
ON CONFLICT DO NOTHING;
