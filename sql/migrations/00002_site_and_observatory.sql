-- +goose Up
CREATE TABLE site (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    short_name text NOT NULL,
    location text NOT NULL DEFAULT '',
    is_main boolean NOT NULL DEFAULT false,
    latitude_deg double precision,
    longitude_deg double precision,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT site_pkey PRIMARY KEY (id),
    CONSTRAINT site_name_key UNIQUE (name),
    CONSTRAINT site_short_name_key UNIQUE (short_name),
    CONSTRAINT site_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT site_short_name_check CHECK (short_name ~ '^[a-z0-9]+$' AND length(short_name) <= 63),
    CONSTRAINT site_latitude_deg_check CHECK (latitude_deg BETWEEN -90 AND 90),
    CONSTRAINT site_longitude_deg_check CHECK (longitude_deg BETWEEN -180 AND 180)
);
CREATE UNIQUE INDEX site_is_main_key ON site (is_main) WHERE is_main;
COMMENT ON TABLE site IS 'A place that runs opsdb or holds data; exactly one is the main site.';
COMMENT ON COLUMN site.short_name IS 'Equals SITE_NAME and is part of every Redis key of the site.';

CREATE TABLE observatory (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    short_name text NOT NULL,
    description text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT observatory_pkey PRIMARY KEY (id),
    CONSTRAINT observatory_name_key UNIQUE (name),
    CONSTRAINT observatory_short_name_key UNIQUE (short_name),
    CONSTRAINT observatory_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT observatory_short_name_check CHECK (length(short_name) BETWEEN 1 AND 63)
);
COMMENT ON TABLE observatory IS 'An observatory, the owner of telescopes.';

-- +goose Down
DROP TABLE observatory;
DROP TABLE site;
