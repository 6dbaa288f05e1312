package buffer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
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

// notes writes n notes, some of them edited and answered at once, and returns
// what the primary must have in the end.
func notes(t *testing.T, w txn.Writer, n int) map[uuid.UUID]string {
	t.Helper()
	want := map[uuid.UUID]string{}
	for i := range n {
		id := txntest.Note(t, w, fmt.Sprintf("note %d", i), nil)
		want[id] = fmt.Sprintf("note %d", i)
		if i%3 == 0 {
			txntest.EditNote(t, w, txntest.Edit{ID: id, Body: fmt.Sprintf("edited %d", i), Status: "open"})
			want[id] = fmt.Sprintf("edited %d", i)
		}
		if i%5 == 0 {
			want[txntest.Note(t, w, "answer", &id)] = "answer"
		}
	}
	return want
}

// exact demands that both sites have exactly want, and the ledger each
// transaction once.
func exact(t *testing.T, s *txntest.Sites, want map[uuid.UUID]string) {
	t.Helper()
	for name, got := range map[string]map[uuid.UUID]string{"primary": txntest.Bodies(t, s.PrimaryPool), "replica": txntest.Bodies(t, s.ReplicaPool)} {
		if len(got) != len(want) {
			t.Errorf("the %s has %d notes, want %d", name, len(got), len(want))
		}
		for id, body := range want {
			if got[id] != body {
				t.Errorf("the %s has %q for %s, want %q", name, got[id], id, body)
			}
		}
	}
	var gaps int
	err := s.PrimaryPool.QueryRow(sandboxtest.Context(t), "SELECT count(*) - count(DISTINCT seq) FROM applied_transaction WHERE site = $1", s.Site).Scan(&gaps)
	if err != nil || gaps != 0 {
		t.Errorf("%d transactions are in the ledger twice, %v", gaps, err)
	}
}

// dying is a session whose process dies at a chosen call: the call is not made,
// and nothing after it.
type dying struct {
	session
	at   string
	died *atomic.Int32
}

var errDied = errors.New("the process has died here")

func (d dying) Settle(ctx context.Context, settled []pending.Settled) error {
	if d.at == "settle" && len(settled) > 0 && d.died.Add(1) == 1 {
		return errDied
	}
	return d.session.Settle(ctx, settled)
}

func (d dying) RaiseBatch(ctx context.Context, groups int) (int64, error) {
	first, err := d.session.RaiseBatch(ctx, groups)
	if d.at == "apply" && err == nil && d.died.Add(1) == 1 {
		return 0, errDied
	}
	return first, err
}

// A processor that dies before it has applied, or after the commit and before it
// has settled, leaves everything to its successor, which applies it once.
func TestProcessorThatDiesLeavesNothingLostOrDoubled(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"apply", "settle"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := txntest.New(t)
			want := notes(t, s.Buffered, 40)
			first := make1(t, s)
			var died atomic.Int32
			begin := first.processor.begin
			first.processor.begin = func(ctx context.Context) (session, int64, error) {
				inner, epoch, err := begin(ctx)
				return dying{inner, at, &died}, epoch, err
			}
			err := first.processor.drain(t.Context(), make(chan struct{}))
			if !errors.Is(err, errDied) {
				t.Fatalf("the first processor ended with %v", err)
			}
			applied := len(txntest.Bodies(t, s.PrimaryPool))
			if at == "apply" && applied != 0 || at == "settle" && applied == 0 {
				t.Fatalf("%d notes were at the primary when the processor died", applied)
			}
			if c := s.Store.Current().Counts(); c.Applied != 0 || c.Buffered == 0 {
				t.Fatalf("the buffer when the processor died: %+v", c)
			}
			if err := s.Store.ReleaseLease(t.Context(), first.processor.holder); err != nil {
				t.Fatal(err) // else the successor waits until it has run out
			}
			start(t, make1(t, s))
			drained(t, s, 20*time.Second)
			exact(t, s, want)
		})
	}
}

