package txn

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/txn/internal/db"
)

// call is the one statement of a step, with its arguments.
type call struct {
	sql  string
	args []any
}

// recorder is a DBTX that keeps what is run on it instead of running it. So the
// generated method is the only place that names statement and arguments, and the
// same method serves a pipeline that it knows nothing of.
type recorder struct {
	calls []call
}

func (r *recorder) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	r.calls = append(r.calls, call{sql: sql, args: args})
	return pgconn.CommandTag{}, nil
}

func (r *recorder) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.calls = append(r.calls, call{sql: sql, args: args})
	return nil, errReads
}

func (r *recorder) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	r.calls = append(r.calls, call{sql: sql, args: args})
	return noRow{}
}

type noRow struct{}

func (noRow) Scan(...any) error { return errReads }

// errReads is returned to a step that wants to read: on a pipeline there is
// nothing to read yet.
var errReads = errors.New("a step can run an :exec query only, there is nothing to read on a pipeline")

// record runs Apply of a step and returns its one statement.
func record(ctx context.Context, s Step) (call, error) {
	var r recorder
	if err := s.Apply(ctx, &r); err != nil {
		return call{}, fmt.Errorf("recording its statement: %w", err)
	}
	if len(r.calls) != 1 {
		return call{}, fmt.Errorf("recording its statement: Apply ran %d statements, it must run exactly one", len(r.calls))
	}
	return r.calls[0], nil
}

// recordQuery returns the one statement that run makes of generated code, of
// whichever kind it is.
func recordQuery(run func(q *db.Queries) error) (call, error) {
	var r recorder
	if err := run(db.New(&r)); err != nil && !errors.Is(err, errReads) {
		return call{}, fmt.Errorf("recording a statement: %w", err)
	}
	if len(r.calls) != 1 {
		return call{}, fmt.Errorf("recording a statement: there are %d of them", len(r.calls))
	}
	return r.calls[0], nil
}
