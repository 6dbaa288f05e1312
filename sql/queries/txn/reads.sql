-- FindIdempotencyKey returns what an actor has written with a key, discarded or applied:
-- of a discarded transaction the steps that it would have made, and whether the ledger
-- has the one that took its place.
-- name: FindIdempotencyKey :one
SELECT t.id, t.site, t.seq, t.outcome, t.request_digest, t.changes, coalesce(d.transaction -> 'steps', '[]')::jsonb AS discarded_steps,
       coalesce(r.outcome = 'applied', false)::boolean AS replaced
FROM applied_transaction AS t
LEFT JOIN dead_letter_decision AS d ON d.transaction_id = t.id
LEFT JOIN applied_transaction AS r ON r.id = d.replaced_by
WHERE t.actor = @actor AND t.idempotency_key = @idempotency_key;

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
