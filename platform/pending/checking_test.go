package pending

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// patient are limits that a busy machine keeps.
var patient = Limits{Accept: time.Minute, Check: time.Minute}

// one is a question of two rows' worth of nothing in particular.
func one(answer func(n int64) error) *Question {
	return &Question{SQL: "SELECT n FROM generate_series(1, 3) AS n WHERE n = $1::text::integer", Values: [][]byte{[]byte("2")}, Answer: func(row pgx.Row) error {
		var n int64
		if err := row.Scan(&n); err != nil {
			return err
		}
		return answer(n)
	}}
}

func TestCheckAsksTheQuestionWithTheFirstQuery(t *testing.T) {
	t.Parallel()
	pool := sandboxtest.New(t).Primary(t)
	r := NewReader(pool, nil, "observatory", patient)
	asked := 0
	question := one(func(n int64) error { asked++; return nil })
	must(t, r.Check(t.Context(), View{}, question, func(ctx context.Context, s *Snapshot) error {
		var text string
		if err := s.DB.QueryRow(ctx, "SELECT $1::text", "first").Scan(&text); err != nil || text != "first" || asked != 1 {
			t.Errorf("the first query: %q, %v, asked %d times", text, err, asked)
		}
		// What follows is one snapshot: a row that appears meanwhile is not in it.
		rows, err := s.DB.Query(ctx, "SELECT n FROM generate_series(1, $1::integer) AS n", 3)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil || len(list) != 3 || asked != 2 { // of the new snapshot too
			t.Errorf("the second query: %v, %v, asked %d times", list, err, asked)
		}
		if _, err := pool.Exec(ctx, "INSERT INTO site_status (site) VALUES ('elsewhere')"); err != nil {
			return err
		}
		var n int
		if err := s.DB.QueryRow(ctx, "SELECT count(*) FROM site_status WHERE site = 'elsewhere'").Scan(&n); err != nil || n != 0 {
			t.Errorf("the third query: %d, %v", n, err)
		}
		if err := s.DB.QueryRow(ctx, "SELECT 1 WHERE false").Scan(&n); !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("a query without a row: %v", err)
		}
		return nil
	}))
	if asked != 2 {
		t.Errorf("asked %d times, want once a snapshot", asked)
	}
	must(t, r.Check(t.Context(), View{}, question, nothing))
	if asked != 3 {
		t.Errorf("the question of a check without a query was asked %d times", asked-2)
	}
	if n := pool.Stat().TotalConns(); n > 2 {
		t.Errorf("%d connections", n)
	}
}

func TestCheckEndsWithTheAnswer(t *testing.T) {
	t.Parallel()
	r := NewReader(sandboxtest.New(t).Primary(t), nil, "observatory", patient)
	known := errors.New("known")
	question := one(func(int64) error { return known })
	for name, fn := range map[string]func(context.Context, *Snapshot) error{
		"with a query": func(ctx context.Context, s *Snapshot) error {
			for range 2 {
				var n int
				if err := s.DB.QueryRow(ctx, "SELECT 1").Scan(&n); !errors.Is(err, known) {
					t.Errorf("a query: %v, want the answer's error", err)
				}
			}
			return nil
		},
		"refused without one": func(context.Context, *Snapshot) error { return problem.NotFound.New("no") },
	} {
		if err := r.Check(t.Context(), View{}, question, fn); !errors.Is(err, known) {
			t.Errorf("%s: %v, want the answer's error", name, err)
		}
	}
}

func TestCheckSurvivesAFailedQuery(t *testing.T) {
	t.Parallel()
	pool := sandboxtest.New(t).Primary(t)
	r := NewReader(pool, nil, "observatory", patient)
	err := r.Check(t.Context(), View{}, nil, func(ctx context.Context, s *Snapshot) error {
		var n int
		return s.DB.QueryRow(ctx, "SELECT 1 / $1::integer", 0).Scan(&n)
	})
	if err == nil || errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("got %v, want the query's own error", err)
	}
	must(t, r.Check(t.Context(), View{}, nil, func(ctx context.Context, s *Snapshot) error {
		var n int
		return s.DB.QueryRow(ctx, "SELECT 1 / $1::integer", 1).Scan(&n)
	}))
}

// TestACrowdOfChecksWaitsForItsConnections: together they take longer than the replica
// may, and yet it answers each of them in time.
func TestACrowdOfChecksWaitsForItsConnections(t *testing.T) {
	t.Parallel()
	config := sandboxtest.New(t).Primary(t).Config()
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	r := NewReader(pool, nil, "observatory", Limits{Accept: 3 * time.Second, Check: time.Minute})
	var crowd sync.WaitGroup
	for range 15 {
		crowd.Go(func() {
			if err := r.Check(t.Context(), View{}, nil, func(ctx context.Context, s *Snapshot) error {
				var n int
				return s.DB.QueryRow(ctx, "SELECT 1 FROM pg_sleep(0.3)").Scan(&n)
			}); err != nil {
				t.Errorf("a check in a crowd: %v", err)
			}
		})
	}
	crowd.Wait()
}

