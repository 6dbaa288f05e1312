package txn

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// span begins a span below that of ctx; done ends it. Without a tracer it costs
// nothing.
func span(ctx context.Context, tracer trace.Tracer, name string) (_ context.Context, done func(error)) {
	if tracer == nil {
		return ctx, untraced
	}
	ctx, s := tracer.Start(ctx, name)
	return ctx, func(err error) {
		if err != nil {
			s.SetStatus(codes.Error, err.Error())
		}
		s.End()
	}
}

func untraced(error) {}

// traceParent is the trace context of ctx in the form of the W3C header, 55 bytes;
// "" when there is none. The tracestate is left out: it may be of any size.
func traceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}
