package buffer

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/protocol"
	"github.com/opsdb/opsdb/platform/protocol/tracetest"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// slow lets the dead letters of a test be tried again by hand only.
func slow(c *Config) { c.RetryDelay, c.Editor = time.Hour, noteEditor{} }

// decideOn discards or replaces a dead letter as an operator does.
func (s site) decideOn(command string, id uuid.UUID, body string) {
	s.t.Helper()
	s.send("ada", "POST", "/buffer/transactions/"+id.String()+"/"+command, body, "", 200)
}

// retried puts dead letters back.
func retried(t *testing.T, s *txntest.Sites, dead ...int64) {
	t.Helper()
	if _, err := s.Store.Retry(sandboxtest.Context(t), dead...); err != nil {
		t.Fatal(err)
	}
}

// discardedAt: a commit at main has discarded something.
func discardedAt(t *testing.T, trace *protocol.Trace) {
	t.Helper()
	if !slices.ContainsFunc(trace.Commits, func(c protocol.TraceCommit) bool { return c.Discarded != 0 }) {
		t.Error("no commit at main has a discard")
	}
}

func TestTraceOfDiscardsIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := both(t)
	rec := tracetest.Record(t, s, s.RedisURL)
	m := make1(t, s, slow)
	at := serve(t, m)
	start(t, m)
	root := written(t, s.Buffered, "good", 1)[0]
	poisoned := txntest.Note(t, s.Buffered, "poison", &root)
	txntest.Note(t, s.Buffered, "answer to the poison", &poisoned)
	letters := dead(t, s, 2)
	rec.Read(s.Reader)
	at.decideOn("discard", letters[0].ID, `{"reason":"mistyped"}`)
	rec.Read(s.Reader)
	txntest.Note(t, s.Buffered, "independent", nil)
	drained(t, s, 30*time.Second)
	retried(t, s) // its parent never comes
	sandboxtest.Eventually(t, 30*time.Second, "the answer to fail by itself", func() bool {
		left := s.Store.Current().Dead()
		return len(left) == 1 && left[0].State == pending.StateFailed
	})
	at.decideOn("discard", letters[1].ID, `{"reason":"nothing to answer"}`)
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: root, Body: "edited last", Status: "open"})
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	trace := isOfTheModel(t, rec, protocol.EventDiscard, protocol.EventFail)
	discardedAt(t, trace)
	t.Run("doctored", func(t *testing.T) {
		for name, change := range map[string]func(trace *protocol.Trace){
			"a discard that main does not record": discardsUnrecorded,
			"what was discarded is applied": func(trace *protocol.Trace) {
				for i := range trace.Commits {
					c := &trace.Commits[i]
					c.Applied, c.Discarded = c.Applied|c.Discarded, 0
				}
			},
			"a dead letter that goes without a decision": func(trace *protocol.Trace) { without(trace, protocol.EventDiscard) },
			"a discard of another one": func(trace *protocol.Trace) {
				each(trace, protocol.EventDiscard, func(e *protocol.Event) { e.Target++ })
			},
			"a discard that settles alone": func(trace *protocol.Trace) {
				each(trace, protocol.EventSettle, func(e *protocol.Event) { e.Set, e.Discarded = e.Set&^e.Discarded, 0 })
			},
		} {
			notOfTheModel(t, trace, name, change)
		}
	})
}

// What is accepted on a view that has not heard of a failure yet is buffered, and held
// back when the next flush is chosen.
func TestTraceOfAnAcceptanceThatKnowsNoFailureIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := both(t)
	rec := tracetest.Record(t, s, s.RedisURL)
	m := make1(t, s, slow)
	poisoned := txntest.Note(t, s.Buffered, "poison", nil)
	receipt, err := s.Buffered.Write(sandboxtest.Context(t), txntest.Request("answer"), func(_ context.Context, tx *txn.Builder) error {
		tx.Add(txntest.NewWrite(tx, "answer to the poison", &poisoned))
		start(t, m)
		dead(t, s, 1)
		return nil
	})
	if err != nil || receipt.State != pending.StateBuffered {
		t.Fatalf("%v, %v: it must not know of the failure", receipt.State, err)
	}
	letters := dead(t, s, 2)
	if by := letters[1].Dead.BlockedBy; by != letters[0].Seq {
		t.Errorf("it is held back by %d, not by %d", by, letters[0].Seq)
	}
	txntest.Note(t, s.Buffered, "independent", nil)
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	trace := isOfTheModel(t, rec, protocol.EventFail, protocol.EventBlock)
	t.Run("doctored", func(t *testing.T) {
		for name, change := range map[string]func(trace *protocol.Trace){
			"it had heard of it": func(trace *protocol.Trace) {
				each(trace, protocol.EventAccept, func(e *protocol.Event) { e.Set = 1 })
			},
			"nobody holds it back": func(trace *protocol.Trace) { without(trace, protocol.EventBlock) },
		} {
			notOfTheModel(t, trace, name, change)
		}
	})
}

