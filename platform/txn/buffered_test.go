package txn_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// parentExists is a check against the merged rows, as a module makes it.
func parentExists(parent uuid.UUID) func(ctx context.Context, s *pending.Snapshot) error {
	return func(ctx context.Context, s *pending.Snapshot) error {
		if _, ok := s.View.Row(pending.Key{Table: "note", ID: parent}); ok {
			return nil
		}
		var there bool
		if err := s.DB.QueryRow(ctx, "SELECT EXISTS (SELECT FROM note WHERE id = $1)", parent).Scan(&there); err != nil {
			return err
		}
		if !there {
			return txntest.ParentMissing.New("there is no note %s", parent)
		}
		return nil
	}
}

func answer(ctx context.Context, w txn.Writer, parent uuid.UUID, check func(tx *txn.Builder) error) (txn.Receipt, error) {
	return w.Write(ctx, txntest.Request("answer-note"), func(_ context.Context, tx *txn.Builder) error {
		if err := check(tx); err != nil {
			return err
		}
		tx.Add(txntest.NewWrite(tx, "answer", &parent))
		return nil
	})
}

func TestBufferedWriteIsCheckedAgainstPendingAndStoredRows(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	stored := txntest.Note(t, s.Direct, "stored", nil)
	s.WaitForReplay(t)
	_, _, other := s.Process(t)
	buffered := txntest.Note(t, other, "pending, accepted by another process", nil)
	for name, c := range map[string]struct {
		parent uuid.UUID
		want   error
	}{"stored": {stored, nil}, "pending": {buffered, nil}, "unknown": {uuid.New(), txntest.ParentMissing}} {
		receipt, err := answer(ctx, s.Buffered, c.parent, func(tx *txn.Builder) error { return tx.Check(ctx, parentExists(c.parent)) })
		if !errors.Is(err, c.want) {
			t.Errorf("%s parent: %v, want %v", name, err, c.want)
		}
		if err == nil && (receipt.State != pending.StateBuffered || !receipt.Checked || receipt.Sync.TransactionID == nil) {
			t.Errorf("%s parent: %+v", name, receipt)
		}
	}
}

// A broken replica must not stop observing: what it could have refused is accepted,
// what cannot be decided without it is not.
func TestBrokenReplicaDoesNotStopAccepting(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	line, through := txntest.Line(t, s.ReaderURL)
	s.ReplicaPool = sandboxtest.Pool(t, through)
	store, _, _ := s.Process(t)
	reader := pending.NewReader(s.ReplicaPool, store, s.Site, pending.Limits{Remember: 100 * time.Millisecond})
	w := txn.NewBuffered(txn.BufferedConfig{Store: store, Reader: reader, Catalog: s.Catalog, Problems: s.Problems, Site: s.Site, SiteID: s.SiteID})
	missing := uuid.New()
	check := func(tx *txn.Builder) error { return tx.Check(ctx, parentExists(missing)) }
	sandboxtest.Eventually(t, 10*time.Second, "the replica to be read", func() bool {
		_, err := answer(ctx, w, missing, check)
		return errors.Is(err, txntest.ParentMissing)
	})
	txntest.Blackhole(t, line)
	for range 3 {
		began := time.Now()
		receipt, err := answer(ctx, w, missing, check)
		if err != nil || receipt.Checked {
			t.Fatalf("with a broken replica: %+v, %v", receipt, err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("accepting took %v", took)
		}
	}
	if n := store.Unchecked(); n != 3 {
		t.Errorf("%d accepted without their checks are counted, want 3", n)
	}
	if _, err := answer(ctx, w, missing, func(tx *txn.Builder) error { return tx.Require(ctx, parentExists(missing)) }); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("what needs stored rows: %v", err)
	}
	dry := txntest.Request("answer-note")
	dry.ValidateOnly = true
	if _, err := w.Write(ctx, dry, func(ctx context.Context, tx *txn.Builder) error {
		tx.Add(txntest.NewWrite(tx, "answer", &missing))
		return check(tx)
	}); !errors.Is(err, problem.ReplicaUnreachable) {
		t.Errorf("a dry run whose checks cannot be made: %v", err)
	}
	txntest.Up(t, line)
}

