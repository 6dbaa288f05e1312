package promql_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

const alertsFile = "../../deploy/prometheus/alerts.yaml"

// healthy is what a site whose day is quiet and its main site say, a sample a minute.
var healthy = map[string]string{
	`up{job="opsdb",instance="a"}`:                                                 "1x120",
	`opsdb_main_reachable{site="s",instance="a"}`:                                  "1x120",
	`opsdb_buffer_paused{site="s",instance="a"}`:                                   "0x120",
	`opsdb_buffer_oldest_age_seconds{site="s",instance="a"}`:                       "2x120",
	`opsdb_processor_status{site="s",instance="a",status="running"}`:               "1x120",
	`opsdb_buffer_transactions{site="s",instance="a",state="buffered"}`:            "3x120",
	`opsdb_buffer_transactions{site="s",instance="a",state="failed"}`:              "0x120",
	`opsdb_buffer_transactions{site="s",instance="a",state="blocked"}`:             "0x120",
	`opsdb_buffer_capacity{site="s",instance="a"}`:                                 "1000x120",
	`opsdb_site_last_seen_timestamp_seconds{site="m",instance="m",secondary="s"}`:  "0+60x120",
	`opsdb_replica_lag_bytes{site="s",instance="a"}`:                               "1000x120",
	`opsdb_replica_lag_seconds{site="s",instance="a"}`:                             "1x120",
	`opsdb_replica_behind{site="s",instance="a"}`:                                  "0x120",
	`opsdb_accept_unchecked_total{site="s",instance="a"}`:                          "2x120",
	`opsdb_buffer_durable{site="s",instance="a"}`:                                  "1x120",
	`opsdb_redis_reachable{site="s",instance="a"}`:                                 "1x120",
	`opsdb_redis_write_failed{site="s",instance="a"}`:                              "0x120",
	`opsdb_redis_memory_bytes{site="s",instance="a"}`:                              "100x120",
	`opsdb_redis_memory_max_bytes{site="s",instance="a"}`:                          "1000x120",
	`opsdb_buffer_alarm{site="s",instance="a"}`:                                    "0x120",
	`opsdb_buffer_lost_tail{site="s",instance="a"}`:                                "0x120",
	`opsdb_processor_superseded_total{site="s",instance="a"}`:                      "2x120",
	`opsdb_accept_seconds_bucket{site="s",instance="a",le="0.1"}`:                  "0+100x120",
	`opsdb_accept_seconds_bucket{site="s",instance="a",le="1"}`:                    "0+100x120",
	`opsdb_accept_seconds_bucket{site="s",instance="a",le="+Inf"}`:                 "0+100x120",
	`opsdb_transaction_replicated_seconds_bucket{site="s",instance="a",le="60"}`:   "0+100x120",
	`opsdb_transaction_replicated_seconds_bucket{site="s",instance="a",le="600"}`:  "0+100x120",
	`opsdb_transaction_replicated_seconds_bucket{site="s",instance="a",le="+Inf"}`: "0+100x120",
	`opsdb_http_requests_total{site="s",instance="a",status="500"}`:                "1x120",
	`opsdb_http_requests_total{site="s",instance="a",status="200"}`:                "0+600x120",
}

// firing evaluates all rules once a minute, as Prometheus does, and returns the alerts that fire in the end.
func firing(t *testing.T, series map[string]string, minutes int) []string {
	t.Helper()
	var load strings.Builder
	load.WriteString("load 1m\n")
	for _, name := range slices.Sorted(maps.Keys(series)) {
		fmt.Fprintf(&load, "  %s %s\n", name, series[name])
	}
	storage := promqltest.LoadedStorage(t, load.String())
	t.Cleanup(func() {
		if err := storage.Close(); err != nil {
			t.Error(err)
		}
	})
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc: rules.EngineQueryFunc(engine, storage), Appendable: storage, Queryable: storage, Context: t.Context(), Logger: promslog.NewNopLogger(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
	})
	groups, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, alertsFile)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var found []string
	for minute := range minutes + 1 {
		found = nil
		for _, name := range slices.Backward(slices.Sorted(maps.Keys(groups))) { // the records come first
			groups[name].Eval(t.Context(), time.Unix(0, 0).Add(time.Duration(minute)*time.Minute))
			for _, rule := range groups[name].AlertingRules() {
				for _, alert := range rule.ActiveAlerts() {
					if alert.State == rules.StateFiring {
						found = append(found, rule.Name())
					}
				}
			}
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(found)))
}

