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
