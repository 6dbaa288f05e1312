-- EnsureSiteStatus makes main's own row, so that main shows itself among the sites.
-- name: EnsureSiteStatus :exec
INSERT INTO site_status (site, epoch, batch, last_seq, last_seen_at, version)
VALUES (@site, 0, 0, 0, @last_seen_at, @version)
ON CONFLICT (site) DO UPDATE SET last_seen_at = excluded.last_seen_at, version = excluded.version;

-- EndStalledProcessors ends backends of processors that have waited for their
-- client for too long in the middle of a flush. Neither the idle nor the statement
-- time-out ends those, and a middlebox that still acknowledges defeats the timers
-- of TCP, so their row locks would stay for hours.
-- name: EndStalledProcessors :many
SELECT coalesce(a.pid, 0)::integer AS pid, coalesce(a.application_name, '')::text AS application_name, pg_terminate_backend(a.pid) AS ended
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database()
  AND a.application_name LIKE @application_names::text
  AND a.state = 'active'
  AND a.wait_event = 'ClientRead'
  AND a.state_change < clock_timestamp() - make_interval(secs => @stalled_s::double precision);
