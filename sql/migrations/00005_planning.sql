-- +goose Up
-- One CHECK a column says which kind it belongs to, so that a refusal names the field.
CREATE TABLE source (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    kind source_kind NOT NULL,
    aliases text[] NOT NULL DEFAULT '{}',
    ra_deg double precision,
    dec_deg double precision,
    frame text NOT NULL DEFAULT 'icrs',
    pm_ra_mas_yr double precision,
    pm_dec_mas_yr double precision,
    v_lsr_km_s double precision,
    body_name text,
    naif_id integer,
    area_ra_min_deg double precision,
    area_ra_max_deg double precision,
    area_dec_min_deg double precision,
    area_dec_max_deg double precision,
    elevation_deg double precision,
    azimuth_min_deg double precision,
    azimuth_max_deg double precision,
    notes text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT source_pkey PRIMARY KEY (id),
    CONSTRAINT source_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT source_ra_deg_check CHECK (ra_deg >= 0 AND ra_deg < 360),
    CONSTRAINT source_dec_deg_check CHECK (dec_deg BETWEEN -90 AND 90),
    CONSTRAINT source_area_ra_min_deg_check CHECK (area_ra_min_deg >= 0 AND area_ra_min_deg < 360),
    CONSTRAINT source_area_ra_max_deg_check CHECK (area_ra_max_deg >= 0 AND area_ra_max_deg < 360),
    CONSTRAINT source_area_dec_min_deg_check CHECK (area_dec_min_deg BETWEEN -90 AND 90),
    CONSTRAINT source_area_dec_max_deg_check CHECK (area_dec_max_deg BETWEEN -90 AND 90),
    CONSTRAINT source_area_dec_min_deg_area_dec_max_deg_check CHECK (area_dec_min_deg <= area_dec_max_deg),
    CONSTRAINT source_elevation_deg_check CHECK (elevation_deg BETWEEN 0 AND 90),
    CONSTRAINT source_azimuth_min_deg_azimuth_max_deg_check CHECK (azimuth_min_deg < azimuth_max_deg),
    CONSTRAINT source_kind_ra_deg_check CHECK ((kind = 'fixed') = (ra_deg IS NOT NULL)),
    CONSTRAINT source_kind_dec_deg_check CHECK ((kind = 'fixed') = (dec_deg IS NOT NULL)),
    CONSTRAINT source_kind_pm_ra_mas_yr_check CHECK (kind = 'fixed' OR pm_ra_mas_yr IS NULL),
    CONSTRAINT source_kind_pm_dec_mas_yr_check CHECK (kind = 'fixed' OR pm_dec_mas_yr IS NULL),
    CONSTRAINT source_kind_v_lsr_km_s_check CHECK (kind = 'fixed' OR v_lsr_km_s IS NULL),
    CONSTRAINT source_kind_body_name_check CHECK ((kind = 'solar_system') = (body_name IS NOT NULL)),
    CONSTRAINT source_kind_naif_id_check CHECK (kind = 'solar_system' OR naif_id IS NULL),
    CONSTRAINT source_kind_area_ra_min_deg_check CHECK ((kind = 'constant_elevation') = (area_ra_min_deg IS NOT NULL)),
    CONSTRAINT source_kind_area_ra_max_deg_check CHECK ((kind = 'constant_elevation') = (area_ra_max_deg IS NOT NULL)),
    CONSTRAINT source_kind_area_dec_min_deg_check CHECK ((kind = 'constant_elevation') = (area_dec_min_deg IS NOT NULL)),
    CONSTRAINT source_kind_area_dec_max_deg_check CHECK ((kind = 'constant_elevation') = (area_dec_max_deg IS NOT NULL)),
    CONSTRAINT source_kind_elevation_deg_check CHECK ((kind = 'constant_elevation') = (elevation_deg IS NOT NULL)),
    CONSTRAINT source_kind_azimuth_min_deg_check CHECK (kind = 'constant_elevation' OR azimuth_min_deg IS NULL),
    CONSTRAINT source_kind_azimuth_max_deg_check CHECK (kind = 'constant_elevation' OR azimuth_max_deg IS NULL)
);
CREATE UNIQUE INDEX source_name_key ON source (lower(name));
CREATE INDEX source_dec_deg_ra_deg_idx ON source (dec_deg, ra_deg);
COMMENT ON TABLE source IS 'What can be observed: a position, a body of the solar system, or a survey area at constant elevation.';
COMMENT ON COLUMN source.area_ra_min_deg IS 'Above area_ra_max_deg when the area crosses 0 h.';

CREATE TABLE obs_mode (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    pattern text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT obs_mode_pkey PRIMARY KEY (id),
    CONSTRAINT obs_mode_name_key UNIQUE (name),
    CONSTRAINT obs_mode_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT obs_mode_pattern_check CHECK (pattern IN ('otf', 'raster', 'total_power', 'pong', 'daisy', 'constant_elevation', 'sky_dip', 'focus', 'pointing'))
);
COMMENT ON TABLE obs_mode IS 'How an obs unit is observed.';

