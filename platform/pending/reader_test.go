package pending

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

func nothing(context.Context, *Snapshot) error { return nil }

func TestReadGivesOneSnapshot(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	pair.Exec(t, `INSERT INTO site_status (site, batch, last_seq) VALUES ('observatory', 41, 17) ON CONFLICT (site) DO UPDATE SET batch = 41, last_seq = 17`)
	pool := pair.Primary(t)
	r := NewReader(pool, nil, "observatory", Limits{})
	must(t, r.Read(t.Context(), func(ctx context.Context, s *Snapshot) error {
		if s.Batch != 41 || s.LastSeq != 17 || !strings.HasPrefix(s.ReplayLSN, "1:") {
			t.Errorf("%+v", s)
		}
		pair.Exec(t, `UPDATE site_status SET batch = 42 WHERE site = 'observatory'`)
		var batch int64
		must(t, s.DB.QueryRow(ctx, `SELECT batch FROM site_status WHERE site = 'observatory'`).Scan(&batch))
		if batch != 41 {
			t.Errorf("a later commit shows: batch %d", batch)
		}
		if _, err := s.DB.Exec(ctx, `DELETE FROM site_status`); err == nil {
			t.Error("a snapshot can write")
		}
		// At main nothing is pending, and the queries get what means so.
		o := s.Page("executed_obs_unit", Page{Limit: 10})
		if string(o.Pending) != "[]" || o.Replaced == nil || o.Bound != nil {
			t.Errorf("%+v", o)
		}
		if got := s.Sync("executed_obs_unit", uuid.New()); got.State != StateApplied || got.TransactionID != nil {
			t.Errorf("%+v", got)
		}
		return nil
	}))
	if err := r.Read(t.Context(), func(ctx context.Context, s *Snapshot) error { return problem.NotFound.New("x") }); !errors.Is(err, problem.NotFound) {
		t.Errorf("the function's own error became %v", err)
	}
	// Every connection goes back, out of its transaction.
	eventually(t, "connections are idle", func() bool { return pool.Stat().AcquiredConns() == 0 })
	var state string
	must(t, pool.QueryRow(t.Context(), `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`).Scan(&state))
	if state != "0" {
		t.Errorf("%s connections are left in a transaction", state)
	}
}

func TestReadWaitsForAReplicaThatIsBehind(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	pair.Exec(t, `INSERT INTO site_status (site, batch) VALUES ('observatory', 5) ON CONFLICT (site) DO UPDATE SET batch = 5`)
	s := openStore(t, newRedis(t))
	x := accept(t, s, execution(newID()))
	se := session(t, s)
	settle(t, se, 10, x.Seq)
	if _, err := s.MarkReplicated(t.Context(), se.Load, 10); err != nil {
		t.Fatal(err)
	}
	short := NewReader(pair.Primary(t), s, "observatory", Limits{Accept: time.Minute, Check: time.Minute, Behind: 50 * time.Millisecond})
	if err := short.Read(t.Context(), nothing); !errors.Is(err, problem.ReplicaBehind) {
		t.Fatalf("a snapshot below what was swept: %v, want replica-behind", err)
	}
	if err := short.Check(t.Context(), s.Current(), nil, nothing); !errors.Is(err, problem.ReplicaBehind) {
		t.Fatalf("on the accepting path: %v, want replica-behind", err)
	}
	long := NewReader(pair.Primary(t), s, "observatory", Limits{Behind: time.Minute})
	done := make(chan error, 1)
	go func() {
		done <- long.Read(t.Context(), func(_ context.Context, s *Snapshot) error {
			if s.View.Swept != 5 || s.View.Counts().Applied != 1 {
				t.Errorf("swept %d, %+v", s.View.Swept, s.View.Counts())
			}
			return nil
		})
	}()
	if n, err := s.Unsweep(t.Context(), se.Load, 5); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	must(t, <-done)
}

