package pending

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/opsdb/opsdb/platform/problem"
)

func TestAcceptStoresEveryKeyAsDocumented(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	id := newID()
	a := request(catchUp(t, s), "key-1", execution(id), update("file", newID(), `{"package":null}`))
	a.Transaction.ClientIDs = append(a.Transaction.ClientIDs, id)
	got, err := s.Accept(t.Context(), a)
	must(t, err)
	if got.Seq != 1 {
		t.Fatalf("seq %d, want 1", got.Seq)
	}
	d := dump(t, s)
	line := fmt.Sprintf(`{"seq":1,"id":"%s","operation":"start-executed-obs-unit","rows":2,"accepted_at":"2026-07-15T00:00:00Z"}`, a.Transaction.ID)
	quoted, err := json.Marshal([]string{line})
	must(t, err)
	if want := "list " + string(quoted); d["transaction_buffer"] != want {
		t.Error(cmp.Diff(want, d["transaction_buffer"]))
	}
	for key, typ := range map[string]string{"transactions": "stream", "idempotency": "hash", "guard": "hash", "seq": "string", "load": "string", "change": "string", "epoch": "string"} {
		if !strings.HasPrefix(d[key], typ+" ") {
			t.Errorf("%s is %q, want a %s", key, d[key], typ)
		}
	}
	want := fmt.Sprintf(`hash {"%s":"1","%s":"1"}`, id, a.Changes[1].ID)
	other := fmt.Sprintf(`hash {"%s":"1","%s":"1"}`, a.Changes[1].ID, id)
	if d["guard"] != want && d["guard"] != other {
		t.Errorf("guard is %s, want %s", d["guard"], want)
	}
	stored, err := s.Lookup(t.Context(), 1)
	must(t, err)
	a.Transaction.Seq, a.Transaction.Guards = 1, []string{}
	if diff := cmp.Diff(a.Transaction, stored); diff != "" {
		t.Error(diff)
	}
	x, _ := s.Current().TxBySeq(1)
	var whole Transaction
	must(t, json.Unmarshal(x.JSON(), &whole))
	if diff := cmp.Diff(a.Transaction, &whole); diff != "" {
		t.Error(diff)
	}
}

func TestAcceptLooksAtTheKeyFirst(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t), func(o *Options) { o.Capacity = 1 })
	id := newID()
	first := request(catchUp(t, s), "key-1", execution(id))
	got, err := s.Accept(t.Context(), first)
	must(t, err)
	// The same key again on a stale view and a full buffer still finds the first.
	again := request(View{Load: "another", LastSeq: 0}, "key-1", update("execution", id, `{"comment":"x"}`))
	repeated, err := s.Accept(t.Context(), again)
	must(t, err)
	if repeated.Existing == nil || repeated.Existing.Seq != got.Seq || !slices.Equal(repeated.Existing.Digest, []byte{1, 2, 3}) {
		t.Fatalf("the repeated key answered %+v", repeated)
	}
	found, err := s.Existing(t.Context(), "user:ana", "key-1")
	must(t, err)
	if found == nil || found.Seq != got.Seq {
		t.Fatalf("looking the key up: %+v", found)
	}
	if other, err := s.Existing(t.Context(), "user:bob", "key-1"); err != nil || other != nil {
		t.Fatalf("another actor's key: %+v, %v", other, err)
	}
	// The script may run twice for one transaction, also without a key: the client
	// repeats a command whose answer was lost.
	twice := request(catchUp(t, s), "", execution(newID()))
	twice.Exempt = true
	one, err := s.Accept(t.Context(), twice)
	must(t, err)
	two, err := s.Accept(t.Context(), twice)
	must(t, err)
	if two.Existing != nil || two.Seq != one.Seq || one.Seq == 0 {
		t.Fatalf("the repeated script answered %+v, want seq %d", two, one.Seq)
	}
	if list := buffered(t, s); len(list) != 2 {
		t.Errorf("the buffer holds %v", list)
	}
}

func TestAcceptRefusesWhenFull(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t), func(o *Options) { o.Capacity = 2 })
	accept(t, s, execution(newID()))
	x := accept(t, s, execution(newID()))
	// Dead letters count.
	fail(t, session(t, s), x.Seq)
	before := dump(t, s)
	full := request(catchUp(t, s), "", execution(newID()))
	if _, err := s.Accept(t.Context(), full); !errors.Is(err, problem.BufferFull) {
		t.Fatalf("got %v, want buffer-full", err)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("a refused transaction left something behind:\n%s", diff)
	}
	full.Exempt = true
	if got, err := s.Accept(t.Context(), full); err != nil || got.Seq == 0 {
		t.Fatalf("an exempt transaction: %+v, %v", got, err)
	}
}