// TestAlertsFire lets each alert fire, and at what it must: nothing fires while all is well.
func TestAlertsFire(t *testing.T) {
	if got := firing(t, healthy, 110); len(got) > 0 {
		t.Errorf("while all is well there is %v", got)
	}
	seen := map[string]bool{}
	for _, c := range []struct {
		alert   string
		minutes int
		series  map[string]string
		quiet   string // of the one series, which must not let it fire
		also    []string
	}{
		{"OpsdbProcessDown", 3, map[string]string{`up{job="opsdb",instance="a"}`: "0x120"}, "0 1 0 1 0 1", nil},
		{"OpsdbReplicatingIsSlow", 40, map[string]string{`opsdb_transaction_replicated_seconds_bucket{site="s",instance="a",le="60"}`: "0+10x120"}, "0+100x120", nil},
		{"OpsdbOldestTransactionWaits", 4, map[string]string{`opsdb_buffer_oldest_age_seconds{site="s",instance="a"}`: "61x120"}, "60x120", nil},
		{"OpsdbProcessorDoesNotRun", 6, map[string]string{`opsdb_processor_status{site="s",instance="a",status="running"}`: "0x120"}, "1x120", nil},
		{"OpsdbDeadLetters", 6, map[string]string{`opsdb_buffer_transactions{site="s",instance="a",state="failed"}`: "1x120"}, "0x120", nil},
		{"OpsdbDeadLetters", 6, map[string]string{`opsdb_buffer_transactions{site="s",instance="a",state="blocked"}`: "1x120"}, "0x120", nil},
		{"OpsdbBufferFilling", 6, map[string]string{`opsdb_buffer_transactions{site="s",instance="a",state="buffered"}`: "801x120"}, "800x120", nil},
		{"OpsdbBufferFull", 1, map[string]string{`opsdb_buffer_transactions{site="s",instance="a",state="buffered"}`: "1000x120"}, "999x120", nil},
		{"OpsdbMainUnreachable", 16, map[string]string{`opsdb_main_reachable{site="s",instance="a"}`: "0x120"}, "1x120", nil},
		{"OpsdbSiteSilent", 25, map[string]string{`opsdb_site_last_seen_timestamp_seconds{site="m",instance="m",secondary="s"}`: "30x120"}, "0x120", nil},
		{"OpsdbReplicaLags", 6, map[string]string{`opsdb_replica_lag_bytes{site="s",instance="a"}`: "268435457x120"}, "268435456x120", nil},
		{"OpsdbReplicaLags", 6, map[string]string{`opsdb_replica_lag_seconds{site="s",instance="a"}`: "61x120"}, "60x120", nil},
		{"OpsdbReplicaWentBack", 2, map[string]string{`opsdb_replica_behind{site="s",instance="a"}`: "1x120"}, "0x120", nil},
		{"OpsdbWritesUnchecked", 8, map[string]string{`opsdb_accept_unchecked_total{site="s",instance="a"}`: "0+1x120"}, "2x120", nil},
		{"OpsdbBufferNotDurable", 3, map[string]string{`opsdb_buffer_durable{site="s",instance="a"}`: "0x120"}, "1x120", nil},
		{"OpsdbRedisUnreachable", 2, map[string]string{`opsdb_redis_reachable{site="s",instance="a"}`: "0x120"}, "1x120", nil},
		{"OpsdbRedisDiskFails", 1, map[string]string{`opsdb_redis_write_failed{site="s",instance="a"}`: "1x120"}, "0x120", nil},
		{"OpsdbRedisMemory", 6, map[string]string{`opsdb_redis_memory_bytes{site="s",instance="a"}`: "801x120"}, "800x120", nil},
		{"OpsdbWritesMayBeMissing", 1, map[string]string{`opsdb_buffer_alarm{site="s",instance="a"}`: "1x120"}, "0x120", nil},
		{"OpsdbMainLostCommits", 1, map[string]string{`opsdb_buffer_lost_tail{site="s",instance="a"}`: "1x120"}, "0x120", nil},
		{"OpsdbProcessorsFight", 10, map[string]string{`opsdb_processor_superseded_total{site="s",instance="a"}`: "0+1x120"}, "2x5 4x115", nil},
		{"OpsdbDrainingPaused", 61, map[string]string{`opsdb_buffer_paused{site="s",instance="a"}`: "1x120"}, "1x50 0x70", nil},
		{"OpsdbAcceptingIsSlow", 20, map[string]string{`opsdb_accept_seconds_bucket{site="s",instance="a",le="0.1"}`: "0+90x120"}, "0+100x120", nil},
		{"OpsdbServerErrors", 10, map[string]string{`opsdb_http_requests_total{site="s",instance="a",status="500"}`: "0+1x120"}, "1x120", nil},
	} {
		seen[c.alert] = true
		for name := range c.series {
			if _, there := healthy[name]; !there {
				t.Fatalf("%s: a healthy site has no series %s", c.alert, name)
			}
			series := maps.Clone(healthy)
			series[name] = c.quiet
			if got := firing(t, series, c.minutes); slices.Contains(got, c.alert) {
				t.Errorf("%s fires with %s %s", c.alert, name, c.quiet)
			}
		}
		series := maps.Clone(healthy)
		maps.Copy(series, c.series)
		got := firing(t, series, c.minutes)
		if !slices.Contains(got, c.alert) {
			t.Errorf("%s does not fire after %d minutes of %v; there is %v", c.alert, c.minutes, c.series, got)
		}
		if !slices.Equal(got, []string{c.alert}) && !slices.Equal(got, slices.Sorted(slices.Values(append(c.also, c.alert)))) {
			t.Errorf("with %s there is %v", c.alert, got)
		}
		// `for` holds it back at first.
		if c.minutes > 1 {
			if early := firing(t, series, 0); len(early) > 0 {
				t.Errorf("%s: at once there is %v", c.alert, early)
			}
		}
	}
	for _, name := range alertNames(t) {
		if !seen[name] {
			t.Errorf("nothing lets %s fire", name)
		}
	}
}

func alertNames(t *testing.T) (names []string) {
	t.Helper()
	groups, errs := rules.NewManager(&rules.ManagerOptions{Context: t.Context(), Logger: promslog.NewNopLogger()}).
		LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, alertsFile)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, group := range groups {
		for _, rule := range group.AlertingRules() {
			names = append(names, rule.Name())
		}
	}
	return names
}
