-- +goose Up
CREATE TYPE location_type AS ENUM ('source', 'buffer', 'long_term_archive', 'processing');
CREATE TYPE storage_type AS ENUM ('disk', 's3', 'tape');
CREATE TYPE route_type AS ENUM ('direct', 'relay', 'custom');
CREATE TYPE work_status AS ENUM ('pending', 'scheduled', 'in_progress', 'completed', 'failed', 'cancelled');
CREATE TYPE package_state AS ENUM ('waiting', 'transferring', 'archived', 'failed');
CREATE TYPE copy_status AS ENUM ('present', 'staged', 'deletion_possible', 'deletion_scheduled', 'deletion_in_progress', 'deleted', 'deletion_failed');
CREATE TYPE copy_kind AS ENUM ('raw_data_file', 'raw_data_package', 'data_transfer_package');
CREATE TYPE source_kind AS ENUM ('fixed', 'solar_system', 'constant_elevation');
CREATE TYPE execution_status AS ENUM ('running', 'completed', 'aborted', 'failed');
CREATE TYPE instrument_kind AS ENUM ('heterodyne', 'camera');

-- +goose Down
DROP TYPE instrument_kind;
DROP TYPE execution_status;
DROP TYPE source_kind;
DROP TYPE copy_kind;
DROP TYPE copy_status;
DROP TYPE package_state;
DROP TYPE work_status;
DROP TYPE route_type;
DROP TYPE storage_type;
DROP TYPE location_type;
