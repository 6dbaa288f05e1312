-- +goose Up
CREATE TABLE data_transfer (
    id uuid NOT NULL,
    data_transfer_package_id uuid NOT NULL,
    route_id bigint,
    origin_location_id bigint NOT NULL,
    destination_location_id bigint NOT NULL,
    is_primary boolean NOT NULL DEFAULT true,
    method text NOT NULL,
    status work_status NOT NULL DEFAULT 'pending',
    unpack_status work_status NOT NULL DEFAULT 'pending',
    retry_count integer NOT NULL DEFAULT 0,
    unpack_retry_count integer NOT NULL DEFAULT 0,
    start_time timestamptz,
    end_time timestamptz,
    bytes_transferred bigint NOT NULL DEFAULT 0,
    failure_message text,
    claimed_by text,
    claimed_until timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT data_transfer_pkey PRIMARY KEY (id),
    CONSTRAINT data_transfer_data_transfer_package_id_fkey FOREIGN KEY (data_transfer_package_id) REFERENCES data_transfer_package (id),
    CONSTRAINT data_transfer_route_id_fkey FOREIGN KEY (route_id) REFERENCES data_transfer_route (id),
    CONSTRAINT data_transfer_origin_location_id_fkey FOREIGN KEY (origin_location_id) REFERENCES data_location (id),
    CONSTRAINT data_transfer_destination_location_id_fkey FOREIGN KEY (destination_location_id) REFERENCES data_location (id),
    CONSTRAINT data_transfer_origin_location_id_destination_location_id_check CHECK (origin_location_id <> destination_location_id),
    CONSTRAINT data_transfer_method_check CHECK (method IN ('bbcp', 's3', 'rsync', 'local')),
    CONSTRAINT data_transfer_start_time_end_time_check CHECK (end_time >= start_time),
    CONSTRAINT data_transfer_bytes_transferred_check CHECK (bytes_transferred >= 0),
    CONSTRAINT data_transfer_claimed_by_claimed_until_check CHECK (num_nulls(claimed_by, claimed_until) IN (0, 2))
);
CREATE UNIQUE INDEX data_transfer_data_transfer_package_id_destination_location_key ON data_transfer (data_transfer_package_id, destination_location_id) WHERE status NOT IN ('failed', 'cancelled');
CREATE INDEX data_transfer_created_at_id_idx ON data_transfer (created_at DESC, id DESC);
CREATE INDEX data_transfer_data_transfer_package_id_idx ON data_transfer (data_transfer_package_id);
CREATE INDEX data_transfer_status_idx ON data_transfer (status);
CREATE INDEX data_transfer_unpack_status_idx ON data_transfer (unpack_status);
CREATE INDEX data_transfer_origin_location_id_idx ON data_transfer (origin_location_id);
CREATE INDEX data_transfer_destination_location_id_idx ON data_transfer (destination_location_id);
COMMENT ON TABLE data_transfer IS 'One bundle on its way from one location to another, and its unpacking there.';
COMMENT ON COLUMN data_transfer.is_primary IS 'False for a copy from archive to archive.';

CREATE TABLE long_term_archive_transfer (
    id uuid NOT NULL,
    raw_data_package_id uuid NOT NULL,
    origin_location_id bigint NOT NULL,
    destination_location_id bigint NOT NULL,
    status work_status NOT NULL DEFAULT 'pending',
    retry_count integer NOT NULL DEFAULT 0,
    start_time timestamptz,
    end_time timestamptz,
    failure_message text,
    claimed_by text,
    claimed_until timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT long_term_archive_transfer_pkey PRIMARY KEY (id),
    CONSTRAINT long_term_archive_transfer_raw_data_package_id_fkey FOREIGN KEY (raw_data_package_id) REFERENCES raw_data_package (id),
    CONSTRAINT long_term_archive_transfer_origin_location_id_fkey FOREIGN KEY (origin_location_id) REFERENCES data_location (id),
    CONSTRAINT long_term_archive_transfer_destination_location_id_fkey FOREIGN KEY (destination_location_id) REFERENCES data_location (id),
    CONSTRAINT long_term_archive_transfer_start_time_end_time_check CHECK (end_time >= start_time),
    CONSTRAINT long_term_archive_transfer_claimed_by_claimed_until_check CHECK (num_nulls(claimed_by, claimed_until) IN (0, 2))
);
CREATE UNIQUE INDEX long_term_archive_transfer_raw_data_package_id_destination__key ON long_term_archive_transfer (raw_data_package_id, destination_location_id) WHERE status NOT IN ('failed', 'cancelled');
CREATE INDEX long_term_archive_transfer_created_at_id_idx ON long_term_archive_transfer (created_at DESC, id DESC);
CREATE INDEX long_term_archive_transfer_raw_data_package_id_idx ON long_term_archive_transfer (raw_data_package_id);
CREATE INDEX long_term_archive_transfer_status_idx ON long_term_archive_transfer (status);
CREATE INDEX long_term_archive_transfer_destination_location_id_idx ON long_term_archive_transfer (destination_location_id);
COMMENT ON TABLE long_term_archive_transfer IS 'One package on its way into an archive.';