func TestAcceptIsStale(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	a, b := openStore(t, r), openStore(t, r)
	parent, child := newID(), newID()
	accept(t, a, execution(parent))
	old := catchUp(t, b)
	accept(t, a, update("execution", parent, `{"status":"completed"}`))
	for name, changes := range map[string][]Change{
		"touched":    {update("execution", parent, `{"status":"failed"}`)},
		"referenced": {create("file", child, `{"created_at":"2026-07-15T01:00:00Z"}`, Key{"execution", parent})},
	} {
		got, err := b.Accept(t.Context(), request(old, "", changes...))
		if err != nil || !got.Stale {
			t.Errorf("%s row changed since the view: %+v, %v", name, got, err)
		}
	}
	// A guard of its own, such as a package's pair.
	first := request(catchUp(t, a), "", execution(newID()))
	first.Transaction.Guards = []string{"pair"}
	if got, err := a.Accept(t.Context(), first); err != nil || got.Seq == 0 {
		t.Fatal(got, err)
	}
	second := request(old, "", execution(newID()))
	second.Transaction.Guards = []string{"pair"}
	if got, err := b.Accept(t.Context(), second); err != nil || !got.Stale {
		t.Errorf("own guard changed since the view: %+v, %v", got, err)
	}
	// What nobody touched is no reason.
	if got, err := b.Accept(t.Context(), request(old, "", execution(newID()))); err != nil || got.Seq == 0 {
		t.Errorf("an independent transaction: %+v, %v", got, err)
	}
	other := catchUp(t, b)
	other.Load = "another life"
	if got, err := b.Accept(t.Context(), request(other, "", execution(newID()))); err != nil || !got.Stale {
		t.Errorf("another Redis: %+v, %v", got, err)
	}
}

func TestAcceptIsBornBlockedOnlyByADeadLetter(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	parent := newID()
	x := accept(t, s, execution(parent))
	se := session(t, s)
	fail(t, se, x.Seq)
	old := catchUp(t, s)
	touching := accept(t, s, update("execution", parent, `{"status":"completed"}`))
	referring := accept(t, s, create("file", newID(), `{"created_at":"2026-07-15T01:00:00Z"}`, Key{"execution", parent}))
	free := accept(t, s, execution(newID()))
	if touching.State != StateBlocked || referring.State != StateBlocked || touching.Dead.BlockedBy != x.Seq || free.State != StateBuffered {
		t.Fatalf("states %s, %s, %s", touching.State, referring.State, free.State)
	}
	if got, want := buffered(t, s), []int64{free.Seq}; !slices.Equal(got, want) {
		t.Errorf("buffer holds %v, want %v", got, want)
	}
	// A failed comment does not hold back files: nothing refers to what it makes.
	comment := accept(t, s, execution(newID()))
	id := comment.Changes[0].ID
	upd := accept(t, s, update("execution", id, `{"comment":"x"}`))
	fail(t, se, upd.Seq)
	if f := accept(t, s, create("file", newID(), `{"created_at":"2026-07-15T01:00:00Z"}`, Key{"execution", id})); f.State != StateBuffered {
		t.Errorf("a file of an execution with a failed comment is %s", f.State)
	}
	// The blocker was retried since the view: the new one goes to the buffer.
	if _, err := s.Retry(t.Context(), x.Seq); err != nil {
		t.Fatal(err)
	}
	a := request(old, "", update("file", newID(), `{"package":null}`))
	a.Changes = append(a.Changes, create("file", newID(), `{"created_at":"2026-07-15T01:00:00Z"}`, Key{"execution", parent}))
	a.View.LastSeq = s.Current().LastSeq
	got, err := s.Accept(t.Context(), a)
	must(t, err)
	if got.Seq == 0 || got.BlockedBy != 0 {
		t.Errorf("the blocker is no dead letter any more: %+v", got)
	}
}

