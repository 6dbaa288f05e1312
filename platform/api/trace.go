package api

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// beginSpan begins the span of a request, below that of the client when it sent a
// traceparent. Nothing but the trace depends on that header, so anyone may send it. The
// path is not in it: it may have a secret in it by mistake, and http.route tells enough.
func (r *Router) beginSpan(ctx context.Context, req *http.Request, st *state) (context.Context, trace.Span) {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(req.Header))
	return r.opts.Tracer.Start(ctx, boundedMethod(req.Method), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", boundedMethod(req.Method)),
		attribute.String("opsdb.request_id", st.requestID),
	))
}

// endSpan names the span after its operation, which is known by now, and ends it.
func endSpan(span trace.Span, st *state, req *http.Request, rec *recorder) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if st.op != nil {
		span.SetName(boundedMethod(req.Method) + " " + st.op.Path)
		span.SetAttributes(attribute.String("http.route", st.op.Path), attribute.String("opsdb.operation", st.op.ID))
	}
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
	if id := rec.Header().Get("X-Transaction-Id"); id != "" {
		span.SetAttributes(attribute.String("opsdb.transaction_id", id))
	}
	span.End()
}
