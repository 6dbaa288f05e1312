-- +goose Up
-- The copy of a raw data file is buffered, so this table has no default either.
CREATE TABLE physical_copy (
    id uuid NOT NULL,
    kind copy_kind NOT NULL,
    raw_data_file_id uuid,
    raw_data_package_id uuid,
    data_transfer_package_id uuid,
    data_location_id bigint NOT NULL,
    path text NOT NULL,
    status copy_status NOT NULL,
    size_bytes bigint,
    checksum text,
    verified_at timestamptz,
    deletion_scheduled_at timestamptz,
    deleted_at timestamptz,
    retry_count integer NOT NULL,
    failure_message text,
    claimed_by text,
    claimed_until timestamptz,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT physical_copy_pkey PRIMARY KEY (id),
    CONSTRAINT physical_copy_raw_data_file_id_fkey FOREIGN KEY (raw_data_file_id) REFERENCES raw_data_file (id),
    CONSTRAINT physical_copy_raw_data_package_id_fkey FOREIGN KEY (raw_data_package_id) REFERENCES raw_data_package (id),
    CONSTRAINT physical_copy_data_transfer_package_id_fkey FOREIGN KEY (data_transfer_package_id) REFERENCES data_transfer_package (id),
    CONSTRAINT physical_copy_data_location_id_fkey FOREIGN KEY (data_location_id) REFERENCES data_location (id),
    CONSTRAINT physical_copy_kind_raw_data_file_id_check CHECK ((kind = 'raw_data_file') = (raw_data_file_id IS NOT NULL)),
    CONSTRAINT physical_copy_kind_raw_data_package_id_check CHECK ((kind = 'raw_data_package') = (raw_data_package_id IS NOT NULL)),
    CONSTRAINT physical_copy_kind_data_transfer_package_id_check CHECK ((kind = 'data_transfer_package') = (data_transfer_package_id IS NOT NULL)),
    CONSTRAINT physical_copy_size_bytes_check CHECK (size_bytes >= 0),
    CONSTRAINT physical_copy_claimed_by_claimed_until_check CHECK (num_nulls(claimed_by, claimed_until) IN (0, 2))
);
CREATE UNIQUE INDEX physical_copy_raw_data_file_id_data_location_id_key ON physical_copy (raw_data_file_id, data_location_id) WHERE raw_data_file_id IS NOT NULL AND status <> 'deleted';
CREATE UNIQUE INDEX physical_copy_raw_data_package_id_data_location_id_key ON physical_copy (raw_data_package_id, data_location_id) WHERE raw_data_package_id IS NOT NULL AND status <> 'deleted';
CREATE UNIQUE INDEX physical_copy_data_transfer_package_id_data_location_id_key ON physical_copy (data_transfer_package_id, data_location_id) WHERE data_transfer_package_id IS NOT NULL AND status <> 'deleted';
CREATE INDEX physical_copy_data_location_id_status_idx ON physical_copy (data_location_id, status);
CREATE INDEX physical_copy_raw_data_file_id_idx ON physical_copy (raw_data_file_id) WHERE raw_data_file_id IS NOT NULL;
CREATE INDEX physical_copy_raw_data_package_id_idx ON physical_copy (raw_data_package_id) WHERE raw_data_package_id IS NOT NULL;
CREATE INDEX physical_copy_data_transfer_package_id_idx ON physical_copy (data_transfer_package_id) WHERE data_transfer_package_id IS NOT NULL;
COMMENT ON TABLE physical_copy IS 'One copy of a file, a package or a bundle at one location, and what becomes of it.';
COMMENT ON COLUMN physical_copy.checksum IS 'As verified at this location.';

-- +goose Down
DROP TABLE physical_copy;