// TestScriptsOfAProcessor runs each script twice, as a client does that lost the
// first answer, and with another epoch and another load.
func TestScriptsOfAProcessor(t *testing.T) {
	t.Parallel()
	problemJSON := json.RawMessage(`{"type":"/problems/test","detail":"a|b"}`)
	scripts := map[string]func(t *testing.T, se Session) error{
		"settle": func(t *testing.T, se Session) error {
			return se.Settle(t.Context(), []Settled{{2, 1784070000000001, "0/A", StateApplied}, {3, 1784070000000001, "0/A", StateApplied}, {5, 1784070000000002, "0/A", StateApplied}})
		},
		"settle a dead letter": func(t *testing.T, se Session) error {
			return se.Settle(t.Context(), []Settled{{1, 1784070000000001, "0/A", StateApplied}})
		},
		"settle as discarded": func(t *testing.T, se Session) error {
			return se.Settle(t.Context(), []Settled{{2, 1784070000000001, "0/A", StateDiscarded}})
		},
		"fail": func(t *testing.T, se Session) error {
			return se.Fail(t.Context(), []Failure{{3, problemJSON, testTime, testTime.Add(time.Second)}, {5, problemJSON, testTime, time.Time{}}})
		},
		"block": func(t *testing.T, se Session) error {
			return se.Block(t.Context(), []Blocking{{2, 1}, {3, 2}, {5, 4}})
		},
		"connected": func(t *testing.T, se Session) error {
			_, err := se.Connected(t.Context(), Claim{Batch: 5, LastSeq: 3, InLedger: []int64{1}})
			return err
		},
		"raise epoch": func(t *testing.T, se Session) error { return se.RaiseEpoch(t.Context(), se.Epoch) },
	}
	for name, run := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, newRedis(t), func(o *Options) { o.Now = func() time.Time { return testTime } })
			root := newID()
			accept(t, s, execution(root))
			accept(t, s, execution(newID()))
			accept(t, s, execution(newID()))
			accept(t, s, execution(newID()))
			accept(t, s, execution(newID()))
			first := session(t, s)
			fail(t, first, 1)
			accept(t, s, update("execution", root, `{"comment":"x"}`)) // blocked by 1
			settle(t, first, 10, 4)
			se := session(t, s)
			before := dump(t, s)
			for what, wrong := range map[string]Session{"epoch": first, "load": {Epoch: se.Epoch, Load: "another", store: s}} {
				if err := run(t, wrong); !errors.Is(err, ErrStale) {
					t.Errorf("another %s: %v, want ErrStale", what, err)
				}
				if diff := cmp.Diff(before, dump(t, s)); diff != "" {
					t.Errorf("another %s changed something:\n%s", what, diff)
				}
			}
			must(t, run(t, se))
			once := dump(t, s)
			if name != "raise epoch" && cmp.Equal(before, once) {
				t.Error("the script did nothing")
			}
			must(t, run(t, se))
			if diff := cmp.Diff(once, dump(t, s)); diff != "" {
				t.Errorf("running it again changed something:\n%s", diff)
			}
			whole(t, s)
			if diff := cmp.Diff(picture(openStore(t, &redisServer{dir: s.testDir()}).Current()), picture(s.Current())); diff != "" {
				t.Errorf("a new process sees something else:\n%s", diff)
			}
		})
	}
}

// testDir finds the folder of the test's Redis again.
func (s *Store) testDir() string { return strings.TrimSuffix(s.client.Options().Addr, "/s") }

// whole demands that every stored transaction is in exactly one state and that
// the buffer is in seq order.
func whole(t testing.TB, s *Store) {
	t.Helper()
	ctx := t.Context()
	in := map[string][]string{}
	list := buffered(t, s)
	if !slices.IsSorted(list) {
		t.Errorf("the buffer is out of order: %v", list)
	}
	for _, seq := range list {
		in[fmt.Sprint(seq)] = append(in[fmt.Sprint(seq)], "buffer")
	}
	dead, err := s.client.HKeys(ctx, s.prefix+"dead_letters").Result()
	must(t, err)
	applied, err := s.client.ZRange(ctx, s.prefix+"applied", 0, -1).Result()
	must(t, err)
	for _, seq := range dead {
		in[seq] = append(in[seq], "dead")
	}
	discarded, err := s.client.HKeys(ctx, s.prefix+"discarded").Result()
	must(t, err)
	for _, seq := range discarded {
		in[seq] = append(in[seq], "discarded")
	}
	for _, seq := range applied {
		if !slices.Contains(discarded, seq) { // its discard is: they have one position
			in[seq] = append(in[seq], "applied")
		}
	}
	entries, err := s.client.XRange(ctx, s.prefix+"transactions", "-", "+").Result()
	must(t, err)
	for _, e := range entries {
		seq := strings.TrimSuffix(e.ID, "-0")
		if len(in[seq]) != 1 {
			t.Errorf("transaction %s is in %v", seq, in[seq])
		}
		delete(in, seq)
	}
	for seq, where := range in {
		t.Errorf("%s is in %v without an entry", seq, where)
	}
}

