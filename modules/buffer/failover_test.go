package buffer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// observing is a site at work: clients write and read all the time, and keep what
// they were told.
type observing struct {
	*txntest.Sites
	end context.CancelFunc
	all sync.WaitGroup

	mu     sync.Mutex
	told   map[uuid.UUID]int // the version of each note that was acknowledged
	recent []uuid.UUID

	// away is set while the test has the replica stopped, and until it has caught up:
	// what needs it is 503 then. At any other time it is a mistake.
	away                  atomic.Bool
	ahead                 *atomic.Int64
	writes, reads, turned atomic.Int64
	readers               []*pending.Reader // of two processes
}

func observe(t *testing.T, s *txntest.Sites) *observing {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	o := &observing{Sites: s, end: cancel, told: map[uuid.UUID]int{}}
	t.Cleanup(o.stop)
	// Reads also at another process, which did not write and only follows.
	_, other, _ := s.Process(t)
	for range 2 {
		o.all.Go(func() { o.write(ctx, t) })
	}
	o.readers = []*pending.Reader{s.Reader, other}
	for _, r := range o.readers {
		o.all.Go(func() { o.read(ctx, t, r) })
	}
	return o
}

func (o *observing) stop() {
	o.end()
	o.all.Wait()
}

func version(n int) string { return "version " + strconv.Itoa(n) }

// write makes notes and edits them; each must be accepted, whatever is going on.
func (o *observing) write(ctx context.Context, t *testing.T) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var id uuid.UUID
	for n := 0; ctx.Err() == nil; n++ {
		edit := n % 3
		_, err := o.Buffered.Write(ctx, txntest.Request("write-note"), func(_ context.Context, tx *txn.Builder) error {
			if edit == 0 {
				note := txntest.NewWrite(tx, version(0), nil)
				id = note.ID
				tx.Add(note)
				return nil
			}
			tx.Add(txntest.Edit{ID: id, Body: version(edit), Status: "open"})
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				t.Errorf("a write was refused: %v", err)
			}
			return
		}
		o.mu.Lock()
		o.told[id] = edit
		if edit == 0 {
			o.recent = append(o.recent, id)
		}
		o.mu.Unlock()
		o.writes.Add(1)
		<-tick.C
	}
}

// sample is what was acknowledged by now, of the newest notes.
func (o *observing) sample() map[uuid.UUID]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := map[uuid.UUID]int{}
	for _, id := range o.recent[max(0, len(o.recent)-300):] {
		s[id] = o.told[id]
	}
	return s
}

// read looks again and again whether everything is there that was acknowledged
// before, in the version of then or a later one.
func (o *observing) read(ctx context.Context, t *testing.T, r *pending.Reader) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		want, away := o.sample(), o.away.Load()
		var wrong []string
		err := r.Read(ctx, func(ctx context.Context, s *pending.Snapshot) (err error) {
			wrong, err = missing(ctx, s, want)
			return err
		})
		switch {
		case err == nil:
			for _, w := range wrong {
				t.Error(w)
			}
			if len(wrong) > 0 {
				return
			}
			o.reads.Add(1)
		case ctx.Err() != nil:
		case (away || o.away.Load()) && (errors.Is(err, problem.ReplicaUnreachable) || errors.Is(err, problem.ReplicaBehind)):
			o.turned.Add(1)
		default:
			t.Errorf("a read failed: %v", err)
			return
		}
		<-tick.C
	}
}

// missing merges the pending rows with the replica's, and says what is not there.
func missing(ctx context.Context, s *pending.Snapshot, want map[uuid.UUID]int) ([]string, error) {
	ids := make([]uuid.UUID, 0, len(want))
	for id := range want {
		ids = append(ids, id)
	}
	rows, err := s.DB.Query(ctx, "SELECT id, body FROM note WHERE id = ANY($1)", ids)
	if err != nil {
		return nil, err
	}
	got := map[uuid.UUID]string{}
	var id uuid.UUID
	var body string
	if _, err := pgx.ForEachRow(rows, []any{&id, &body}, func() error { got[id] = body; return nil }); err != nil {
		return nil, err
	}
	var wrong []string
	for id, least := range want {
		body, stored := got[id]
		row, waiting := s.View.Row(pending.Key{Table: "note", ID: id})
		if waiting {
			var columns struct{ Body string }
			if err := json.Unmarshal(row.Columns, &columns); err != nil {
				return nil, err
			}
			body, stored = columns.Body, stored || row.Create
		}
		var have int
		if _, err := fmt.Sscanf(body, "version %d", &have); err != nil || !stored || have < least {
			wrong = append(wrong, fmt.Sprintf("note %s: acknowledged in version %d, shown as %q (pending: %v, snapshot of commit %d, swept %d)", id, least, body, waiting, s.Batch, s.View.Swept))
		}
	}
	return wrong, nil
}

