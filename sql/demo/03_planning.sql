-- What is to be observed: sources of all three kinds, programmes, modes, obs units with their ranges and slots.

INSERT INTO source (name, kind, aliases, ra_deg, dec_deg, v_lsr_km_s, notes)
SELECT v.name, 'fixed', v.aliases::text[], v.ra, v.dec, v.v_lsr, v.notes
FROM (VALUES
    ('Orion-KL', '{"Orion BN/KL"}', 83.8104::float8, -5.3750::float8, 9::float8, 'GEco, pointing'),
    ('Orion A', '{ORIONA}', 84.0, -6.0, 8, 'Field of 2 degrees radius; GEco, Prime-Cam small field'),
    ('M 17 SW', '{"NGC 6618","Omega Nebula"}', 275.1150, -16.2003, 20, 'GEco'),
    ('CMZ (Sgr A*)', '{"Galactic Centre","Sgr A*",CMZ}', 266.4168, -29.0078, 0, 'GEco'),
    ('Sgr B2(M)', '{}', 266.8342, -28.3847, 62, 'GEco'),
    ('NGC 6334 I', '{"Cat''s Paw"}', 260.2227, -35.7839, -7, 'GEco'),
    ('rho Oph A', '{L1688}', 246.6100, -24.3917, 3, 'GEco'),
    ('RCW 38', '{}', 134.7729, -47.5108, 3, 'GEco'),
    ('RCW 92', '{}', 229.6630, -56.6490, NULL, 'Quick-look map test'),
    ('NGC 3372', '{"Carina Nebula"}', 161.2854, -59.8678, -20, 'GEco'),
    ('30 Doradus', '{Tarantula,"30 Dor"}', 84.6767, -69.1008, 250, 'LMC; GEco'),
    ('N159W', '{}', 84.8967, -69.7603, 238, 'LMC; GEco'),
    ('N66', '{"NGC 346"}', 14.7875, -72.1769, 160, 'SMC; GEco'),
    ('NGC 253', '{"Sculptor galaxy"}', 11.8880, -25.2882, 243, 'GEco nearby galaxies'),
    ('M 83', '{"NGC 5236"}', 204.2540, -29.8654, 513, 'GEco nearby galaxies'),
    ('NGC 4945', '{}', 196.3645, -49.4682, 563, 'GEco nearby galaxies'),
    ('Cen A', '{"NGC 5128"}', 201.3651, -43.0191, 547, 'GEco, calibration'),
    ('IRC+10216', '{"CW Leo"}', 146.9892, 13.2788, -26, 'Line calibrator'),
    ('Tau A', '{"Crab Nebula","M 1"}', 83.6331, 22.0145, NULL, 'Polarisation and beam calibrator'),
    ('3C 279', '{J1256-0547}', 194.0465, -5.7893, NULL, 'Pointing'),
    ('J0522-3627', '{}', 80.7416, -36.4586, NULL, 'Pointing'),
    ('E-COSMOS', '{COSMOS}', 150.119, 2.205, NULL, 'EoR-Spec deep field, 4 by 4 degrees'),
    ('E-CDFS', '{"Extended CDF-South"}', 53.117, -27.808, NULL, 'EoR-Spec deep field, 5 by 6.7 degrees')
) v (name, aliases, ra, dec, v_lsr, notes)
ON CONFLICT DO NOTHING;

INSERT INTO source (name, kind, body_name, naif_id, notes) VALUES
    ('Jupiter', 'solar_system', 'jupiter', 599, 'Beam map, planet calibration'),
    ('Saturn', 'solar_system', 'saturn', 699, 'Planet calibration'),
    ('Mars', 'solar_system', 'mars', 499, 'Planet calibration'),
    ('Uranus', 'solar_system', 'uranus', 799, 'Primary flux calibrator'),
    ('Neptune', 'solar_system', 'neptune', 899, 'Flux calibrator'),
    ('Ceres', 'solar_system', 'ceres', 2000001, 'Secondary calibrator')
