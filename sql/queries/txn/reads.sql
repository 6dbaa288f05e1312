-- FindIdempotencyKey returns what an actor has written with a key, discarded or applied.
-- name: FindIdempotencyKey :one
SELECT id, site, seq, outcome, request_digest, changes
FROM applied_transaction
WHERE actor = @actor AND idempotency_key = @idempotency_key;

-- FindLedgerOutcomes tells, of some transactions, which the ledger has, and how.
-- name: FindLedgerOutcomes :many
SELECT id, outcome
FROM applied_transaction
WHERE id = ANY (@ids::uuid[]);

-- GetFlushPosition returns how far the primary's log is on disk. Asked after a
-- commit it covers that commit; asked inside the transaction it does not.
-- name: GetFlushPosition :one
SELECT pg_current_wal_flush_lsn()::text AS lsn,
       pg_walfile_name(pg_current_wal_flush_lsn())::text AS walfile;

-- GetSiteEpoch returns the epoch of the last claim, to tell a refused claim from
-- a site that is missing.
-- name: GetSiteEpoch :one
SELECT epoch FROM site_status WHERE site = @site;
