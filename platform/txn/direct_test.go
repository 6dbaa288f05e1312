package txn_test

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func TestDirectWriteCommitsEffectsAndLedgerTogether(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	var note txntest.Write
	receipt, err := s.Direct.Write(sandboxtest.Context(t), txntest.Request("write-note"), func(_ context.Context, tx *txn.Builder) error {
		note = txntest.NewWrite(tx, "first", nil)
		tx.Add(note, txntest.Edit{ID: note.ID, Body: "second", Status: "closed"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if receipt.State != pending.StateApplied || receipt.Sync.TransactionID != nil || receipt.Replayed {
		t.Errorf("receipt %+v", receipt)
	}
	if got := txntest.Bodies(t, s.PrimaryPool); got[note.ID] != "second" {
		t.Errorf("the primary has %v", got)
	}
	var outcome, changes string
	var seq *int64
	err = s.PrimaryPool.QueryRow(sandboxtest.Context(t), "SELECT outcome, seq, changes::text FROM applied_transaction WHERE id = $1", receipt.TransactionID).Scan(&outcome, &seq, &changes)
	if err != nil || outcome != "applied" || seq != nil || !strings.Contains(changes, `"second"`) || !strings.Contains(changes, `"kind": "create"`) {
		t.Errorf("ledger: %s, seq %v, %s, %v", outcome, seq, changes, err)
	}
}

// The position is that of the commit: a replica that has replayed it shows the row.
func TestCommitPositionCoversTheCommit(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	tracker := lsn.New(lsn.Config{Pool: s.ReplicaPool, Site: s.Site})
	tracker.Start(t.Context())
	t.Cleanup(tracker.Stop)
	for range 50 {
		var id uuid.UUID
		receipt, err := s.Direct.Write(sandboxtest.Context(t), txntest.Request("write-note"), func(_ context.Context, tx *txn.Builder) error {
			note := txntest.NewWrite(tx, "x", nil)
			id = note.ID
			tx.Add(note)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		position, err := lsn.ParsePosition(receipt.CommitLSN)
		if err != nil || position.Timeline != 1 {
			t.Fatalf("position %q: %v", receipt.CommitLSN, err)
		}
		if err := tracker.Wait(sandboxtest.Context(t), position); err != nil {
			t.Fatal(err)
		}
		if _, ok := txntest.Bodies(t, s.ReplicaPool)[id]; !ok {
			t.Fatal("the replica has replayed the position and does not show the row")
		}
	}
}

func TestDirectWriteNamesWhatWasRefused(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	id := txntest.Note(t, s.Direct, "a note", nil)
	txntest.EditNote(t, s.Direct, txntest.Edit{ID: id, Body: "closed now", Status: "closed"})
	missing := uuid.New()
	for name, c := range map[string]struct {
		step txn.Step
		want *problem.Kind
	}{
		"edit of a closed note": {txntest.Edit{ID: id, Body: "late", Status: "open"}, txntest.NoteClosed},
		"unknown parent":        {txntest.Write{ID: uuid.New(), ParentID: &missing, Body: "x", Status: "open", CreatedAt: time.Now()}, txntest.ParentMissing},
		"taken id":              {txntest.Write{ID: id, Body: "x", Status: "open", CreatedAt: time.Now()}, problem.IDTaken},
		"check":                 {txntest.Write{ID: uuid.New(), Body: "poison", Status: "open", CreatedAt: time.Now()}, txntest.Poisoned},
		"NUL":                   {txntest.Write{ID: uuid.New(), Body: "a\x00b", Status: "open", CreatedAt: time.Now()}, problem.InvalidValue},
	} {
		_, err := s.Direct.Write(sandboxtest.Context(t), txntest.Request("x"), func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, "goes with it", nil), c.step)
			return nil
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want.Code)
		}
	}
	// Nothing of the refused transactions is left, and the connection is usable.
	if got := txntest.Bodies(t, s.PrimaryPool); len(got) != 1 || got[id] != "closed now" {
		t.Errorf("the primary has %v", got)
	}
}

func TestRetryAtMainGivesTheFirstAnswer(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	testRetry(t, s.Direct)
}

// TestRetryAtMainWhileTheFirstAttemptCommits: a check that asks more than once must not
// be shown the rows of the first attempt without its key.
func TestRetryAtMainWhileTheFirstAttemptCommits(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	request := txntest.Request("write-note")
	request.Key, request.Digest = "key-1", []byte{1, 2, 3}
	var first txn.Receipt
	again, err := s.Direct.Write(sandboxtest.Context(t), request, func(ctx context.Context, tx *txn.Builder) error {
		return tx.Check(ctx, func(ctx context.Context, snapshot *pending.Snapshot) (err error) {
			var known int
			count := func() error {
				return snapshot.DB.QueryRow(ctx, "SELECT count(*) FROM applied_transaction").Scan(&known)
			}
			if err := count(); err != nil || known != 0 {
				t.Errorf("before the first attempt: %d in the ledger, %v", known, err)
			}
			if first, err = s.MainProcess().Write(ctx, request, func(_ context.Context, tx *txn.Builder) error {
				tx.Add(txntest.NewWrite(tx, "once", nil))
				return nil
			}); err != nil {
				return err
			}
			if err := count(); err != nil {
				return err
			}
			return problem.Conflict.New("%d in the ledger have made this impossible", known)
		})
	})
	if err != nil || !again.Replayed || again.TransactionID != first.TransactionID {
		t.Fatalf("second attempt: %+v, %v; want the first, %s", again, err, first.TransactionID)
	}
}

func TestRetryAtASecondarySiteGivesTheFirstAnswer(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	testRetry(t, s.Buffered)
}

// TestRetryAtASecondarySiteOfWhatOnlyTheLedgerHas: a key is valid for longer than Redis keeps
// its transaction, and at each site.
func TestRetryAtASecondarySiteOfWhatOnlyTheLedgerHas(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	request := txntest.Request("write-note")
	request.Key, request.Digest = "key-1", []byte{1, 2, 3}
	first, err := s.Direct.Write(ctx, request, func(_ context.Context, tx *txn.Builder) error {
		tx.Add(txntest.NewWrite(tx, "once", nil))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.WaitForReplay(t)
	refuse := func(context.Context, *txn.Builder) error {
		return problem.Conflict.New("the first attempt has made this impossible")
	}
	accept := func(_ context.Context, tx *txn.Builder) error {
		tx.Add(txntest.NewWrite(tx, "twice", nil))
		return nil
	}
	for name, build := range map[string]func(context.Context, *txn.Builder) error{"refused": refuse, "accepted": accept} {
		again, err := s.Buffered.Write(ctx, request, build)
		if err != nil || !again.Replayed || again.TransactionID != first.TransactionID {
			t.Errorf("a retry that would be %s: %+v, %v; want the first, %s", name, again, err, first.TransactionID)
		}
		if diff := cmp.Diff(ids(first.Changes), ids(again.Changes)); diff != "" {
			t.Errorf("changes of the replay (-first +again):\n%s", diff)
		}
	}
	request.Digest = []byte{9}
	if _, err := s.Buffered.Write(ctx, request, accept); !errors.Is(err, problem.IdempotencyKeyReused) {
		t.Errorf("the key with another body: %v", err)
	}
}

// TestKeyOfBothSitesKeepsTheFirstAnswerOfEach: used at both before either knew of the other, a key stands at each site for
// what that has acknowledged, also when the other's has come first to the ledger.
func TestKeyOfBothSitesKeepsTheFirstAnswerOfEach(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	request := txntest.Request("write-note")
	request.Key, request.Digest = "key-1", []byte{1, 2, 3}
	write := func(w txn.Writer, r txn.Request) (txn.Receipt, error) {
		return w.Write(ctx, r, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, "x", nil))
			return nil
		})
	}
	buffered, err := write(s.Buffered, request)
	if err != nil || buffered.Replayed {
		t.Fatalf("%+v, %v", buffered, err)
	}
	direct, err := write(s.Direct, request)
	if err != nil || direct.Replayed {
		t.Fatalf("%+v, %v", direct, err)
	}
	s.WaitForReplay(t)
	for site, c := range map[string]struct {
		w     txn.Writer
		first txn.Receipt
	}{"main": {s.Direct, direct}, "secondary": {s.Buffered, buffered}} {
		if again, err := write(c.w, request); err != nil || !again.Replayed || again.TransactionID != c.first.TransactionID {
			t.Errorf("%s: %+v, %v; want its own, %s", site, again, err, c.first.TransactionID)
		}
	}

	other := request
	other.Key, other.Digest = "key-2", []byte{4}
	if _, err := write(s.Buffered, other); err != nil {
		t.Fatal(err)
	}
	another := other
	another.Digest = []byte{5}
	if _, err := write(s.Direct, another); err != nil {
		t.Fatal(err)
	}
	s.WaitForReplay(t)
	if _, err := write(s.Buffered, another); !errors.Is(err, problem.IdempotencyKeyReused) {
		t.Errorf("the body that main has, where the key has another: %v", err)
	}
}

func testRetry(t *testing.T, w txn.Writer) {
	t.Helper()
	ctx := sandboxtest.Context(t)
	request := txntest.Request("write-note")
	request.Key, request.Digest = "key-1", []byte{1, 2, 3}
	refusing := false
	write := func(r txn.Request) (txn.Receipt, error) {
		return w.Write(ctx, r, func(_ context.Context, tx *txn.Builder) error {
			if refusing {
				return problem.Conflict.New("the first attempt has made this impossible")
			}
			tx.Add(txntest.NewWrite(tx, "once", nil))
			return nil
		})
	}
	first, err := write(request)
	if err != nil || first.Replayed {
		t.Fatalf("first attempt: %+v, %v", first, err)
	}
	refusing = true // as "not running" refuses a second finish
	again, err := write(request)
	if err != nil || !again.Replayed || again.TransactionID != first.TransactionID {
		t.Fatalf("second attempt: %+v, %v; want the first, %s", again, err, first.TransactionID)
	}
	if diff := cmp.Diff(ids(first.Changes), ids(again.Changes)); diff != "" {
		t.Errorf("changes of the replay (-first +again):\n%s", diff)
	}
	other := request
	other.Digest = []byte{9}
	if _, err := write(other); !errors.Is(err, problem.IdempotencyKeyReused) {
		t.Errorf("the key with another body: %v", err)
	}
	refusing = false
	other.Actor = "user:grace"
	if r, err := write(other); err != nil || r.Replayed {
		t.Errorf("the key of another actor: %+v, %v", r, err)
	}
}

// Two attempts at the same moment: both find no key, and the ledger decides.
func TestConcurrentRetriesAtMainWriteOnce(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	request := txntest.Request("write-note")
	request.Key = "key-1"
	const clients = 8
	receipts, errs := make(chan txn.Receipt, clients), make(chan error, clients)
	gate := make(chan struct{})
	for range clients {
		process := s.MainProcess()
		go func() {
			r, err := process.Write(ctx, request, func(_ context.Context, tx *txn.Builder) error {
				<-gate // all have looked for the key by now, or will find it
				tx.Add(txntest.NewWrite(tx, "once", nil))
				return nil
			})
			receipts <- r
			errs <- err
		}()
	}
	close(gate)
	fresh := 0
	ids := map[uuid.UUID]bool{}
	for range clients {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		r := <-receipts
		ids[r.TransactionID] = true
		if !r.Replayed {
			fresh++
		}
	}
	if fresh != 1 || len(ids) != 1 || len(txntest.Bodies(t, s.PrimaryPool)) != 1 {
		t.Errorf("%d first attempts, %d ids, rows %v", fresh, len(ids), txntest.Bodies(t, s.PrimaryPool))
	}
}

// TestRequestsOfOneKeyWaitForTheFirstAndHoldNobodyUp: a client that repeats itself without end takes one connection to the
// primary, of which a secondary site has few.
func TestRequestsOfOneKeyWaitForTheFirstAndHoldNobodyUp(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	id := txntest.Note(t, s.Direct, "a note", nil)
	config := s.PrimaryPool.Config()
	config.MaxConns = 2
	few, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(few.Close)
	direct := txn.NewDirect(txn.DirectConfig{Pool: few, Reader: s.MainReader, Catalog: s.Catalog, Problems: s.Problems, Site: sandboxtest.MainSite, SiteID: s.MainSiteID})
	holder, err := s.Primary(t).Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(ctx, "SELECT 1 FROM note WHERE id = $1 FOR UPDATE", id); err != nil {
		t.Fatal(err)
	}
	request := txntest.Request("edit-note")
	request.Key = "key-1"
	other := request
	other.Digest = []byte("another body")
	type end struct {
		receipt txn.Receipt
		err     error
	}
	const clients = 40
	ends, others := make(chan end, clients), make(chan end, 1)
	write := func(ctx context.Context, request txn.Request) end {
		r, err := direct.Write(ctx, request, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.Edit{ID: id, Body: "edited", Status: "open"})
			return nil
		})
		return end{r, err}
	}
	go func() { ends <- write(ctx, request) }()
	sandboxtest.Eventually(t, 10*time.Second, "the first request to wait at the primary", func() bool {
		var waiting bool
		if err := s.PrimaryPool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		return waiting
	})
	for range clients - 1 {
		go func() { ends <- write(ctx, request) }()
	}
	go func() { others <- write(ctx, other) }()
	gone, hangUp := context.WithTimeout(ctx, 50*time.Millisecond)
	defer hangUp()
	if e := write(gone, request); !errors.Is(e.err, problem.DatabaseBusy) {
		t.Errorf("who does not wait for the first: %+v, %v", e.receipt, e.err)
	}
	began := time.Now()
	txntest.Note(t, direct, "another's", nil)
	if took := time.Since(began); took > time.Second {
		t.Errorf("another write took %v", took)
	}
	if err := holder.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	fresh, ids := 0, map[uuid.UUID]bool{}
	for range clients {
		e := <-ends
		if e.err != nil {
			t.Fatal(e.err)
		}
		ids[e.receipt.TransactionID] = true
		if !e.receipt.Replayed {
			fresh++
		}
	}
	if fresh != 1 || len(ids) != 1 {
		t.Errorf("%d first attempts, %d transactions", fresh, len(ids))
	}
	if e := <-others; !errors.Is(e.err, problem.IdempotencyKeyReused) {
		t.Errorf("another request with the key: %+v, %v", e.receipt, e.err)
	}
}