// TestCheckGivesUpOnASlowQuery: what was asked may hang after the snapshot was had.
func TestCheckGivesUpOnASlowQuery(t *testing.T) {
	t.Parallel()
	r := NewReader(sandboxtest.New(t).Primary(t), nil, "observatory", Limits{Accept: time.Minute, Check: 50 * time.Millisecond, Remember: time.Nanosecond})
	slow := func(ctx context.Context, s *Snapshot) error {
		if err := s.Open(ctx, 0); err != nil {
			return err
		}
		var n int
		return s.DB.QueryRow(ctx, "SELECT 1 FROM pg_sleep(0.3)").Scan(&n)
	}
	if err := r.Check(t.Context(), View{}, nil, slow); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("got %v, want replica-unreachable", err)
	}
	must(t, r.Check(t.Context(), View{}, nil, func(ctx context.Context, s *Snapshot) error {
		if err := s.Wait(ctx); err != nil {
			return err
		}
		return slow(ctx, s)
	}))
}

// TestASlowCheckTurnsNobodyAway: a check that takes too long is no reason to accept others without theirs, as long as the
// replica answers; and many rows may take longer.
func TestASlowCheckTurnsNobodyAway(t *testing.T) {
	t.Parallel()
	pool := sandboxtest.New(t).Primary(t)
	sleeps := func(ctx context.Context, s *Snapshot) error {
		var n int
		return s.DB.QueryRow(ctx, "SELECT 1 FROM pg_sleep(2)").Scan(&n)
	}
	large := func(rows int) func(ctx context.Context, s *Snapshot) error {
		return func(ctx context.Context, s *Snapshot) error {
			if err := s.Open(ctx, rows); err != nil {
				return err
			}
			return sleeps(ctx, s)
		}
	}
	r := NewReader(pool, nil, "observatory", Limits{Accept: time.Minute, Check: 50 * time.Millisecond, Remember: time.Hour})
	if err := r.Check(t.Context(), View{}, nil, large(10)); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("too slow a check: %v, want replica-unreachable", err)
	}
	must(t, r.Check(t.Context(), View{}, nil, nothing))
	must(t, r.Check(t.Context(), View{}, nil, large(60_000)))

	r = NewReader(pool, nil, "observatory", Limits{Accept: time.Second, Check: time.Minute, Remember: time.Hour})
	asked := make(chan struct{})
	var other sync.WaitGroup
	other.Go(func() {
		<-asked
		if err := r.Check(t.Context(), View{}, nil, nothing); err != nil {
			t.Errorf("beside a slow one: %v", err)
		}
	})
	first := func(ctx context.Context, s *Snapshot) error {
		close(asked)
		other.Wait()
		return sleeps(ctx, s)
	}
	if err := r.Check(t.Context(), View{}, nil, first); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("too slow a first answer: %v, want replica-unreachable", err)
	}
	must(t, r.Check(t.Context(), View{}, nil, nothing))
	if err := r.Check(t.Context(), View{}, nil, sleeps); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("too slow a first answer: %v, want replica-unreachable", err)
	}
	if err := r.Check(t.Context(), View{}, nil, nothing); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("after nobody was answered: %v, want replica-unreachable", err)
	}
}

// TestALargeAnswerIsWaitedForOnceItHasBegun: the ledger's row of ten thousand files takes its time, and that is no replica
// that cannot be read.
func TestALargeAnswerIsWaitedForOnceItHasBegun(t *testing.T) {
	t.Parallel()
	r := NewReader(sandboxtest.New(t).Primary(t), nil, "observatory", Limits{Accept: time.Second, Check: time.Minute})
	question := func(sql string) *Question {
		return &Question{SQL: sql, Values: [][]byte{[]byte("x")}, Answer: func(row pgx.Row) error {
			var text string
			return row.Scan(&text)
		}}
	}
	// The first row is more than the server keeps to itself until it has the second.
	must(t, r.Check(t.Context(), View{}, question("SELECT repeat($1::text, 100000) || CASE WHEN n = 2 THEN pg_sleep(2)::text ELSE '' END FROM generate_series(1, 2) AS n"), nothing))
	// A check of many rows need not wait for that.
	must(t, r.Check(t.Context(), View{}, question("SELECT $1::text || pg_sleep(2)::text"), func(ctx context.Context, s *Snapshot) error { return s.Open(ctx, 1000) }))
}
