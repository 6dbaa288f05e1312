package buffer

import (
	"github.com/prometheus/client_golang/prometheus"
)

// What a secondary site shows of its buffer to Prometheus. The figures are read when
// they are asked for, from what the process knows anyway: no server is asked.
var (
	metricTransactions = prometheus.NewDesc("opsdb_buffer_transactions", "Transactions that are not replicated, by state.", []string{"state"}, nil)
	metricOldest       = prometheus.NewDesc("opsdb_buffer_oldest_age_seconds", "Age of the oldest buffered transaction.", nil, nil)
	metricCapacity     = prometheus.NewDesc("opsdb_buffer_capacity", "Transactions the buffer takes.", nil, nil)
	metricRows         = prometheus.NewDesc("opsdb_pending_rows", "Rows with pending changes, by table.", []string{"table"}, nil)
	metricPaused       = prometheus.NewDesc("opsdb_buffer_paused", "1 while draining is paused.", nil, nil)
	metricProcessed    = prometheus.NewDesc("opsdb_processor_transactions_total", "Transactions this process has applied.", nil, nil)
	metricOnline       = prometheus.NewDesc("opsdb_main_reachable", "1 while the line to the primary works.", nil, nil)
	metricLagBytes     = prometheus.NewDesc("opsdb_replica_lag_bytes", "Log of the primary that the replica has not replayed.", nil, nil)
	metricLagSeconds   = prometheus.NewDesc("opsdb_replica_lag_seconds", "Age of the newest replayed transaction while something is missing.", nil, nil)
	metricBehind       = prometheus.NewDesc("opsdb_replica_behind", "1 while the replica shows less than it did and reads wait.", nil, nil)
	metricAlarm        = prometheus.NewDesc("opsdb_buffer_alarm", "1 when the primary has seen commits that the site's Redis does not know.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *Module) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		metricTransactions, metricOldest, metricCapacity, metricRows, metricPaused, metricProcessed, metricOnline,
		metricLagBytes, metricLagSeconds, metricBehind, metricAlarm,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector. The main site has no buffer and only says
// whether its primary can be reached.
func (m *Module) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	r := m.state.report()
	gauge(metricOnline, flag(r.Online))
	if m.main() {
		return
	}
	view := m.config.Store.Current()
	c := view.Counts()
	for state, n := range map[string]int{"buffered": c.Buffered, "applied": c.Applied, "failed": c.Failed, "blocked": c.Blocked} {
		gauge(metricTransactions, float64(n), state)
	}
	gauge(metricOldest, m.age(c.OldestAccepted))
	gauge(metricCapacity, float64(m.config.Capacity))
	for table, n := range c.RowsByTable {
		gauge(metricRows, float64(n), table)
	}
	gauge(metricPaused, flag(view.Paused))
	out <- prometheus.MustNewConstMetric(metricProcessed, prometheus.CounterValue, float64(r.Processed))
	replica, _ := m.tracker.Last() // the error is /health's; the last look still stands
	gauge(metricLagBytes, float64(replica.LagBytes))
	gauge(metricLagSeconds, replica.Lag.Seconds())
	gauge(metricBehind, flag(m.replicaBehind()))
	gauge(metricAlarm, flag(r.Alarm))
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
