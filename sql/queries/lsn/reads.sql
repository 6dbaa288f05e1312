-- GetReplicaPosition returns in one snapshot which commits of a site a replica
-- shows, how far it has replayed, and what it certainly shows, found as in
-- GetStanding. A site without a row counts as 0.
-- name: GetReplicaPosition :one
SELECT coalesce(s.batch, 0)::bigint AS batch,
       coalesce(s.last_seq, 0)::bigint AS last_seq,
       pg_is_in_recovery() AS in_recovery,
       replayed.at::text AS replay_lsn,
       coalesce(pg_last_wal_receive_lsn(), '0/0')::text AS receive_lsn,
       coalesce(pg_last_xact_replay_timestamp(), 'epoch'::timestamptz)::timestamptz AS replayed_at,
       coalesce(w.latest_end_lsn, '0/0')::text AS sent_lsn,
       (CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn()
             WHEN w.received_tli IS NOT NULL THEN replayed.at
             ELSE least(replayed.at, (pg_control_recovery()).min_recovery_end_lsn) END)::text AS certain_lsn,
       (CASE WHEN pg_is_in_recovery()
             THEN coalesce(w.received_tli, greatest((pg_control_recovery()).min_recovery_end_timeline, (pg_control_checkpoint()).timeline_id))
             ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint END)::bigint AS timeline,
       (w.received_tli IS NOT NULL OR NOT pg_is_in_recovery())::boolean AS exact
FROM (SELECT coalesce(pg_last_wal_replay_lsn(), '0/0') AS at) AS replayed
LEFT JOIN pg_catalog.pg_stat_wal_receiver w ON true
LEFT JOIN site_status s ON s.site = @site;

-- GetStanding returns what a server certainly shows: everything up to a position.
-- On a primary that is its own position. A replica knows its timeline only from
-- the stream that it follows: it switches to no timeline that was left before what
-- it has replayed. Without a stream its control file proves less, a timeline
-- that it has come to and how far at least (exact is false): it may have gone on to
-- a later one, on which the same numbers mean other contents. How far it has
-- replayed is asked before anything about timelines, never after.
-- name: GetStanding :one
SELECT (CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_flush_lsn()
             WHEN w.received_tli IS NOT NULL THEN replayed.at
             ELSE least(replayed.at, (pg_control_recovery()).min_recovery_end_lsn) END)::text AS certain_lsn,
       (CASE WHEN pg_is_in_recovery()
             THEN coalesce(w.received_tli, greatest((pg_control_recovery()).min_recovery_end_timeline, (pg_control_checkpoint()).timeline_id))
             ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint END)::bigint AS timeline,
       (w.received_tli IS NOT NULL OR NOT pg_is_in_recovery())::boolean AS exact
FROM (SELECT coalesce(pg_last_wal_replay_lsn(), '0/0') AS at) AS replayed
LEFT JOIN pg_catalog.pg_stat_wal_receiver w ON true;

-- GetReplicaBatch is GetReplicaPosition where LSN tracking is switched off.
-- name: GetReplicaBatch :one
SELECT coalesce(s.batch, 0)::bigint AS batch,
       coalesce(s.last_seq, 0)::bigint AS last_seq
FROM (VALUES (1)) AS one (n)
LEFT JOIN site_status s ON s.site = @site;
