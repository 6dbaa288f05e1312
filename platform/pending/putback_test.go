package pending

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/platform/problem"
)

func TestRestartOfRedisPutsEverythingBack(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	s, other := openStore(t, r), openStore(t, r)
	root := newID()
	var ids []int64
	ids = append(ids, accept(t, s, execution(root)).Seq)
	for range 5 {
		ids = append(ids, accept(t, s, execution(newID())).Seq)
	}
	se := session(t, s)
	settle(t, se, 10, ids[0], ids[1])
	settle(t, se, 11, ids[3])
	fail(t, se, ids[2])
	if n, err := s.MarkReplicated(t.Context(), se.Load, 10); len(n) != 2 || err != nil {
		t.Fatal(n, err)
	}
	old := catchUp(t, s)
	otherView := catchUp(t, other)
	r.kill(t)
	if _, err := s.CatchUp(t.Context()); !errors.Is(err, problem.PendingUnavailable) {
		t.Fatalf("with Redis dead: %v, want pending-unavailable", err)
	}
	if _, err := s.Accept(t.Context(), request(old, "", execution(newID()))); !errors.Is(err, problem.PendingUnavailable) {
		t.Fatalf("accepting with Redis dead: %v, want pending-unavailable", err)
	}
	eventually(t, "the status says so", func() bool { return !s.Status().Reachable })
	r.start(t)
	// Whoever comes first puts back, also when it is an accept on an old view.
	got, err := other.Accept(t.Context(), request(otherView, "", update("execution", root, `{"status":"completed"}`)))
	if err != nil || !got.Stale {
		t.Fatalf("an old view after the restart: %+v, %v, want stale", got, err)
	}
	v := catchUp(t, s)
	if v.Load == old.Load {
		t.Fatal("load did not change")
	}
	want := []int64{ids[0], ids[1], ids[3], ids[4], ids[5]}
	if got := buffered(t, s); !slices.Equal(got, want) {
		t.Errorf("buffer holds %v, want %v", got, want)
	}
	if x, ok := v.TxBySeq(ids[0]); !ok || x.State != StateBuffered {
		t.Error("the replicated one is not pending again")
	}
	if x, _ := v.TxBySeq(ids[2]); x.State != StateFailed {
		t.Error("the dead letter did not stay")
	}
	if err := se.Settle(t.Context(), []Settled{{ids[4], 12, "", StateApplied}}); !errors.Is(err, ErrStale) {
		t.Errorf("settling by an epoch from before the restart: %v, want ErrStale", err)
	}
	if _, err := s.MarkReplicated(t.Context(), old.Load, 11); err != nil {
		t.Error(err)
	}
	if again := session(t, s); again.Epoch <= se.Epoch {
		t.Error("the epoch did not rise")
	}
	whole(t, s)
	if diff := cmp.Diff(picture(catchUp(t, other)), picture(catchUp(t, s))); diff != "" {
		t.Error(diff)
	}
	eventually(t, "the status recovers", func() bool { return s.Status().Reachable })
}

