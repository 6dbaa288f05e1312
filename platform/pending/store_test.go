package pending

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/problem"
)

func TestTwoProcessesShareOneBuffer(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	a, b := openStore(t, r), openStore(t, r)
	id := newID()
	x := accept(t, a, execution(id))
	if _, ok := catchUp(t, b).Tx(x.ID); !ok {
		t.Fatal("the second process does not see the first one's write in its next answer")
	}
	// Both finish the same execution on the same view.
	var wg sync.WaitGroup
	var stale, stored [2]bool
	views := []View{catchUp(t, a), catchUp(t, b)}
	for i, s := range []*Store{a, b} {
		v := views[i]
		wg.Go(func() {
			got, err := s.Accept(t.Context(), request(v, "", update("execution", id, `{"status":"completed"}`)))
			if err != nil {
				t.Error(err)
			}
			stale[i], stored[i] = got.Stale, got.Seq != 0
		})
	}
	wg.Wait()
	if stored[0] == stored[1] || stale[0] == stale[1] {
		t.Errorf("stored %v, stale %v: exactly one must win", stored, stale)
	}
}

func TestFollowerWakesWithoutAsking(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	a, b := openStore(t, r), openStore(t, r)
	x := accept(t, a, execution(newID()))
	wait := func(what string, done func(View) bool) {
		t.Helper()
		limit := time.After(10 * time.Second)
		for {
			changed := b.Watch()
			if done(b.Current()) {
				return
			}
			select {
			case <-changed:
			case <-limit:
				t.Fatalf("nobody was woken: %s", what)
			}
		}
	}
	wait("a transaction of another process", func(v View) bool { _, ok := v.Tx(x.ID); return ok })
	se := session(t, a)
	settle(t, se, 4, x.Seq)
	wait("settled by another process", func(v View) bool { y, ok := v.Tx(x.ID); return ok && y.State == StateApplied })
	if _, err := a.MarkReplicated(t.Context(), se.Load, 4); err != nil {
		t.Fatal(err)
	}
	wait("replicated by another process", func(v View) bool { _, ok := v.Tx(x.ID); return !ok })
	must(t, a.Pause(t.Context()))
	wait("paused by another process", func(v View) bool { return v.Paused })
	must(t, a.Resume(t.Context()))
	wait("resumed", func(v View) bool { return !v.Paused })
}

