-- GetReplicaPosition returns in one snapshot which commits of a site a replica
-- shows, and how far it has replayed on which timeline, found as in
-- SnapshotHead. A site without a row counts as 0.
-- name: GetReplicaPosition :one
SELECT coalesce(s.batch, 0)::bigint AS batch,
       coalesce(s.last_seq, 0)::bigint AS last_seq,
       pg_is_in_recovery() AS in_recovery,
       coalesce(pg_last_wal_replay_lsn(), '0/0')::text AS replay_lsn,
       coalesce(pg_last_wal_receive_lsn(), '0/0')::text AS receive_lsn,
       coalesce(pg_last_xact_replay_timestamp(), 'epoch'::timestamptz)::timestamptz AS replayed_at,
       coalesce((SELECT w.latest_end_lsn FROM pg_catalog.pg_stat_wal_receiver w), '0/0')::text AS sent_lsn,
       (CASE WHEN pg_is_in_recovery()
             THEN greatest((pg_control_checkpoint()).timeline_id, (pg_control_recovery()).min_recovery_end_timeline,
                           (SELECT w.received_tli FROM pg_catalog.pg_stat_wal_receiver w))
             ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint END)::bigint AS timeline
FROM (VALUES (1)) AS one (n)
LEFT JOIN site_status s ON s.site = @site;

-- GetReplicaBatch is GetReplicaPosition where LSN tracking is switched off.
-- name: GetReplicaBatch :one
SELECT coalesce(s.batch, 0)::bigint AS batch,
       coalesce(s.last_seq, 0)::bigint AS last_seq
FROM (VALUES (1)) AS one (n)
LEFT JOIN site_status s ON s.site = @site;