CREATE TABLE observing_program (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    short_name text NOT NULL,
    kind text NOT NULL,
    instrument_id bigint,
    lead text NOT NULL DEFAULT '',
    description text NOT NULL DEFAULT '',
    allocated_hours double precision,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT observing_program_pkey PRIMARY KEY (id),
    CONSTRAINT observing_program_name_key UNIQUE (name),
    CONSTRAINT observing_program_short_name_key UNIQUE (short_name),
    CONSTRAINT observing_program_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument (id),
    CONSTRAINT observing_program_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT observing_program_short_name_check CHECK (length(short_name) <= 63 AND short_name ~ '[^0-9]'),
    CONSTRAINT observing_program_kind_check CHECK (kind IN ('science', 'technical')),
    CONSTRAINT observing_program_allocated_hours_check CHECK (allocated_hours >= 0)
);
CREATE INDEX observing_program_instrument_id_idx ON observing_program (instrument_id) WHERE instrument_id IS NOT NULL;
COMMENT ON TABLE observing_program IS 'A science or technical programme that owns obs units.';
COMMENT ON COLUMN observing_program.short_name IS 'Has a character that is no digit, so that a path can take it or the id.';

CREATE TABLE sub_observing_program (
    id bigint GENERATED ALWAYS AS IDENTITY,
    observing_program_id bigint NOT NULL,
    name text NOT NULL,
    short_name text NOT NULL,
    description text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sub_observing_program_pkey PRIMARY KEY (id),
    CONSTRAINT sub_observing_program_observing_program_id_fkey FOREIGN KEY (observing_program_id) REFERENCES observing_program (id),
    CONSTRAINT sub_observing_program_observing_program_id_short_name_key UNIQUE (observing_program_id, short_name),
    CONSTRAINT sub_observing_program_id_observing_program_id_key UNIQUE (id, observing_program_id),
    CONSTRAINT sub_observing_program_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT sub_observing_program_short_name_check CHECK (length(short_name) BETWEEN 1 AND 63)
);
COMMENT ON TABLE sub_observing_program IS 'A part of a programme.';

CREATE TABLE observation_configuration (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    instrument_id bigint NOT NULL,
    parameters jsonb NOT NULL DEFAULT '{}',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT observation_configuration_pkey PRIMARY KEY (id),
    CONSTRAINT observation_configuration_name_key UNIQUE (name),
    CONSTRAINT observation_configuration_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument (id),
    CONSTRAINT observation_configuration_name_check CHECK (length(name) BETWEEN 1 AND 255)
);
CREATE INDEX observation_configuration_instrument_id_idx ON observation_configuration (instrument_id);
COMMENT ON TABLE observation_configuration IS 'Instrument settings that several obs units share; parameters are the telescope software''s own.';

CREATE TABLE obs_unit (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    observing_program_id bigint NOT NULL,
    sub_observing_program_id bigint,
    source_id bigint NOT NULL,
    obs_mode_id bigint NOT NULL,
    observation_configuration_id bigint,
    instrument_id bigint NOT NULL,
    line_id bigint,
    nominal_elevation_deg double precision,
    mapping_parameters jsonb NOT NULL DEFAULT '{}',
    additional_params jsonb NOT NULL DEFAULT '{}',
    priority integer NOT NULL DEFAULT 100,
    requested_seconds double precision NOT NULL DEFAULT 0,
    min_elevation_deg double precision NOT NULL DEFAULT 20,
    max_elevation_deg double precision NOT NULL DEFAULT 87,
    max_pwv_mm double precision,
    available boolean NOT NULL DEFAULT true,
    description text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT obs_unit_pkey PRIMARY KEY (id),
    CONSTRAINT obs_unit_observing_program_id_name_key UNIQUE (observing_program_id, name),
    CONSTRAINT obs_unit_observing_program_id_fkey FOREIGN KEY (observing_program_id) REFERENCES observing_program (id),
    CONSTRAINT obs_unit_sub_observing_program_id_observing_program_id_fkey FOREIGN KEY (sub_observing_program_id, observing_program_id) REFERENCES sub_observing_program (id, observing_program_id),
    CONSTRAINT obs_unit_source_id_fkey FOREIGN KEY (source_id) REFERENCES source (id),
    CONSTRAINT obs_unit_obs_mode_id_fkey FOREIGN KEY (obs_mode_id) REFERENCES obs_mode (id),
    CONSTRAINT obs_unit_observation_configuration_id_fkey FOREIGN KEY (observation_configuration_id) REFERENCES observation_configuration (id),
    CONSTRAINT obs_unit_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument (id),
    CONSTRAINT obs_unit_line_id_fkey FOREIGN KEY (line_id) REFERENCES spectral_line (id),
    CONSTRAINT obs_unit_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT obs_unit_nominal_elevation_deg_check CHECK (nominal_elevation_deg BETWEEN 0 AND 90),
    CONSTRAINT obs_unit_requested_seconds_check CHECK (requested_seconds >= 0),
    CONSTRAINT obs_unit_min_elevation_deg_max_elevation_deg_check CHECK (0 <= min_elevation_deg AND min_elevation_deg <= max_elevation_deg AND max_elevation_deg <= 90),
    CONSTRAINT obs_unit_max_pwv_mm_check CHECK (max_pwv_mm > 0)
);
CREATE INDEX obs_unit_name_id_idx ON obs_unit (name, id);
CREATE INDEX obs_unit_sub_observing_program_id_idx ON obs_unit (sub_observing_program_id) WHERE sub_observing_program_id IS NOT NULL;
CREATE INDEX obs_unit_source_id_idx ON obs_unit (source_id);
CREATE INDEX obs_unit_instrument_id_idx ON obs_unit (instrument_id);
CREATE INDEX obs_unit_observation_configuration_id_idx ON obs_unit (observation_configuration_id) WHERE observation_configuration_id IS NOT NULL;
COMMENT ON TABLE obs_unit IS 'A planned observation: one source, one mode, one instrument.';
COMMENT ON COLUMN obs_unit.mapping_parameters IS 'The planner''s own keys and values, handed through unchanged.';
COMMENT ON COLUMN obs_unit.priority IS 'Lower is observed first.';

