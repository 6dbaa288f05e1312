package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collected are the spans that an OpenTelemetry collector was sent, over HTTP.
type collected struct {
	mu    sync.Mutex
	spans []sentSpan
}

type sentSpan struct {
	*otlp.Span
	pid int64 // of the process that sent it
}

// collect starts a collector that ends with the test.
func collect(t *testing.T) (*collected, string) {
	t.Helper()
	c := &collected{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, of := range request.ResourceSpans {
			var pid int64
			for _, a := range of.Resource.Attributes {
				if a.Key == "process.pid" {
					pid = a.Value.GetIntValue()
				}
			}
			for _, scope := range of.ScopeSpans {
				for _, span := range scope.Spans {
					c.spans = append(c.spans, sentSpan{span, pid})
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	return c, server.URL
}

// find returns the spans of a name in a trace; of every trace when it is "".
func (c *collected) find(trace, name string) (found []sentSpan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.Name == name && (trace == "" || hex.EncodeToString(s.TraceId) == trace) {
			found = append(found, s)
		}
	}
	return found
}

// figures reads the metrics of a server.
func figures(t *testing.T, base, token string) map[string]*dto.MetricFamily {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value is one figure, the count of a histogram; labels come in pairs.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	family, ok := families[name]
	if !ok {
		t.Errorf("there is no metric %s", name)
		return -1
	}
next:
	for _, m := range family.Metric {
		for i := 0; i+1 < len(labels); i += 2 {
			if !has(m, labels[i], labels[i+1]) {
				continue next
			}
		}
		switch {
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount())
		case m.Counter != nil:
			return m.Counter.GetValue()
		}
		return m.Gauge.GetValue()
	}
	t.Errorf("there is no metric %s with %v", name, labels)
	return -1
}

func has(m *dto.Metric, name, value string) bool {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue() == value
		}
	}
	return false
}

