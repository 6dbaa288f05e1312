-- SnapshotHead is the first statement of every merged read: the commit number
-- and the highest seq of the site that this snapshot holds, and how far its
-- server has replayed (its own position on a primary) on which timeline. A
-- replica's timeline is the newest it knows of: that of its last checkpoint, of
-- its last consistent point, or of what it receives. A site without a row counts
-- as 0.
-- name: SnapshotHead :one
SELECT coalesce(s.batch, 0)::bigint AS batch,
       coalesce(s.last_seq, 0)::bigint AS last_seq,
       (CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_flush_lsn() END)::text AS lsn,
       (CASE WHEN pg_is_in_recovery()
             THEN greatest((pg_control_checkpoint()).timeline_id, (pg_control_recovery()).min_recovery_end_timeline,
                           (SELECT w.received_tli FROM pg_catalog.pg_stat_wal_receiver w))
             ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint END)::bigint AS timeline
FROM (VALUES (1)) AS one (n)
LEFT JOIN site_status s ON s.site = @site;

-- SnapshotBatch is the first statement of every check on the accepting path: the
-- commit number of the site that this snapshot holds.
-- name: SnapshotBatch :one
SELECT batch FROM site_status WHERE site = @site;