// A reader that was held up between view and snapshot must not answer with both:
// the snapshot may have writes that were accepted after the view.
func TestSnapshotAheadOfItsViewGetsANewerOne(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	s := openStore(t, newRedis(t))
	old := s.Current()
	later := accept(t, s, execution(newID()))
	pair.Exec(t, fmt.Sprintf(`INSERT INTO site_status (site, batch, last_seq) VALUES ('observatory', 5, %d)
		ON CONFLICT (site) DO UPDATE SET batch = excluded.batch, last_seq = excluded.last_seq`, later.Seq))
	r := NewReader(pair.Primary(t), s, "observatory", Limits{Read: time.Minute})
	if behind, err := r.snapshot(t.Context(), old, false, func(_ context.Context, s *Snapshot) error {
		if s.View.LastSeq < s.LastSeq {
			t.Errorf("the view ends at %d, and the snapshot at %d", s.View.LastSeq, s.LastSeq)
		}
		return nil
	}); behind != nil || err != nil {
		t.Fatal(behind, err)
	}
	// What was dropped from the newer view must be in the snapshot.
	se := session(t, s)
	settle(t, se, 10, later.Seq)
	if _, err := s.MarkReplicated(t.Context(), se.Load, 10); err != nil {
		t.Fatal(err)
	}
	if behind, err := r.snapshot(t.Context(), old, false, nothing); behind == nil || err != nil {
		t.Errorf("a snapshot that lacks what the newer view has dropped: behind %v, %v", behind, err)
	}
}

func TestReadWithoutRedis(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	server := newRedis(t)
	s := openStore(t, server)
	server.kill(t)
	r := NewReader(pair.Primary(t), s, "observatory", Limits{})
	if err := r.Read(t.Context(), nothing); !errors.Is(err, problem.PendingUnavailable) {
		t.Errorf("got %v, want pending-unavailable", err)
	}
	called := false
	must(t, r.Read(WithOverlayOptional(t.Context()), func(_ context.Context, s *Snapshot) error {
		called = true
		if !s.OverlayUnavailable || string(s.Page("execution", Page{}).Pending) != "[]" {
			t.Errorf("%+v", s)
		}
		return nil
	}))
	if !called {
		t.Error("the replica alone was not read")
	}
}

func TestReadWithoutReplica(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig("postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	must(t, err)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	s := openStore(t, newRedis(t))
	x := accept(t, s, execution(newID()))
	r := NewReader(pool, s, "observatory", Limits{Remember: 200 * time.Millisecond})
	if err := r.Read(t.Context(), nothing); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Fatalf("got %v, want replica-unreachable", err)
	}
	if r.down.Load() == 0 {
		t.Error("it was not remembered")
	}
	if err := r.Check(t.Context(), s.Current(), nil, nothing); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("on the accepting path: %v, want replica-unreachable", err)
	}
	v, err := r.PendingOnly(t.Context())
	must(t, err)
	if rows := v.Created("execution", Page{}); len(rows) != 1 || rows[0].Newest.Seq != x.Seq {
		t.Errorf("%+v", rows)
	}
}

// TestReplicaThatLetsNobodyInIsUnreachable: one that was just rebuilt may answer, and
// not know the role or the password for a moment. That must not stop observing.
func TestReplicaThatLetsNobodyInIsUnreachable(t *testing.T) {
	t.Parallel()
	config, err := pgxpool.ParseConfig(sandboxtest.New(t).ReaderURL)
	must(t, err)
	config.ConnConfig.Password = "of before"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	s := openStore(t, newRedis(t))
	r := NewReader(pool, s, "observatory", Limits{Accept: 10 * time.Second})
	if err := r.Check(t.Context(), s.Current(), nil, nothing); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("on the accepting path: %v, want replica-unreachable", err)
	}
	if err := r.Read(t.Context(), nothing); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("reading: %v, want replica-unreachable", err)
	}
}

// TestAcceptingGivesUpOnAReplicaThatHangs: a replica that takes connections and
// never answers must not stop observing.
func TestAcceptingGivesUpOnAReplicaThatHangs(t *testing.T) {
	t.Parallel()
	listener := hang(t)
	config, err := pgxpool.ParseConfig("postgres://nobody@" + listener + "/none?sslmode=disable")
	must(t, err)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	r := NewReader(pool, openStore(t, newRedis(t)), "observatory", Limits{Accept: 50 * time.Millisecond, Remember: time.Minute})
	started := time.Now()
	if err := r.Check(t.Context(), View{}, nil, nothing); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Fatalf("got %v, want replica-unreachable", err)
	}
	first := time.Since(started)
	if first < 50*time.Millisecond {
		t.Errorf("it gave up after %v, before the limit", first)
	}
	started = time.Now()
	if err := r.Check(t.Context(), View{}, nil, nothing); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Fatalf("got %v, want replica-unreachable", err)
	}
	if again := time.Since(started); again >= 50*time.Millisecond {
		t.Errorf("it asked again at once (%v)", again)
	}
}