// TestTheNextTriesWhenTheFirstOfAKeyFails: a refusal is its own.
func TestTheNextTriesWhenTheFirstOfAKeyFails(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	request := txntest.Request("write-note")
	request.Key = "key-1"
	began, goOn := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		_, err := s.Direct.Write(ctx, request, func(context.Context, *txn.Builder) error {
			close(began)
			<-goOn
			return problem.Conflict.New("not now")
		})
		first <- err
	}()
	<-began
	second := make(chan error, 1)
	go func() {
		r, err := s.Direct.Write(ctx, request, func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, "once", nil))
			return nil
		})
		if r.Replayed {
			err = errors.Join(err, errors.New("it is a replay of nothing"))
		}
		second <- err
	}()
	time.Sleep(50 * time.Millisecond)
	close(goOn)
	if err := <-first; !errors.Is(err, problem.Conflict) {
		t.Errorf("the first: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
	if got := txntest.Bodies(t, s.PrimaryPool); len(got) != 1 {
		t.Errorf("the primary has %v", got)
	}
}

func ids(changes []pending.Change) []uuid.UUID {
	var out []uuid.UUID
	for _, c := range changes {
		out = append(out, c.ID)
	}
	return out
}

func TestDirectWriteThatMeetsALockIsBusyAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	id := txntest.Note(t, s.Direct, "a note", nil)
	ctx := sandboxtest.Context(t)
	holder, err := s.Primary(t).Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(ctx, "SELECT 1 FROM note WHERE id = $1 FOR UPDATE", id); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	_, err = s.Direct.Write(ctx, txntest.Request("edit-note"), func(_ context.Context, tx *txn.Builder) error {
		tx.Add(txntest.Edit{ID: id, Body: "edited", Status: "open"})
		return nil
	})
	var p *problem.Problem
	if !errors.As(err, &p) || p.Status != 503 {
		t.Fatalf("got %v, want a 503", err)
	}
	if waited := time.Since(started); waited < 2*time.Second || waited > 6*time.Second {
		t.Errorf("it waited %v for the lock", waited)
	}
	if err := holder.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	txntest.EditNote(t, s.Direct, txntest.Edit{ID: id, Body: "edited", Status: "open"})
}

