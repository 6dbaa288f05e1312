-- +goose Up
CREATE TABLE data_location (
    id bigint GENERATED ALWAYS AS IDENTITY,
    site_id bigint NOT NULL,
    instrument_id bigint,
    name text NOT NULL,
    location_type location_type NOT NULL,
    storage_type storage_type NOT NULL,
    priority integer NOT NULL DEFAULT 100,
    active boolean NOT NULL DEFAULT true,
    host text,
    login text,
    path text,
    bucket text,
    endpoint text,
    region text,
    prefix text,
    credential_ref text,
    tape_library text,
    tape_pool text,
    capacity_bytes bigint,
    used_bytes bigint,
    usage_checked_at timestamptz,
    retention_days integer,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT data_location_pkey PRIMARY KEY (id),
    CONSTRAINT data_location_site_id_fkey FOREIGN KEY (site_id) REFERENCES site (id),
    CONSTRAINT data_location_instrument_id_fkey FOREIGN KEY (instrument_id) REFERENCES instrument (id),
    CONSTRAINT data_location_site_id_name_key UNIQUE (site_id, name),
    CONSTRAINT data_location_name_check CHECK (name ~ '^[a-z0-9_]+$' AND length(name) <= 100),
    CONSTRAINT data_location_instrument_id_location_type_check CHECK (location_type = 'source' OR instrument_id IS NULL),
    CONSTRAINT data_location_storage_type_host_check CHECK (storage_type = 'disk' OR host IS NULL),
    CONSTRAINT data_location_storage_type_login_check CHECK (storage_type = 'disk' OR login IS NULL),
    CONSTRAINT data_location_storage_type_path_check CHECK ((storage_type = 'disk') = (path IS NOT NULL)),
    CONSTRAINT data_location_storage_type_bucket_check CHECK ((storage_type = 's3') = (bucket IS NOT NULL)),
    CONSTRAINT data_location_storage_type_endpoint_check CHECK (storage_type = 's3' OR endpoint IS NULL),
    CONSTRAINT data_location_storage_type_region_check CHECK (storage_type = 's3' OR region IS NULL),
    CONSTRAINT data_location_storage_type_prefix_check CHECK (storage_type = 's3' OR prefix IS NULL),
    CONSTRAINT data_location_storage_type_tape_library_check CHECK ((storage_type = 'tape') = (tape_library IS NOT NULL)),
    CONSTRAINT data_location_storage_type_tape_pool_check CHECK (storage_type = 'tape' OR tape_pool IS NULL),
    CONSTRAINT data_location_capacity_bytes_check CHECK (capacity_bytes >= 0),
    CONSTRAINT data_location_used_bytes_check CHECK (used_bytes >= 0),
    CONSTRAINT data_location_location_type_retention_days_check CHECK (location_type IN ('source', 'processing') OR retention_days IS NULL),
    CONSTRAINT data_location_retention_days_check CHECK (retention_days >= 0)
);
CREATE INDEX data_location_instrument_id_idx ON data_location (instrument_id) WHERE instrument_id IS NOT NULL;
COMMENT ON TABLE data_location IS 'A place where copies of data lie: a disk, a bucket or a tape library of a site.';
COMMENT ON COLUMN data_location.priority IS 'Lower is used first.';
COMMENT ON COLUMN data_location.credential_ref IS 'Name of a secret, never the secret.';

CREATE TABLE data_transfer_route (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    route_type route_type NOT NULL,
    method text NOT NULL,
    origin_site_id bigint NOT NULL,
    destination_site_id bigint NOT NULL,
    relay_site_id bigint,
    origin_location_id bigint,
    destination_location_id bigint,
    priority integer NOT NULL DEFAULT 100,
    active boolean NOT NULL DEFAULT true,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT data_transfer_route_pkey PRIMARY KEY (id),
    CONSTRAINT data_transfer_route_name_key UNIQUE (name),
    CONSTRAINT data_transfer_route_origin_site_id_fkey FOREIGN KEY (origin_site_id) REFERENCES site (id),
    CONSTRAINT data_transfer_route_destination_site_id_fkey FOREIGN KEY (destination_site_id) REFERENCES site (id),
    CONSTRAINT data_transfer_route_relay_site_id_fkey FOREIGN KEY (relay_site_id) REFERENCES site (id),
    CONSTRAINT data_transfer_route_origin_location_id_fkey FOREIGN KEY (origin_location_id) REFERENCES data_location (id),
    CONSTRAINT data_transfer_route_destination_location_id_fkey FOREIGN KEY (destination_location_id) REFERENCES data_location (id),
    CONSTRAINT data_transfer_route_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT data_transfer_route_method_check CHECK (method IN ('bbcp', 's3', 'rsync', 'local')),
    CONSTRAINT data_transfer_route_origin_site_id_destination_site_id_check CHECK (origin_site_id <> destination_site_id),
    CONSTRAINT data_transfer_route_route_type_relay_site_id_check CHECK ((route_type = 'relay') = (relay_site_id IS NOT NULL)),
    CONSTRAINT data_transfer_route_route_type_origin_location_id_check CHECK ((route_type = 'custom') = (origin_location_id IS NOT NULL)),
    CONSTRAINT data_transfer_route_route_type_destination_location_id_check CHECK ((route_type = 'custom') = (destination_location_id IS NOT NULL))
);
CREATE INDEX data_transfer_route_origin_site_id_idx ON data_transfer_route (origin_site_id);
CREATE INDEX data_transfer_route_destination_site_id_idx ON data_transfer_route (destination_site_id);
CREATE INDEX data_transfer_route_relay_site_id_idx ON data_transfer_route (relay_site_id) WHERE relay_site_id IS NOT NULL;
COMMENT ON TABLE data_transfer_route IS 'How data goes from one site to another.';

-- +goose Down
DROP TABLE data_transfer_route;
DROP TABLE data_location;