// TestPutBackOnce proves that the put-back leaves alone what another process has
// put back and gone on with.
func TestPutBackOnce(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	x := accept(t, s, execution(newID()))
	settle(t, session(t, s), 3, x.Seq)
	before := dump(t, s)
	load, err := s.putBack(t.Context(), s.client)
	must(t, err)
	if load != s.Current().Load {
		t.Errorf("load %s, want %s", load, s.Current().Load)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestPutBackBuildsALostListAnew(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	s := openStore(t, r)
	var want []int64
	for range 450 {
		want = append(want, accept(t, s, execution(newID())).Seq)
	}
	se := session(t, s)
	fail(t, se, want[7])
	settle(t, se, 4, want[0])
	must(t, s.client.Del(t.Context(), s.prefix+"transaction_buffer", s.prefix+"load").Err())
	catchUp(t, s)
	// What a processor claims from now on is newer than what any claimed in the life before.
	if epoch, err := s.client.Get(t.Context(), s.prefix+"epoch").Int64(); err != nil || epoch != se.Epoch+1 {
		t.Errorf("epoch %d, %v, want %d", epoch, err, se.Epoch+1)
	}
	if got := buffered(t, s); !slices.Equal(got, slices.Delete(slices.Clone(want), 7, 8)) {
		t.Errorf("buffer holds %d, want all but one of %d", len(got), len(want))
	}
	whole(t, s)
}

func TestEmptiedRedisIsNoticed(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	accept(t, s, execution(newID()))
	old := s.Current()
	must(t, s.client.FlushAll(t.Context()).Err())
	if got, err := s.Accept(t.Context(), request(old, "", execution(newID()))); err != nil || !got.Stale {
		t.Fatalf("accepting into an emptied Redis on an old view: %+v, %v", got, err)
	}
	v := catchUp(t, s)
	if c := v.Counts(); c.Buffered != 0 || v.LastSeq != 0 {
		t.Errorf("the view still holds %+v", c)
	}
	// Main has numbers that this Redis has forgotten: an alarm, and both counters
	// go on above them.
	c, err := session(t, s).Connected(t.Context(), Claim{Batch: 1 << 52, LastSeq: 41})
	must(t, err)
	if !c.Alarm || c.Batch < 1<<52 {
		t.Errorf("after a claim above ours: %+v", c)
	}
	if x := accept(t, s, execution(newID())); x.Seq != 42 {
		t.Errorf("seq %d, want 42", x.Seq)
	}
	// The answer may be lost, and so may the process: the alarm is in Redis, whatever
	// a further claim says.
	if c, err := session(t, s).Connected(t.Context(), Claim{Batch: c.Batch}); err != nil || c.Alarm {
		t.Errorf("after the same claim again: %+v, %v", c, err)
	}
	for name, view := range map[string]View{"this process": catchUp(t, s), "another process": openStore(t, &redisServer{dir: s.testDir()}).Current()} {
		if view.Missing.IsZero() || !view.LostTail.IsZero() {
			t.Errorf("%s says missing %v, lost tail %v", name, view.Missing, view.LostTail)
		}
	}
	if diff := cmp.Diff(picture(openStore(t, &redisServer{dir: s.testDir()}).Current()), picture(catchUp(t, s))); diff != "" {
		t.Error(diff)
	}
}

func TestLostTailGoesBack(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	var ids []int64
	for range 4 {
		ids = append(ids, accept(t, s, execution(newID())).Seq)
	}
	se := session(t, s)
	for i, seq := range ids[:3] {
		settle(t, se, int64(10+i), seq)
	}
	if _, err := s.MarkReplicated(t.Context(), se.Load, 11); err != nil {
		t.Fatal(err)
	}
	must(t, s.client.Set(t.Context(), s.prefix+"batch", 12, 0).Err())
	se = session(t, s)
	c, err := se.Connected(t.Context(), Claim{Batch: 10})
	must(t, err)
	if want := ids[1:3]; !slices.Equal(c.LostTail, want) || c.Alarm {
		t.Errorf("%+v, want lost tail %v", c, want)
	}
	if got, want := buffered(t, s), ids[1:]; !slices.Equal(got, want) {
		t.Errorf("buffer holds %v, want %v", got, want)
	}
	if n := s.Current().Counts().RowsByTable["execution"]; n != 3 {
		t.Errorf("%d pending rows, want 3", n)
	}
	if v := openStore(t, &redisServer{dir: s.testDir()}).Current(); v.LostTail.IsZero() || !v.Missing.IsZero() {
		t.Errorf("another process says missing %v, lost tail %v", v.Missing, v.LostTail)
	}
	first, err := se.RaiseBatch(t.Context(), 3)
	must(t, err)
	if next, err := se.RaiseBatch(t.Context(), 1); err != nil || first <= c.Batch || next != first+3 {
		t.Errorf("numbers %d, %d after %d, %v", first, next, c.Batch, err)
	}
	whole(t, s)
}

func TestReplicaThatGoesBack(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t), func(o *Options) { o.Retention = time.Minute })
	var ids []int64
	for range 4 {
		ids = append(ids, accept(t, s, execution(newID())).Seq)
	}
	se := session(t, s)
	for i, seq := range ids[:3] {
		settle(t, se, int64(10+i), seq)
	}
	if n, err := s.MarkReplicated(t.Context(), se.Load, 12); err != nil || len(n) != 3 {
		t.Fatal(n, err)
	}
	if n, err := s.MarkReplicated(t.Context(), se.Load, 12); err != nil || len(n) != 0 {
		t.Fatal("marking twice", n, err)
	}
	if v := s.Current(); v.Swept != 12 || v.Counts().RowsByTable["execution"] != 1 {
		t.Fatalf("swept %d, %+v", v.Swept, v.Counts())
	}
	// The oldest has expired: swept does not go below it.
	must(t, s.client.ZAdd(t.Context(), s.prefix+"replicated", zEarly(ids[0])).Err())
	if n, err := s.Expire(t.Context(), time.Now().Add(30*time.Second)); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	n, err := s.Unsweep(t.Context(), se.Load, 3)
	must(t, err)
	if v := s.Current(); n != 2 || v.Swept != 10 || v.Counts().RowsByTable["execution"] != 3 || v.Counts().Applied != 2 {
		t.Errorf("%d came back, swept %d, %+v", n, v.Swept, v.Counts())
	}
	before := dump(t, s)
	if _, err := s.Unsweep(t.Context(), se.Load, 3); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Unsweep(t.Context(), "another", 3); !errors.Is(err, ErrStale) {
		t.Error(err)
	}
}
