package buffer

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
	"github.com/opsdb/opsdb/platform/rdb"
)

// What a secondary site shows of its buffer to Prometheus. The figures are read when
// they are asked for, from what the process knows anyway: no server is asked.
// docs/metrics.md lists them; a test holds the list against a running site.
var (
	metricTransactions  = prometheus.NewDesc("opsdb_buffer_transactions", "Transactions that are not replicated, by state.", []string{"state"}, nil)
	metricOldest        = prometheus.NewDesc("opsdb_buffer_oldest_age_seconds", "Age of the oldest buffered transaction; 0 when none waits.", nil, nil)
	metricOldestPending = prometheus.NewDesc("opsdb_pending_oldest_age_seconds", "Age of the oldest transaction that is not replicated, dead letters included; 0 when there is none.", nil, nil)
	metricOldestDead    = prometheus.NewDesc("opsdb_dead_letter_oldest_age_seconds", "Age of the oldest dead letter, from when it was accepted; 0 when there is none.", nil, nil)
	metricCapacity      = prometheus.NewDesc("opsdb_buffer_capacity", "Transactions the buffer takes.", nil, nil)
	metricUnchecked     = prometheus.NewDesc("opsdb_accept_unchecked_total", "Transactions that this process has accepted without their checks, since the replica could not be read.", nil, nil)
	metricRows          = prometheus.NewDesc("opsdb_pending_rows", "Rows with pending changes, by table.", []string{"table"}, nil)
	metricPaused        = prometheus.NewDesc("opsdb_buffer_paused", "1 while draining is paused.", nil, nil)
	metricDurable       = prometheus.NewDesc("opsdb_buffer_durable", "1 when the settings of the site's Redis keep every acknowledged write, 0 when they do not (BUFFER_DURABILITY=relaxed) or could not be read yet.", nil, nil)
	metricProcessed     = prometheus.NewDesc("opsdb_processor_transactions_total", "Transactions this process has applied.", nil, nil)
	metricStatus        = prometheus.NewDesc("opsdb_processor_status", "1 for what this process's processor is doing: starting, running, idle, paused, standby, reconnecting, fault or stopped.", []string{"status"}, nil)
	metricLastRun       = prometheus.NewDesc("opsdb_processor_last_run_timestamp_seconds", "When this process last applied transactions, unix time; 0 for not yet.", nil, nil)
	metricOnline        = prometheus.NewDesc("opsdb_main_reachable", "1 while the line to the primary works.", nil, nil)
	metricLagBytes      = prometheus.NewDesc("opsdb_replica_lag_bytes", "Log of the primary that the replica has not replayed.", nil, nil)
	metricLagSeconds    = prometheus.NewDesc("opsdb_replica_lag_seconds", "Age of the newest replayed transaction while something is missing.", nil, nil)
	metricBehind        = prometheus.NewDesc("opsdb_replica_behind", "1 while the replica shows less than it did and reads wait.", nil, nil)
	metricLostTail      = prometheus.NewDesc("opsdb_buffer_lost_tail", "1 for an hour after the primary had lost commits of the site, which are sent again.", nil, nil)
	metricAlarm         = prometheus.NewDesc("opsdb_buffer_alarm", "1 when the primary or the site's replica has seen commits that the site's Redis does not know: acknowledged writes may be missing.", nil, nil)
	metricRedisUp       = prometheus.NewDesc("opsdb_redis_reachable", "1 while the site's Redis answers.", nil, nil)
	metricRedisUsed     = prometheus.NewDesc("opsdb_redis_memory_bytes", "Memory that the site's Redis uses.", nil, nil)
	metricRedisMax      = prometheus.NewDesc("opsdb_redis_memory_max_bytes", "Memory that the site's Redis may use; 0 for no limit.", nil, nil)
	metricRedisFailing  = prometheus.NewDesc("opsdb_redis_write_failed", "1 when the last write of the append-only file failed (a full disk): Redis then takes no write.", nil, nil)
	metricRedisFsync    = prometheus.NewDesc("opsdb_redis_fsync_max_seconds", "Longest fsync of the append-only file that Redis remembers; only where its latency monitor is on (latency-monitor-threshold).", nil, nil)

	metricSiteSeen    = prometheus.NewDesc("opsdb_site_last_seen_timestamp_seconds", "At main: when a secondary site was last heard of, unix time; 0 for never.", []string{"secondary"}, nil)
	metricSiteWaiting = prometheus.NewDesc("opsdb_site_transactions", "At main: what a secondary site held when it was last heard of, by state.", []string{"secondary", "state"}, nil)
)

var descriptions = []*prometheus.Desc{
	metricTransactions, metricOldest, metricOldestPending, metricOldestDead, metricCapacity, metricUnchecked, metricRows, metricPaused, metricDurable, metricProcessed, metricStatus,
	metricLastRun, metricOnline, metricLagBytes, metricLagSeconds, metricBehind, metricAlarm, metricLostTail, metricRedisUp, metricRedisUsed, metricRedisMax,
	metricRedisFailing, metricRedisFsync, metricSiteSeen, metricSiteWaiting,
}

// figures are what is measured as it happens.
type figures struct {
	accept     prometheus.Histogram // the accept script, fsync included
	flush      prometheus.Histogram
	flushed    prometheus.Histogram // transactions a flush
	applied    prometheus.Histogram
	replicated prometheus.Histogram
	replayed   prometheus.Histogram
	lost       prometheus.Counter // connections of the processor
	superseded prometheus.Counter
	claims     prometheus.Counter
	lostTail   prometheus.Counter // transactions
	decisions  *prometheus.CounterVec

	mu    sync.Mutex
	redis rdb.Server
	fsync time.Duration // 0: not known
	sites []db.ListSiteStatusRow
}

