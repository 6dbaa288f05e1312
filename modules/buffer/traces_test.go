package buffer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/protocol"
	"github.com/opsdb/opsdb/platform/protocol/tracetest"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// written writes notes, the first of them edited at once. A trace has room for 14
// transactions.
func written(t *testing.T, w txn.Writer, name string, n int) (ids []uuid.UUID) {
	t.Helper()
	for i := range n {
		ids = append(ids, txntest.Note(t, w, fmt.Sprintf("%s %d", name, i), nil))
	}
	txntest.EditNote(t, w, txntest.Edit{ID: ids[0], Body: name + " edited", Status: "open"})
	return ids
}

// isOfTheModel ends the recording, demands that it has what the test is about, and
// holds it against the model.
func isOfTheModel(t *testing.T, rec *tracetest.Recorder, about ...protocol.EventKind) *protocol.Trace {
	t.Helper()
	trace := rec.Trace()
	t.Logf("%d transactions, %d events, %d commits", len(trace.Requests), len(trace.Events), len(trace.Commits))
	for _, kind := range append(about, protocol.EventSettle, protocol.EventMark, protocol.EventReadEnds) {
		if first(trace, kind) < 0 {
			t.Errorf("the trace has no %s", kind)
		}
	}
	if err := trace.Check(); err != nil {
		t.Error(err)
	}
	return trace
}

func TestTraceOfADrainIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	rec := tracetest.Record(t, s, s.RedisURL)
	m := make1(t, s)
	written(t, s.Buffered, "before", 3)
	rec.Read(s.Reader)
	start(t, m)
	written(t, s.Buffered, "while", 4)
	rec.Read(s.Reader)
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	trace := isOfTheModel(t, rec)
	t.Run("doctored", func(t *testing.T) { refused(t, trace) })
}

// doctored are traces that no correct site leaves.
var doctored = []struct {
	name   string
	change func(trace *protocol.Trace)
}{
	{"a flush without raising batch", func(trace *protocol.Trace) { without(trace, protocol.EventRaiseBatch) }},
	{"a claim nobody took an epoch for", func(trace *protocol.Trace) { without(trace, protocol.EventBeginEpoch) }},
	{"a flush on a claim that was not recorded", func(trace *protocol.Trace) { without(trace, protocol.EventConnected) }},
	{"settled without a commit", func(trace *protocol.Trace) {
		i := slices.IndexFunc(trace.Commits, func(c protocol.TraceCommit) bool { return c.Applied != 0 })
		trace.Commits = slices.Delete(trace.Commits, i, i+1)
	}},
	{"settled before the flush was sent", func(trace *protocol.Trace) {
		sent, settled := first(trace, protocol.EventRaiseBatch), first(trace, protocol.EventSettle)
		trace.Events[sent], trace.Events[settled] = trace.Events[settled], trace.Events[sent]
	}},
	{"replicated before it was settled", func(trace *protocol.Trace) {
		settled, marked := first(trace, protocol.EventSettle), first(trace, protocol.EventMark)
		trace.Events[settled], trace.Events[marked] = trace.Events[marked], trace.Events[settled]
	}},
	{"settled with another number", func(trace *protocol.Trace) {
		each(trace, protocol.EventSettle, func(e *protocol.Event) {
			for x := range e.Numbers {
				e.Numbers[x]++
			}
		})
	}},
	{"replicated by a number that the replica cannot show", func(trace *protocol.Trace) {
		each(trace, protocol.EventMark, func(e *protocol.Event) { e.Batch += 100 })
	}},
	{"applied twice", func(trace *protocol.Trace) {
		for i := range trace.Commits {
			if i > 0 && trace.Commits[i].Applied != 0 {
				trace.Commits[i].Applied |= 1
			}
		}
		trace.Commits = append(trace.Commits, trace.Commits[len(trace.Commits)-1])
	}},
	{"a read that misses a row", func(trace *protocol.Trace) {
		for i := range trace.Events {
			if read := trace.Events[i].Read; read != nil {
				copied := *read
				copied.Rows[0] = protocol.Row{}
				trace.Events[i].Read = &copied
			}
		}
	}},
	{"a transaction that leaves the list for nowhere", func(trace *protocol.Trace) {
		for i := first(trace, protocol.EventSettle); i < len(trace.Events); i++ {
			trace.Events[i].After.Positions[0] = 0
		}
	}},
}

