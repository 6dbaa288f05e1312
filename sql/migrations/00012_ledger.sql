-- +goose Up
CREATE TABLE applied_transaction (
    id uuid NOT NULL,
    site text NOT NULL,
    seq bigint,
    outcome text NOT NULL,
    operation text NOT NULL,
    actor text NOT NULL,
    idempotency_key text,
    request_digest bytea,
    accepted_at timestamptz NOT NULL,
    applied_at timestamptz NOT NULL,
    changes jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT applied_transaction_pkey PRIMARY KEY (id),
    CONSTRAINT applied_transaction_outcome_check CHECK (outcome IN ('applied', 'discarded')),
    CONSTRAINT applied_transaction_idempotency_key_check CHECK (length(idempotency_key) BETWEEN 1 AND 255)
);
-- Not unique: a seq that a restored Redis gives out again must not poison a good write.
CREATE INDEX applied_transaction_site_seq_idx ON applied_transaction (site, seq);
CREATE UNIQUE INDEX applied_transaction_actor_idempotency_key_key ON applied_transaction (actor, idempotency_key) WHERE idempotency_key IS NOT NULL;
COMMENT ON TABLE applied_transaction IS 'The ledger: one row for each applied or discarded transaction, in the same commit as its effects.';
COMMENT ON COLUMN applied_transaction.seq IS 'Number in the site''s buffer; null for a direct write.';
COMMENT ON COLUMN applied_transaction.created_at IS 'By the primary''s clock; accepted_at and applied_at are by the site''s.';
COMMENT ON COLUMN applied_transaction.changes IS 'Table, row id, kind and new values of every change: the audit history.';

-- Half-empty pages keep the updates of every commit within the row's own page.
CREATE TABLE site_status (
    site text NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    batch bigint NOT NULL DEFAULT 0,
    last_seq bigint NOT NULL DEFAULT 0,
    last_applied_at timestamptz,
    last_seen_at timestamptz,
    buffered bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    blocked bigint NOT NULL DEFAULT 0,
    oldest_age_s double precision,
    version text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT site_status_pkey PRIMARY KEY (site)
) WITH (fillfactor = 50);
COMMENT ON TABLE site_status IS 'What fences a secondary site''s processors and numbers its commits, and how the site was last seen.';
COMMENT ON COLUMN site_status.epoch IS 'The processor connection that may write; only rises.';
COMMENT ON COLUMN site_status.batch IS 'Number of the site''s newest commit; a transaction is replicated when the replica''s row has reached its position.';
COMMENT ON COLUMN site_status.last_seq IS 'Highest seq the site''s commits have carried.';
COMMENT ON COLUMN site_status.version IS 'The opsdb version the site runs.';

CREATE TABLE dead_letter_decision (
    transaction_id uuid NOT NULL,
    site text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    transaction jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT dead_letter_decision_pkey PRIMARY KEY (transaction_id),
    CONSTRAINT dead_letter_decision_outcome_check CHECK (outcome IN ('applied', 'discarded'))
);
CREATE INDEX dead_letter_decision_site_at_idx ON dead_letter_decision (site, at DESC);
COMMENT ON TABLE dead_letter_decision IS 'What operators discarded, with the whole transaction, kept for good.';
COMMENT ON COLUMN dead_letter_decision.outcome IS 'Applied when the ledger already held the transaction.';

CREATE TABLE table_version (
    table_name text NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT table_version_pkey PRIMARY KEY (table_name)
);
COMMENT ON TABLE table_version IS 'A counter for each reference table, raised in every transaction that writes it; caches are keyed by it.';

-- must_change turns "no row was changed where one was due" into an error of the
-- database, so that a pipeline needs no answer in between to stop.
-- +goose StatementBegin
CREATE FUNCTION must_change(changed bigint, expected bigint DEFAULT 1) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF changed IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'changed % rows, expected %', changed, expected USING ERRCODE = 'OP001';
    END IF;
END
$$;
-- +goose StatementEnd

-- must_claim is must_change for a site's own row: another epoch or commit number
-- is there, so whoever sends this has been superseded.
-- +goose StatementBegin
CREATE FUNCTION must_claim(changed bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF changed IS DISTINCT FROM 1 THEN
        RAISE EXCEPTION 'the site''s row has another epoch or commit number' USING ERRCODE = 'OP002';
    END IF;
END
$$;
-- +goose StatementEnd

-- bump_table_version runs with its owner's rights: who may write a reference
-- table need not be able to write the counters.
-- +goose StatementBegin
CREATE FUNCTION bump_table_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO table_version AS v (table_name, version) VALUES (TG_TABLE_NAME, 1)
    ON CONFLICT (table_name) DO UPDATE SET version = v.version + 1, updated_at = now();
    RETURN NULL;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION bump_table_version() FROM PUBLIC;

INSERT INTO table_version (table_name)
SELECT unnest(ARRAY[
    'site', 'observatory', 'telescope', 'instrument', 'instrument_module', 'spectral_line',
    'instrument_module_configuration', 'source', 'obs_mode', 'data_location', 'data_transfer_route',
    'role', 'permission', 'role_permission'
]);

CREATE TRIGGER site_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON site FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER observatory_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON observatory FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER telescope_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON telescope FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER instrument_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON instrument FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER instrument_module_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON instrument_module FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER spectral_line_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON spectral_line FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER instrument_module_configuration_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON instrument_module_configuration FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER source_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON source FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER obs_mode_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON obs_mode FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER data_location_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON data_location FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER data_transfer_route_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON data_transfer_route FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER role_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON role FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER permission_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON permission FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();
CREATE TRIGGER role_permission_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON role_permission FOR EACH STATEMENT EXECUTE FUNCTION bump_table_version();

-- +goose Down
DROP TRIGGER role_permission_version ON role_permission;
DROP TRIGGER permission_version ON permission;
DROP TRIGGER role_version ON role;
DROP TRIGGER data_transfer_route_version ON data_transfer_route;
DROP TRIGGER data_location_version ON data_location;
DROP TRIGGER obs_mode_version ON obs_mode;
DROP TRIGGER source_version ON source;
DROP TRIGGER instrument_module_configuration_version ON instrument_module_configuration;
DROP TRIGGER spectral_line_version ON spectral_line;
DROP TRIGGER instrument_module_version ON instrument_module;
DROP TRIGGER instrument_version ON instrument;
DROP TRIGGER telescope_version ON telescope;
DROP TRIGGER observatory_version ON observatory;
DROP TRIGGER site_version ON site;
DROP FUNCTION bump_table_version();
DROP FUNCTION must_claim(bigint);
DROP FUNCTION must_change(bigint, bigint);
DROP TABLE table_version;
DROP TABLE dead_letter_decision;
DROP TABLE site_status;
DROP TABLE applied_transaction;