// TestCatchUpSharesTheNextExchange: many at once share few exchanges, and yet
// each sees what was stored before it asked.
func TestCatchUpSharesTheNextExchange(t *testing.T) {
	t.Parallel()
	r := newRedis(t, "appendfsync no")
	relaxed := func(o *Options) { o.Durability = Relaxed }
	a, b := openStore(t, r, relaxed), openStore(t, r, relaxed)
	must(t, b.follows.stop()) // only catch-ups bring anything
	t.Cleanup(func() { b.follows = b.follow() })
	v := catchUp(t, a)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				got, err := a.Accept(t.Context(), request(v, "", execution(newID())))
				if err != nil {
					t.Error(err)
					return
				}
				seen, err := b.CatchUp(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if _, ok := seen.TxBySeq(got.Seq); !ok {
					t.Errorf("transaction %d was stored before the catch-up and is not in its view", got.Seq)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestConnectedBeginsAboveEveryNumber(t *testing.T) {
	t.Parallel()
	now := testTime
	s := openStore(t, newRedis(t), func(o *Options) { o.Now = func() time.Time { return now } })
	for _, c := range []struct{ ours, claim, shown, want int64 }{
		{5, 3, 3, testTime.UnixMicro()}, {1 << 52, 3, 5, 1 << 52}, {5, 1 << 52, 5, 1 << 52}, {5, 3, 1 << 52, 1 << 52},
	} {
		must(t, s.client.Set(t.Context(), s.prefix+"batch", c.ours, 0).Err())
		se := session(t, s)
		got, err := se.Connected(t.Context(), Claim{Batch: c.claim, Shown: c.shown})
		must(t, err)
		if got.Batch != c.want || got.Alarm != (max(c.claim, c.shown) > c.ours) {
			t.Errorf("ours %d, claim %d, shown %d: %+v, want %d", c.ours, c.claim, c.shown, got, c.want)
		}
		if first, err := se.RaiseBatch(t.Context(), 1); err != nil || first != c.want+1 {
			t.Errorf("the first number is %d, %v", first, err)
		}
	}
}

func TestExpireForgetsEverythingOfATransaction(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t), func(o *Options) { o.Retention = time.Hour })
	root := newID()
	a := request(catchUp(t, s), "key", execution(root))
	a.Transaction.ClientIDs = []uuid.UUID{root}
	a.Transaction.Guards = []string{"pair"}
	if got, err := s.Accept(t.Context(), a); err != nil || got.Seq != 1 {
		t.Fatal(got, err)
	}
	accept(t, s, update("execution", root, `{"comment":"x"}`)) // 2 now guards root
	accept(t, s, execution(newID()))
	accept(t, s, execution(newID()))
	se := session(t, s)
	fail(t, se, 1)
	if _, err := s.Retry(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	settle(t, se, 10, 1)
	settle(t, se, 11, 2)
	settle(t, se, 12, 4)
	if _, err := s.MarkReplicated(t.Context(), se.Load, 10); err != nil {
		t.Fatal(err)
	}
	expire := func(after time.Duration) int {
		t.Helper()
		n, err := s.Expire(t.Context(), time.Now().Add(after))
		must(t, err)
		return n
	}
	if n := expire(time.Minute); n != 0 {
		t.Fatalf("%d expired too early", n)
	}
	if n := expire(2 * time.Hour); n != 1 {
		t.Fatalf("%d expired, want 1", n)
	}
	d := dump(t, s)
	if want := fmt.Sprintf(`hash {"%s":"2"}`, root); d["guard"] != want {
		t.Errorf("guard is %s, want %s", d["guard"], want)
	}
	if _, ok := d["attempts"]; ok || d["expired"] != `string "10"` {
		t.Errorf("attempts %s, expired %s", d["attempts"], d["expired"])
	}
	if e, err := s.Existing(t.Context(), "user:ana", "key"); err != nil || e != nil {
		t.Errorf("the key is still known: %+v, %v", e, err)
	}
	if got, err := s.Lookup(t.Context(), 1); err != nil || got != nil {
		t.Errorf("the entry is still there: %+v, %v", got, err)
	}
	if _, err := s.MarkReplicated(t.Context(), se.Load, 12); err != nil {
		t.Fatal(err)
	}
	if n := expire(2 * time.Hour); n != 1 {
		t.Errorf("%d expired, want 1: the newest entry stays", n)
	}
	if got, err := s.Lookup(t.Context(), 4); err != nil || got == nil {
		t.Errorf("the newest entry is gone: %v", err)
	}
	if got := buffered(t, s); !slices.Equal(got, []int64{3}) {
		t.Errorf("buffer holds %v", got)
	}
}

func TestLeaseCredentialsAndSite(t *testing.T) {
	t.Parallel()
	now := testTime
	s := openStore(t, newRedis(t), func(o *Options) { o.Now = func() time.Time { return now } })
	ctx := t.Context()
	if ok, err := s.Lease(ctx, "a", time.Minute); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := s.Lease(ctx, "b", time.Minute); ok || err != nil {
		t.Error(ok, err)
	}
	must(t, s.ReleaseLease(ctx, "b"))
	if ok, err := s.Lease(ctx, "a", time.Minute); !ok || err != nil {
		t.Error(ok, err)
	}
	must(t, s.ReleaseLease(ctx, "a"))
	if ok, err := s.Lease(ctx, "b", time.Minute); !ok || err != nil {
		t.Error(ok, err)
	}
	if id, err := s.SiteID(ctx); id != 0 || err != nil {
		t.Error(id, err)
	}
	must(t, s.SetSiteID(ctx, 12))
	if id, err := s.SiteID(ctx); id != 12 || err != nil {
		t.Error(id, err)
	}
	must(t, s.KeepCredential(ctx, "h", json.RawMessage(`{"user":1}`), time.Hour))
	if c, err := s.Credential(ctx, "h"); string(c) != `{"user":1}` || err != nil {
		t.Error(string(c), err)
	}
	now = now.Add(time.Hour)
	if c, err := s.Credential(ctx, "h"); c != nil || err != nil {
		t.Error(string(c), err)
	}
	must(t, s.DropCredential(ctx, "h"))
	if st, err := s.Stats(ctx); err != nil || st.Version == "" {
		t.Error(st, err)
	}
}

func TestFullRedisStillDrains(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t, "maxmemory 6mb"))
	v := catchUp(t, s)
	var err error
	n := int64(0)
	for err == nil {
		a := request(v, "", create("execution", newID(), fmt.Sprintf(`{"start_time":"2026-07-15T01:00:00Z","comment":"%01000d"}`, n)))
		if _, err = s.Accept(t.Context(), a); err == nil {
			n++
		}
	}
	if !errors.Is(err, problem.BufferFull) {
		t.Fatalf("got %v, want buffer-full", err)
	}
	if got := buffered(t, s); int64(len(got)) != n {
		t.Errorf("%d are buffered, %d were acknowledged", len(got), n)
	}
	se := session(t, s)
	fail(t, se, 1)
	settle(t, se, 5, 2, 3)
	if _, err := s.Retry(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := s.MarkReplicated(t.Context(), se.Load, 5); err != nil || len(got) != 2 {
		t.Error(got, err)
	}
	whole(t, s)
}

func TestOpenChecksDurability(t *testing.T) {
	t.Parallel()
	r := newRedis(t, "appendfsync everysec")
	o := Options{Site: "observatory", Decoder: changeDecoder{}}
	if _, err := Open(t.Context(), r.client(t), o); !errors.Is(err, ErrNotDurable) {
		t.Fatalf("got %v, want ErrNotDurable", err)
	}
	s := openStore(t, r, func(o *Options) { o.Durability = Relaxed })
	if st := s.Status(); !st.Checked || st.Durability.Safe() {
		t.Errorf("the status hides it: %+v", st)
	}
}

func TestOpenWithoutRedisStartsAndRecovers(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	r.kill(t)
	s := openStore(t, r)
	if _, err := s.CatchUp(t.Context()); !errors.Is(err, problem.PendingUnavailable) {
		t.Fatalf("got %v, want pending-unavailable", err)
	}
	r.start(t)
	eventually(t, "the follower has found Redis", func() bool { return s.Current().Load != "" })
	accept(t, s, execution(newID()))
	if st := s.Status(); !st.Checked || !st.Reachable {
		t.Errorf("%+v", st)
	}
}

func TestUnknownKindStaysPending(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	a := request(catchUp(t, s), "")
	a.Transaction.Steps = []Step{{"newer/9", json.RawMessage(`{}`)}}
	if _, err := s.Accept(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	v := openStore(t, &redisServer{dir: s.testDir()}).Current()
	if x := slices.Collect(v.Buffered()); len(x) != 1 || !errors.Is(x[0].Unknown, ErrUnknownKind) {
		t.Errorf("%+v", x)
	}
}

func TestIDTakenLeavesTheView(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	id := newID()
	x := accept(t, s, execution(id))
	se := session(t, s)
	must(t, se.Fail(t.Context(), []Failure{{Seq: x.Seq, Problem: json.RawMessage(`{"type":"/problems/id-taken"}`), At: testTime}}))
	if _, ok := s.Current().Row(Key{"execution", id}); ok {
		t.Error("its row is shown over main's")
	}
	if y := accept(t, s, update("execution", id, `{"status":"completed"}`)); y.State != StateBlocked {
		t.Errorf("what was meant for it is %s, want blocked", y.State)
	}
	if _, err := s.Retry(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w, ok := s.Current().Row(Key{"execution", id}); !ok || !w.Create {
		t.Error("its row is not shown again after a retry")
	}
	if diff := cmp.Diff(picture(openStore(t, &redisServer{dir: s.testDir()}).Current()), picture(s.Current())); diff != "" {
		t.Error(diff)
	}
}

// Of one commit, what was accepted first goes first: the order of Redis, in which 10
// comes before 9, would leave rows pending that later ones, forgotten, have overwritten.
func TestExpireGoesBySeqWithinACommit(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t), func(o *Options) { o.Retention = time.Hour })
	var seqs []int64
	for seq := range int64(12) {
		accept(t, s, execution(newID()))
		seqs = append(seqs, seq+1)
	}
	se := session(t, s)
	settle(t, se, 10, seqs...)
	if _, err := s.MarkReplicated(t.Context(), se.Load, 10); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Expire(t.Context(), time.Now().Add(2*time.Hour)); err != nil || n != 11 {
		t.Errorf("%d have expired, %v; want all but the newest", n, err)
	}
}

// A correction goes with the place of the mistake, before what was accepted after that.
func TestExpireTakesACorrectionBeforeWhatItPrecedes(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t), func(o *Options) { o.Retention = time.Hour })
	root := newID()
	accept(t, s, execution(root))
	accept(t, s, update("execution", root, `{"comment":"after the mistake"}`))
	correction := request(catchUp(t, s), "", update("execution", root, `{"comment":"corrected"}`))
	correction.Transaction.Place = 1
	if _, err := s.Accept(t.Context(), correction); err != nil {
		t.Fatal(err)
	}
	accept(t, s, execution(newID())) // the newest stays
	se := session(t, s)
	settle(t, se, 10, 1, 2, 3, 4)
	if _, err := s.MarkReplicated(t.Context(), se.Load, 10); err != nil {
		t.Fatal(err)
	}
	oldest, err := s.expired(t.Context(), time.Now().Add(time.Hour).UnixMilli())
	must(t, err)
	var seqs []int64
	for _, e := range oldest {
		seqs = append(seqs, e.seq)
	}
	if want := []int64{1, 3, 2, 4}; !slices.Equal(seqs, want) {
		t.Errorf("they go in the order %v, want %v", seqs, want)
	}
}

