-- +goose Up
-- Each function turns pending changes, [{"id": …, "create": …, "columns": {…}}],
-- into rows of its table: the columns laid over the stored row of that id, or
-- alone for a create that is not stored yet. An update whose row is gone shows
-- nothing, or a row of nulls would appear. Language sql and stable, so that the
-- planner inlines them; the LATERAL calls jsonb_populate_record once a row.
-- +goose StatementBegin
CREATE FUNCTION executed_obs_unit_pending(pending jsonb) RETURNS SETOF executed_obs_unit
LANGUAGE sql STABLE AS $$
    SELECT r.*
    FROM jsonb_to_recordset(pending) AS e (id uuid, "create" boolean, columns jsonb)
    LEFT JOIN executed_obs_unit AS base ON base.id = e.id
    CROSS JOIN LATERAL jsonb_populate_record(base, e.columns) AS r
    WHERE e."create" OR base.id IS NOT NULL
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION raw_data_package_pending(pending jsonb) RETURNS SETOF raw_data_package
LANGUAGE sql STABLE AS $$
    SELECT r.*
    FROM jsonb_to_recordset(pending) AS e (id uuid, "create" boolean, columns jsonb)
    LEFT JOIN raw_data_package AS base ON base.id = e.id
    CROSS JOIN LATERAL jsonb_populate_record(base, e.columns) AS r
    WHERE e."create" OR base.id IS NOT NULL
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION raw_data_package_metadata_pending(pending jsonb) RETURNS SETOF raw_data_package_metadata
LANGUAGE sql STABLE AS $$
    SELECT r.*
    FROM jsonb_to_recordset(pending) AS e (id uuid, "create" boolean, columns jsonb)
    LEFT JOIN raw_data_package_metadata AS base ON base.raw_data_package_id = e.id
    CROSS JOIN LATERAL jsonb_populate_record(base, e.columns) AS r
    WHERE e."create" OR base.raw_data_package_id IS NOT NULL
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION raw_data_file_pending(pending jsonb) RETURNS SETOF raw_data_file
LANGUAGE sql STABLE AS $$
    SELECT r.*
    FROM jsonb_to_recordset(pending) AS e (id uuid, "create" boolean, columns jsonb)
    LEFT JOIN raw_data_file AS base ON base.id = e.id
    CROSS JOIN LATERAL jsonb_populate_record(base, e.columns) AS r
    WHERE e."create" OR base.id IS NOT NULL
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION physical_copy_pending(pending jsonb) RETURNS SETOF physical_copy
LANGUAGE sql STABLE AS $$
    SELECT r.*
    FROM jsonb_to_recordset(pending) AS e (id uuid, "create" boolean, columns jsonb)
    LEFT JOIN physical_copy AS base ON base.id = e.id
    CROSS JOIN LATERAL jsonb_populate_record(base, e.columns) AS r
    WHERE e."create" OR base.id IS NOT NULL
$$;
-- +goose StatementEnd

-- executed_obs_unit_module rows are only ever created; their key is in the columns.
-- +goose StatementBegin
CREATE FUNCTION executed_obs_unit_module_pending(pending jsonb) RETURNS SETOF executed_obs_unit_module
LANGUAGE sql STABLE AS $$
    SELECT r.*
    FROM jsonb_to_recordset(pending) AS e ("create" boolean, columns jsonb)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::executed_obs_unit_module, e.columns) AS r
    WHERE e."create"
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION executed_obs_unit_module_pending(jsonb);
DROP FUNCTION physical_copy_pending(jsonb);
DROP FUNCTION raw_data_file_pending(jsonb);
DROP FUNCTION raw_data_package_metadata_pending(jsonb);
DROP FUNCTION raw_data_package_pending(jsonb);
DROP FUNCTION executed_obs_unit_pending(jsonb);