// The decisions that are counted.
const (
	decisionRetry   = "retry"
	decisionDiscard = "discard"
	decisionReplace = "replace"
)

// A night's link is down for hours, so the slow end reaches a week.
var long = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600}

func newFigures() *figures {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "opsdb_dead_letter_decisions_total", Help: "Decisions of operators about dead letters that this process has carried out, by decision: retry (one for all that go back together), discard or replace."}, []string{"decision"})
	for _, decision := range []string{decisionRetry, decisionDiscard, decisionReplace} {
		decisions.WithLabelValues(decision) // shown from the start, so that a first one is a rise
	}
	return &figures{
		decisions: decisions,
		accept: histogram("opsdb_accept_seconds", "Time in which Redis stored one accepted transaction durably: the script and its fsync.",
			[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}),
		flush: histogram("opsdb_flush_seconds", "Time from sending a flush to having stored what became of it.",
			[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}),
		flushed:    histogram("opsdb_flush_transactions", "Transactions in one flush.", []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000}),
		applied:    histogram("opsdb_transaction_applied_seconds", "Time from accepting a transaction to its commit at the primary, by the process that drains.", long),
		replicated: histogram("opsdb_transaction_replicated_seconds", "Time from accepting a transaction to its showing at the replica.", long),
		replayed: histogram("opsdb_transaction_replay_seconds", "Time from a transaction's commit at the primary to its showing at the replica.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600}),
		lost:       counter("opsdb_processor_connections_lost_total", "Connections to the primary that the processor has lost or could not make."),
		superseded: counter("opsdb_processor_superseded_total", "Times that another processor, or another Redis, took the buffer from this process."),
		claims:     counter("opsdb_processor_claims_total", "Times that this process has claimed the site at the primary, once a connection."),
		lostTail:   counter("opsdb_lost_tail_transactions_total", "Transactions that the primary had lost in a failover and that were sent again."),
	}
}

func (f *figures) collectors() []prometheus.Collector {
	return []prometheus.Collector{f.accept, f.flush, f.flushed, f.applied, f.replicated, f.replayed, f.lost, f.superseded, f.claims, f.lostTail, f.decisions}
}

// Describe implements prometheus.Collector.
func (m *Module) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		out <- d
	}
	for _, c := range m.figures.collectors() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector. The main site has no buffer: it says
// whether its primary can be reached, and how the other sites were last seen.
func (m *Module) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	r := m.state.report()
	gauge(metricOnline, flag(r.Online))
	m.figures.mu.Lock()
	redis, fsync, sites := m.figures.redis, m.figures.fsync, m.figures.sites
	m.figures.mu.Unlock()
	if m.main() {
		for _, s := range sites {
			if s.Site == m.config.Site {
				continue
			}
			gauge(metricSiteSeen, unix(s.LastSeenAt), s.Site)
			for state, n := range map[string]int64{"buffered": s.Buffered, "failed": s.Failed, "blocked": s.Blocked} {
				gauge(metricSiteWaiting, float64(n), s.Site, state)
			}
		}
		return
	}
	view := m.config.Store.Current()
	c := view.Counts()
	for state, n := range map[string]int{"buffered": c.Buffered, "applied": c.Applied, "failed": c.Failed, "blocked": c.Blocked} {
		gauge(metricTransactions, float64(n), state)
	}
	gauge(metricOldest, m.age(c.OldestAccepted))
	gauge(metricOldestPending, m.age(view.OldestPending()))
	var oldestDead time.Time
	if dead := view.Dead(); len(dead) > 0 {
		oldestDead = dead[0].AcceptedAt
	}
	gauge(metricOldestDead, m.age(oldestDead))
	gauge(metricCapacity, float64(m.config.Capacity))
	out <- prometheus.MustNewConstMetric(metricUnchecked, prometheus.CounterValue, float64(m.config.Store.Unchecked()))
	for table, n := range c.RowsByTable {
		gauge(metricRows, float64(n), table)
	}
	gauge(metricPaused, flag(view.Paused))
	status := m.config.Store.Status()
	gauge(metricDurable, flag(status.Checked && status.Durability.Safe()))
	gauge(metricRedisUp, flag(status.Reachable))
	gauge(metricRedisUsed, float64(redis.UsedMemory))
	gauge(metricRedisMax, float64(redis.MaxMemory))
	gauge(metricRedisFailing, flag(redis.LastWriteFailed))
	if fsync > 0 {
		gauge(metricRedisFsync, fsync.Seconds())
	}
	out <- prometheus.MustNewConstMetric(metricProcessed, prometheus.CounterValue, float64(r.Processed))
	for _, s := range statuses {
		gauge(metricStatus, flag(s == r.Status), s)
	}
	gauge(metricLastRun, unix(&r.LastRun))
	replica, _ := m.tracker.Last() // the error is /health's; the last look still stands
	gauge(metricLagBytes, float64(replica.LagBytes))
	gauge(metricLagSeconds, replica.Lag.Seconds())
	gauge(metricBehind, flag(m.replicaBehind()))
	gauge(metricAlarm, flag(!view.Missing.IsZero()))
	gauge(metricLostTail, flag(!view.LostTail.IsZero()))
	for _, f := range m.figures.collectors() {
		f.Collect(out)
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

func unix(at *time.Time) float64 {
	if at == nil || at.IsZero() {
		return 0
	}
	return float64(at.UnixMilli()) / 1000
}