func first(trace *protocol.Trace, kind protocol.EventKind) int {
	return slices.IndexFunc(trace.Events, func(e protocol.Event) bool { return e.Kind == kind })
}

// each changes every event of a kind: the first alone may be a call of a script that
// Redis did not know yet, which changes nothing.
func each(trace *protocol.Trace, kind protocol.EventKind, change func(e *protocol.Event)) {
	for i := range trace.Events {
		if e := &trace.Events[i]; e.Kind == kind {
			change(e)
		}
	}
}

func without(trace *protocol.Trace, kind protocol.EventKind) {
	trace.Events = slices.DeleteFunc(trace.Events, func(e protocol.Event) bool { return e.Kind == kind })
}

// refused shows that the check of traces can fail.
func refused(t *testing.T, trace *protocol.Trace) {
	for _, d := range doctored {
		copied := *trace
		copied.Events, copied.Commits = slices.Clone(trace.Events), slices.Clone(trace.Commits)
		d.change(&copied)
		if err := copied.Check(); err == nil {
			t.Errorf("%s: taken for a trace of the model", d.name)
		}
	}
}

func TestTraceOfACutLineIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	rec := tracetest.Record(t, s, s.RedisURL)
	line, through := txntest.Line(t, s.ProcessorURL)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	m := make1(t, s, func(c *Config) { c.PrimaryURL, c.BatchSize = through, 3 })
	written(t, s.Buffered, "before", 6)
	line.CutAfter(sandbox.Inbound, 30_000+random.Int64N(4000))
	start(t, m)
	for cut := range 4 {
		sandboxtest.Eventually(t, 60*time.Second, "the line to be cut, or the buffer to be empty", func() bool {
			c := s.Store.Current().Counts()
			return !line.State().Up || c.Buffered == 0 && c.Applied == 0
		})
		txntest.Up(t, line)
		line.CutAfter([]sandbox.Direction{sandbox.Outbound, sandbox.Inbound}[cut%2], 5_000+random.Int64N(30_000))
		txntest.Note(t, s.Buffered, fmt.Sprintf("while %d", cut), nil)
		rec.Read(s.Reader)
	}
	txntest.Up(t, line)
	drained(t, s, 60*time.Second)
	rec.Read(s.Reader)
	isOfTheModel(t, rec)
}

func TestTraceOfADyingProcessorIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"apply", "settle"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := txntest.New(t)
			rec := tracetest.Record(t, s, s.RedisURL)
			written(t, s.Buffered, "before", 3)
			dies := make1(t, s)
			var died atomic.Int32
			begin := dies.processor.begin
			dies.processor.begin = func(ctx context.Context) (session, int64, error) {
				inner, epoch, err := begin(ctx)
				return dying{inner, at, &died}, epoch, err
			}
			if err := dies.processor.drain(t.Context(), make(chan struct{})); !errors.Is(err, errDied) {
				t.Fatalf("the first processor ended with %v", err)
			}
			written(t, s.Buffered, "after", 2)
			if err := s.Store.ReleaseLease(t.Context(), dies.processor.holder); err != nil {
				t.Fatal(err)
			}
			start(t, make1(t, s))
			drained(t, s, 30*time.Second)
			rec.Read(s.Reader)
			isOfTheModel(t, rec)
		})
	}
}