CREATE TABLE obs_unit_module_configuration (
    obs_unit_id bigint NOT NULL,
    instrument_module_configuration_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT obs_unit_module_configuration_pkey PRIMARY KEY (obs_unit_id, instrument_module_configuration_id),
    CONSTRAINT obs_unit_module_configuration_obs_unit_id_fkey FOREIGN KEY (obs_unit_id) REFERENCES obs_unit (id) ON DELETE CASCADE,
    CONSTRAINT obs_unit_module_configuration_instrument_module_configurat_fkey FOREIGN KEY (instrument_module_configuration_id) REFERENCES instrument_module_configuration (id)
);
CREATE INDEX obs_unit_module_configuration_configuration_idx ON obs_unit_module_configuration (instrument_module_configuration_id);
COMMENT ON TABLE obs_unit_module_configuration IS 'Module configurations an obs unit asks for.';

CREATE TABLE obs_unit_azimuth_range (
    id bigint GENERATED ALWAYS AS IDENTITY,
    obs_unit_id bigint NOT NULL,
    elevation_deg double precision NOT NULL,
    azimuth_min_deg double precision NOT NULL,
    azimuth_max_deg double precision NOT NULL,
    duration_seconds double precision,
    rising boolean,
    label text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT obs_unit_azimuth_range_pkey PRIMARY KEY (id),
    CONSTRAINT obs_unit_azimuth_range_obs_unit_id_fkey FOREIGN KEY (obs_unit_id) REFERENCES obs_unit (id) ON DELETE CASCADE,
    CONSTRAINT obs_unit_azimuth_range_elevation_deg_check CHECK (elevation_deg BETWEEN 0 AND 90),
    CONSTRAINT obs_unit_azimuth_range_azimuth_min_deg_azimuth_max_deg_check CHECK (-180 <= azimuth_min_deg AND azimuth_min_deg < azimuth_max_deg AND azimuth_max_deg <= 360),
    CONSTRAINT obs_unit_azimuth_range_duration_seconds_check CHECK (duration_seconds > 0)
);
CREATE INDEX obs_unit_azimuth_range_obs_unit_id_idx ON obs_unit_azimuth_range (obs_unit_id);
COMMENT ON TABLE obs_unit_azimuth_range IS 'One entry of a constant-elevation unit''s azimuth table.';

CREATE TABLE pre_scheduled_slot (
    id bigint GENERATED ALWAYS AS IDENTITY,
    obs_unit_id bigint NOT NULL,
    azimuth_range_id bigint,
    start_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pre_scheduled_slot_pkey PRIMARY KEY (id),
    CONSTRAINT pre_scheduled_slot_obs_unit_id_fkey FOREIGN KEY (obs_unit_id) REFERENCES obs_unit (id) ON DELETE CASCADE,
    CONSTRAINT pre_scheduled_slot_azimuth_range_id_fkey FOREIGN KEY (azimuth_range_id) REFERENCES obs_unit_azimuth_range (id) ON DELETE SET NULL,
    CONSTRAINT pre_scheduled_slot_start_time_end_time_check CHECK (start_time < end_time)
);
CREATE INDEX pre_scheduled_slot_obs_unit_id_start_time_idx ON pre_scheduled_slot (obs_unit_id, start_time);
CREATE INDEX pre_scheduled_slot_start_time_end_time_idx ON pre_scheduled_slot (start_time, end_time);
CREATE INDEX pre_scheduled_slot_azimuth_range_id_idx ON pre_scheduled_slot (azimuth_range_id) WHERE azimuth_range_id IS NOT NULL;
COMMENT ON TABLE pre_scheduled_slot IS 'Time set aside for an obs unit.';

-- +goose Down
DROP TABLE pre_scheduled_slot;
DROP TABLE obs_unit_azimuth_range;
DROP TABLE obs_unit_module_configuration;
DROP TABLE obs_unit;
DROP TABLE observation_configuration;
DROP TABLE sub_observing_program;
DROP TABLE observing_program;
DROP TABLE obs_mode;
DROP TABLE source;