// The line is cut again and again at random bytes while the buffer drains and
// grows.
func TestDrainOverALineThatIsCutAtRandomBytes(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	line, through := txntest.Line(t, s.ProcessorURL)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	m := make1(t, s, func(c *Config) { c.PrimaryURL, c.BatchSize = through, 40 })
	want := notes(t, s.Buffered, 150)
	line.CutAfter(sandbox.Outbound, 20_000)
	start(t, m)
	cuts := 0
	sandboxtest.Eventually(t, 60*time.Second, "the buffer to be empty", func() bool {
		if c := s.Store.Current().Counts(); c.Buffered == 0 && c.Applied == 0 {
			return true
		}
		if !line.State().Up {
			cuts++
			txntest.Up(t, line)
			if cuts < 12 {
				// A connection needs about 6,000 bytes up and 2,500 down before its first flush.
				if random.IntN(2) == 0 {
					line.CutAfter(sandbox.Outbound, 7_000+random.Int64N(20_000))
				} else {
					line.CutAfter(sandbox.Inbound, 3_000+random.Int64N(6_000))
				}
			}
		}
		return false
	})
	if cuts < 3 {
		t.Errorf("the line was cut %d times only: the test has shown little", cuts)
	}
	exact(t, s, want)
}

// A black hole in the middle of a flush keeps rows locked at main. The processor's
// backend waits for its client there, which no time-out of PostgreSQL ends as long
// as something acknowledges; main's reaper does.
func TestBlackHoleInMidFlushFreesTheRowsAtMain(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	start(t, mainSite(t, s))
	line, through := txntest.Line(t, s.ProcessorURL)
	id := txntest.Note(t, s.Direct, "at main", nil)
	s.WaitForReplay(t)
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: id, Body: "edited at the site", Status: "open"})
	want := map[uuid.UUID]string{id: "edited at main"}
	for i := range 40 {
		body := fmt.Sprintf("%d %s", i, strings.Repeat("x", 500))
		want[txntest.Note(t, s.Buffered, body, nil)] = body
	}
	kbps := 128.0
	if err := line.Apply(sandbox.Change{BandwidthKbps: &kbps}); err != nil {
		t.Fatal(err)
	}
	m := make1(t, s, func(c *Config) { c.PrimaryURL = through })
	start(t, m)
	super := s.Primary(t)
	locked := func() bool {
		_, err := super.Exec(ctx, "SELECT 1 FROM note WHERE id = $1 FOR UPDATE NOWAIT", id)
		return err != nil
	}
	sandboxtest.Eventually(t, 20*time.Second, "the row to be locked by the flush", locked)
	hole := true
	if err := line.Apply(sandbox.Change{Blackhole: &hole}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var state string
	if err := super.QueryRow(ctx, "SELECT state || ' ' || coalesce(wait_event, '') FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()", txn.ProcessorName(s.Site)).Scan(&state); err != nil {
		t.Fatal(err)
	}
	t.Logf("the processor's backend is %s", state)
	if !locked() {
		t.Fatal("the row is free again already")
	}
	sandboxtest.Eventually(t, 25*time.Second, "the row to be free", func() bool { return !locked() })
	took := time.Since(began)
	t.Logf("the row was free after %v", took)
	if took < 2*time.Second || took > 20*time.Second {
		t.Errorf("the row was free after %v, want about 12 s", took)
	}
	// A direct write goes through, and what the hole held does not undo it.
	txntest.EditNote(t, s.Direct, txntest.Edit{ID: id, Body: "edited at main", Status: "open"})
	off, fast := false, 0.0
	if err := line.Apply(sandbox.Change{Blackhole: &off, BandwidthKbps: &fast}); err != nil {
		t.Fatal(err)
	}
	want[id] = "edited at the site" // the site's edit is the later one at the primary
	drained(t, s, 40*time.Second)
	exact(t, s, want)
}