ON CONFLICT DO NOTHING;

-- CMB-Stripe crosses RA 0: its minimum is above its maximum.
INSERT INTO source (name, kind, area_ra_min_deg, area_ra_max_deg, area_dec_min_deg, area_dec_max_deg, elevation_deg, azimuth_min_deg, azimuth_max_deg, notes) VALUES
    ('Deep56', 'constant_elevation', 4, 44, -37, -27, 50, 120, 240, 'Centre 24, -32; 4 h blocks'),
    ('Wide01', 'constant_elevation', 170, 190, -35, -25, 45, 60, 120, 'Rising 60-120, setting 240-300'),
    ('CMB-Stripe', 'constant_elevation', 330, 30, -9, 5, 50, 40, 90, 'Through 0 h; rising 40-90, setting 270-320'),
    ('OrionA-CES', 'constant_elevation', 82, 86, -8, -4, 41.09, 71.50, 78.72, 'Steps of elevation 41.09, 43.11, 45.13, 47.14')
ON CONFLICT DO NOTHING;

INSERT INTO obs_mode (name, description, pattern) VALUES
    ('otf', 'On-the-fly map', 'otf'),
    ('raster', 'Raster map', 'raster'),
    ('total_power', 'Total power', 'total_power'),
    ('pong', 'Curvy pong', 'pong'),
    ('daisy', 'Daisy', 'daisy'),
    ('constant_elevation', 'Scan in azimuth at constant elevation', 'constant_elevation'),
    ('sky_dip', 'Sky dip', 'sky_dip'),
    ('focus', 'Focus', 'focus'),
    ('pointing', 'Pointing', 'pointing')
ON CONFLICT DO NOTHING;

INSERT INTO observing_program (name, short_name, kind, instrument_id, lead, description, allocated_hours)
SELECT v.name, v.short_name, v.kind, i.id, '', v.description, v.hours
FROM (VALUES
    ('Galactic Ecology', 'GEco', 'science', 'CHAI', 'CO and [CI] in the Milky Way, the Magellanic Clouds and nearby galaxies', 247::float8),
    ('Deep Spectroscopic Survey', 'DSS', 'science', 'Prime-Cam', '[CII] intensity mapping of E-COSMOS and E-CDFS, about 4,000 h in 5 years', 4000),
    ('Wide Field Survey', 'WFS', 'science', 'Prime-Cam', 'SZ, dusty galaxies, CMB foregrounds', 1800),
    ('Cosmic microwave background', 'CMB', 'science', 'Prime-Cam', '', 500),
    ('Galactic polarisation', 'GPol', 'science', 'Prime-Cam', '', 20),
    ('Submillimetre transients and protostar monitoring', 'TDS', 'science', 'Prime-Cam', '', 50),
    ('Calibration', 'Cal', 'technical', NULL, '', NULL),
    ('Engineering', 'ENG', 'technical', NULL, '', NULL),
    ('Commissioning', 'COM', 'technical', NULL, '', NULL)
) v (name, short_name, kind, instrument, description, hours)
LEFT JOIN instrument i ON i.name = v.instrument
ON CONFLICT DO NOTHING;

INSERT INTO sub_observing_program (observing_program_id, name, short_name, description)
SELECT p.id, v.name, v.short_name, ''
FROM observing_program p, (VALUES
    ('Milky Way clouds', 'GEco-MW'), ('Galactic Centre / CMZ', 'GEco-GC'), ('Magellanic Clouds', 'GEco-MC'), ('Nearby galaxies', 'GEco-NG')
) v (name, short_name)
WHERE p.short_name = 'GEco'
ON CONFLICT DO NOTHING;