// TestOneTraceFromTheRequestToTheReplica: what one process accepts and another one
// drains is one trace, and each figure of the metrics is right on the way.
func TestOneTraceFromTheRequestToTheReplica(t *testing.T) {
	spans, endpoint := collect(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
	d := startDemo(t, "--no-night", "--rtt", "20", "--observatory-apis", "2")
	ready := d.ready()
	// Which of the two drains is not decided by anybody.
	var accepting, draining int
	status := func(url string) string {
		var health struct {
			Status    string
			Processor struct{ Status string } `json:"background_processor"`
		}
		client := apiClient{base: url, token: ready.Admin}
		if err := client.get(t.Context(), "/health", &health); err != nil {
			return err.Error()
		}
		return health.Processor.Status
	}
	d.wait(30*time.Second, "one process in standby", func() bool {
		for i, url := range ready.ObservatoryURLs {
			if status(url) == "standby" {
				accepting, draining = i, 1-i
				return status(ready.ObservatoryURLs[draining]) == "idle"
			}
		}
		return false
	})
	a, b := ready.ObservatoryURLs[accepting], ready.ObservatoryURLs[draining]

	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	client := apiClient{base: a, token: ready.Service}
	const n = 5
	before := figures(t, a, ready.Admin)
	for i := range n {
		headers := []string{"Prefer", "wait=30"}
		if i == 0 {
			headers = append(headers, "traceparent", "00-"+trace+"-"+parent+"-01")
		}
		var record struct{ Sync struct{ State string } }
		if _, err := client.send(t.Context(), http.MethodPost, "/executed_obs_units/start", map[string]any{"obs_unit_id": 1}, &record, headers...); err != nil {
			t.Fatal(err)
		}
		if record.Sync.State != "replicated" {
			t.Fatalf("after 30 seconds it is %s", record.Sync.State)
		}
	}

	var request, apply, replicated []sentSpan
	d.wait(30*time.Second, "the spans", func() bool {
		request = spans.find(trace, "POST /executed_obs_units/start")
		apply, replicated = spans.find(trace, "apply"), spans.find(trace, "replicated")
		return len(request) > 0 && len(apply) > 0 && len(replicated) > 0 && len(spans.find(trace, "validate")) > 0 && len(spans.find(trace, "accept")) > 0
	})
	if len(request) != 1 || len(apply) != 1 || len(replicated) != 1 {
		t.Errorf("%d requests, %d times applied, %d times replicated", len(request), len(apply), len(replicated))
	}
	if got := hex.EncodeToString(request[0].ParentSpanId); got != parent {
		t.Errorf("the request's span lies below %s, not below the client's", got)
	}
	for _, s := range append(append(append(spans.find(trace, "validate"), spans.find(trace, "accept")...), apply...), replicated...) {
		if !bytes.Equal(s.ParentSpanId, request[0].SpanId) {
			t.Errorf("%s does not lie below the request's span", s.Name)
		}
	}
	pids := ready.Pids.APIObservatory
	if request[0].pid != int64(pids[accepting]) || apply[0].pid != int64(pids[draining]) {
		t.Errorf("accepted by %d and applied by %d, not by %d and %d", request[0].pid, apply[0].pid, pids[accepting], pids[draining])
	}
	if !linked(spans.find("", "flush"), request[0]) {
		t.Error("no flush is linked to the request")
	}
	if apply[0].EndTimeUnixNano > replicated[0].EndTimeUnixNano || apply[0].StartTimeUnixNano < request[0].StartTimeUnixNano {
		t.Error("accepted, applied, replicated is not the order of the spans")
	}

	at, bt := figures(t, a, ready.Admin), figures(t, b, ready.Admin)
	both := func(name string) float64 { return value(t, at, name) + value(t, bt, name) }
	for name, want := range map[string]float64{
		"opsdb_transaction_applied_seconds": n, "opsdb_transaction_replicated_seconds": n, "opsdb_transaction_replay_seconds": n,
		"opsdb_processor_transactions_total": n,
	} {
		if got := both(name); got != want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
	if got := value(t, at, "opsdb_accept_seconds") - value(t, before, "opsdb_accept_seconds"); got != n {
		t.Errorf("%v transactions were accepted here, not %d", got, n)
	}
	if got := value(t, bt, "opsdb_accept_seconds"); got != 0 {
		t.Errorf("%v transactions were accepted where none was sent", got)
	}
	for name, want := range map[string]float64{
		"opsdb_main_reachable": 1, "opsdb_redis_reachable": 1, "opsdb_buffer_durable": 1, "opsdb_buffer_alarm": 0, "opsdb_buffer_paused": 0,
		"opsdb_buffer_oldest_age_seconds": 0, "opsdb_pending_oldest_age_seconds": 0, "opsdb_redis_write_failed": 0, "opsdb_replica_behind": 0,
	} {
		if got := value(t, bt, name); got != want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
	if got := value(t, at, "opsdb_processor_status", "status", "standby"); got != 1 {
		t.Errorf("the accepting process is in standby: %v", got)
	}
	if got := value(t, bt, "opsdb_processor_claims_total"); got < 1 {
		t.Errorf("the draining process has claimed %v times", got)
	}
	if last := value(t, bt, "opsdb_processor_last_run_timestamp_seconds"); time.Since(time.Unix(int64(last), 0)) > time.Minute {
		t.Errorf("the processor last ran at %v", last)
	}
	if value(t, bt, "opsdb_redis_memory_bytes") < 1<<20 {
		t.Error("Redis uses no memory")
	}

	comparePage(t, map[string]map[string]*dto.MetricFamily{"secondary": bt, "main": figures(t, ready.MainURL, ready.Admin)})

	// Without a link: what waits, how old it is, and that the primary is away.
	setLink(t, ready, map[string]any{"up": false})
	if _, err := client.send(t.Context(), http.MethodPost, "/executed_obs_units/start", map[string]any{"obs_unit_id": 1}, nil); err != nil {
		t.Fatal(err)
	}
	d.wait(30*time.Second, "the metrics to show it", func() bool {
		bt = figures(t, b, ready.Admin)
		return value(t, bt, "opsdb_main_reachable") == 0 && value(t, bt, "opsdb_buffer_transactions", "state", "buffered") == 1 &&
			value(t, bt, "opsdb_buffer_oldest_age_seconds") > 0 && value(t, bt, "opsdb_pending_oldest_age_seconds") > 0 &&
			value(t, bt, "opsdb_pending_rows", "table", "executed_obs_unit") == 1 && value(t, bt, "opsdb_processor_connections_lost_total") > 0
	})
	setLink(t, ready, map[string]any{"up": true})
	d.wait(30*time.Second, "main to have seen the observatory", func() bool {
		seen := value(t, figures(t, ready.MainURL, ready.Admin), "opsdb_site_last_seen_timestamp_seconds", "secondary", "observatory")
		return time.Since(time.Unix(int64(seen), 0)) < time.Minute
	})
}

func linked(flushes []sentSpan, to sentSpan) bool {
	for _, f := range flushes {
		for _, l := range f.Links {
			if bytes.Equal(l.TraceId, to.TraceId) && bytes.Equal(l.SpanId, to.SpanId) {
				return true
			}
		}
	}
	return false
}

// comparePage holds the table of docs/metrics.md against what the sites answer.
func comparePage(t *testing.T, sites map[string]map[string]*dto.MetricFamily) {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| `opsdb_") {
			got[line] = true
		}
	}
	type metric struct{ kind, help, at string }
	metrics, labels := map[string]metric{}, map[string]map[string]bool{}
	for site, families := range sites {
		for name, f := range families {
			if !strings.HasPrefix(name, "opsdb_") {
				continue
			}
			at := site
			if metrics[name].at != "" {
				at = "both"
			}
			metrics[name] = metric{strings.ToLower(f.GetType().String()), f.GetHelp(), at}
			if labels[name] == nil {
				labels[name] = map[string]bool{}
			}
			for _, m := range f.Metric {
				for _, l := range m.Label {
					labels[name][l.GetName()] = l.GetName() != "site"
				}
			}
		}
	}
	for name, m := range metrics {
		var own []string
		for label, shown := range labels[name] {
			if shown {
				own = append(own, label)
			}
		}
		slices.Sort(own)
		names := strings.Join(own, ", ")
		if names == "" {
			names = "–"
		}
		row := fmt.Sprintf("| `%s` | %s | %s | %s | %s |", name, m.kind, names, m.at, m.help)
		if !got[row] {
			t.Errorf("docs/metrics.md lacks\n%s", row)
		}
		delete(got, row)
	}
	for row := range got {
		if !strings.Contains(row, "latency-monitor-threshold") { // the demo's Redis has it off
			t.Errorf("docs/metrics.md has what no site answers:\n%s", row)
		}
	}
}
