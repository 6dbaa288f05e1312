package txn_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

func connect(t *testing.T, s *txntest.Sites, config txn.LinkConfig, epoch int64) (*txn.Link, txn.Claim) {
	t.Helper()
	l, claim, err := txn.Connect(sandboxtest.Context(t), config, s.Catalog, epoch, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, claim
}

// overALine is a link's configuration with a line in between that can fail.
func overALine(t *testing.T, s *txntest.Sites) (*sandbox.Line, txn.LinkConfig) {
	t.Helper()
	config := s.LinkConfig()
	line, through := txntest.Line(t, config.URL)
	config.URL = through
	return line, config
}

// transactions are those in the buffer, oldest first.
func transactions(t *testing.T, s *txntest.Sites) []*pending.Transaction {
	t.Helper()
	var all []*pending.Transaction
	for tx := range s.Store.Current().Buffered() {
		whole, err := tx.Transaction()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, whole)
	}
	return all
}

func prepare(t *testing.T, l *txn.Link, all ...*pending.Transaction) []*txn.Item {
	t.Helper()
	var items []*txn.Item
	for _, tx := range all {
		item, err := l.Prepare(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, item)
	}
	return items
}

// flushed is what is known after a flush.
type flushed struct{ Groups []txn.GroupAnswer }

// flush sends groups of items and gathers what was heard of them.
func flush(ctx context.Context, l *txn.Link, first int64, groups [][]*txn.Item) (flushed, error) {
	var answer flushed
	bytes := 0
	for _, g := range groups {
		for _, item := range g {
			bytes += item.Bytes()
		}
	}
	err := l.Flush(ctx, first, slices.Values(groups), bytes, func(heard []txn.GroupAnswer) error {
		answer.Groups = append(answer.Groups, heard...)
		return nil
	})
	return answer, err
}

