-- +goose Up
CREATE TABLE data_transfer_package (
    id uuid NOT NULL,
    name text NOT NULL,
    origin_location_id bigint NOT NULL,
    size_bytes bigint NOT NULL DEFAULT 0,
    package_count integer NOT NULL DEFAULT 0,
    checksum_algorithm text,
    checksum text,
    status work_status NOT NULL DEFAULT 'pending',
    retry_count integer NOT NULL DEFAULT 0,
    failure_message text,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT data_transfer_package_pkey PRIMARY KEY (id),
    CONSTRAINT data_transfer_package_name_key UNIQUE (name),
    CONSTRAINT data_transfer_package_origin_location_id_fkey FOREIGN KEY (origin_location_id) REFERENCES data_location (id),
    CONSTRAINT data_transfer_package_name_check CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT data_transfer_package_size_bytes_check CHECK (size_bytes >= 0),
    CONSTRAINT data_transfer_package_package_count_check CHECK (package_count >= 0),
    CONSTRAINT data_transfer_package_checksum_algorithm_check CHECK (checksum_algorithm IN ('xxh64', 'sha256')),
    CONSTRAINT data_transfer_package_checksum_algorithm_checksum_check CHECK (num_nulls(checksum_algorithm, checksum) IN (0, 2))
);
CREATE INDEX data_transfer_package_created_at_id_idx ON data_transfer_package (created_at DESC, id DESC);
CREATE INDEX data_transfer_package_status_idx ON data_transfer_package (status);
CREATE INDEX data_transfer_package_origin_location_id_idx ON data_transfer_package (origin_location_id);
COMMENT ON TABLE data_transfer_package IS 'A bundle of raw data packages that travels as one.';

-- +goose Down
DROP TABLE data_transfer_package;
