package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/observe/observetest"
)

func TestLinesCarryRequestAndSite(t *testing.T) {
	var out bytes.Buffer
	logger, err := NewLogger(&out, "INFO", "JSON", "observatory")
	if err != nil {
		t.Fatal(err)
	}
	ctx := WithRequestID(context.Background(), "r1")
	logger.DebugContext(ctx, "hidden")
	logger.With("component", "x").InfoContext(ctx, "shown")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(line["time"])) // with its offset from UTC
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("its time is %v: %v", line["time"], err)
	}
	for name, want := range map[string]string{"msg": "shown", "request_id": "r1", "site": "observatory", "component": "x", "level": "INFO"} {
		if line[name] != want {
			t.Errorf("%s is %v, want %s", name, line[name], want)
		}
	}
}

// What a client sends may be logged: it must not end the line that it stands in and begin another one.
func TestNothingThatIsLoggedBeginsALine(t *testing.T) {
	forged := "x\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\nlevel=ERROR msg=forged"
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		logger, err := NewLogger(&out, "info", format, "observatory")
		if err != nil {
			t.Fatal(err)
		}
		logger.InfoContext(WithRequestID(context.Background(), forged), forged, "path", forged, "cause", errors.New(forged))
		if text := out.String(); strings.Count(text, "\n") != 1 || strings.Contains(text, "\r") {
			t.Errorf("%s: one event is %q", format, text)
		}
	}
}

func TestLevelsAndFormats(t *testing.T) {
	for _, level := range []string{"debug", "Info", "WARN", "error"} {
		if _, err := NewLogger(io.Discard, level, "text", ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewLogger(io.Discard, "loud", "text", ""); err == nil {
		t.Error("an unknown level is accepted")
	}
	if _, err := NewLogger(io.Discard, "info", "xml", ""); err == nil {
		t.Error("an unknown format is accepted")
	}
}

func TestMetricsListener(t *testing.T) {
	m := NewMetrics("observatory", "v1")
	m.Answered("create-lamp", "POST", 201, 3*time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	addr, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		done <- m.Serve(ctx, "127.0.0.1:0", observetest.Logger(t), func(a net.Addr) { addr <- a })
	}()
	response, err := http.Get("http://" + (<-addr).String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`opsdb_http_requests_total{method="POST",operation="create-lamp",site="observatory",status="201"} 1`,
		`opsdb_build_info{site="observatory",version="v1"} 1`, "go_goroutines",
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no line %s", want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestACollectorThatHangsHoldsNothingUp: the last spans are given up in time.
func TestACollectorThatHangsHoldsNothingUp(t *testing.T) {
	hang := make(chan struct{})
	asked := make(chan struct{}, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-hang
	}))
	t.Cleanup(collector.Close)
	t.Cleanup(func() { close(hang) })
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tracing, err := StartTracing(t.Context(), "observatory", "v1", observetest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracing.Tracer.Start(t.Context(), "request")
	span.End()
	began := time.Now()
	err = tracing.Stop(t.Context())
	if took := time.Since(began); err == nil || took > 20*time.Second {
		t.Errorf("stopping took %v and said %v", took, err)
	}
	<-asked
}