// Two processors, of which the first one's flush is held by the network until the
// second one has taken over.
func TestTraceOfAHeldFlushIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	rec := tracetest.Record(t, s, s.RedisURL)
	line, through := txntest.Line(t, s.ProcessorURL)
	held := make1(t, s, func(c *Config) { c.PrimaryURL = through })
	start(t, held)
	written(t, s.Buffered, "first", 2)
	drained(t, s, 30*time.Second)
	release := line.Hold()
	written(t, s.Buffered, "held", 3)
	store, reader, _ := s.Process(t)
	sandboxtest.Eventually(t, 30*time.Second, "another process to drain", func() bool {
		if err := store.ReleaseLease(sandboxtest.Context(t), held.processor.holder); err != nil {
			t.Fatal(err)
		}
		mine, err := store.Lease(sandboxtest.Context(t), "second", leaseTime)
		return err == nil && mine
	})
	second, err := New(config(t, s, store, reader))
	if err != nil {
		t.Fatal(err)
	}
	second.processor.holder = "second"
	start(t, second)
	sandboxtest.Eventually(t, 30*time.Second, "the second one to apply", func() bool {
		view, err := store.CatchUp(sandboxtest.Context(t))
		return err == nil && view.Counts().Buffered == 0
	})
	release()
	written(t, s.Buffered, "last", 2)
	drained(t, s, 60*time.Second)
	rec.Read(s.Reader)
	rec.Read(reader)
	isOfTheModel(t, rec)
}

func TestTraceOfDeadLettersIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	rec := tracetest.Record(t, s, s.RedisURL)
	start(t, make1(t, s, func(c *Config) { c.RetryAttempts = 2 }))
	root := written(t, s.Buffered, "good", 1)[0]
	poisoned := txntest.Note(t, s.Buffered, "poison", &root)
	child := txntest.Note(t, s.Buffered, "answer to the poison", &poisoned)
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: child, Body: "edited answer", Status: "open"})
	txntest.Note(t, s.Buffered, "independent", nil)
	sandboxtest.Eventually(t, 30*time.Second, "one dead letter that holds two back", func() bool {
		c := s.Store.Current().Counts()
		return c.Failed == 1 && c.Blocked == 2 && c.Buffered == 0
	})
	rec.Read(s.Reader)
	txntest.Note(t, s.Buffered, "born blocked", &poisoned)
	if err := s.Store.Pause(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	rec.CauseRemoved()
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	if _, err := s.Store.Retry(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Store.Resume(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, 30*time.Second, "everything to be replicated", func() bool {
		c := s.Store.Current().Counts()
		return c.Buffered+c.Applied+c.Failed+c.Blocked == 0
	})
	rec.Read(s.Reader)
	isOfTheModel(t, rec, protocol.EventFail, protocol.EventRetry, protocol.EventPause)
}

// What has replicated is forgotten once main has answered for long enough since, and in
// order; a trace in which that is otherwise is refused.
func TestTraceOfForgettingIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	rec := tracetest.Record(t, s, s.RedisURL)
	var ahead atomic.Int64
	m := make1(t, s, func(c *Config) {
		c.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	start(t, m)
	written(t, s.Buffered, "old", 3)
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	ahead.Store(int64(2 * time.Hour))
	sandboxtest.Eventually(t, 30*time.Second, "the older ones to be forgotten", func() bool {
		m.expire(t.Context())
		tx, err := s.Store.Lookup(sandboxtest.Context(t), 3)
		return err == nil && tx == nil
	})
	ahead.Store(0)
	written(t, s.Buffered, "new", 2)
	rec.Read(s.Reader)
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	trace := isOfTheModel(t, rec, protocol.EventExpire)
	for name, change := range map[string]func(trace *protocol.Trace){
		"forgotten before it had replicated": func(trace *protocol.Trace) {
			marked, expired := first(trace, protocol.EventMark), first(trace, protocol.EventExpire)
			trace.Events[marked], trace.Events[expired] = trace.Events[expired], trace.Events[marked]
		},
		"the newer before the older": func(trace *protocol.Trace) {
			for i := first(trace, protocol.EventExpire); i < len(trace.Events); i++ {
				e := &trace.Events[i]
				e.After.Transactions, e.After.Replicated = e.After.Transactions|1, e.After.Replicated|1
				e.After.Positions[0] = trace.Events[first(trace, protocol.EventExpire)-1].After.Positions[0]
			}
		},
	} {
		copied := *trace
		copied.Events = slices.Clone(trace.Events)
		change(&copied)
		if err := copied.Check(); err == nil {
			t.Errorf("%s: taken for a trace of the model", name)
		}
	}
}

// throughALine are servers of the test's own, with Redis behind a line.
func throughALine(t *testing.T, o sandbox.Options) (*txntest.Sites, *tracetest.Recorder, *sandbox.Line) {
	t.Helper()
	pair := sandboxtest.NewPrivate(t, o)
	past := pair.RedisURL
	line, through := txntest.Line(t, past)
	pair.RedisURL = through
	s := txntest.Wire(t, pair)
	return s, tracetest.Record(t, s, past), line
}

func TestTraceOfAPausedReplayAndARestartedRedisIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs servers of its own")
	}
	s, rec, line := throughALine(t, sandbox.Options{})
	start(t, make1(t, s))
	written(t, s.Buffered, "shown", 2)
	drained(t, s, 30*time.Second)
	s.PauseReplay(t)
	written(t, s.Buffered, "applied", 2)
	rec.Read(s.Reader)
	sandboxtest.Eventually(t, 30*time.Second, "main to have applied all", func() bool { return s.Store.Current().Counts().Buffered == 0 })
	rec.Read(s.Reader)
	rec.Restart(line)
	keyed(t, s.Buffered, "after the restart")
	rec.Read(s.Reader)
	s.ResumeReplay(t)
	drained(t, s, 60*time.Second)
	rec.Read(s.Reader)
	isOfTheModel(t, rec, protocol.EventRestarted, protocol.EventPutBack)
}