// mark writes a note and waits until it has come as far as asked.
func (o *observing) mark(t *testing.T, until pending.State) uuid.UUID {
	t.Helper()
	id := txntest.Note(t, o.Buffered, version(0), nil)
	o.mu.Lock()
	o.told[id] = 0
	o.recent = append(o.recent, id)
	o.mu.Unlock()
	sandboxtest.Eventually(t, time.Minute, "a note to be "+string(until), func() bool {
		row, waiting := o.Store.Current().Row(pending.Key{Table: "note", ID: id})
		return !waiting || row.Newest.State == until
	})
	return id
}

func has(t *testing.T, p *sandbox.Postgres, database string, id uuid.UUID) bool {
	t.Helper()
	n, err := p.Text(sandboxtest.Context(t), database, "SELECT count(*)::text FROM note WHERE id = $1", id)
	if err != nil {
		t.Fatal(err)
	}
	return n == "1"
}

// failovers is how many failovers the test makes: a few with every `go test`, more
// with `make failover`.
func failovers(t *testing.T) int {
	text := os.Getenv("OPSDB_FAILOVERS")
	if text == "" {
		return 4 // each kind once
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("OPSDB_FAILOVERS=%s is no number of failovers", text)
	}
	return n
}

// tally counts what the failovers of a run were like.
type tally map[string]int

// TestFailoversLoseNothingAcknowledged: the main site fails over again and again to
// a standby that misses its last commits, while the site's clients write and read.
// The site's replica is behind the fork, or beyond it and shows what was lost; it
// crashes, is rewound or rebuilt, before or after the lost commits were sent again.
func TestFailoversLoseNothingAcknowledged(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs servers of its own")
	}
	rounds := failovers(t)
	s := alone(t, sandbox.Options{Standby: true})
	var ahead atomic.Int64 // of the site's clock
	m, atMain := make1(t, s, func(c *Config) {
		c.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}), mainSite(t, s)
	start(t, m)
	start(t, atMain)
	o := observe(t, s)
	o.ahead = &ahead
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	seen := tally{}
	for round := range rounds {
		// The first rounds go through the kinds, whatever the seed.
		kind := round % 4
		if round >= 4 {
			kind = random.IntN(4)
		}
		o.failOver(t, m, atMain, kind, random, seen)
		if t.Failed() {
			t.Fatalf("in round %d of kind %d", round+1, kind)
		}
	}
	o.stop()
	drained(t, s, 2*time.Minute)
	want := map[uuid.UUID]string{}
	for id, n := range o.told {
		want[id] = version(n)
	}
	exactNotes(t, s.PrimaryPool, "primary", want)
	exactNotes(t, s.ReplicaPool, "replica", want)
	var doubled int
	if err := s.PrimaryPool.QueryRow(sandboxtest.Context(t), "SELECT count(*) - count(DISTINCT seq) FROM applied_transaction WHERE site = $1", s.Site).Scan(&doubled); err != nil || doubled != 0 {
		t.Errorf("%d transactions are in the ledger twice, %v", doubled, err)
	}
	if n := len(s.Store.Current().Dead()); n > 0 {
		t.Errorf("%d dead letters", n)
	}
	t.Logf("%d failovers, %v; %d writes acknowledged, none refused; %d reads of up to 300 notes each, %d turned away while the replica was stopped",
		rounds, seen, o.writes.Load(), o.reads.Load(), o.turned.Load())
}

// exactNotes is exact, for notes of which main may have others: those that its own
// clients wrote.
func exactNotes(t *testing.T, pool *pgxpool.Pool, name string, want map[uuid.UUID]string) {
	t.Helper()
	got := txntest.Bodies(t, pool)
	for id, body := range want {
		if got[id] != body {
			t.Errorf("the %s has %q for %s, want %q", name, got[id], id, body)
		}
	}
}

// The kinds of failover, by where the site's replica is.
const (
	behindTheFork   = iota // it has less than the new primary and can follow it
	behindAndDies          // and is killed while it changes to the new timeline
	beyondMended           // it shows what was lost, and is mended before the site sends that again
	beyondMendsLate        // and is mended after that
)

