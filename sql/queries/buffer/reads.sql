-- ListSiteStatus returns every site as main has last seen it.
-- name: ListSiteStatus :many
SELECT s.site, s.epoch, s.batch, s.last_seq, s.last_applied_at, s.last_seen_at,
       s.buffered, s.failed, s.blocked, s.oldest_age_s, s.version
FROM site_status s
ORDER BY s.site;

-- ListOtherSites returns the sites a console can point to.
-- name: ListOtherSites :many
SELECT s.short_name, s.name, s.location, s.is_main
FROM site s
WHERE s.short_name <> @short_name
ORDER BY s.is_main DESC, s.short_name;

-- GetSite returns one site by its short name.
-- name: GetSite :one
SELECT s.id, s.name, s.short_name, s.location, s.is_main
FROM site s
WHERE s.short_name = @short_name;

-- GetLedgerEntry returns one transaction as the ledger has it, and what an operator
-- has decided about it.
-- name: GetLedgerEntry :one
SELECT t.id, t.site, t.seq, t.outcome, t.operation, t.actor, t.accepted_at, t.applied_at, t.changes,
       d.outcome AS decision_outcome, d.reason AS decision_reason, d.actor AS decision_actor, d.at AS decision_at, d.replaced_by AS decision_replaced_by,
       r.transaction_id AS replaces
FROM applied_transaction AS t
LEFT JOIN dead_letter_decision AS d ON d.transaction_id = t.id
LEFT JOIN dead_letter_decision AS r ON r.replaced_by = t.id
WHERE t.id = @id;

-- GetDeadLetterDecision returns what an operator has decided about a dead letter.
-- name: GetDeadLetterDecision :one
SELECT outcome, reason, actor, at, replaced_by
FROM dead_letter_decision
WHERE transaction_id = @transaction_id;

-- GetSneakernetKey returns what is needed to judge a file of a site: that main knows the
-- site, whose the key is that signed it (empty: nobody's), and whether this server
-- takes writes at all.
-- name: GetSneakernetKey :one
SELECT EXISTS (SELECT FROM site_status AS s WHERE s.site = @site) AS site_known,
       coalesce((SELECT k.site FROM signing_key AS k WHERE k.kid = @kid), '')::text AS key_site,
       coalesce((SELECT k.public_key FROM signing_key AS k WHERE k.kid = @kid), '')::text AS public_key,
       pg_is_in_recovery() AS in_recovery;

-- ListStoredRows returns rows of the buffered tables as they are stored, to be shown
-- beside what a dead letter was to make of them.
-- name: ListStoredRows :many
SELECT 'executed_obs_unit'::text AS table_name, e.id, to_jsonb(e.*) AS columns FROM executed_obs_unit AS e WHERE e.id = ANY (@ids::uuid[])
UNION ALL
SELECT 'raw_data_file', f.id, to_jsonb(f.*) FROM raw_data_file AS f WHERE f.id = ANY (@ids::uuid[])
UNION ALL
SELECT 'raw_data_package', p.id, to_jsonb(p.*) FROM raw_data_package AS p WHERE p.id = ANY (@ids::uuid[])
UNION ALL
SELECT 'raw_data_package_metadata', m.raw_data_package_id, to_jsonb(m.*) FROM raw_data_package_metadata AS m WHERE m.raw_data_package_id = ANY (@ids::uuid[])
UNION ALL
SELECT 'physical_copy', c.id, to_jsonb(c.*) FROM physical_copy AS c WHERE c.id = ANY (@ids::uuid[]);
