package api

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/opsdb/opsdb/platform/problem"
)

type stateKey struct{}

// state is what this package knows of one request. It is made by the outermost
// handler and filled on the way in; one request is one goroutine until its handler
// runs, and nothing is written to it afterwards.
type state struct {
	requestID string
	path      string // of the URL, the problem's instance
	op        *Op
	principal *Principal
	digest    []byte // of route and body
	faults    []fault
	count     int
	values    Values
	request   *http.Request

	validateOnly bool // nothing is written
}

type fault struct {
	location string
	value    any
	message  string
}

func stateOf(ctx context.Context) *state {
	st, _ := ctx.Value(stateKey{}).(*state)
	return st
}

// fault notes one more wrong part of the request. All are answered together.
func (st *state) fault(location string, value any, message string) {
	st.count++
	if len(st.faults) < problem.MaxErrors {
		st.faults = append(st.faults, fault{location, value, message})
	}
}

// refuse adds all noted faults to p.
func (st *state) refuse(p *problem.Problem) *problem.Problem {
	for _, f := range st.faults {
		p.AddField(f.location, f.value, "%s", f.message)
	}
	p.ErrorCount += st.count - len(st.faults)
	return p
}

func slogOperation(st *state) slog.Attr {
	if st.op == nil {
		return slog.String("operation", "unmatched")
	}
	return slog.String("operation", st.op.ID)
}

func slogError(err error) slog.Attr { return slog.String("error", err.Error()) }
