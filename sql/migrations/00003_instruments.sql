-- +goose Up
CREATE TABLE telescope (
    id bigint GENERATED ALWAYS AS IDENTITY,
    observatory_id bigint NOT NULL,
    name text NOT NULL,
    short_name text NOT NULL,
    latitude_deg double precision NOT NULL,
    longitude_deg double precision NOT NULL,
    altitude_m double precision NOT NULL,
    elevation_min_deg double precision NOT NULL DEFAULT 20,
    elevation_max_deg double precision NOT NULL DEFAULT 90,
    description text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT telescope_pkey PRIMARY KEY (id),
    CONSTRAINT telescope_observatory_id_fkey FOREIGN KEY (observatory_id) REFERENCES observatory (id),
    CONSTRAINT telescope_observatory_id_name_key UNIQUE (observatory_id, name),
    CONSTRAINT telescope_short_name_key UNIQUE (short_name),
    CONSTRAINT telescope_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT telescope_short_name_check CHECK (length(short_name) BETWEEN 1 AND 63),
    CONSTRAINT telescope_latitude_deg_check CHECK (latitude_deg BETWEEN -90 AND 90),
    CONSTRAINT telescope_longitude_deg_check CHECK (longitude_deg BETWEEN -180 AND 180),
    CONSTRAINT telescope_elevation_min_deg_elevation_max_deg_check CHECK (0 <= elevation_min_deg AND elevation_min_deg <= elevation_max_deg AND elevation_max_deg <= 90)
);
COMMENT ON TABLE telescope IS 'A telescope with its place on Earth and the elevations it can reach.';
COMMENT ON COLUMN telescope.longitude_deg IS 'East is positive.';

CREATE TABLE instrument (
    id bigint GENERATED ALWAYS AS IDENTITY,
    telescope_id bigint NOT NULL,
    name text NOT NULL,
    kind instrument_kind NOT NULL,
    available boolean NOT NULL DEFAULT false,
    description text NOT NULL DEFAULT '',
    website text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT instrument_pkey PRIMARY KEY (id),
    CONSTRAINT instrument_telescope_id_fkey FOREIGN KEY (telescope_id) REFERENCES telescope (id),
    CONSTRAINT instrument_telescope_id_name_key UNIQUE (telescope_id, name),
    CONSTRAINT instrument_name_check CHECK (length(name) BETWEEN 1 AND 255)
);
COMMENT ON TABLE instrument IS 'An instrument of a telescope.';

CREATE TABLE instrument_module (
    id bigint GENERATED ALWAYS AS IDENTITY,
    instrument_id bigint NOT NULL,
    name text NOT NULL,
    available boolean NOT NULL DEFAULT false,
    pixel_count integer,
    frequency_min_ghz double precision,
    frequency_max_ghz double precision,
    beam_fwhm_arcsec double precision,
    offset_x_arcmin double precision NOT NULL DEFAULT 0,
    offset_y_arcmin double precision NOT NULL DEFAULT 0,
    description text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT instrument_module_pkey PRIMARY KEY (id),
    CONSTRAINT instrument_module_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument (id),
    CONSTRAINT instrument_module_instrument_id_name_key UNIQUE (instrument_id, name),
    CONSTRAINT instrument_module_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT instrument_module_pixel_count_check CHECK (pixel_count >= 1),
    CONSTRAINT instrument_module_frequency_min_ghz_frequency_max_ghz_check CHECK (frequency_min_ghz <= frequency_max_ghz),
    CONSTRAINT instrument_module_beam_fwhm_arcsec_check CHECK (beam_fwhm_arcsec > 0)
);
COMMENT ON TABLE instrument_module IS 'A detector array of an instrument; files and packages belong to one.';
COMMENT ON COLUMN instrument_module.offset_x_arcmin IS 'Place in the focal plane.';
COMMENT ON COLUMN instrument_module.offset_y_arcmin IS 'Place in the focal plane.';

CREATE TABLE spectral_line (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    species text NOT NULL,
    transition text NOT NULL,
    rest_frequency_ghz double precision NOT NULL,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT spectral_line_pkey PRIMARY KEY (id),
    CONSTRAINT spectral_line_name_key UNIQUE (name),
    CONSTRAINT spectral_line_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT spectral_line_rest_frequency_ghz_check CHECK (rest_frequency_ghz > 0)
);
COMMENT ON TABLE spectral_line IS 'A spectral line by species, transition and rest frequency.';

CREATE TABLE instrument_module_configuration (
    id bigint GENERATED ALWAYS AS IDENTITY,
    instrument_module_id bigint NOT NULL,
    name text NOT NULL,
    line_id bigint,
    sideband text,
    velocity_km_s double precision,
    center_frequency_ghz double precision,
    parameters jsonb NOT NULL DEFAULT '{}',
    available boolean NOT NULL DEFAULT true,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT instrument_module_configuration_pkey PRIMARY KEY (id),
    CONSTRAINT instrument_module_configuration_instrument_module_id_fkey FOREIGN KEY (instrument_module_id) REFERENCES instrument_module (id),
    CONSTRAINT instrument_module_configuration_line_id_fkey FOREIGN KEY (line_id) REFERENCES spectral_line (id),
    CONSTRAINT instrument_module_configuration_instrument_module_id_name_key UNIQUE (instrument_module_id, name),
    CONSTRAINT instrument_module_configuration_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT instrument_module_configuration_sideband_check CHECK (sideband IN ('usb', 'lsb')),
    CONSTRAINT instrument_module_configuration_center_frequency_ghz_check CHECK (center_frequency_ghz > 0)
);
CREATE INDEX instrument_module_configuration_line_id_idx ON instrument_module_configuration (line_id) WHERE line_id IS NOT NULL;
COMMENT ON TABLE instrument_module_configuration IS 'A named setting of an instrument module.';
COMMENT ON COLUMN instrument_module_configuration.line_id IS 'Heterodyne modules only.';

-- +goose Down
DROP TABLE instrument_module_configuration;
DROP TABLE spectral_line;
DROP TABLE instrument_module;
DROP TABLE instrument;
DROP TABLE telescope;