INSERT INTO observation_configuration (name, instrument_id, parameters)
SELECT v.name, i.id, v.parameters::jsonb
FROM (VALUES
    ('Prime-Cam-pong', 'Prime-Cam', '{"velocity_deg_s": 0.5, "spacing_deg": 0.1, "num_terms": 4, "retune_s": 300}'),
    ('Prime-Cam-daisy', 'Prime-Cam', '{"radius_deg": 0.47, "turn_arcsec": 800, "avoid_arcsec": 600, "velocity_deg_s": 0.33, "retune_s": 300}'),
    ('Prime-Cam-constant-elevation', 'Prime-Cam', '{"velocity_deg_s": 1.0, "retune_s": 300}'),
    ('Prime-Cam-constant-elevation-small', 'Prime-Cam', '{"velocity_deg_s": 0.2, "retune_s": 300}')
) v (name, instrument, parameters)
JOIN instrument i ON i.name = v.instrument
ON CONFLICT DO NOTHING;

INSERT INTO observation_configuration (name, instrument_id, parameters)
SELECT 'CHAI-' || v.source, i.id, jsonb_build_object(
    'tiles', '[{"offset_x_arcmin": 0, "offset_y_arcmin": 0, "width_arcmin": 15, "height_arcmin": 15, "angle_deg": 0}]'::jsonb,
    'inpar', jsonb_build_object('integration_time', 0.5, 'line_velocity', s.v_lsr_km_s))
FROM (VALUES ('Orion A'), ('M 17 SW'), ('CMZ (Sgr A*)'), ('30 Doradus'), ('NGC 253'), ('IRC+10216')) v (source)
JOIN source s ON s.name = v.source
JOIN instrument i ON i.name = 'CHAI'
ON CONFLICT DO NOTHING;

CREATE TEMPORARY TABLE demo_obs_unit (
    name text, program text, sub text, source text, mode text, configuration text, instrument text, line text,
    elevation float8, mapping text, modules text[], seconds float8, priority int, max_pwv float8
) ON COMMIT DROP;

