-- +goose Up
-- Names and paths that are part of an index have a limit in bytes: beyond a
-- third of a page the index itself refuses the row with an error (54000) that
-- says nothing about the data and would stop a site's buffer.
CREATE TABLE raw_data_package (
    id uuid NOT NULL,
    executed_obs_unit_id uuid NOT NULL,
    instrument_module_id bigint NOT NULL,
    sequence integer NOT NULL,
    name text NOT NULL,
    relative_path text NOT NULL,
    size_bytes bigint,
    file_count integer NOT NULL,
    checksum_algorithm text,
    checksum text,
    status work_status NOT NULL,
    state package_state NOT NULL,
    data_transfer_package_id uuid,
    retry_count integer NOT NULL,
    failure_message text,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT raw_data_package_pkey PRIMARY KEY (id),
    CONSTRAINT raw_data_package_executed_obs_unit_id_fkey FOREIGN KEY (executed_obs_unit_id) REFERENCES executed_obs_unit (id),
    CONSTRAINT raw_data_package_instrument_module_id_fkey FOREIGN KEY (instrument_module_id) REFERENCES instrument_module (id),
    CONSTRAINT raw_data_package_data_transfer_package_id_fkey FOREIGN KEY (data_transfer_package_id) REFERENCES data_transfer_package (id),
    CONSTRAINT raw_data_package_executed_obs_unit_id_instrument_module_id__key UNIQUE (executed_obs_unit_id, instrument_module_id, sequence),
    CONSTRAINT raw_data_package_name_key UNIQUE (name),
    CONSTRAINT raw_data_package_name_check CHECK (octet_length(name) BETWEEN 1 AND 2048),
    CONSTRAINT raw_data_package_sequence_check CHECK (sequence >= 1),
    CONSTRAINT raw_data_package_size_bytes_check CHECK (size_bytes >= 0),
    CONSTRAINT raw_data_package_file_count_check CHECK (file_count >= 0),
    CONSTRAINT raw_data_package_checksum_algorithm_check CHECK (checksum_algorithm IN ('xxh64', 'sha256')),
    CONSTRAINT raw_data_package_checksum_algorithm_checksum_check CHECK (num_nulls(checksum_algorithm, checksum) IN (0, 2))
);
CREATE INDEX raw_data_package_created_at_id_idx ON raw_data_package (created_at DESC, id DESC);
CREATE INDEX raw_data_package_executed_obs_unit_id_created_at_id_idx ON raw_data_package (executed_obs_unit_id, created_at DESC, id DESC);
CREATE INDEX raw_data_package_status_idx ON raw_data_package (status);
CREATE INDEX raw_data_package_state_idx ON raw_data_package (state);
CREATE INDEX raw_data_package_data_transfer_package_id_idx ON raw_data_package (data_transfer_package_id) WHERE data_transfer_package_id IS NOT NULL;
CREATE INDEX raw_data_package_unbundled_idx ON raw_data_package (created_at, id) WHERE data_transfer_package_id IS NULL AND status = 'completed';
COMMENT ON TABLE raw_data_package IS 'The raw files of one execution and one instrument module, packed for transfer and archive.';
COMMENT ON COLUMN raw_data_package.sequence IS 'Counts the packages of one execution and module, from 1.';
COMMENT ON COLUMN raw_data_package.data_transfer_package_id IS 'The bundle it travels in now.';

CREATE TABLE raw_data_file (
    id uuid NOT NULL,
    executed_obs_unit_id uuid NOT NULL,
    instrument_module_id bigint NOT NULL,
    raw_data_package_id uuid,
    name text NOT NULL,
    relative_path text NOT NULL,
    file_type text NOT NULL,
    size_bytes bigint NOT NULL,
    checksum_algorithm text NOT NULL,
    checksum text NOT NULL,
    start_time timestamptz,
    end_time timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT raw_data_file_pkey PRIMARY KEY (id),
    CONSTRAINT raw_data_file_executed_obs_unit_id_fkey FOREIGN KEY (executed_obs_unit_id) REFERENCES executed_obs_unit (id),
    CONSTRAINT raw_data_file_instrument_module_id_fkey FOREIGN KEY (instrument_module_id) REFERENCES instrument_module (id),
    CONSTRAINT raw_data_file_raw_data_package_id_fkey FOREIGN KEY (raw_data_package_id) REFERENCES raw_data_package (id) ON DELETE SET NULL,
    CONSTRAINT raw_data_file_executed_obs_unit_id_relative_path_key UNIQUE (executed_obs_unit_id, relative_path),
    CONSTRAINT raw_data_file_relative_path_check CHECK (octet_length(relative_path) BETWEEN 1 AND 2048),
    CONSTRAINT raw_data_file_file_type_check CHECK (file_type IN ('g3', 'fits', 'hdf5', 'other')),
    CONSTRAINT raw_data_file_size_bytes_check CHECK (size_bytes >= 0),
    CONSTRAINT raw_data_file_checksum_algorithm_check CHECK (checksum_algorithm IN ('xxh64', 'sha256'))
);
CREATE INDEX raw_data_file_created_at_id_idx ON raw_data_file (created_at DESC, id DESC);
CREATE INDEX raw_data_file_executed_obs_unit_id_created_at_id_idx ON raw_data_file (executed_obs_unit_id, created_at DESC, id DESC);
CREATE INDEX raw_data_file_raw_data_package_id_created_at_id_idx ON raw_data_file (raw_data_package_id, created_at DESC, id DESC) WHERE raw_data_package_id IS NOT NULL;
CREATE INDEX raw_data_file_unpackaged_idx ON raw_data_file (executed_obs_unit_id, instrument_module_id) WHERE raw_data_package_id IS NULL;
COMMENT ON TABLE raw_data_file IS 'A file the instrument wrote during an execution.';

CREATE TABLE raw_data_package_metadata (
    raw_data_package_id uuid NOT NULL,
    metadata jsonb NOT NULL,
    ivoa_collection text,
    obs_publisher_did text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT raw_data_package_metadata_pkey PRIMARY KEY (raw_data_package_id),
    CONSTRAINT raw_data_package_metadata_raw_data_package_id_fkey FOREIGN KEY (raw_data_package_id) REFERENCES raw_data_package (id) ON DELETE CASCADE
);
COMMENT ON TABLE raw_data_package_metadata IS 'What an archive wants to know of a package.';

-- +goose Down
DROP TABLE raw_data_package_metadata;
DROP TABLE raw_data_file;
DROP TABLE raw_data_package;