func (o *observing) failOver(t *testing.T, m, atMain *Module, kind int, random *rand.Rand, seen tally) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	down, up := false, true
	stack := o.Stack
	o.mark(t, pending.StateApplied)
	if kind <= behindAndDies {
		must(t, stack.Link.Apply(sandbox.Change{Up: &down}, sandbox.ReplicationLine))
		id := o.mark(t, pending.StateApplied)
		must(t, stack.WaitForStandby(ctx))
		if !has(t, stack.Standby, o.Database, id) || has(t, stack.Replica, o.Database, id) {
			t.Fatal("the replica is not behind the standby")
		}
	}
	must(t, stack.HoldStandby())
	until := pending.StateApplied
	if kind >= beyondMended {
		until = pending.StateReplicated
	}
	var lost uuid.UUID
	for range 3 {
		lost = o.mark(t, until)
	}
	direct := txntest.Note(t, o.Direct, "direct", nil)
	if has(t, stack.Standby, o.Database, lost) {
		t.Fatal("the standby misses nothing")
	}
	if kind >= beyondMended != has(t, stack.Replica, o.Database, lost) {
		t.Fatal("the replica is not where this kind of failover wants it")
	}
	old := oldPosition(t, o.Sites)

	if kind == beyondMended {
		// The site cannot send again what it does not know to be lost.
		must(t, stack.Link.Apply(sandbox.Change{Up: &down}, sandbox.DatabaseLine))
	}
	must(t, stack.FailOver(ctx))
	if has(t, stack.Primary, o.Database, direct) {
		t.Fatal("the new primary has the direct write that the standby missed")
	}
	seen["direct commits lost, as not promised"]++
	if kind == beyondMended {
		// The line stays down for longer than HISTORY_RETENTION, and nothing is forgotten.
		o.ahead.Store(int64(2 * time.Hour))
		m.expire(ctx)
		o.ahead.Store(0)
		// It is further on than the new primary, but not with this primary's commits.
		limited, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		if err := m.WaitForReplay(limited, oldPosition(t, o.Sites)); err == nil {
			t.Error("a commit at the new primary counts as replayed by a replica on the old timeline")
		}
		cancel()
	}
	if kind == beyondMendsLate {
		sandboxtest.Eventually(t, time.Minute, "what was lost to be at the new primary", func() bool { return has(t, stack.Primary, o.Database, lost) })
	}
	o.mend(t, ctx, kind, random, seen)
	must(t, stack.Link.Apply(sandbox.Change{Up: &up}))
	must(t, stack.Rejoin(ctx))
	must(t, stack.WaitForReplay(ctx))

	o.mark(t, pending.StateReplicated)
	// What broke is remembered for a second (pending.Limits.Remember).
	for _, r := range o.readers {
		sandboxtest.Eventually(t, 3*time.Second, "reads to be answered again", func() bool {
			return r.Read(ctx, func(context.Context, *pending.Snapshot) error { return nil }) == nil
		})
	}
	o.away.Store(false)
	if !has(t, stack.Primary, o.Database, lost) || !has(t, stack.Replica, o.Database, lost) {
		t.Error("what the failover had lost is not back")
	}
	for name, m := range map[string]*Module{"the site": m, "main": atMain} {
		// A connection of before may break first; clients come again after a 503.
		asked, answer := counter(t, m, 30*time.Second), (*httptest.ResponseRecorder)(nil)
		sandboxtest.Eventually(t, 10*time.Second, "an answer at "+name, func() bool {
			answer = count(asked, old.String())
			return answer.Code != 503
		})
		if answer.Code != 409 {
			t.Errorf("at %s, X-Min-LSN %s of before the failover: %d %s, want 409 timeline-changed", name, old, answer.Code, answer.Body)
		}
	}
	// Main's own clients go on at the new primary, by the same URL.
	sandboxtest.Eventually(t, time.Minute, "a direct write at main", func() bool {
		_, err := o.Direct.Write(ctx, txntest.Request("write-note"), func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, "direct", nil))
			return nil
		})
		return err == nil
	})
	must(t, stack.WaitForStandby(ctx))
}

// mend brings the site's replica to the new primary.
func (o *observing) mend(t *testing.T, ctx context.Context, kind int, random *rand.Rand, seen tally) {
	t.Helper()
	stack, up := o.Stack, true
	if kind <= behindAndDies {
		if can, err := stack.ReplicaCanFollow(ctx); err != nil || !can {
			t.Fatalf("the replica is behind the fork and cannot follow: %v", err)
		}
		must(t, stack.Link.Apply(sandbox.Change{Up: &up}, sandbox.ReplicationLine))
		if kind == behindTheFork {
			seen["replica followed by itself"]++
			return
		}
		seen["replica killed while it followed"]++
		o.away.Store(true)
		must(t, stack.Replica.Crash(ctx))
		return
	}
	if can, err := stack.ReplicaCanFollow(ctx); err != nil || can {
		t.Fatalf("the replica is beyond the fork and could follow: %v", err)
	}
	o.away.Store(true)
	if random.IntN(2) == 0 {
		seen["replica beyond the fork killed first"]++
		must(t, stack.Replica.Crash(ctx))
	}
	late := map[bool]string{true: ", after the lost was sent again", false: ", before the lost was sent again"}[kind == beyondMendsLate]
	if random.IntN(2) == 0 {
		seen["replica rewound"+late]++
		must(t, stack.RewindReplica(ctx))
	} else {
		seen["replica rebuilt"+late]++
		must(t, stack.RebuildReplica(ctx))
	}
	// The rows that it no longer shows are pending again.
	sandboxtest.Eventually(t, time.Minute, "reads to go on", func() bool {
		return o.Reader.Read(ctx, func(context.Context, *pending.Snapshot) error { return nil }) == nil
	})
}

// oldPosition is where main's log stands.
func oldPosition(t *testing.T, s *txntest.Sites) lsn.Position {
	t.Helper()
	timeline, err := s.Stack.Timeline(sandboxtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Stack.Primary.Text(sandboxtest.Context(t), s.Database, "SELECT pg_current_wal_flush_lsn()::text")
	if err != nil {
		t.Fatal(err)
	}
	position, err := lsn.ParsePosition(fmt.Sprintf("%d:%s", timeline, text))
	if err != nil {
		t.Fatal(err)
	}
	return position
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