// More than one slice: every commit goes, none of them in part.
func TestExpireGoesOnBehindAFullSlice(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t), func(o *Options) { o.Retention = time.Hour })
	se := session(t, s)
	const commits, each = 6, 45
	for c := range int64(commits) {
		var seqs []int64
		for i := range int64(each) {
			accept(t, s, execution(newID()))
			seqs = append(seqs, c*each+i+1)
		}
		settle(t, se, 10+c, seqs...)
	}
	if _, err := s.MarkReplicated(t.Context(), se.Load, 10+commits); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{4 * each, 2*each - 1, 0} {
		if n, err := s.Expire(t.Context(), time.Now().Add(2*time.Hour)); err != nil || n != want {
			t.Errorf("%d have expired, %v; want %d", n, err, want)
		}
	}
}

// Somebody may change the settings of a running server.
func TestDurabilityIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	fsync := func(policy string) {
		t.Helper()
		must(t, s.client.ConfigSet(t.Context(), "appendfsync", policy).Err())
	}
	accept(t, s, execution(newID()))
	fsync("everysec")
	if err := s.CheckDurability(t.Context()); !errors.Is(err, ErrNotDurable) {
		t.Errorf("with everysec: %v", err)
	}
	if _, err := s.Accept(t.Context(), request(catchUp(t, s), "", execution(newID()))); !errors.Is(err, problem.PendingUnavailable) {
		t.Errorf("a write that the server can lose: %v", err)
	}
	fsync("always")
	must(t, s.CheckDurability(t.Context()))
	accept(t, s, execution(newID()))
}