func TestTraceOfARestoredAndAnEmptiedRedisIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs servers of its own")
	}
	s, rec, line := throughALine(t, sandbox.Options{})
	start(t, make1(t, s))
	written(t, s.Buffered, "kept", 2)
	rec.Copy(line)
	keyed(t, s.Buffered, "forgotten")
	drained(t, s, 30*time.Second)
	rec.Restore(line)
	keyed(t, s.Buffered, "after the restore")
	drained(t, s, 60*time.Second)
	rec.Read(s.Reader)
	rec.Empty(line)
	keyed(t, s.Buffered, "after the loss")
	drained(t, s, 60*time.Second)
	rec.Read(s.Reader)
	isOfTheModel(t, rec, protocol.EventRestored, protocol.EventEmptied, protocol.EventPutBack)
}

// The primary loses its last commits, of which the site's replica has shown some.
func TestTraceOfAFailoverIsOneOfTheModel(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs servers of its own")
	}
	s, rec, _ := throughALine(t, sandbox.Options{Standby: true})
	start(t, make1(t, s))
	written(t, s.Buffered, "safe", 2)
	drained(t, s, 30*time.Second)
	ctx := sandboxtest.Context(t)
	if err := s.Stack.WaitForStandby(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Stack.HoldStandby(); err != nil {
		t.Fatal(err)
	}
	written(t, s.Buffered, "lost", 2)
	drained(t, s, 30*time.Second)
	rec.Read(s.Reader)
	// The processor must not be faster than the replica, or that never shows less.
	toTheNew, down := s.Stack.Link.Second.Database, false
	if err := toTheNew.Apply(sandbox.Change{Up: &down}); err != nil {
		t.Fatal(err)
	}
	rec.FailOver()
	rec.Read(s.Reader)
	if err := s.Stack.RewindReplica(ctx); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, 60*time.Second, "the replica to answer again", func() bool {
		return s.ReplicaPool.Ping(ctx) == nil
	})
	rec.Read(s.Reader) // which waits until its tracker has put the rows back
	txntest.Up(t, toTheNew)
	written(t, s.Buffered, "later", 2)
	drained(t, s, 60*time.Second)
	rec.Read(s.Reader)
	trace := isOfTheModel(t, rec, protocol.EventUnsweep)
	if !slices.ContainsFunc(trace.Commits, func(c protocol.TraceCommit) bool { return c.Failover }) {
		t.Error("the failover has lost nothing")
	}
}