// Two processors drain one buffer at once, each ending the other's connection:
// the lease that keeps this from happening is no condition for safety.
func TestTwoProcessorsAtOnceAreHarmless(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	store, reader, other := s.Process(t)
	one := make1(t, s, func(c *Config) { c.BatchSize = 5 })
	two, err := New(config(t, s, store, reader))
	if err != nil {
		t.Fatal(err)
	}
	two.processor.limit.count = 5
	two.processor.holder = one.processor.holder // both have the lease
	start(t, one)
	start(t, two)
	want := notes(t, s.Buffered, 60)
	for id, body := range notes(t, other, 60) {
		want[id] = body
	}
	sandboxtest.Eventually(t, 20*time.Second, "both to have been superseded", func() bool {
		var epoch int64
		if err := s.PrimaryPool.QueryRow(sandboxtest.Context(t), "SELECT epoch FROM site_status WHERE site = $1", s.Site).Scan(&epoch); err != nil {
			t.Fatal(err)
		}
		return epoch >= 4
	})
	stop(t, two) // they get on faster alone
	drained(t, s, 30*time.Second)
	exact(t, s, want)
	t.Logf("the two have applied %d and %d", one.state.report().Processed, two.state.report().Processed)
}

func TestLeaseKeepsTheSecondProcessorInStandby(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	store, reader, _ := s.Process(t)
	one := make1(t, s)
	start(t, one)
	sandboxtest.Eventually(t, 10*time.Second, "the first to have the lease", func() bool { return one.state.report().Status == statusIdle })
	two, err := New(config(t, s, store, reader))
	if err != nil {
		t.Fatal(err)
	}
	start(t, two)
	sandboxtest.Eventually(t, 10*time.Second, "the second to stand by", func() bool { return two.state.report().Status == statusStandby })
	stop(t, one)
	id := txntest.Note(t, s.Buffered, "for the second", nil)
	drained(t, s, 10*time.Second)
	exact(t, s, map[uuid.UUID]string{id: "for the second"})
	if two.state.report().Processed != 1 {
		t.Errorf("the second has applied %d", two.state.report().Processed)
	}
}

// Two processes of one site are asked to close the same note at the same moment:
// one of them must be refused, though neither has seen the other's write.
func TestTwoProcessesCannotBothCloseANote(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	_, _, other := s.Process(t)
	ctx := sandboxtest.Context(t)
	for round := range 40 {
		id := txntest.Note(t, s.Buffered, "open", nil)
		closing := func(w txn.Writer, errs chan<- error) {
			_, err := w.Write(ctx, txntest.Request("close-note"), func(ctx context.Context, tx *txn.Builder) error {
				if err := tx.Check(ctx, func(_ context.Context, snapshot *pending.Snapshot) error {
					row, ok := snapshot.View.Row(pending.Key{Table: "note", ID: id})
					if !ok {
						return problem.NotFound.New("there is no such note")
					}
					if strings.Contains(string(row.Columns), `"closed"`) {
						return txntest.NoteClosed.New("the note is closed")
					}
					return nil
				}); err != nil {
					return err
				}
				tx.Add(txntest.Edit{ID: id, Body: "done", Status: "closed"})
				return nil
			})
			errs <- err
		}
		errs := make(chan error, 2)
		go closing(s.Buffered, errs)
		go closing(other, errs)
		one, two := <-errs, <-errs
		if (one == nil) == (two == nil) {
			t.Fatalf("round %d: %v and %v, want one success", round, one, two)
		}
		if refused := errors.Join(one, two); !errors.Is(refused, txntest.NoteClosed) {
			t.Fatalf("round %d: refused with %v", round, refused)
		}
	}
	start(t, make1(t, s))
	drained(t, s, 20*time.Second)
	if n := len(s.Store.Current().Dead()); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// A processor that is too old for a transaction stops before it and drops nothing.
func TestUnknownKindStopsTheProcessor(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	first := txntest.Note(t, s.Buffered, "known", nil)
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: first, Body: "from a newer program", Status: "open"})
	last := txntest.Note(t, s.Buffered, "after it", nil)
	newer := s.Catalog
	var err error
	if s.Catalog, err = txn.NewCatalog(txntest.Write{}); err != nil {
		t.Fatal(err)
	}
	store, reader, _ := s.Process(t)
	old, err := New(config(t, s, store, reader))
	if err != nil {
		t.Fatal(err)
	}
	old.Start(t.Context())
	sandboxtest.Eventually(t, 10*time.Second, "the processor to stop", func() bool { return old.state.report().Status == statusStopped })
	if reason := old.state.report().Reason; !errors.Is(reason, pending.ErrUnknownKind) {
		t.Errorf("it stopped because of %v", reason)
	}
	if got := txntest.Bodies(t, s.PrimaryPool); len(got) != 1 || got[first] != "known" {
		t.Errorf("the primary has %v", got)
	}
	stop(t, old)
	s.Catalog = newer
	start(t, make1(t, s))
	drained(t, s, 10*time.Second)
	exact(t, s, map[uuid.UUID]string{first: "from a newer program", last: "after it"})
}

