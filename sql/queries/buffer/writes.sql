-- EnsureSiteStatus makes main's own row, so that main shows itself among the sites.
-- name: EnsureSiteStatus :exec
INSERT INTO site_status (site, epoch, batch, last_seq, last_seen_at, version)
VALUES (@site, 0, 0, 0, @last_seen_at, @version)
ON CONFLICT (site) DO UPDATE SET last_seen_at = excluded.last_seen_at, version = excluded.version;

-- EndStalledProcessors ends backends of processors that have waited for their
-- client for too long in the middle of a flush. Neither the idle nor the statement
-- time-out ends those, and a middlebox that still acknowledges defeats the timers
-- of TCP, so their row locks would stay for hours.
-- name: EndStalledProcessors :many
SELECT coalesce(a.pid, 0)::integer AS pid, coalesce(a.application_name, '')::text AS application_name, pg_terminate_backend(a.pid) AS ended
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database()
  AND a.application_name LIKE @application_names::text
  AND a.state = 'active'
  AND a.wait_event = 'ClientRead'
  AND a.state_change < clock_timestamp() - make_interval(secs => @stalled_s::double precision);

-- DiscardTransaction records the decision that a dead letter is never applied, and
-- gives the ledger its id without effects, so that nothing that still carries it can
-- apply it. When the ledger has it, it was applied meanwhile: the ledger wins, and the
-- decision says so. A key that another transaction has in the ledger stays that one's.
-- The document of a large transaction comes in parts, which the session keeps until the
-- last one.
-- name: DiscardTransaction :exec
WITH piece AS MATERIALIZED (
    SELECT set_config('opsdb.discard', CASE WHEN @part_number::integer > 1 THEN current_setting('opsdb.discard') ELSE '' END || @document::text, true) AS document,
           @part_number::integer = @part_count::integer AS complete
), entry AS (
    INSERT INTO applied_transaction (id, site, seq, outcome, operation, actor, idempotency_key, request_digest, accepted_at, applied_at, changes)
    SELECT @transaction_id, @site, @seq, 'discarded', @operation, @transaction_actor,
           CASE WHEN NOT EXISTS (
               SELECT 1 FROM applied_transaction AS other
               WHERE other.actor = @transaction_actor AND other.idempotency_key = sqlc.narg('idempotency_key') AND other.id <> @transaction_id
           ) THEN sqlc.narg('idempotency_key')::text END,
           @request_digest, @accepted_at, @at, '[]'
    FROM piece
    WHERE piece.complete
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
INSERT INTO dead_letter_decision (transaction_id, site, outcome, reason, actor, at, transaction, created_at)
SELECT @transaction_id, @site,
       CASE WHEN EXISTS (SELECT 1 FROM entry)
              OR EXISTS (SELECT 1 FROM applied_transaction AS known WHERE known.id = @transaction_id AND known.outcome = 'discarded')
            THEN 'discarded' ELSE 'applied' END,
       @reason, @actor, @at,
       piece.document::jsonb,
       @at
FROM piece
WHERE piece.complete
ON CONFLICT (transaction_id) DO NOTHING;

-- ReplaceTransaction is DiscardTransaction for a dead letter whose place the transaction
-- takes that this is part of. Both must not be applied: when the ledger has the dead
-- letter by now it changes nothing, and the transaction fails.
-- name: ReplaceTransaction :exec
WITH piece AS MATERIALIZED (
    SELECT set_config('opsdb.discard', CASE WHEN @part_number::integer > 1 THEN current_setting('opsdb.discard') ELSE '' END || @document::text, true) AS document,
           @part_number::integer = @part_count::integer AS complete
), entry AS (
    INSERT INTO applied_transaction (id, site, seq, outcome, operation, actor, idempotency_key, request_digest, accepted_at, applied_at, changes)
    SELECT @transaction_id, @site, @seq, 'discarded', @operation, @transaction_actor,
           CASE WHEN NOT EXISTS (
               SELECT 1 FROM applied_transaction AS other
               WHERE other.actor = @transaction_actor AND other.idempotency_key = sqlc.narg('idempotency_key') AND other.id <> @transaction_id
           ) THEN sqlc.narg('idempotency_key')::text END,
           @request_digest, @accepted_at, @at, '[]'
    FROM piece
    WHERE piece.complete
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), decided AS (
    INSERT INTO dead_letter_decision (transaction_id, site, outcome, reason, actor, at, transaction, created_at, replaced_by)
    SELECT entry.id, @site, 'discarded', @reason, @actor, @at, piece.document::jsonb, @at, @replaced_by
    FROM piece, entry
    RETURNING transaction_id
)
SELECT must_change(count(*), CASE WHEN @part_number::integer = @part_count::integer THEN 1 ELSE 0 END) FROM decided;
