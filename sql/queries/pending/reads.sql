-- SnapshotHead is the first statement of every merged read: the commit number
-- and the highest seq of the site that this snapshot holds, and what its server
-- certainly shows, found as in GetStanding of platform/lsn. A site without a row
-- counts as 0.
-- name: SnapshotHead :one
SELECT coalesce(s.batch, 0)::bigint AS batch,
       coalesce(s.last_seq, 0)::bigint AS last_seq,
       (CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn()
             WHEN w.received_tli IS NOT NULL THEN replayed.at
             ELSE least(replayed.at, (pg_control_recovery()).min_recovery_end_lsn) END)::text AS lsn,
       (CASE WHEN pg_is_in_recovery()
             THEN coalesce(w.received_tli, greatest((pg_control_recovery()).min_recovery_end_timeline, (pg_control_checkpoint()).timeline_id))
             ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint END)::bigint AS timeline
FROM (SELECT coalesce(pg_last_wal_replay_lsn(), '0/0') AS at) AS replayed
LEFT JOIN pg_catalog.pg_stat_wal_receiver w ON true
LEFT JOIN site_status s ON s.site = @site;

-- SnapshotBatch is the first statement of every check on the accepting path: the
-- commit number of the site that this snapshot holds.
-- name: SnapshotBatch :one
SELECT batch FROM site_status WHERE site = @site;