// newerEdit is what a newer program writes.
type newerEdit struct{ txntest.Edit }

// Kind implements txn.Step.
func (newerEdit) Kind() string { return "notes.edit/2" }

// A dead letter that a processor cannot read may hold back anything that came after it:
// it stops there, or the dead letter's retry would overwrite what is newer.
func TestUnknownDeadLetterHoldsBackWhatCameAfterIt(t *testing.T) {
	t.Parallel()
	s := txntest.New(t, newerEdit{})
	note := txntest.Note(t, s.Buffered, "known", nil)
	if _, err := s.Buffered.Write(sandboxtest.Context(t), txntest.Request("edit-note"), func(_ context.Context, tx *txn.Builder) error {
		tx.Add(newerEdit{txntest.Edit{ID: note, Body: "poison", Status: "open"}})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slow := func(c *Config) { c.RetryDelay = time.Hour }
	newer := make1(t, s, slow)
	start(t, newer)
	letter := dead(t, s, 1)[0]
	drained(t, s, 10*time.Second)
	stop(t, newer)

	known := s.Catalog
	var err error
	if s.Catalog, err = txn.NewCatalog(txntest.Write{}, txntest.Edit{}); err != nil {
		t.Fatal(err)
	}
	store, reader, writer := s.Process(t)
	old, err := New(config(t, s, store, reader))
	if err != nil {
		t.Fatal(err)
	}
	txntest.EditNote(t, writer, txntest.Edit{ID: note, Body: "later", Status: "open"})
	start(t, old)
	sandboxtest.Eventually(t, 10*time.Second, "the processor to stop", func() bool { return old.state.report().Status == statusStopped })
	if reason := old.state.report().Reason; !errors.Is(reason, pending.ErrUnknownKind) || !strings.Contains(reason.Error(), "notes.edit/2") {
		t.Errorf("it stopped because of %v", reason)
	}
	if got := txntest.Bodies(t, s.PrimaryPool); len(got) != 1 || got[note] != "known" {
		t.Errorf("the primary has %v", got)
	}
	if c := store.Current().Counts(); c.Failed != 1 || c.Buffered != 1 {
		t.Errorf("the older process knows of %+v", c)
	}
	stop(t, old)

	s.Catalog = known
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	start(t, make1(t, s, slow))
	sandboxtest.Eventually(t, 10*time.Second, "the newer one to hold it back", func() bool { return s.Store.Current().Counts().Blocked == 1 })
	if _, err := s.Store.Retry(sandboxtest.Context(t), letter.Seq); err != nil {
		t.Fatal(err)
	}
	drained(t, s, 10*time.Second)
	exact(t, s, map[uuid.UUID]string{note: "later"})
}

// Tries of its own data's making are repeated by the processor itself; a parent
// may arrive later.
func TestDeadLetterIsTriedAgainByItself(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	parent := uuid.New()
	child := txntest.Note(t, s.Buffered, "early child", &parent)
	start(t, make1(t, s, func(c *Config) { c.RetryAttempts, c.RetryDelay = 50, 200*time.Millisecond }))
	sandboxtest.Eventually(t, 10*time.Second, "the child to have failed twice", func() bool {
		dead := s.Store.Current().Dead()
		return len(dead) == 1 && dead[0].Attempts >= 2
	})
	if _, err := s.Direct.Write(sandboxtest.Context(t), txntest.Request("write-note"), func(_ context.Context, tx *txn.Builder) error {
		note := txntest.NewWrite(tx, "late parent", nil)
		note.ID = parent
		tx.Add(note)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, 10*time.Second, "no dead letter to be left", func() bool { return len(s.Store.Current().Dead()) == 0 })
	drained(t, s, 10*time.Second)
	if got := txntest.Bodies(t, s.PrimaryPool); got[child] != "early child" {
		t.Errorf("the primary has %v", got)
	}
}

// A row lock at main keeps one transaction, and what depends on it, in the buffer;
// everything else goes on, and no try counts.
func TestLockAtMainHoldsBackOneTransactionOnly(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	id := txntest.Note(t, s.Direct, "locked", nil)
	s.WaitForReplay(t)
	holder, err := s.Primary(t).Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(ctx, "SELECT 1 FROM note WHERE id = $1 FOR UPDATE", id); err != nil {
		t.Fatal(err)
	}
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: id, Body: "first", Status: "open"})
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: id, Body: "second", Status: "open"})
	other := txntest.Note(t, s.Buffered, "other", nil)
	start(t, make1(t, s))
	sandboxtest.Eventually(t, 30*time.Second, "the independent note to be applied", func() bool {
		c := s.Store.Current().Counts()
		return c.Buffered == 2
	})
	if _, ok := txntest.Bodies(t, s.PrimaryPool)[other]; !ok {
		t.Error("the independent note is not at the primary")
	}
	if c := s.Store.Current().Counts(); c.Failed+c.Blocked != 0 {
		t.Errorf("the buffer: %+v", c)
	}
	if err := holder.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	drained(t, s, 40*time.Second)
	exact(t, s, map[uuid.UUID]string{id: "second", other: "other"})
}