INSERT INTO demo_obs_unit VALUES
    ('GEco-OrionA-CO', 'GEco', 'GEco-MW', 'Orion A', 'otf', 'CHAI-Orion A', 'CHAI', 'CO 4-3', NULL, '{}', '{LFA-CO43,HFA-CO76-CI21}', 40 * 3600, 20, 0.6),
    ('GEco-OrionA-CI', 'GEco', 'GEco-MW', 'Orion A', 'otf', 'CHAI-Orion A', 'CHAI', '[CI] 1-0', NULL, '{}', '{LFA-CI10,HFA-CO76-CI21}', 40 * 3600, 25, 0.6),
    ('GEco-M17-CI', 'GEco', 'GEco-MW', 'M 17 SW', 'otf', 'CHAI-M 17 SW', 'CHAI', '[CI] 1-0', NULL, '{}', '{LFA-CI10,HFA-CO76-CI21}', 12 * 3600, 30, 0.6),
    ('GEco-CMZ-CI', 'GEco', 'GEco-GC', 'CMZ (Sgr A*)', 'otf', 'CHAI-CMZ (Sgr A*)', 'CHAI', '[CI] 1-0', NULL, '{}', '{LFA-CI10,HFA-CO76-CI21}', 120 * 3600, 10, 0.6),
    ('GEco-30Dor', 'GEco', 'GEco-MC', '30 Doradus', 'otf', 'CHAI-30 Doradus', 'CHAI', '[CI] 1-0', NULL, '{}', '{LFA-CI10,HFA-CO76-CI21}', 25 * 3600, 40, 0.6),
    ('GEco-NGC253', 'GEco', 'GEco-NG', 'NGC 253', 'otf', 'CHAI-NGC 253', 'CHAI', 'CO 4-3', NULL, '{}', '{LFA-CO43,HFA-CO76-CI21}', 10 * 3600, 50, 0.6),
    ('DSS-COSMOS', 'DSS', NULL, 'E-COSMOS', 'pong', 'Prime-Cam-pong', 'Prime-Cam', NULL, NULL,
        '{"name": "ECOSMOS_pong", "onsky_velocity": 0.5, "width": 4.0, "height": 4.0, "angle_var": 1, "spacing": 0.5, "num_terms": 5}', '{EoRSpec-step}', 2000 * 3600, 15, NULL),
    ('DSS-ECDFS', 'DSS', NULL, 'E-CDFS', 'pong', 'Prime-Cam-pong', 'Prime-Cam', NULL, NULL,
        '{"name": "ECDFS_pong", "onsky_velocity": 0.5, "width": 5.0, "height": 6.7, "angle": 170.0, "spacing": 0.5, "num_terms": 5}', '{EoRSpec-step}', 2000 * 3600, 15, NULL),
    ('WFS-Deep56-rising', 'WFS', NULL, 'Deep56', 'constant_elevation', 'Prime-Cam-constant-elevation', 'Prime-Cam', NULL, 50,
        '{"name": "Deep56_ce", "onsky_velocity": 0.5}', '{Mod280-default}', 900 * 3600, 60, NULL),
    ('WFS-Deep56-setting', 'WFS', NULL, 'Deep56', 'constant_elevation', 'Prime-Cam-constant-elevation', 'Prime-Cam', NULL, 50,
        '{"name": "Deep56_ce", "onsky_velocity": 0.5}', '{Mod280-default}', 900 * 3600, 60, NULL),
    ('CMB-Stripe-rising', 'CMB', NULL, 'CMB-Stripe', 'constant_elevation', 'Prime-Cam-constant-elevation', 'Prime-Cam', NULL, 50,
        '{"name": "CMBStripe_ce", "onsky_velocity": 1.0}', '{Mod280-default}', 500 * 3600, 70, NULL),
    ('OrionA-280', 'GPol', NULL, 'OrionA-CES', 'constant_elevation', 'Prime-Cam-constant-elevation-small', 'Prime-Cam', NULL, 41.09,
        '{"name": "OrionA_ce", "onsky_velocity": 0.2}', '{Mod280-default}', 20 * 3600, 35, NULL),
    ('TDS-OrionA-weekly', 'TDS', NULL, 'Orion A', 'pong', 'Prime-Cam-pong', 'Prime-Cam', NULL, NULL,
        '{"name": "OrionA_pong", "onsky_velocity": 0.5, "width": 4.0, "height": 4.0, "angle": 0.0, "spacing": 0.1, "num_terms": 4}', '{Mod280-default}', 50 * 3600, 45, NULL),
    ('Cal-Jupiter-beam', 'Cal', NULL, 'Jupiter', 'daisy', 'Prime-Cam-daisy', 'Prime-Cam', NULL, NULL,
        '{"name": "Jupiter_daisy", "onsky_velocity": 0.33, "R0": 0.47, "Rt": 0.222, "Ra": 0.167}', '{Mod280-default}', 600, 5, NULL),
    ('Cal-Uranus-flux', 'Cal', NULL, 'Uranus', 'daisy', 'Prime-Cam-daisy', 'Prime-Cam', NULL, NULL,
        '{"name": "Uranus_daisy", "onsky_velocity": 0.33, "R0": 0.47, "Rt": 0.222, "Ra": 0.167}', '{Mod280-default}', 600, 5, NULL),
    ('Cal-TauA-pol', 'Cal', NULL, 'Tau A', 'daisy', 'Prime-Cam-daisy', 'Prime-Cam', NULL, NULL,
        '{"name": "TauA_daisy", "onsky_velocity": 0.33, "R0": 0.47, "Rt": 0.222, "Ra": 0.167}', '{Mod280-default}', 900, 8, NULL),
    ('Cal-Mars-daisy', 'Cal', NULL, 'Mars', 'daisy', 'Prime-Cam-daisy', 'Prime-Cam', NULL, NULL,
        '{"name": "Mars_daisy", "onsky_velocity": 0.4, "R0": 0.3, "Rt": 0.05, "Ra": 0.01}', '{Mod280-default}', 600, 8, NULL),
    ('Cal-IRC10216-line', 'Cal', NULL, 'IRC+10216', 'total_power', 'CHAI-IRC+10216', 'CHAI', 'CO 4-3', NULL, '{}', '{LFA-CO43}', 600, 8, NULL),
    ('ENG-skydip', 'ENG', NULL, 'Deep56', 'sky_dip', NULL, 'Prime-Cam', NULL, NULL, '{}', '{Mod280-default}', 300, 9, NULL);

