package txn

import (
	"context"
	"errors"
	"testing"
)

// TestWithoutATracerNothingIsAllocated: traces are off by default, and a write is
// counted in allocations.
func TestWithoutATracerNothingIsAllocated(t *testing.T) {
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() {
		inner, done := span(ctx, nil, "accept")
		done(errors.ErrUnsupported)
		if inner != ctx {
			t.Error("the context is another one")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
