package api_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
)

func TestMinLSNIsHandedOnOrRefused(t *testing.T) {
	p := newProbe(t)
	p.problem(p.do("GET", "/everything", "", "X-Min-LSN", "1:0/1"), 422, "invalid")

	var asked []string
	answer := func(context.Context) error { return nil }
	p = newProbe(t, func(o *api.Options) {
		o.LSNTimeout = 10 * time.Millisecond
		o.Replayed = func(ctx context.Context, position string, until time.Time) (context.Context, error) {
			asked = append(asked, position)
			limited, cancel := context.WithDeadline(ctx, until)
			defer cancel()
			return ctx, answer(limited)
		}
	})
	if w := p.do("GET", "/everything", "", "X-Min-LSN", "1:16/B374D848"); w.Code != 200 || len(asked) != 1 || asked[0] != "1:16/B374D848" {
		t.Errorf("%d %s, asked for %v", w.Code, w.Body, asked)
	}
	p.problem(p.do("GET", "/everything", "", "X-Min-LSN", "0/1"), 422, "invalid")
	if w := p.do("GET", "/everything", ""); w.Code != 200 || len(asked) != 1 {
		t.Errorf("without the header: %d, asked for %v", w.Code, asked)
	}
	answer = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	p.problem(p.do("GET", "/everything", "", "X-Min-LSN", "1:0/1"), 504, "not-replicated-in-time")
	answer = func(context.Context) error { return problem.TimelineChanged.New("x") }
	p.problem(p.do("GET", "/everything", "", "X-Min-LSN", "2:0/1"), 409, "timeline-changed")
	answer = func(context.Context) error { return errors.New("hunter2") }
	p.problem(p.do("GET", "/everything", "", "X-Min-LSN", "1:0/1"), 500, "internal")
}