func TestSettleReleasesWhatItBlocked(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	root := newID()
	x := accept(t, s, execution(root))
	se := session(t, s)
	fail(t, se, x.Seq)
	one := accept(t, s, update("execution", root, `{"comment":"1"}`))
	file := newID()
	two := accept(t, s, create("file", file, `{"created_at":"2026-07-15T01:00:00Z"}`, Key{"execution", root}))
	must(t, s.client.HSet(t.Context(), s.prefix+"dead_letters", "99", "98|0|").Err()) // unrelated
	three := accept(t, s, update("file", file, `{"package":1}`))
	if three.State != StateBlocked {
		t.Fatal("not blocked transitively")
	}
	settle(t, se, 7, x.Seq) // found in the ledger after all
	if got, want := buffered(t, s), []int64{one.Seq, two.Seq, three.Seq}; !slices.Equal(got, want) {
		t.Errorf("buffer holds %v, want %v", got, want)
	}
	for _, seq := range []int64{one.Seq, two.Seq, three.Seq} {
		if y, _ := s.Current().TxBySeq(seq); y.State != StateBuffered || y.Dead != nil {
			t.Errorf("%d is %s", seq, y.State)
		}
	}
}

func TestRetryGoesBackBySeq(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	ids := []int64{}
	root := newID()
	ids = append(ids, accept(t, s, execution(root)).Seq)
	for range 3 {
		ids = append(ids, accept(t, s, execution(newID())).Seq)
	}
	ids = append(ids, accept(t, s, update("execution", root, `{"comment":"x"}`)).Seq)
	se := session(t, s)
	settle(t, se, 3, ids[1])
	fail(t, se, ids[0])
	must(t, se.Block(t.Context(), []Blocking{{ids[4], ids[0]}}))
	if got, want := buffered(t, s), ids[2:4]; !slices.Equal(got, want) {
		t.Fatalf("buffer holds %v, want %v", got, want)
	}
	got, err := s.Retry(t.Context(), ids[0], ids[1], 12345)
	must(t, err)
	slices.Sort(got)
	if want := []int64{ids[0], ids[4]}; !slices.Equal(got, want) {
		t.Errorf("%v went back, want %v", got, want)
	}
	if got, want := buffered(t, s), []int64{ids[0], ids[2], ids[3], ids[4]}; !slices.Equal(got, want) {
		t.Errorf("buffer holds %v, want %v", got, want)
	}
	// The attempts survive the retry.
	fail(t, se, ids[0])
	attempts, err := s.Attempts(t.Context(), ids[0])
	must(t, err)
	if x, _ := s.Current().TxBySeq(ids[0]); len(attempts) != 2 || x.Attempts != 2 {
		t.Errorf("%d attempts, view says %d, want 2", len(attempts), x.Attempts)
	}
	if got, err := s.Retry(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("retrying all: %v, %v", got, err)
	}
	whole(t, s)
}

func TestBlockLeavesWhatNobodyHolds(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	x, y := accept(t, s, execution(newID())), accept(t, s, execution(newID()))
	must(t, session(t, s).Block(t.Context(), []Blocking{{y.Seq, x.Seq}}))
	if got, want := buffered(t, s), []int64{x.Seq, y.Seq}; !slices.Equal(got, want) {
		t.Errorf("buffer holds %v, want %v", got, want)
	}
}