// counted is a step whose row has a number for its key.
type counted struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

const countedSchema = `
CREATE TABLE counted (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
GRANT SELECT, INSERT ON counted TO opsdb_write;
GRANT USAGE ON SEQUENCE counted_id_seq TO opsdb_write;`

func (counted) Kind() string { return "counted.create/1" }

func (s counted) Apply(ctx context.Context, to txn.DBTX) error {
	_, err := to.Exec(ctx, "INSERT INTO counted (id, name) OVERRIDING SYSTEM VALUE VALUES ($1, $2)", s.ID, s.Name)
	return err
}

func (s counted) Rows() []pending.Change {
	return []pending.Change{txn.Create("counted", txn.NumberID(s.ID), s)}
}

// TestRowWithANumberIsKnownBeforeItIsWritten: the ledger has its number as a number, and
// a retry gives the same one.
func TestRowWithANumberIsKnownBeforeItIsWritten(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	pair.Exec(t, countedSchema)
	s := txntest.Wire(t, pair, counted{})
	ctx := sandboxtest.Context(t)
	request := txntest.Request("count")
	request.Key, request.Digest = "key-1", []byte{1}
	var ids []int64
	write := func(ctx context.Context, tx *txn.Builder) error {
		id, err := tx.NextNumber(ctx, "counted")
		if err != nil {
			return err
		}
		ids = append(ids, id)
		tx.Add(counted{ID: id, Name: "x"})
		return nil
	}
	first, err := s.Direct.Write(ctx, request, write)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Direct.Write(ctx, request, write)
	if err != nil || !again.Replayed || again.TransactionID != first.TransactionID {
		t.Fatalf("a retry: %+v, %v, ids %v", again, err, ids)
	}
	for name, receipt := range map[string]txn.Receipt{"first": first, "again": again} {
		if n, ok := txn.NumberOf(receipt.Changes[0].ID); !ok || n != ids[0] {
			t.Errorf("%s: the change is of row %s, want %d", name, receipt.Changes[0].ID, ids[0])
		}
	}
	var written, kept string
	err = s.PrimaryPool.QueryRow(ctx, "SELECT (SELECT string_agg(id::text, ',') FROM counted), changes -> 0 ->> 'id' FROM applied_transaction WHERE id = $1 AND jsonb_typeof(changes -> 0 -> 'id') = 'number'",
		first.TransactionID).Scan(&written, &kept)
	if err != nil || written != kept || n(ids[0]) != kept {
		t.Errorf("row %s, in the ledger %s, taken %v: %v", written, kept, ids, err)
	}
	request.Key, request.ValidateOnly = "", true
	if _, err := s.Direct.Write(ctx, request, write); err != nil || ids[len(ids)-1] != 0 {
		t.Errorf("a dry run takes %v, %v; want 0", ids, err)
	}
	if _, err := s.Buffered.Write(ctx, txntest.Request("count"), write); err == nil {
		t.Error("a buffered writer gives numbers")
	}
}

func n(id int64) string { return strconv.FormatInt(id, 10) }

func TestNumbersOfRowsAreTakenForNoUUID(t *testing.T) {
	t.Parallel()
	for _, want := range []int64{1, 17, 1 << 40, math.MaxInt64} {
		if got, ok := txn.NumberOf(txn.NumberID(want)); !ok || got != want {
			t.Errorf("%d: %d, %t", want, got, ok)
		}
	}
	for _, id := range []uuid.UUID{uuid.Nil, uuid.Max, uuid.New(), uuid.Must(uuid.NewV7())} {
		if n, ok := txn.NumberOf(id); ok {
			t.Errorf("%s is taken for %d", id, n)
		}
	}
}
