package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is the registry of a process, with the figures of its HTTP operations.
// Other parts register theirs with Registry.
type Metrics struct {
	Registry *prometheus.Registry

	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics returns the registry with what Go, the process and HTTP have to tell.
// Every figure has the site as a label, and opsdb_build_info the version.
func NewMetrics(site, version string) *Metrics {
	registry := prometheus.NewRegistry()
	m := &Metrics{
		Registry: registry,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "opsdb_http_requests_total", Help: "Requests answered, by operation and status.",
		}, []string{"operation", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "opsdb_http_request_seconds", Help: "Time until an answer was finished, by operation.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"operation", "method"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "opsdb_build_info", Help: "1, with the version of the running binary.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	labelled := prometheus.WrapRegistererWith(prometheus.Labels{"site": site}, registry)
	labelled.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build, m.requests, m.seconds)
	return m
}

// Answered counts one finished request of an operation.
func (m *Metrics) Answered(operation, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(operation, method, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(operation, method).Observe(took.Seconds())
}

// Handler answers with all figures, in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{Registry: m.Registry})
}

// Serve answers GET /metrics at its own address, without a credential, until ctx
// ends. It returns when the listener has been closed; ready, if not nil, is told
// the address listened at.
func (m *Metrics) Serve(ctx context.Context, addr string, logger *slog.Logger, ready func(net.Addr)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for metrics: %w", err)
	}
	if ready != nil {
		ready(listener.Addr())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      30 * time.Second,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			logger.DebugContext(ctx, "metrics listener did not end in time", slog.String("error", err.Error()))
		}
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics: %w", err)
	}
	return nil
}
