package buffer

import (
	"context"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/opsdb/opsdb/platform/pending"
)

// maxLinks bounds the requests that one flush's span is linked to.
const maxLinks = 128

// flight is one flush on its way, as metrics and traces see it. With a tracer the
// flush has a span of its own, linked to the requests whose transactions it
// carries, and each of these requests' traces gets a span "apply".
type flight struct {
	figures *figures
	tracer  trace.Tracer
	began   time.Time
	size    int
	span    trace.Span
	traced  map[int64]traced
}

// traced is a transaction whose request was traced.
type traced struct {
	id     uuid.UUID
	parent trace.SpanContext
}

// takeOff begins a flight; ctx then carries its span.
func (p *processor) takeOff(ctx context.Context, chosen selection) (context.Context, *flight) {
	f := &flight{figures: p.figures, tracer: p.tracer, began: time.Now()}
	for _, g := range chosen.groups {
		f.size += len(g)
	}
	if p.tracer == nil {
		return ctx, f
	}
	f.traced = map[int64]traced{}
	var links []trace.Link
	for _, g := range chosen.groups {
		for _, tx := range g {
			parent := spanContext(tx.Trace())
			if !parent.IsValid() {
				continue
			}
			f.traced[tx.Seq] = traced{tx.ID, parent}
			if len(links) < maxLinks {
				links = append(links, trace.Link{SpanContext: parent})
			}
		}
	}
	ctx, f.span = p.tracer.Start(ctx, "flush", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(links...), trace.WithAttributes(
		attribute.Int("opsdb.transactions", f.size), attribute.Int("opsdb.commits", len(chosen.groups)), attribute.Int("opsdb.bytes", chosen.bytes),
	))
	return ctx, f
}

// land ends a flight: what it has come to is stored, or lost says that nobody knows.
func (f *flight) land(view pending.View, o outcome, lost error) {
	now := time.Now()
	f.figures.flush.Observe(now.Sub(f.began).Seconds())
	f.figures.flushed.Observe(float64(f.size))
	for _, s := range o.settled {
		if tx, ok := view.TxBySeq(s.Seq); ok {
			f.figures.applied.Observe(now.Sub(tx.AcceptedAt).Seconds())
		}
	}
	if f.span == nil {
		return
	}
	for _, s := range o.settled {
		f.apply(s.Seq, now, attribute.String("opsdb.outcome", string(s.Outcome)), attribute.Int64("opsdb.position", s.Position))
	}
	for _, failed := range o.failed {
		f.apply(failed.Seq, now, attribute.String("opsdb.outcome", string(pending.StateFailed)))
	}
	if lost != nil {
		f.span.SetStatus(codes.Error, lost.Error())
	}
	f.span.SetAttributes(attribute.Int("opsdb.settled", len(o.settled)), attribute.Int("opsdb.failed", len(o.failed)))
	f.span.End(trace.WithTimestamp(now))
}

// apply adds what the flush did for one transaction to its request's trace.
func (f *flight) apply(seq int64, now time.Time, attributes ...attribute.KeyValue) {
	t, ok := f.traced[seq]
	if !ok {
		return
	}
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), t.parent)
	_, span := f.tracer.Start(ctx, "apply", trace.WithTimestamp(f.began), trace.WithLinks(trace.Link{SpanContext: f.span.SpanContext()}),
		trace.WithAttributes(append(attributes, attribute.String("opsdb.transaction_id", t.id.String()), attribute.Int64("opsdb.seq", seq))...))
	span.End(trace.WithTimestamp(now))
}

// replicated is told of transactions that the replica has just been seen to show.
func (m *Module) replicated(gone []*pending.Tx) {
	now := time.Now()
	for _, tx := range gone {
		m.figures.replicated.Observe(now.Sub(tx.AcceptedAt).Seconds())
		applied, known := tx.AppliedAt()
		if known {
			m.figures.replayed.Observe(now.Sub(applied).Seconds())
		} else {
			applied = now
		}
		if m.config.Tracer == nil {
			continue
		}
		parent := spanContext(tx.Trace())
		if !parent.IsValid() {
			continue
		}
		ctx := trace.ContextWithRemoteSpanContext(context.Background(), parent)
		_, span := m.config.Tracer.Start(ctx, "replicated", trace.WithTimestamp(applied), trace.WithAttributes(
			attribute.String("opsdb.transaction_id", tx.ID.String()), attribute.Int64("opsdb.seq", tx.Seq), attribute.Int64("opsdb.position", tx.Position)))
		span.End(trace.WithTimestamp(now))
	}
}

// spanContext reads a stored trace context; an invalid one when there is none.
func spanContext(traceParent string) trace.SpanContext {
	if traceParent == "" {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{"traceparent": traceParent}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}