// A site that gets another name at main while its buffer is full goes on under its own:
// writes are accepted, reads are whole, nothing is sent anywhere. With the name back
// everything drains once. What `site` calls it is no matter.
func TestASiteRenamedAtMainLosesNothing(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	m := make1(t, s)
	start(t, m)
	want := notes(t, s.Buffered, 3)
	drained(t, s, 30*time.Second)
	stop(t, m)
	for id, body := range notes(t, s.Buffered, 10) {
		want[id] = body
	}
	rename := func(from, to string) {
		t.Helper()
		s.Exec(t, fmt.Sprintf("UPDATE site SET short_name = '%[2]s' WHERE short_name = '%[1]s'", from, to))
		s.Exec(t, fmt.Sprintf("UPDATE site_status SET site = '%[2]s' WHERE site = '%[1]s'", from, to))
		s.WaitForReplay(t)
	}
	before := len(txntest.Bodies(t, s.PrimaryPool))
	rename(s.Site, "renamed")
	m = make1(t, s)
	start(t, m)
	sandboxtest.Eventually(t, 30*time.Second, "the processor to say that main does not know the site", func() bool {
		return errors.Is(m.state.report().LastError, txn.ErrSiteMissing)
	})
	buffered := s.Store.Current().Counts().Buffered
	for id, body := range notes(t, s.Buffered, 2) {
		want[id] = body
	}
	if n := s.Store.Current().Counts().Buffered; n <= buffered || buffered == 0 {
		t.Errorf("%d are buffered, %d were", n, buffered)
	}
	if n := len(txntest.Bodies(t, s.PrimaryPool)); n != before {
		t.Errorf("main has %d notes, %d before", n, before)
	}
	atSite(t, s, want)
	rename("renamed", s.Site)
	drained(t, s, 30*time.Second)
	exact(t, s, want)
	atSite(t, s, want)
}