INSERT INTO obs_unit (name, observing_program_id, sub_observing_program_id, source_id, obs_mode_id, observation_configuration_id, instrument_id, line_id,
    nominal_elevation_deg, mapping_parameters, priority, requested_seconds, max_pwv_mm)
SELECT u.name, p.id, sp.id, s.id, m.id, c.id, i.id, l.id, u.elevation, u.mapping::jsonb, u.priority, u.seconds, u.max_pwv
FROM demo_obs_unit u
JOIN observing_program p ON p.short_name = u.program
LEFT JOIN sub_observing_program sp ON sp.observing_program_id = p.id AND sp.short_name = u.sub
JOIN source s ON s.name = u.source
JOIN obs_mode m ON m.name = u.mode
LEFT JOIN observation_configuration c ON c.name = u.configuration
JOIN instrument i ON i.name = u.instrument
LEFT JOIN spectral_line l ON l.name = u.line
ON CONFLICT DO NOTHING;

INSERT INTO obs_unit_module_configuration (obs_unit_id, instrument_module_configuration_id)
SELECT u.id, c.id
FROM demo_obs_unit d
JOIN observing_program p ON p.short_name = d.program
JOIN obs_unit u ON u.name = d.name AND u.observing_program_id = p.id
JOIN instrument_module_configuration c ON c.name = ANY (d.modules)
ON CONFLICT DO NOTHING;

INSERT INTO obs_unit_azimuth_range (obs_unit_id, elevation_deg, azimuth_min_deg, azimuth_max_deg, duration_seconds, rising, label)
SELECT u.id, v.elevation, v.low, v.high, v.duration, v.rising, v.label
FROM (VALUES
    (1, 'WFS-Deep56-rising', 50::float8, 90::float8, 150::float8, 14400::float8, true, 'rising'),
    (2, 'WFS-Deep56-setting', 50, 210, 270, 14400, false, 'setting'),
    (3, 'CMB-Stripe-rising', 50, 40, 90, 14400, true, 'rising'),
    (4, 'OrionA-280', 41.09, 75.86, 78.72, 540, true, 'step 1'),
    (5, 'OrionA-280', 43.11, 74.49, 77.46, 540, true, 'step 2'),
    (6, 'OrionA-280', 45.13, 73.05, 76.12, 540, true, 'step 3'),
    (7, 'OrionA-280', 47.14, 71.50, 74.71, 540, true, 'step 4'),
    (8, 'Cal-Jupiter-beam', 40.57, 41.16, 43.09, 420, true, 'part 1'),
    (9, 'Cal-Jupiter-beam', 41.65, 39.25, 41.36, 420, true, 'part 2'),
    (10, 'Cal-Jupiter-beam', 42.69, 37.37, 39.57, 420, true, 'part 3')
) v (n, unit, elevation, low, high, duration, rising, label)
JOIN obs_unit u ON u.name = v.unit
WHERE NOT EXISTS (SELECT FROM obs_unit_azimuth_range r WHERE r.obs_unit_id = u.id)
ORDER BY v.n;

INSERT INTO pre_scheduled_slot (obs_unit_id, start_time, end_time)
SELECT u.id, '2026-10-01 11:10:00Z', '2026-10-01 11:31:00Z'
FROM obs_unit u
WHERE u.name = 'Cal-Jupiter-beam' AND NOT EXISTS (SELECT FROM pre_scheduled_slot s WHERE s.obs_unit_id = u.id);
