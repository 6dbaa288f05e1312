package observe

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// Tracing sends the spans of this process to a collector of OpenTelemetry, by OTLP
// over HTTP.
type Tracing struct {
	// Tracer makes the spans.
	Tracer   oteltrace.Tracer
	provider *trace.TracerProvider
}

// tracingPatience bounds the sending of the last spans: a collector that hangs must
// not hold up a restart.
const tracingPatience = 3 * time.Second

// StartTracing begins to send spans. Where they go, how many are kept and what
// names the process are the standard OTEL_ variables, which the SDK reads itself.
// A collector that does not answer loses spans and nothing else.
func StartTracing(ctx context.Context, site, version string, logger *slog.Logger) (*Tracing, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting traces: %w", err)
	}
	// The environment comes last, so that OTEL_SERVICE_NAME wins.
	described, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(),
		resource.WithAttributes(attribute.String("service.name", "opsdb"), attribute.String("service.version", version), attribute.String("opsdb.site", site)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("starting traces: %w", err)
	}
	otel.SetErrorHandler(&exportErrors{log: logger})
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(described))
	return &Tracing{Tracer: provider.Tracer("github.com/opsdb/opsdb"), provider: provider}, nil
}

// Stop sends what is left, for at most three seconds, and ends.
func (t *Tracing) Stop(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, tracingPatience)
	defer cancel()
	if err := t.provider.Shutdown(bounded); err != nil {
		return fmt.Errorf("sending the last traces: %w", err)
	}
	return nil
}

// exportErrors logs what keeps spans from the collector, at most once a minute:
// one that is away for a night says the same every few seconds.
type exportErrors struct {
	log  *slog.Logger
	last atomic.Pointer[time.Time]
}

// Handle implements otel.ErrorHandler.
func (e *exportErrors) Handle(err error) {
	now := time.Now()
	if last := e.last.Load(); (last == nil || now.Sub(*last) >= time.Minute) && e.last.CompareAndSwap(last, &now) {
		e.log.Warn("traces do not reach their collector", "error", err)
	}
}
