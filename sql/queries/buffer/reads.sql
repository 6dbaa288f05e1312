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

-- GetLedgerEntry returns one transaction as the ledger has it.
-- name: GetLedgerEntry :one
SELECT id, site, seq, outcome, operation, actor, accepted_at, applied_at, changes
FROM applied_transaction
WHERE id = @id;