// backends are the pids of a site's processors at the primary, in this database.
func backends(t *testing.T, super *pgxpool.Pool, site string) []int32 {
	t.Helper()
	rows, err := super.Query(sandboxtest.Context(t), "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()", txn.ProcessorName(site))
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func TestFlushTellsWhatBecameOfEachTransaction(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	closed := txntest.Note(t, s.Direct, "closed", nil)
	txntest.EditNote(t, s.Direct, txntest.Edit{ID: closed, Body: "closed", Status: "closed"})
	s.WaitForReplay(t)

	txntest.Note(t, s.Buffered, "first", nil)                                               // 0 applied
	poison := txntest.Note(t, s.Buffered, "poison", nil)                                    // 1 refused
	child := txntest.Note(t, s.Buffered, "child", &poison)                                  // 2 postponed
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: closed, Body: "late", Status: "open"}) // 3 refused: no row changed
	txntest.Note(t, s.Buffered, "there already", nil)                                       // 4 found
	txntest.Note(t, s.Buffered, "given up", nil)                                            // 5 discarded
	request := txntest.Request("write-note")
	request.Key = "used at main"
	if _, err := s.Buffered.Write(ctx, request, func(_ context.Context, tx *txn.Builder) error { // 6 refused: key
		tx.Add(txntest.NewWrite(tx, "key", nil))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	txntest.Note(t, s.Buffered, "last", nil) // 7 applied

	all := transactions(t, s)
	l, claim := connect(t, s, s.LinkConfig(), 1)
	if claim.Batch != 0 || claim.LastSeq != 0 {
		t.Fatalf("claim %+v", claim)
	}
	items := prepare(t, l, all...)
	items[2].Earlier = []uuid.UUID{all[1].ID}
	if answer, err := flush(ctx, l, 100, [][]*txn.Item{items[4:5]}); err != nil || answer.Groups[0].Items[0].Outcome != txn.Applied {
		t.Fatalf("first flush: %+v, %v", answer, err)
	}
	s.Exec(t, "INSERT INTO applied_transaction (id, site, outcome, operation, actor, accepted_at, applied_at, changes) VALUES ('"+all[5].ID.String()+"', 'x', 'discarded', 'x', 'x', now(), now(), '[]')")
	s.Exec(t, "INSERT INTO applied_transaction (id, site, outcome, operation, actor, idempotency_key, accepted_at, applied_at, changes) VALUES (gen_random_uuid(), 'x', 'applied', 'x', 'user:ada', 'used at main', now(), now(), '[]')")

	answer, err := flush(ctx, l, 101, [][]*txn.Item{items[:4], items[4:]})
	if err != nil {
		t.Fatal(err)
	}
	var got []txn.Answer
	for n, g := range answer.Groups {
		if !g.Committed || g.Position != int64(101+n) {
			t.Errorf("group %d: %+v", n, g)
		}
		got = append(got, g.Items...)
	}
	want := []txn.Outcome{txn.Applied, txn.Refused, txn.Postponed, txn.Refused, txn.Applied, txn.Discarded, txn.Refused, txn.Applied}
	for i := range want {
		if got[i].Outcome != want[i] {
			t.Errorf("transaction %d: outcome %d, want %d (%v)", i, got[i].Outcome, want[i], got[i].Err)
		}
	}
	for i, kind := range map[int]*problem.Kind{1: txntest.Poisoned, 3: txntest.NoteClosed, 6: problem.IdempotencyKeyReused} {
		if got[i].Problem == nil || !errors.Is(got[i].Problem, kind) {
			t.Errorf("transaction %d: problem %v, want %s", i, got[i].Problem, kind.Code)
		}
	}
	if at := answer.Groups[1].LSN; at == "" || l.Batch() != 102 {
		t.Errorf("LSN %q, batch %d", at, l.Batch())
	}
	bodies := map[string]int{}
	for _, body := range txntest.Bodies(t, s.PrimaryPool) {
		bodies[body]++
	}
	for body, n := range map[string]int{"first": 1, "poison": 0, "child": 0, "there already": 1, "given up": 0, "key": 0, "last": 1, "closed": 1} {
		if bodies[body] != n {
			t.Errorf("%d notes %q at the primary, want %d", bodies[body], body, n)
		}
	}
	if _, ok := txntest.Bodies(t, s.PrimaryPool)[child]; ok {
		t.Error("the child of the poison was applied")
	}
}

// A stale processor's flush is refused however late it arrives.
func TestFlushOfAStaleProcessorIsRefused(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	txntest.Note(t, s.Buffered, "once", nil)
	all := transactions(t, s)
	for name, supersede := range map[string]string{
		"another epoch":  "UPDATE site_status SET epoch = epoch + 1 WHERE site = '" + s.Site + "'",
		"another number": "UPDATE site_status SET batch = batch + 1 WHERE site = '" + s.Site + "'",
	} {
		var epoch int64
		if err := s.PrimaryPool.QueryRow(ctx, "SELECT epoch + 1 FROM site_status WHERE site = $1", s.Site).Scan(&epoch); err != nil {
			t.Fatal(err)
		}
		l, claim := connect(t, s, s.LinkConfig(), epoch)
		s.Exec(t, supersede)
		answer, err := flush(ctx, l, claim.Batch+100, [][]*txn.Item{prepare(t, l, all...)})
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "OP002" {
			t.Errorf("%s: the flush ended with %v, want OP002", name, err)
		}
		for _, g := range answer.Groups {
			if g.Committed {
				t.Errorf("%s: a group counts as committed", name)
			}
		}
		if n := len(txntest.Bodies(t, s.PrimaryPool)); n != 0 {
			t.Errorf("%s: %d notes were applied", name, n)
		}
		if err := l.Heartbeat(ctx, txn.Status{}); err == nil {
			t.Errorf("%s: the link can be used on", name)
		}
		l.Close()
	}
	// A claim that is late, too, must not fence off its successor.
	_, _, err := txn.Connect(ctx, s.LinkConfig(), s.Catalog, 1, nil)
	var refused *txn.RefusedError
	if !errors.As(err, &refused) || refused.Epoch < 2 {
		t.Errorf("a late claim: %v", err)
	}
}

// The bytes of a flush that a line has held back arrive after the successor has
// connected and flushed.
func TestHeldFlushThatArrivesAfterItsSuccessorsIsNotApplied(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	txntest.Note(t, s.Buffered, "once", nil)
	all := transactions(t, s)
	line, config := overALine(t, s)
	config.Patience = 500 * time.Millisecond
	stale, claim := connect(t, s, config, 1)
	super := s.Primary(t)
	release := line.Hold()
	if _, err := flush(ctx, stale, claim.Batch+1, [][]*txn.Item{prepare(t, stale, all...)}); err == nil {
		t.Fatal("the flush went through although the line holds it")
	}
	successor, _ := connect(t, s, s.LinkConfig(), 2)
	release()
	answer, err := flush(ctx, successor, claim.Batch+2, [][]*txn.Item{prepare(t, successor, all...)})
	if err != nil || answer.Groups[0].Items[0].Outcome != txn.Applied {
		t.Fatalf("the successor's flush: %+v, %v", answer, err)
	}
	sandboxtest.Eventually(t, 10*time.Second, "the stale backend to be gone", func() bool {
		return len(backends(t, super, s.Site)) == 1
	})
	var batch int64
	if err := s.PrimaryPool.QueryRow(ctx, "SELECT batch FROM site_status WHERE site = $1", s.Site).Scan(&batch); err != nil || batch != claim.Batch+2 {
		t.Errorf("the site's number is %d, %v; want the successor's", batch, err)
	}
	if n := len(txntest.Bodies(t, s.PrimaryPool)); n != 1 {
		t.Errorf("%d notes at the primary", n)
	}
}

// The line is cut somewhere in the exchange, in either direction, and what is not
// known to be applied is sent again in other groups.
func TestFlushCutAnywhereAppliesOnce(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	line, config := overALine(t, s)
	config.Patience = 5 * time.Second
	super := s.Primary(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	lost := 0
	number, epoch := int64(0), int64(0)
	done := map[uuid.UUID]bool{}
	var most [2]int64 // bytes of a whole exchange, each way
	for round := range 20 {
		for i := range 12 {
			body := "note"
			if i == 5 {
				body = "poison"
			}
			txntest.Note(t, s.Buffered, body, nil)
		}
		cut := round > 0 // the first exchange is only measured
		for {
			var open []*pending.Transaction
			for _, tx := range transactions(t, s) {
				if !done[tx.ID] {
					open = append(open, tx)
				}
			}
			if len(open) == 0 {
				break
			}
			txntest.Up(t, line)
			epoch++
			l, claim, err := txn.Connect(ctx, config, s.Catalog, epoch, nil)
			if err != nil {
				t.Fatalf("round %d: connecting over the mended line: %v", round, err)
			}
			number = max(number, claim.Batch)
			items := prepare(t, l, open...)
			at := 1 + random.IntN(len(items))
			groups := [][]*txn.Item{items[:at]}
			if at < len(items) {
				groups = append(groups, items[at:])
			}
			if cut {
				direction := sandbox.Outbound
				if random.IntN(2) == 0 {
					direction = sandbox.Inbound
				}
				line.CutAfter(direction, 1+random.Int64N(most[direction]))
			}
			passed := [2]int64{line.Passed(sandbox.Outbound), line.Passed(sandbox.Inbound)}
			before := len(txntest.Bodies(t, s.PrimaryPool))
			answer, err := flush(ctx, l, number+1, groups)
			number += int64(len(groups))
			if round == 0 {
				most = [2]int64{line.Passed(sandbox.Outbound) - passed[0], line.Passed(sandbox.Inbound) - passed[1]}
			}
			known := 0
			for n, g := range answer.Groups {
				if !g.Committed {
					continue
				}
				for i, a := range g.Items {
					switch a.Outcome {
					case txn.Applied:
						done[groups[n][i].ID] = true
						known++
					case txn.Refused:
						done[groups[n][i].ID] = true
					default:
						t.Fatalf("round %d: outcome %d: %v", round, a.Outcome, a.Err)
					}
				}
			}
			l.Close()
			sandboxtest.Eventually(t, 10*time.Second, "the backend to be gone", func() bool {
				return len(backends(t, super, s.Site)) == 0
			})
			if err != nil && len(txntest.Bodies(t, s.PrimaryPool))-before > known {
				lost++ // applied, and nobody here knows
			}
			cut = false
		}
	}
	if lost == 0 {
		t.Error("no acknowledgement was ever lost: the test has shown nothing")
	}
	t.Logf("%d flushes were applied without an answer; a whole exchange has %v bytes", lost, most)
	var notes, ledger, distinct int
	if err := s.PrimaryPool.QueryRow(ctx, "SELECT (SELECT count(*) FROM note), count(*), count(DISTINCT id) FROM applied_transaction").Scan(&notes, &ledger, &distinct); err != nil {
		t.Fatal(err)
	}
	if want := 20 * 11; notes != want || ledger != want || distinct != want {
		t.Errorf("%d notes, %d ledger rows, %d of them distinct, want %d", notes, ledger, distinct, want)
	}
}

// What the ledger has already is looked up at the end of a flush. When the line is lost
// before that, nothing of what comes after it may be told either: settled on its own it
// would leave the pending rows first, and the older one would hide its row.
func TestNothingAfterWhatWasFoundIsToldOnceTheLineIsLost(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	line, config := overALine(t, s)
	config.Patience = 5 * time.Second
	const cuts = 8
	var whole int64 // bytes of a whole exchange, inbound
	number, lost := int64(0), 0
	for round := range cuts + 1 {
		for range 3 {
			txntest.Note(t, s.Buffered, "note", nil)
		}
		all := transactions(t, s)
		txntest.Up(t, line)
		l, claim := connect(t, s, config, int64(round+1))
		number = max(number, claim.Batch)
		items := prepare(t, l, all[len(all)-3:]...)
		if answer, err := flush(ctx, l, number+1, [][]*txn.Item{items[:1]}); err != nil || answer.Groups[0].Items[0].Outcome != txn.Applied {
			t.Fatalf("round %d: applying the first: %+v, %v", round, answer, err)
		}
		passed, before := line.Passed(sandbox.Inbound), len(txntest.Bodies(t, s.PrimaryPool))
		if round > 0 {
			line.CutAfter(sandbox.Inbound, whole*int64(round)/(cuts+1))
		}
		answer, err := flush(ctx, l, number+2, [][]*txn.Item{items[:1], items[1:2], items[2:]})
		number += 4
		l.Close()
		if round == 0 { // the first exchange is only measured
			if err != nil {
				t.Fatalf("over a whole line: %v", err)
			}
			whole = line.Passed(sandbox.Inbound) - passed
			continue
		}
		if err == nil {
			t.Fatalf("round %d: a flush over a line that was cut has no error", round)
		}
		if told := len(answer.Groups); told > 0 {
			t.Errorf("round %d: %d groups were told although the first was not known: %+v", round, told, answer.Groups)
		}
		if len(txntest.Bodies(t, s.PrimaryPool)) > before {
			lost++
		}
	}
	if lost == 0 {
		t.Errorf("of %d cuts none left anything applied that nobody here knows: the test has shown nothing", cuts)
	}
}

func TestLargeTransactionTravelsInSlices(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	const rows = 5000
	many := txntest.Many{CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	for range rows {
		many.IDs = append(many.IDs, uuid.New())
		many.Bodies = append(many.Bodies, strings.Repeat("b", 100)+"\",[]{}\\")
	}
	if _, err := s.Buffered.Write(ctx, txntest.Request("write-many"), func(_ context.Context, tx *txn.Builder) error {
		tx.Add(many)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	line, config := overALine(t, s)
	l, claim := connect(t, s, config, 1)
	items := prepare(t, l, transactions(t, s)...)
	if !items[0].Large() || items[0].Bytes() < rows*100 {
		t.Fatalf("the item has %d bytes", items[0].Bytes())
	}
	for _, size := range items[0].Messages() {
		if size > 72<<10 {
			t.Errorf("a message of %d bytes", size)
		}
	}
	before := line.Passed(sandbox.Inbound)
	answer, err := flush(ctx, l, claim.Batch+1, [][]*txn.Item{items})
	if err != nil || answer.Groups[0].Items[0].Outcome != txn.Applied {
		t.Fatalf("flush: %+v, %v", answer, err)
	}
	if back := line.Passed(sandbox.Inbound) - before; back > 100_000 {
		t.Errorf("%d bytes came back for %d sent", back, items[0].Bytes())
	}
	var notes, entries int
	var body string
	if err := s.PrimaryPool.QueryRow(ctx, `SELECT (SELECT count(*) FROM note), jsonb_array_length(changes), changes->4999->'values'->>'body' FROM applied_transaction`).Scan(&notes, &entries, &body); err != nil {
		t.Fatal(err)
	}
	if notes != rows || entries != rows || body != many.Bodies[4999] {
		t.Errorf("%d notes, %d entries in the ledger, body %q", notes, entries, body)
	}
}

// A large transaction whose answer was lost is sent again and found, over a line on
// which that takes long: meanwhile main must not take the processor for one whose
// client is gone, or it would end it every time, and nothing of it comes back.
func TestLargeTransactionIsFoundAgainOverASlowLine(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	many := txntest.Many{CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	for range 4000 {
		many.IDs = append(many.IDs, uuid.New())
		many.Bodies = append(many.Bodies, strings.Repeat("b", 100))
	}
	if _, err := s.Buffered.Write(ctx, txntest.Request("write-many"), func(_ context.Context, tx *txn.Builder) error {
		tx.Add(many)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	first, claim := connect(t, s, s.LinkConfig(), 1)
	answer, err := flush(ctx, first, claim.Batch+1, [][]*txn.Item{prepare(t, first, transactions(t, s)...)})
	if err != nil || answer.Groups[0].Items[0].Outcome != txn.Applied {
		t.Fatalf("the first flush: %+v, %v", answer, err)
	}

	line, config := overALine(t, s)
	second, claim := connect(t, s, config, 2)
	items := prepare(t, second, transactions(t, s)...)
	kbps := float64(items[0].Bytes()) * 8 / 1000 / 5 // five seconds for all of it
	if err := line.Apply(sandbox.Change{BandwidthKbps: &kbps}); err != nil {
		t.Fatal(err)
	}
	before := line.Passed(sandbox.Inbound)
	stalled := longestStall(t, s)
	began := time.Now()
	answer, err = flush(ctx, second, claim.Batch+1, [][]*txn.Item{items})
	took := time.Since(began)
	if most := stalled(); most > 2 || took < 3*time.Second {
		t.Errorf("main saw it stalled for %.1f s of the %.1f s that it took", most, took.Seconds())
	}
	if err != nil || answer.Groups[0].Items[0].Outcome != txn.Applied {
		t.Fatalf("the second flush: %+v, %v", answer, err)
	}
	if back := line.Passed(sandbox.Inbound) - before; back > 100_000 {
		t.Errorf("%d bytes came back for %d sent", back, items[0].Bytes())
	}
}

// TestManyDeadLettersAreAskedForInParts: main must not take a processor that connects with
// thousands of dead letters over a slow line for one that is stalled.
func TestManyDeadLettersAreAskedForInParts(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	applied := txntest.EditNote(t, s.Buffered, txntest.Edit{ID: txntest.Note(t, s.Buffered, "x", nil), Body: "y", Status: "open"})
	first, claim := connect(t, s, s.LinkConfig(), 1)
	if answer, err := flush(ctx, first, claim.Batch+1, [][]*txn.Item{prepare(t, first, transactions(t, s)...)}); err != nil || answer.Groups[0].Items[1].Outcome != txn.Applied {
		t.Fatalf("%+v, %v", answer, err)
	}
	dead := make([]uuid.UUID, 10_000, 10_001)
	for i := range dead {
		dead[i] = uuid.New()
	}
	dead = append(dead, applied.TransactionID)
	line, config := overALine(t, s)
	kbps := 1000.0 // 3 s for all of them
	if err := line.Apply(sandbox.Change{BandwidthKbps: &kbps}); err != nil {
		t.Fatal(err)
	}
	stalled := longestStall(t, s)
	began := time.Now()
	second, claim, err := txn.Connect(ctx, config, s.Catalog, 2, dead)
	took := time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if most := stalled(); most > 1.5 || took < 2*time.Second {
		t.Errorf("main saw it stalled for %.1f s of the %.1f s that it took", most, took.Seconds())
	}
	if !slices.Equal(claim.Found, []uuid.UUID{applied.TransactionID}) {
		t.Errorf("found %v, want %s", claim.Found, applied.TransactionID)
	}
}

// longestStall watches main's processors until the function returned is called, which gives
// for how many seconds one of them waited for its client in the middle of something.
func longestStall(t *testing.T, s *txntest.Sites) func() float64 {
	t.Helper()
	ctx := sandboxtest.Context(t)
	stop, longest := make(chan struct{}), make(chan float64)
	go func() {
		var most float64
		for {
			var stalled float64
			if err := s.PrimaryPool.QueryRow(ctx, `SELECT coalesce(max(extract(epoch FROM clock_timestamp() - state_change)), 0)::float8 FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE $1 AND state = 'active' AND wait_event = 'ClientRead'`, txn.ProcessorPrefix+"%").Scan(&stalled); err != nil {
				t.Error(err)
			}
			most = max(most, stalled)
			select {
			case <-stop:
				longest <- most
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() float64 {
		close(stop)
		return <-longest
	}
}

func TestUnknownKindIsNeitherSentNorDropped(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	txntest.Note(t, s.Buffered, "from a newer program", nil)
	older, err := txn.NewCatalog(txntest.Edit{})
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := txn.Connect(sandboxtest.Context(t), s.LinkConfig(), older, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if _, err := l.Prepare(t.Context(), transactions(t, s)[0]); !errors.Is(err, pending.ErrUnknownKind) {
		t.Errorf("preparing it: %v", err)
	}
}

func TestSiteThatMainDoesNotKnow(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	config := s.LinkConfig()
	config.Site = "nowhere"
	if _, _, err := txn.Connect(sandboxtest.Context(t), config, s.Catalog, 1, nil); !errors.Is(err, txn.ErrSiteMissing) {
		t.Errorf("connecting: %v", err)
	}
}

// A processor ends its predecessors' backends as its unprivileged role, and its
// own settings are in force.
func TestConnectionEndsItsPredecessorAndHasItsSettings(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	connect(t, s, s.LinkConfig(), 1)
	super := s.Primary(t)
	before := backends(t, super, s.Site)
	connect(t, s, s.LinkConfig(), 2)
	after := backends(t, super, s.Site)
	if len(before) != 1 || len(after) != 1 || before[0] == after[0] {
		t.Errorf("backends before %v, after %v", before, after)
	}
}
