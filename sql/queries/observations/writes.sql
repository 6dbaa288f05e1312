-- Writes of the module "observations". Each is one step of a transaction, sent as
-- it stands from whichever site accepted it: no now(), no random, no sequence, and
-- every column is a parameter, so that what was queued is what gets stored.

-- StartExecutedObsUnit records an execution that has begun.
-- name: StartExecutedObsUnit :exec
INSERT INTO executed_obs_unit (
    id, obs_unit_id, azimuth_range_id, pre_scheduled_slot_id, status, start_time, end_time,
    mean_azimuth_deg, mean_elevation_deg, pwv_mm, conditions, comment, recorded_by,
    origin_site_id, version, created_at, updated_at
) VALUES (
    @id, @obs_unit_id, @azimuth_range_id, @pre_scheduled_slot_id, @status, @start_time, @end_time,
    @mean_azimuth_deg, @mean_elevation_deg, @pwv_mm, @conditions, @comment, @recorded_by,
    @origin_site_id, @version, @created_at, @updated_at
);

-- AddExecutedObsUnitModule names one module configuration that took part in an execution.
-- name: AddExecutedObsUnitModule :exec
INSERT INTO executed_obs_unit_module (executed_obs_unit_id, instrument_module_configuration_id, created_at)
VALUES (@executed_obs_unit_id, @instrument_module_configuration_id, @created_at);

-- FinishExecutedObsUnit closes a running execution; a row that is no longer running
-- is an error, and so is one that differs from the expected version when one is given.
-- name: FinishExecutedObsUnit :exec
WITH changed AS (
    UPDATE executed_obs_unit SET
        status = @status,
        end_time = @end_time::timestamptz,
        mean_azimuth_deg = CASE WHEN @set_mean_azimuth_deg::boolean THEN sqlc.narg('mean_azimuth_deg')::double precision ELSE mean_azimuth_deg END,
        mean_elevation_deg = CASE WHEN @set_mean_elevation_deg::boolean THEN sqlc.narg('mean_elevation_deg')::double precision ELSE mean_elevation_deg END,
        pwv_mm = CASE WHEN @set_pwv_mm::boolean THEN sqlc.narg('pwv_mm')::double precision ELSE pwv_mm END,
        conditions = CASE WHEN @set_conditions::boolean THEN sqlc.narg('conditions')::jsonb ELSE conditions END,
        comment = CASE WHEN @set_comment::boolean THEN sqlc.narg('comment')::text ELSE comment END,
        version = CASE WHEN @set_version::boolean THEN sqlc.narg('version')::integer ELSE version END,
        updated_at = @updated_at
    WHERE id = @id
      AND status = 'running'
      AND (sqlc.narg('expected_version')::integer IS NULL
           OR version = sqlc.narg('expected_version')::integer AND updated_at = sqlc.narg('expected_updated_at')::timestamptz)
    RETURNING id
)
SELECT must_change(count(*)) FROM changed;

-- PatchExecutedObsUnit changes the comment or the conditions of an execution in any
-- status; a missing row is an error, and so is one that differs from the expected
-- version when one is given.
-- name: PatchExecutedObsUnit :exec
WITH changed AS (
    UPDATE executed_obs_unit SET
        conditions = CASE WHEN @set_conditions::boolean THEN sqlc.narg('conditions')::jsonb ELSE conditions END,
        comment = CASE WHEN @set_comment::boolean THEN sqlc.narg('comment')::text ELSE comment END,
        version = CASE WHEN @set_version::boolean THEN sqlc.narg('version')::integer ELSE version END,
        updated_at = @updated_at
    WHERE id = @id
      AND (sqlc.narg('expected_version')::integer IS NULL
           OR version = sqlc.narg('expected_version')::integer AND updated_at = sqlc.narg('expected_updated_at')::timestamptz)
    RETURNING id
)
SELECT must_change(count(*)) FROM changed;

-- CreateRawDataFile registers one file that an instrument module has written.
-- name: CreateRawDataFile :exec
INSERT INTO raw_data_file (
    id, executed_obs_unit_id, instrument_module_id, raw_data_package_id, name, relative_path, file_type,
    size_bytes, checksum_algorithm, checksum, start_time, end_time, created_at, updated_at
) VALUES (
    @id, @executed_obs_unit_id, @instrument_module_id, @raw_data_package_id, @name, @relative_path, @file_type,
    @size_bytes, @checksum_algorithm, @checksum, @start_time, @end_time, @created_at, @updated_at
);

-- CreateRawDataFiles registers a slice of files in one statement: the n-th element of
-- every array belongs to the n-th file. Unknown times are empty strings, because an
-- array of times has no null that survives the way through Go.
-- name: CreateRawDataFiles :exec
INSERT INTO raw_data_file (
    id, executed_obs_unit_id, instrument_module_id, raw_data_package_id, name, relative_path, file_type,
    size_bytes, checksum_algorithm, checksum, start_time, end_time, created_at, updated_at
)
SELECT f.id, f.executed_obs_unit_id, f.instrument_module_id, NULL, f.name, f.relative_path, f.file_type,
       f.size_bytes, f.checksum_algorithm, f.checksum,
       nullif(f.start_time, '')::timestamptz, nullif(f.end_time, '')::timestamptz,
       @created_at::timestamptz, @updated_at::timestamptz