// CRITICAL_OPERATIONS_BUFFER=false: writes go to main while nothing is pending.
func TestWritesPassTheBufferOnlyWhileNothingIsPending(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	replayed := 0
	direct := txn.NewDirect(txn.DirectConfig{
		Pool: s.PrimaryPool, Reader: s.Reader, Catalog: s.Catalog, Problems: s.Problems, Site: s.Site, SiteID: s.SiteID,
		Replayed: func(context.Context, lsn.Position) error { replayed++; return nil },
	})
	w := txn.NewBuffered(txn.BufferedConfig{Store: s.Store, Reader: s.Reader, Catalog: s.Catalog, Problems: s.Problems, Site: s.Site, SiteID: s.SiteID, Direct: direct})
	write := func(key string) txn.Receipt {
		t.Helper()
		req := txntest.Request("write-note")
		req.Key = key
		receipt, err := w.Write(ctx, req, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, "x", nil))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return receipt
	}
	if r := write(""); r.State != pending.StateApplied || r.CommitLSN == "" || replayed != 1 {
		t.Errorf("with an empty buffer: %+v, waited %d times for the replica", r, replayed)
	}
	txntest.Note(t, s.Buffered, "waits", nil)
	first := write("again")
	if first.State != pending.StateBuffered {
		t.Errorf("with something in the buffer: %+v", first)
	}
	// Nothing but dead letters is left: a repetition finds its first attempt all the same.
	session, err := s.Store.BeginEpoch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Connected(ctx, pending.Claim{}); err != nil {
		t.Fatal(err)
	}
	var failed []pending.Failure
	for tx := range s.Store.Current().Buffered() {
		failed = append(failed, pending.Failure{Seq: tx.Seq, Problem: json.RawMessage(`{}`), At: time.Now()})
	}
	if err := session.Fail(ctx, failed); err != nil {
		t.Fatal(err)
	}
	if r := write(""); r.State != pending.StateApplied {
		t.Errorf("with nothing but dead letters: %+v", r)
	}
	if r := write("again"); !r.Replayed || r.TransactionID != first.TransactionID || r.State != pending.StateFailed {
		t.Errorf("the repetition of a dead letter: %+v, not %s", r, first.TransactionID)
	}
}

func TestWaitEndsWithTheTime(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	receipt := txntest.EditNote(t, s.Buffered, txntest.Edit{ID: txntest.Note(t, s.Buffered, "x", nil), Body: "y", Status: "open"})
	if got := s.Buffered.Wait(t.Context(), receipt, 50*time.Millisecond); got.State != pending.StateBuffered {
		t.Errorf("after the wait: %+v", got)
	}
	if got := s.Direct.Wait(t.Context(), txn.Receipt{State: pending.StateApplied}, time.Hour); got.State != pending.StateApplied {
		t.Errorf("at main: %+v", got)
	}
}

// TestWaitDoesNotTakeALostWriteForReplicated: Redis comes back without a transaction that
// it had acknowledged. Who waits for it is told the last state that was known, until the
// ledger has it.
func TestWaitDoesNotTakeALostWriteForReplicated(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	receipt := txntest.EditNote(t, s.Buffered, txntest.Edit{ID: txntest.Note(t, s.Buffered, "x", nil), Body: "y", Status: "open"})
	client, err := rdb.Open(rdb.Options{URL: s.RedisURL})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := client.Keys(ctx, "site:"+s.Site+":*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("the site's keys: %v, %v", keys, err)
	}
	if err := errors.Join(client.Del(ctx, keys...).Err(), client.Close()); err != nil {
		t.Fatal(err)
	}
	view, err := s.Store.CatchUp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, there := view.Tx(receipt.TransactionID); there {
		t.Fatal("Redis still has it: the test's precondition fails")
	}
	if got := s.Buffered.Wait(ctx, receipt, time.Second); got.State != pending.StateBuffered || got.Sync.State != pending.StateBuffered {
		t.Errorf("of a lost write is said %+v", got)
	}
	// Main had it, by a file or by a commit that Redis did not live to see.
	s.Exec(t, fmt.Sprintf(`INSERT INTO applied_transaction (id, site, seq, outcome, operation, actor, accepted_at, applied_at, changes)
		VALUES ('%s', '%s', 2, 'applied', 'edit-note', 'user:ada', now(), now(), '[]')`, receipt.TransactionID, s.Site))
	if got := s.Buffered.Wait(ctx, receipt, time.Minute); got.State != pending.StateReplicated {
		t.Errorf("of one that the ledger has is said %+v", got)
	}
}