CREATE TABLE staging_job (
    id uuid NOT NULL,
    requested_by bigint NOT NULL,
    origin_location_id bigint NOT NULL,
    destination_location_id bigint NOT NULL,
    status work_status NOT NULL DEFAULT 'pending',
    active boolean NOT NULL DEFAULT true,
    reason text NOT NULL DEFAULT '',
    retry_count integer NOT NULL DEFAULT 0,
    start_time timestamptz,
    end_time timestamptz,
    expires_at timestamptz,
    failure_message text,
    claimed_by text,
    claimed_until timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT staging_job_pkey PRIMARY KEY (id),
    CONSTRAINT staging_job_requested_by_fkey FOREIGN KEY (requested_by) REFERENCES app_user (id),
    CONSTRAINT staging_job_origin_location_id_fkey FOREIGN KEY (origin_location_id) REFERENCES data_location (id),
    CONSTRAINT staging_job_destination_location_id_fkey FOREIGN KEY (destination_location_id) REFERENCES data_location (id),
    CONSTRAINT staging_job_start_time_end_time_check CHECK (end_time >= start_time),
    CONSTRAINT staging_job_claimed_by_claimed_until_check CHECK (num_nulls(claimed_by, claimed_until) IN (0, 2))
);
CREATE INDEX staging_job_created_at_id_idx ON staging_job (created_at DESC, id DESC);
CREATE INDEX staging_job_status_idx ON staging_job (status);
CREATE INDEX staging_job_requested_by_idx ON staging_job (requested_by);
COMMENT ON TABLE staging_job IS 'A request to bring archived packages to a processing location.';
COMMENT ON COLUMN staging_job.active IS 'While true its packages may not be removed from the processing location.';

CREATE TABLE staging_job_package (
    staging_job_id uuid NOT NULL,
    raw_data_package_id uuid NOT NULL,
    status work_status NOT NULL DEFAULT 'pending',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT staging_job_package_pkey PRIMARY KEY (staging_job_id, raw_data_package_id),
    CONSTRAINT staging_job_package_staging_job_id_fkey FOREIGN KEY (staging_job_id) REFERENCES staging_job (id) ON DELETE CASCADE,
    CONSTRAINT staging_job_package_raw_data_package_id_fkey FOREIGN KEY (raw_data_package_id) REFERENCES raw_data_package (id)
);
CREATE INDEX staging_job_package_raw_data_package_id_idx ON staging_job_package (raw_data_package_id);
COMMENT ON TABLE staging_job_package IS 'The packages a staging job asks for.';

CREATE TABLE transfer_log (
    id bigint GENERATED ALWAYS AS IDENTITY,
    data_transfer_id uuid,
    long_term_archive_transfer_id uuid,
    staging_job_id uuid,
    logged_at timestamptz NOT NULL DEFAULT now(),
    status work_status NOT NULL,
    message text NOT NULL DEFAULT '',
    log_path text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT transfer_log_pkey PRIMARY KEY (id),
    CONSTRAINT transfer_log_data_transfer_id_fkey FOREIGN KEY (data_transfer_id) REFERENCES data_transfer (id) ON DELETE CASCADE,
    CONSTRAINT transfer_log_long_term_archive_transfer_id_fkey FOREIGN KEY (long_term_archive_transfer_id) REFERENCES long_term_archive_transfer (id) ON DELETE CASCADE,
    CONSTRAINT transfer_log_staging_job_id_fkey FOREIGN KEY (staging_job_id) REFERENCES staging_job (id) ON DELETE CASCADE,
    CONSTRAINT transfer_log_data_transfer_id_long_term_archive_transfer__check CHECK (num_nonnulls(data_transfer_id, long_term_archive_transfer_id, staging_job_id) = 1),
    CONSTRAINT transfer_log_message_check CHECK (length(message) <= 1000)
);
CREATE INDEX transfer_log_data_transfer_id_logged_at_idx ON transfer_log (data_transfer_id, logged_at DESC) WHERE data_transfer_id IS NOT NULL;
CREATE INDEX transfer_log_long_term_archive_transfer_id_logged_at_idx ON transfer_log (long_term_archive_transfer_id, logged_at DESC) WHERE long_term_archive_transfer_id IS NOT NULL;
CREATE INDEX transfer_log_staging_job_id_logged_at_idx ON transfer_log (staging_job_id, logged_at DESC) WHERE staging_job_id IS NOT NULL;
COMMENT ON TABLE transfer_log IS 'What happened to a transfer or a staging job; append only.';
COMMENT ON COLUMN transfer_log.log_path IS 'Where the worker keeps its long log.';

-- +goose Down
DROP TABLE transfer_log;
DROP TABLE staging_job_package;
DROP TABLE staging_job;
DROP TABLE long_term_archive_transfer;
DROP TABLE data_transfer;
