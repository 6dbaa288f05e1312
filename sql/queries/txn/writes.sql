-- InsertLedgerEntry writes the ledger's row of a transaction, the first statement
-- of each: its primary key is what makes applying exactly once.
-- name: InsertLedgerEntry :exec
INSERT INTO applied_transaction (id, site, seq, outcome, operation, actor, idempotency_key, request_digest, accepted_at, applied_at, changes)
VALUES (@id, @site, @seq, 'applied', @operation, @actor, @idempotency_key, @request_digest, @accepted_at, @applied_at, @changes);

-- KeepLedgerSlice keeps the n-th slice of a large transaction's changes in the session
-- until the transaction ends. Its answer is one truth value: set_config alone would
-- send the slice back.
-- name: KeepLedgerSlice :exec
SELECT set_config('opsdb.changes_' || @n::integer, @slice::text, true) IS NOT NULL AS kept;

-- CompleteLedgerEntry gives the ledger's row of a large transaction its changes: the
-- slices 1 to n, put together once. Appending one to the other would copy everything
-- once a slice.
-- name: CompleteLedgerEntry :exec
WITH changed AS (
    UPDATE applied_transaction
    SET changes = (
        SELECT string_agg(current_setting('opsdb.changes_' || i), '' ORDER BY i)
        FROM generate_series(1, @slices::integer) AS i
    )::jsonb
    WHERE id = @id
    RETURNING id
)
SELECT must_change(count(*)) FROM changed;

-- ClaimSite fences off every processor that connected before. Without the
-- condition on epoch a cut connection's late claim would fence off its successor.
-- name: ClaimSite :one
-- @sqlc-vet-disable writes-must-change
UPDATE site_status SET epoch = @epoch
WHERE site = @site AND epoch < @epoch
RETURNING batch, last_seq;

-- LiftBatch is the first statement of each commit of a processor, the head: it
-- moves the site's number from the last known one to one higher than any ever
-- sent. Another epoch or number there means that this is a stale flush, and
-- refuses it (OP002).
-- name: LiftBatch :exec
WITH changed AS (
    UPDATE site_status
    SET batch = @batch,
        last_seq = greatest(last_seq, @last_seq),
        last_applied_at = @last_applied_at,
        last_seen_at = @last_applied_at
    WHERE site = @site AND epoch = @epoch AND batch = @previous_batch
    RETURNING site
)
SELECT must_claim(count(*)) FROM changed;

-- LiftLastSeq is the first statement of each commit of an import: the site's row tells
-- how far its seqs have come, and is locked before anything else, as the site's own
-- processor does, so that the two wait for each other here and nowhere else. Number
-- and epoch stay: they are the processor's, and a number that an import had lifted
-- would say that what the site has sent is replicated.
-- name: LiftLastSeq :exec
WITH changed AS (
    UPDATE site_status SET last_seq = greatest(last_seq, @last_seq)
    WHERE site = @site
    RETURNING site
)
SELECT must_claim(count(*)) FROM changed;

-- RequireEarlier is the guard of a transaction that depends on earlier ones of
-- the same flush: it fails when one of them was not applied.
-- name: RequireEarlier :exec
SELECT must_change(count(*), @expected::bigint) FROM applied_transaction WHERE id = ANY (@ids::uuid[]);

-- EndPredecessors ends the backends of processors that were here before on the
-- same name, and waits until their locks are gone.
-- name: EndPredecessors :exec
SELECT pg_terminate_backend(pid, 2000)
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database()
  AND usename = current_user
  AND application_name = @application_name::text
  AND pid <> pg_backend_pid();

-- Heartbeat tells main how the site is. A processor that has been superseded is
-- refused, as in LiftBatch, so it cannot overwrite what its successor has said.
-- name: Heartbeat :exec
WITH changed AS (
    UPDATE site_status
    SET last_seen_at = @last_seen_at,
        buffered = @buffered,
        failed = @failed,
        blocked = @blocked,
        oldest_age_s = @oldest_age_s,
        version = @version
    WHERE site = @site AND epoch = @epoch
    RETURNING site
)
SELECT must_claim(count(*)) FROM changed;

-- NextNumber takes the next id of a table whose key is an identity column.
-- name: NextNumber :one
SELECT nextval(pg_get_serial_sequence(@table_name::text, 'id'))::bigint AS number;