// notOfTheModel demands that a changed trace is refused.
func notOfTheModel(t *testing.T, trace *protocol.Trace, name string, change func(trace *protocol.Trace)) {
	t.Helper()
	copied := *trace
	copied.Events, copied.Commits, copied.Requests = slices.Clone(trace.Events), slices.Clone(trace.Commits), slices.Clone(trace.Requests)
	change(&copied)
	if err := copied.Check(); err == nil {
		t.Errorf("%s: taken for a trace of the model", name)
	}
}

// discardsUnrecorded takes what was decided about dead letters out of main's commits.
func discardsUnrecorded(trace *protocol.Trace) {
	for i := range trace.Commits {
		trace.Commits[i].Discarded = 0
	}
}

// A correction takes the place of the mistake: before what came after that.
func TestTraceOfACorrectionIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := both(t)
	rec := tracetest.Record(t, s, s.RedisURL)
	m := make1(t, s, slow)
	at := serve(t, m)
	start(t, m)
	note := written(t, s.Buffered, "good", 1)[0]
	mistake := txntest.EditNote(t, s.Buffered, txntest.Edit{ID: note, Body: "poison", Status: "open"})
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: note, Body: "later", Status: "open"})
	poisoned := txntest.Note(t, s.Buffered, "poison", &note)
	txntest.Note(t, s.Buffered, "answer to the poison", &poisoned)
	letters := dead(t, s, 4)
	rec.Read(s.Reader)
	// Retried while its correction waits, the later one goes on after it.
	if err := s.Store.Pause(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	at.decideOn("replace", mistake.TransactionID, `{"reason":"mistyped","request":{"body":"corrected"}}`)
	rec.Read(s.Reader)
	retried(t, s, letters[1].Seq)
	if err := s.Store.Resume(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, 30*time.Second, "the first correction to be applied", func() bool { return len(s.Store.Current().Dead()) == 2 })
	rec.Read(s.Reader)
	// The answer is released by the correction of what it answers.
	at.decideOn("replace", letters[2].ID, `{"reason":"mistyped","request":{"body":"corrected too"}}`)
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	if got := txntest.Bodies(t, s.PrimaryPool); got[note] != "later" || got[poisoned] != "corrected too" || len(got) != 3 {
		t.Errorf("main has %v", got)
	}
	trace := isOfTheModel(t, rec, protocol.EventDiscard)
	discardedAt(t, trace)
	t.Run("doctored", func(t *testing.T) {
		for name, change := range map[string]func(trace *protocol.Trace){
			"the mistake is not kept out": discardsUnrecorded,
			"it takes no place": func(trace *protocol.Trace) {
				for i := range trace.Requests {
					trace.Requests[i].Corrects = 0
				}
			},
		} {
			notOfTheModel(t, trace, name, change)
		}
	})
}

// exported writes a file and tells what it holds.
func (c courier) exported(rec *tracetest.Recorder, want int) []byte {
	c.t.Helper()
	file := c.export(want)
	var seqs []int64
	if _, _, _, err := readFile(bytes.NewReader(file), func(_ SneakernetHeader, tx *pending.Transaction) error {
		seqs = append(seqs, tx.Seq)
		return nil
	}); err != nil {
		c.t.Fatal(err)
	}
	rec.Exported(seqs)
	return file
}

func importsOf(trace *protocol.Trace) (n int) {
	for _, c := range trace.Commits {
		if c.Import {
			n++
		}
	}
	return n
}