// acceptMany stores n transactions that have nothing to do with each other, a multiple
// of 16.
func acceptMany(t *testing.T, s *Store, n int) {
	t.Helper()
	v := catchUp(t, s)
	var group errgroup.Group
	for range 16 {
		group.Go(func() error {
			for range n / 16 {
				if _, err := s.Accept(t.Context(), request(v, "", execution(newID()))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, group.Wait())
}

func TestSettleLargeFlush(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t, "appendfsync no"), func(o *Options) { o.Durability = Relaxed })
	acceptMany(t, s, 16*560)
	var list []Settled
	for seq := int64(1); seq <= 16*560; seq += 2 {
		list = append(list, Settled{seq, 5, "", StateApplied})
	}
	se := session(t, s)
	must(t, se.Settle(t.Context(), list))
	if got := buffered(t, s); len(got) != len(list) || !slices.IsSorted(got) || got[0] != 2 {
		t.Errorf("%d are left, beginning with %v", len(got), got[:3])
	}
	n, err := s.MarkReplicated(t.Context(), se.Load, 5)
	if err != nil || len(n) != len(list) {
		t.Errorf("%d were marked, %v", len(n), err)
	}
	if diff := cmp.Diff(picture(openStore(t, &redisServer{dir: s.testDir()}, func(o *Options) { o.Durability = Relaxed }).Current()), picture(s.Current())); diff != "" {
		t.Errorf("a new process sees something else:\n%s", diff)
	}
}

// TestFarFromTheOldEndTheBufferIsNotRewritten: what fails, is retried, blocked or
// settled anywhere in a long buffer costs a few lines of the append-only file, not the
// lines that are older, and leaves the others in their order.
func TestFarFromTheOldEndTheBufferIsNotRewritten(t *testing.T) {
	t.Parallel()
	r := newRedis(t, "appendfsync no")
	s := openStore(t, r, func(o *Options) { o.Durability = Relaxed })
	const n = 6000
	acceptMany(t, s, n)
	se := session(t, s)
	client := r.client(t)
	written := func() int64 {
		info, err := client.InfoMap(t.Context(), "persistence").Result()
		must(t, err)
		size, err := strconv.ParseInt(info["Persistence"]["aof_current_size"], 10, 64)
		must(t, err)
		return size
	}
	want := make([]int64, n)
	for i := range want {
		want[i] = int64(i + 1)
	}
	cheap := func(what string, do func()) {
		t.Helper()
		before := written()
		do()
		if got := written() - before; got > 20_000 {
			t.Errorf("%s writes %d bytes", what, got)
		}
		if got := buffered(t, s); !slices.Equal(got, want) {
			t.Fatalf("after %s %d lines are left, in order %v, want %d", what, len(got), slices.IsSorted(got), len(want))
		}
	}
	without := func(seqs ...int64) {
		want = slices.DeleteFunc(want, func(x int64) bool { return slices.Contains(seqs, x) })
	}
	with := func(seqs ...int64) { want = append(want, seqs...); slices.Sort(want) }
	for _, seq := range []int64{n, n - 1, n / 2, n/2 + 1, 1500, 3, 1} {
		cheap(fmt.Sprintf("failing %d", seq), func() { fail(t, se, seq); without(seq) })
	}
	for _, seq := range []int64{n / 2, n, 3} {
		cheap(fmt.Sprintf("retrying %d", seq), func() {
			_, err := s.Retry(t.Context(), seq)
			must(t, err)
			with(seq)
		})
	}
	cheap("retrying the others", func() {
		_, err := s.Retry(t.Context())
		must(t, err)
		with(1, 1500, n/2+1, n-1)
	})
	cheap("retrying what is no dead letter", func() {
		_, err := s.Retry(t.Context(), 7, n-7)
		must(t, err)
	})
	cheap("settling here and there", func() { settle(t, se, 3, n, 1, n/2, n-500); without(n, 1, n/2, n-500) })
	cheap("settling again", func() { settle(t, se, 3, n, n/2) })
	cheap("blocking the newest", func() {
		fail(t, se, n-1)
		must(t, se.Block(t.Context(), []Blocking{{n - 2, n - 1}, {n - 3, n - 4}}))
		without(n-1, n-2)
	})
	whole(t, s)
}

func TestTransactionWithTenThousandGuards(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	var changes []Change
	a := request(catchUp(t, s), "")
	for range 10_000 {
		id := newID()
		changes = append(changes, create("file", id, `{"created_at":"2026-07-15T01:00:00Z"}`, Key{"execution", newID()}))
		a.Transaction.ClientIDs = append(a.Transaction.ClientIDs, id)
	}
	b := request(a.View, "", changes...)
	b.Transaction.ClientIDs = a.Transaction.ClientIDs
	got, err := s.Accept(t.Context(), b)
	if err != nil || got.Seq != 1 {
		t.Fatal(got, err)
	}
	if again, err := s.Accept(t.Context(), request(a.View, "", update("file", changes[9_999].ID, `{}`))); err != nil || !again.Stale {
		t.Errorf("the last guard was not set: %+v, %v", again, err)
	}
}
