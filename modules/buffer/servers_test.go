package buffer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// keyed writes a note with an idempotency key, and again until it is answered, as
// a client does that was told 503.
func keyed(t *testing.T, w txn.Writer, key string) (id uuid.UUID, retries int) {
	t.Helper()
	request := txntest.Request("write-note")
	request.Key = key
	sandboxtest.Eventually(t, 30*time.Second, "note "+key+" to be accepted", func() bool {
		receipt, err := w.Write(sandboxtest.Context(t), request, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, key, nil))
			return nil
		})
		var p *problem.Problem
		switch {
		case err == nil:
			id = receipt.Changes[0].ID
			return true
		case errors.As(err, &p) && p.Status == 503:
			retries++
			return false
		}
		t.Fatalf("note %s: %v", key, err)
		return false
	})
	return id, retries
}

// Redis and the primary are killed in turn while notes are written and drained.
func TestKilledServersLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs servers of its own")
	}
	s := alone(t, sandbox.Options{RTT: 20 * time.Millisecond})
	ctx := sandboxtest.Context(t)
	start(t, make1(t, s, func(c *Config) { c.BatchSize = 20 }))
	want := map[uuid.UUID]string{}
	retries := 0
	for i := range 150 {
		switch i {
		case 30, 90:
			if err := s.Stack.Redis.Crash(ctx); err != nil {
				t.Fatal(err)
			}
		case 60:
			if err := s.Stack.Primary.Crash(ctx); err != nil {
				t.Fatal(err)
			}
		}
		key := fmt.Sprintf("key %d", i)
		id, n := keyed(t, s.Buffered, key)
		if _, double := want[id]; double {
			t.Fatalf("two keys have the id %s", id)
		}
		want[id] = key
		retries += n
	}
	t.Logf("%d writes were answered 503 and repeated", retries)
	drained(t, s, 40*time.Second)
	exact(t, s, want)
}

// The answer of Redis to an accepted write is lost: the client is told 503, and
// its retry gets the first attempt's ids.
func TestLostAnswerOfRedisIsFoundByTheKey(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	line, through := txntest.Line(t, s.RedisURL)
	s.RedisURL = through
	_, _, w := s.Process(t)
	stored, lost := 0, 0
	ids := map[uuid.UUID]bool{}
	for i := range 60 {
		key := fmt.Sprintf("key %d", i)
		before := s.Store.Current().Counts().Buffered
		if i%2 == 0 {
			line.CutAfter(sandbox.Outbound, int64(1+i*40))
		} else {
			line.CutAfter(sandbox.Inbound, int64(1+i/4)) // the script's answer is short
		}
		request := txntest.Request("write-note")
		request.Key = key
		_, err := w.Write(sandboxtest.Context(t), request, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, key, nil))
			return nil
		})
		txntest.Up(t, line)
		view, caught := s.Store.CatchUp(sandboxtest.Context(t))
		if caught != nil {
			t.Fatal(caught)
		}
		if err != nil {
			lost++
			if view.Counts().Buffered > before {
				stored++ // stored, and the client does not know
			}
		}
		id, _ := keyed(t, w, key)
		ids[id] = true
		if view, caught = s.Store.CatchUp(sandboxtest.Context(t)); caught != nil || view.Counts().Buffered != before+1 {
			t.Fatalf("%d transactions after %d and one more, %v", view.Counts().Buffered, before, caught)
		}
	}
	t.Logf("%d of 60 writes were not answered, %d of them had been stored", lost, stored)
	if stored == 0 {
		t.Error("no answer of a stored write was lost: the test has shown nothing")
	}
	if len(ids) != 60 {
		t.Errorf("%d ids for 60 keys", len(ids))
	}
}

// While the replica does not replay, transactions are applied at main and their
// rows stay pending at the site; once it replays, they are confirmed at once.
func TestRowsStayPendingWhileTheReplicaIsPaused(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs servers of its own")
	}
	s := alone(t, sandbox.Options{})
	start(t, make1(t, s))
	s.PauseReplay(t)
	want := notes(t, s.Buffered, 20)
	sandboxtest.Eventually(t, 10*time.Second, "main to have applied all", func() bool {
		c := s.Store.Current().Counts()
		return c.Buffered == 0 && c.Applied > 0
	})
	if n := len(txntest.Bodies(t, s.PrimaryPool)); n != len(want) {
		t.Fatalf("main has %d notes, want %d", n, len(want))
	}
	if n := len(txntest.Bodies(t, s.ReplicaPool)); n != 0 {
		t.Fatalf("the replica shows %d notes although it is paused", n)
	}
	if err := s.Reader.Read(sandboxtest.Context(t), func(_ context.Context, snapshot *pending.Snapshot) error {
		for id := range want {
			if _, ok := snapshot.View.Row(pending.Key{Table: "note", ID: id}); !ok {
				return fmt.Errorf("note %s is not pending", id)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	id, _ := keyed(t, s.Buffered, "waiting")
	tx := s.Store.Current()
	row, _ := tx.Row(pending.Key{Table: "note", ID: id})
	receipt := txn.Receipt{TransactionID: row.Newest.ID}
	if got := s.Buffered.Wait(sandboxtest.Context(t), receipt, 300*time.Millisecond); got.State != pending.StateApplied {
		t.Errorf("waiting while the replica is paused ended with %s", got.State)
	}
	s.ResumeReplay(t)
	if got := s.Buffered.Wait(sandboxtest.Context(t), receipt, 10*time.Second); got.State != pending.StateReplicated {
		t.Errorf("waiting after it went on ended with %s", got.State)
	}
	drained(t, s, 10*time.Second)
	want[id] = "waiting"
	exact(t, s, want)
}