// A file is applied at main before the site's processor connects, and once more while it
// drains, when what poisoned it is gone: the dead letters are found in the ledger.
func TestTraceOfAnImportIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	rec := tracetest.Record(t, s, s.RedisURL)
	root := written(t, s.Buffered, "carried", 2)[0]
	poisoned := txntest.Note(t, s.Buffered, "poison", &root)
	txntest.Note(t, s.Buffered, "answer to the poison", &poisoned)
	txntest.Note(t, s.Buffered, "after it", nil)
	file := c.exported(rec, 6)
	written(t, s.Buffered, "later", 2)
	c.bring(file, 4, 0, 0, 1, 1)
	rec.Read(s.Reader)
	m := make1(t, s, slow)
	start(t, m)
	dead(t, s, 2)
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	stop(t, m)
	rec.CauseRemoved()
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	c.bring(file, 2, 4, 0, 0, 0)
	rec.Read(s.Reader)
	written(t, s.Buffered, "last", 1)
	start(t, make1(t, s, slow))
	dead(t, s, 0)
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	trace := isOfTheModel(t, rec, protocol.EventExported, protocol.EventFail)
	if n := importsOf(trace); n != 2 {
		t.Errorf("%d imports were recorded", n)
	}
	t.Run("doctored", func(t *testing.T) {
		for name, change := range map[string]func(trace *protocol.Trace){
			"an import that nobody exported": func(trace *protocol.Trace) { without(trace, protocol.EventExported) },
			"an import that applies what waits for a refused one": func(trace *protocol.Trace) {
				i := slices.IndexFunc(trace.Commits, func(c protocol.TraceCommit) bool { return c.Import })
				trace.Commits[i].Applied |= 1 << 4
			},
			"an import that leaves out what could be applied": func(trace *protocol.Trace) {
				i := slices.IndexFunc(trace.Commits, func(c protocol.TraceCommit) bool { return c.Import })
				trace.Commits[i].Applied &^= 1 << 1
			},
			"an import that leaves last_seq": func(trace *protocol.Trace) {
				for i := range trace.Commits {
					if trace.Commits[i].Import {
						trace.Commits[i].LastSeq = 0
					}
				}
			},
			"a file with what was accepted after it": func(trace *protocol.Trace) {
				each(trace, protocol.EventExported, func(e *protocol.Event) { e.Set |= 1 << 6 })
			},
		} {
			notOfTheModel(t, trace, name, change)
		}
	})
}

// The link returns while a file is imported.
func TestTraceOfAnImportDuringADrainIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	rec := tracetest.Record(t, s, s.RedisURL)
	written(t, s.Buffered, "carried", 8)
	file := c.exported(rec, 9)
	release := lockSite(t, s)
	start(t, make1(t, s, func(c *Config) { c.BatchSize = 3 }))
	waiting(t, s, "the processor to wait for the lock", "opsdb-processor:%", 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if done, err := c.try(file); err != nil {
			t.Error(err)
		} else {
			t.Logf("%d applied by the import, %d already there", done.Applied, done.Found)
		}
	})
	waiting(t, s, "importer and processor to wait for each other", "opsdb-%:%", 2)
	release()
	wg.Wait()
	written(t, s.Buffered, "last", 2)
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	isOfTheModel(t, rec, protocol.EventExported)
}

// What a file has applied is discarded too late: the ledger wins, and the rows stay.
// What was discarded in time is applied by no file of before.
func TestTraceOfDiscardsAndAFileIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := both(t)
	c := newCourier(t, s)
	rec := tracetest.Record(t, s, s.RedisURL)
	at := serve(t, make1(t, s, slow))
	written(t, s.Buffered, "good", 1)
	kept := txntest.Note(t, s.Buffered, "poison", nil)
	gone := txntest.Note(t, s.Buffered, "poison", nil)
	file := c.exported(rec, 4)
	m := make1(t, s, slow)
	start(t, m)
	letters := dead(t, s, 2)
	at.decideOn("discard", letters[1].ID, `{"reason":"mistyped"}`)
	drained(t, s, 30*time.Second)
	stop(t, m)
	rec.CauseRemoved()
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	c.bring(file, 1, 2, 1, 0, 0)
	at.decideOn("discard", letters[0].ID, `{"reason":"too late"}`)
	start(t, make1(t, s, slow))
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	if got := txntest.Bodies(t, s.PrimaryPool); got[kept] == "" || got[gone] != "" {
		t.Errorf("main has %v, want %s and not %s", got, kept, gone)
	}
	trace := isOfTheModel(t, rec, protocol.EventDiscard, protocol.EventExported)
	discardedAt(t, trace)
	notOfTheModel(t, trace, "a file that applies what was discarded", func(trace *protocol.Trace) {
		i := slices.IndexFunc(trace.Commits, func(c protocol.TraceCommit) bool { return c.Import })
		trace.Commits[i].Applied |= 1 << 3
	})
}
