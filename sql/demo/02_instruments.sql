-- Instruments of the telescope, their modules, the lines they are tuned to and how they are set up.

INSERT INTO instrument (telescope_id, name, kind, available, description, website)
SELECT t.id, v.name, v.kind::instrument_kind, v.available, v.description, v.website
FROM telescope t, (VALUES
    ('CHAI', 'heterodyne', true, 'CCAT Heterodyne Array Instrument, University of Cologne', 'https://astro.uni-koeln.de/chai'),
    ('Prime-Cam', 'camera', true, 'Camera with seven module slots', 'https://www.ccatobservatory.org'),
    ('Mod-Cam', 'camera', false, 'Single-module test and first-light camera', 'https://www.ccatobservatory.org')
) v (name, kind, available, description, website)
WHERE t.short_name = 'FYST'
ON CONFLICT DO NOTHING;

INSERT INTO instrument_module (instrument_id, name, available, pixel_count, frequency_min_ghz, frequency_max_ghz, beam_fwhm_arcsec, offset_x_arcmin, offset_y_arcmin, description)
SELECT i.id, v.name, v.available, v.pixels, v.low, v.high, v.beam, v.x, v.y, v.description
FROM (VALUES
    ('CHAI', 'LFA', true, 64, 455::float8, 495::float8, 26::float8, 0::float8, 0::float8, 'Low frequency array'),
    ('CHAI', 'HFA', true, 64, 800, 820, 15, 0, 0, 'High frequency array'),
    ('CHAI', 'Mini-CHAI', false, 1, NULL, NULL, NULL, 0, 0, 'One pixel, dual band'),
    ('Prime-Cam', 'Mod280', true, 10368, 255, 315, 47, 0, -106.8, 'Slot i1, centre 280-285 GHz'),
    ('Prime-Cam', 'EoR-Spec', true, 6500, 210, 420, 58, 92.5, -53.4, 'Slot i2, Fabry-Perot spectrometer; beam 32-58 arcsec over the band'),
    ('Prime-Cam', 'CMB350', false, 10368, 330, 366, 35, 92.5, 53.4, 'Slot i3, centre 348-350 GHz'),
    ('Prime-Cam', 'Mod850', false, 41400, 801, 899, 14, 0, 0, 'Slot c, centre 850 GHz')
) v (instrument, name, available, pixels, low, high, beam, x, y, description)
JOIN instrument i ON i.name = v.instrument
ON CONFLICT DO NOTHING;

INSERT INTO spectral_line (name, species, transition, rest_frequency_ghz) VALUES
    ('CO 4-3', 'CO', '4-3', 461.0407682),
    ('[CI] 1-0', 'CI', '3P1-3P0', 492.1606510),
    ('CO 7-6', 'CO', '7-6', 806.6518060),
    ('[CI] 2-1', 'CI', '3P2-3P1', 809.3419700),
    ('13CO 4-3', '13CO', '4-3', 440.7651735),
    ('[CII] 158 µm', 'CII', '2P3/2-2P1/2', 1900.5369)
ON CONFLICT DO NOTHING;

INSERT INTO instrument_module_configuration (instrument_module_id, name, line_id, sideband, parameters)
SELECT m.id, v.name, l.id, v.sideband, v.parameters::jsonb
FROM (VALUES
    ('LFA', 'LFA-CO43', 'CO 4-3', 'usb', '{}'),
    ('LFA', 'LFA-CI10', '[CI] 1-0', 'usb', '{}'),
    ('HFA', 'HFA-CO76-CI21', 'CO 7-6', 'usb', '{"lines": ["CO 7-6", "[CI] 2-1"]}'),
    ('Mod280', 'Mod280-default', NULL, NULL, '{"tones_per_feedline": 576, "sample_rate_hz": 488}'),
    ('EoR-Spec', 'EoRSpec-step', NULL, NULL, '{"resolving_power": 100, "fpi_steps": 42}')
) v (module, name, line, sideband, parameters)
JOIN instrument_module m ON m.name = v.module
LEFT JOIN spectral_line l ON l.name = v.line
ON CONFLICT DO NOTHING;
