-- SnapshotHead is the first statement of every merged read: the commit number
-- and the highest seq of the site that this snapshot holds, and how far its
-- server has replayed (its own position on a primary). A site without a row
-- counts as 0.
-- name: SnapshotHead :one
SELECT coalesce(s.batch, 0)::bigint AS batch,
       coalesce(s.last_seq, 0)::bigint AS last_seq,
       (CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_flush_lsn() END)::text AS lsn
FROM (VALUES (1)) AS one (n)
LEFT JOIN site_status s ON s.site = @site;