FROM (
    SELECT unnest(@id::uuid[]) AS id,
           unnest(@executed_obs_unit_id::uuid[]) AS executed_obs_unit_id,
           unnest(@instrument_module_id::bigint[]) AS instrument_module_id,
           unnest(@name::text[]) AS name,
           unnest(@relative_path::text[]) AS relative_path,
           unnest(@file_type::text[]) AS file_type,
           unnest(@size_bytes::bigint[]) AS size_bytes,
           unnest(@checksum_algorithm::text[]) AS checksum_algorithm,
           unnest(@checksum::text[]) AS checksum,
           unnest(@start_time::text[]) AS start_time,
           unnest(@end_time::text[]) AS end_time
) f;

-- CreateRawDataPackage opens a package for files of one execution and instrument module.
-- name: CreateRawDataPackage :exec
INSERT INTO raw_data_package (
    id, executed_obs_unit_id, instrument_module_id, sequence, name, relative_path, size_bytes, file_count,
    checksum_algorithm, checksum, status, state, data_transfer_package_id, retry_count, failure_message,
    version, created_at, updated_at
) VALUES (
    @id, @executed_obs_unit_id, @instrument_module_id, @sequence, @name, @relative_path, @size_bytes, @file_count,
    @checksum_algorithm, @checksum, @status, @state, @data_transfer_package_id, @retry_count, @failure_message,
    @version, @created_at, @updated_at
);

-- CreateRawDataPackageMetadata stores what is known about a package beside its files.
-- name: CreateRawDataPackageMetadata :exec
INSERT INTO raw_data_package_metadata (
    raw_data_package_id, metadata, ivoa_collection, obs_publisher_did, created_at, updated_at
) VALUES (
    @raw_data_package_id, @metadata, @ivoa_collection, @obs_publisher_did, @created_at, @updated_at
);

-- LinkRawDataFiles puts files into a package. Every one of them must be a file of the
-- package's execution and instrument module and in no package yet, or none is linked:
-- two packages never hold the same file.
-- name: LinkRawDataFiles :exec
WITH changed AS (
    UPDATE raw_data_file SET
        raw_data_package_id = @raw_data_package_id::uuid,
        updated_at = @updated_at
    WHERE id = ANY (@id::uuid[])
      AND executed_obs_unit_id = @executed_obs_unit_id
      AND instrument_module_id = @instrument_module_id
      AND raw_data_package_id IS NULL
    RETURNING id
)
SELECT must_change(count(*), cardinality(@id::uuid[])) FROM changed;

-- FinalizeRawDataPackage completes a package that is still being built; one that is
-- completed, failed or cancelled is an error, and so is one that differs from the
-- expected version when one is given.
-- name: FinalizeRawDataPackage :exec
WITH changed AS (
    UPDATE raw_data_package SET
        status = @status,
        size_bytes = @size_bytes::bigint,
        checksum_algorithm = @checksum_algorithm::text,
        checksum = @checksum::text,
        file_count = CASE WHEN @set_file_count::boolean THEN sqlc.narg('file_count')::integer ELSE file_count END,
        version = CASE WHEN @set_version::boolean THEN sqlc.narg('version')::integer ELSE version END,
        updated_at = @updated_at
    WHERE id = @id
      AND status IN ('pending', 'scheduled', 'in_progress')
      AND (sqlc.narg('expected_version')::integer IS NULL
           OR version = sqlc.narg('expected_version')::integer AND updated_at = sqlc.narg('expected_updated_at')::timestamptz)
    RETURNING id
)
SELECT must_change(count(*)) FROM changed;

-- CreatePhysicalCopyOfFile says that a file lies at a data location.
-- name: CreatePhysicalCopyOfFile :exec
INSERT INTO physical_copy (
    id, kind, raw_data_file_id, raw_data_package_id, data_transfer_package_id, data_location_id, path, status,
    size_bytes, checksum, verified_at, deletion_scheduled_at, deleted_at, retry_count, failure_message,
    claimed_by, claimed_until, version, created_at, updated_at
) VALUES (
    @id, @kind, @raw_data_file_id::uuid, NULL, NULL, @data_location_id, @path, @status,
    @size_bytes, NULL, NULL, NULL, NULL, @retry_count, NULL,
    NULL, NULL, @version, @created_at, @updated_at
);

-- CreatePhysicalCopiesOfFiles says where a slice of files lies, in one statement: the
-- n-th element of every array belongs to the n-th copy.
-- name: CreatePhysicalCopiesOfFiles :exec
INSERT INTO physical_copy (
    id, kind, raw_data_file_id, raw_data_package_id, data_transfer_package_id, data_location_id, path, status,
    size_bytes, checksum, verified_at, deletion_scheduled_at, deleted_at, retry_count, failure_message,
    claimed_by, claimed_until, version, created_at, updated_at
)
SELECT c.id, @kind::copy_kind, c.raw_data_file_id, NULL, NULL, c.data_location_id, c.path, @status::copy_status,
       c.size_bytes, NULL, NULL, NULL, NULL, @retry_count::integer, NULL,
       NULL, NULL, @version::integer, @created_at::timestamptz, @updated_at::timestamptz
FROM (
    SELECT unnest(@id::uuid[]) AS id,
           unnest(@raw_data_file_id::uuid[]) AS raw_data_file_id,
           unnest(@data_location_id::bigint[]) AS data_location_id,
           unnest(@path::text[]) AS path,
           unnest(@size_bytes::bigint[]) AS size_bytes
) c;
