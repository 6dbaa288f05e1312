-- +goose Up
-- One event follows each: two processes that append at the same time must not make a fork of the chain. Empty is before
-- a site's first event; where a site could not know what its last event was, `unknown:<id>` begins a chain anew.
CREATE UNIQUE INDEX audit_event_site_prev_hash_key ON audit_event (site, prev_hash);

-- As the functions of 00013.
-- +goose StatementBegin
CREATE FUNCTION audit_event_pending(pending jsonb) RETURNS SETOF audit_event
LANGUAGE sql STABLE AS $$
    SELECT r.*
    FROM jsonb_to_recordset(pending) AS e (id uuid, "create" boolean, columns jsonb)
    LEFT JOIN audit_event AS base ON base.id = e.id
    CROSS JOIN LATERAL jsonb_populate_record(base, e.columns) AS r
    WHERE e."create" OR base.id IS NOT NULL
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION audit_event_pending(jsonb);
DROP INDEX audit_event_site_prev_hash_key;
