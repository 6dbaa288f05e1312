package pending

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// decision is the request that discards dead letters.
func decision(v View, key string, targets ...int64) Accept {
	a := request(v, key)
	a.Exempt = true
	a.Transaction.Discards = targets
	for _, seq := range targets {
		if x, ok := v.TxBySeq(seq); ok {
			a.Transaction.Guards = append(a.Transaction.Guards, x.ID.String())
		}
	}
	return a
}

// discarding accepts a decision and demands that it was stored.
func discarding(t testing.TB, s *Store, a Accept) int64 {
	t.Helper()
	got, err := s.Accept(t.Context(), a)
	if err != nil || got.Seq == 0 {
		t.Fatalf("discarding: %+v, %v", got, err)
	}
	return got.Seq
}

// same demands that every process sees what s sees.
func same(t testing.TB, s *Store) {
	t.Helper()
	whole(t, s)
	if diff := cmp.Diff(picture(openStore(t, &redisServer{dir: s.testDir()}).Current()), picture(catchUp(t, s))); diff != "" {
		t.Errorf("a new process sees something else:\n%s", diff)
	}
}

func TestDiscardTakesADeadLetterOutAtOnce(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	s, other := openStore(t, r, func(o *Options) { o.Capacity = 3 }), openStore(t, r)
	root := newID()
	x := accept(t, s, execution(root))
	se := session(t, s)
	fail(t, se, x.Seq)
	blocked := accept(t, s, update("execution", root, `{"comment":"x"}`))
	accept(t, s, execution(newID()))
	catchUp(t, other)

	// The buffer is full, and a decision about it is accepted all the same.
	a := decision(catchUp(t, s), "key", x.Seq)
	by := discarding(t, s, a)
	for _, store := range []*Store{s, other} {
		v := catchUp(t, store)
		got, ok := v.Tx(x.ID)
		if !ok || got.State != StateDiscarded || got.DiscardedBy != by || got.Dead != nil {
			t.Errorf("the discarded one: %+v", got)
		}
		if row, ok := v.Row(Key{"execution", root}); !ok || row.Create {
			t.Errorf("its row is still shown: %+v, %v", row, ok)
		}
		if b, _ := v.TxBySeq(blocked.Seq); b.State != StateBlocked || b.Dead.BlockedBy != x.Seq {
			t.Errorf("what it blocked is %s", b.State)
		}
	}
	same(t, s)
	// The key finds the decision, whatever has become of the target.
	a.Transaction.ID, a.View = newID(), catchUp(t, s)
	if got, err := s.Accept(t.Context(), a); err != nil || got.Existing == nil || got.Existing.Seq != by {
		t.Errorf("the same key again: %+v, %v", got, err)
	}
	// Neither a retry nor a second decision takes it up again.
	if again, err := s.Retry(t.Context(), x.Seq); err != nil || len(again) != 0 {
		t.Errorf("retrying it: %v, %v", again, err)
	}
	if got, err := s.Accept(t.Context(), decision(catchUp(t, s), "other", x.Seq)); err != nil || !got.Stale {
		t.Errorf("discarding it again: %+v, %v, want stale", got, err)
	}
	if again, err := s.Retry(t.Context(), blocked.Seq); err != nil || !slices.Equal(again, []int64{blocked.Seq}) {
		t.Errorf("retrying what it blocked: %v, %v", again, err)
	}
	if got, want := buffered(t, s), []int64{blocked.Seq, blocked.Seq + 1, by}; !slices.Equal(got, want) {
		t.Errorf("buffer holds %v, want %v", got, want)
	}
	// Settled, replicated and forgotten together with its decision.
	settle(t, se, 10, by)
	same(t, s)
	if got, ok := catchUp(t, s).Tx(x.ID); !ok || got.State != StateDiscarded || got.Position != 10 {
		t.Errorf("with the decision applied: %+v", got)
	}
	if b, _ := catchUp(t, s).TxBySeq(blocked.Seq); b.State != StateBuffered {
		t.Errorf("what it blocked is %s", b.State)
	}
	accept(t, s, execution(newID()))
	if n, err := s.MarkReplicated(t.Context(), se.Load, 10); err != nil || len(n) != 2 {
		t.Errorf("%d have replicated, %v", len(n), err)
	}
	if _, ok := catchUp(t, other).Tx(x.ID); ok {
		t.Error("the view keeps what the ledger answers for")
	}
	same(t, s)
	if n, err := s.Expire(t.Context(), time.Now().Add(2*time.Hour)); err != nil || n != 2 {
		t.Errorf("%d have expired, %v", n, err)
	}
	if d := dump(t, s); d["discarded"] != "" || d["guard"] != `hash {"`+root.String()+`":"2"}` {
		t.Errorf("left behind: %q, %q", d["discarded"], d["guard"])
	}
}

// TestDiscardIsOfDeadLettersOnly: what was retried since is looked at again.
func TestDiscardIsOfDeadLettersOnly(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	x := accept(t, s, execution(newID()))
	se := session(t, s)
	fail(t, se, x.Seq)
	v := catchUp(t, s)
	if _, err := s.Retry(t.Context(), x.Seq); err != nil {
		t.Fatal(err)
	}
	before := dump(t, s)
	if got, err := s.Accept(t.Context(), decision(v, "", x.Seq)); err != nil || !got.Stale {
		t.Errorf("%+v, %v, want stale", got, err)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}

// TestDiscardOfADecisionThatFailed: what it was to discard stays discarded, by the
// new decision.
func TestDiscardOfADecisionThatFailed(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	x := accept(t, s, execution(newID()))
	se := session(t, s)
	fail(t, se, x.Seq)
	first := discarding(t, s, decision(catchUp(t, s), "", x.Seq))
	fail(t, se, first)
	same(t, s)
	second := discarding(t, s, decision(catchUp(t, s), "", x.Seq, first))
	v := catchUp(t, s)
	for _, seq := range []int64{x.Seq, first} {
		if got, _ := v.TxBySeq(seq); got.State != StateDiscarded || got.DiscardedBy != second {
			t.Errorf("%d is %s by %d", seq, got.State, got.DiscardedBy)
		}
	}
	settle(t, se, 10, second)
	same(t, s)
	if n, err := s.MarkReplicated(t.Context(), se.Load, 10); err != nil || len(n) != 3 {
		t.Errorf("%d have replicated, %v", len(n), err)
	}
}

// TestReplacementTakesThePlaceOfADeadLetter: what was accepted after the mistake comes
// after its correction, in the view and when it is applied.
func TestReplacementTakesThePlaceOfADeadLetter(t *testing.T) {
	t.Parallel()
	s := openStore(t, newRedis(t))
	root := newID()
	x := accept(t, s, execution(root))
	se := session(t, s)
	fail(t, se, x.Seq)
	finish := accept(t, s, update("execution", root, `{"status":"completed"}`))
	replace := func(seq int64, also ...int64) int64 {
		t.Helper()
		v := catchUp(t, s)
		target, _ := v.TxBySeq(seq)
		corrected := create("execution", root, `{"id":"`+root.String()+`","unit":8,"status":"running","start_time":"2026-07-15T01:00:00Z","comment":""}`)
		a := request(v, "", corrected)
		a.Exempt = true
		a.Transaction.Discards, a.Transaction.Place = append(also, seq), target.Place
		return discarding(t, s, a)
	}
	shows := func(status string) {
		t.Helper()
		row, _ := catchUp(t, s).Row(Key{"execution", root})
		if string(column(row.Columns, "status")) != `"`+status+`"` || string(column(row.Columns, "unit")) != "8" {
			t.Errorf("the row is %s", row.Columns)
		}
	}
	first := replace(x.Seq)
	shows("completed")
	if got := buffered(t, s); !slices.Equal(got, []int64{first}) {
		t.Errorf("buffer holds %v", got)
	}
	tx, _ := catchUp(t, s).TxBySeq(first)
	if by := catchUp(t, s).Blockers(tx.Changes, tx.Place); len(by) != 0 {
		t.Errorf("it is held back by %v, which waits for it", by)
	}
	// Wrong once more: the next correction takes the same place.
	fail(t, se, first)
	second := replace(first, x.Seq)
	shows("completed")
	same(t, s)
	later := accept(t, s, update("execution", root, `{"comment":"later"}`))
	if later.State != StateBlocked || later.Dead.BlockedBy != finish.Seq {
		t.Errorf("what comes later is %s", later.State)
	}
	settle(t, se, 10, second)
	shows("completed")
	if got, want := buffered(t, s), []int64{finish.Seq, later.Seq}; !slices.Equal(got, want) {
		t.Errorf("buffer holds %v, want what waited for the correction, %v", got, want)
	}
	same(t, s)
}

// TestReplacementIsAppliedBeforeWhatCameAfterTheMistake: what nobody had blocked yet
// comes after the correction, whose seq is higher, in this process and in the next.
func TestReplacementIsAppliedBeforeWhatCameAfterTheMistake(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	s := openStore(t, r)
	root := newID()
	x := accept(t, s, execution(root))
	waiting := accept(t, s, update("execution", root, `{"start_time":"2026-07-15T02:00:00Z","status":"completed"}`))
	se := session(t, s)
	fail(t, se, x.Seq)
	v := catchUp(t, s)
	target, _ := v.TxBySeq(x.Seq)
	a := request(v.Without(target, waiting), "", create("execution", root, `{"id":"`+root.String()+`","unit":8,"status":"running","start_time":"2026-07-15T03:00:00Z","comment":""}`))
	if _, shown := a.View.Row(Key{"execution", root}); shown {
		t.Error("a view without the dead letter and what builds on it shows its row")
	}
	if row, shown := catchUp(t, s).Row(Key{"execution", root}); !shown || string(column(row.Columns, "status")) != `"completed"` {
		t.Errorf("the view itself shows %s", row.Columns)
	}
	a.Exempt, a.Transaction.Discards, a.Transaction.Place = true, []int64{x.Seq}, target.Place
	correction := discarding(t, s, a)
	for name, v := range map[string]View{"here": catchUp(t, s), "elsewhere": catchUp(t, openStore(t, r))} {
		var order []int64
		for tx := range v.Buffered() {
			order = append(order, tx.Seq)
		}
		if want := []int64{correction, waiting.Seq}; !slices.Equal(order, want) {
			t.Errorf("%s the order is %v, want %v", name, order, want)
		}
		row, _ := v.Row(Key{"execution", root})
		if string(column(row.Columns, "status")) != `"completed"` || string(column(row.Columns, "start_time")) != `"2026-07-15T03:00:00Z"` {
			t.Errorf("%s the row is %s", name, row.Columns)
		}
	}
}

// TestDiscardOutlivesTheRestartOfRedis: the decision goes back, what it discards does not.
func TestDiscardOutlivesTheRestartOfRedis(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	s := openStore(t, r)
	a, b := accept(t, s, execution(newID())), accept(t, s, execution(newID()))
	se := session(t, s)
	fail(t, se, a.Seq)
	fail(t, se, b.Seq)
	first := discarding(t, s, decision(catchUp(t, s), "", a.Seq))
	settle(t, se, 10, first)
	if _, err := s.MarkReplicated(t.Context(), se.Load, 10); err != nil {
		t.Fatal(err)
	}
	second := discarding(t, s, decision(catchUp(t, s), "", b.Seq))
	r.kill(t)
	r.start(t)
	catchUp(t, s)
	if got, want := buffered(t, s), []int64{first, second}; !slices.Equal(got, want) {
		t.Errorf("buffer holds %v, want the decisions, %v", got, want)
	}
	same(t, s)
	if got, ok := catchUp(t, s).Tx(a.ID); !ok || got.State != StateDiscarded {
		t.Errorf("what was discarded is %+v", got)
	}
	se = session(t, s)
	settle(t, se, 20, first, second)
	same(t, s)
	// The primary has lost them, and has them again.
	se = session(t, s)
	lost, err := se.Connected(t.Context(), Claim{Batch: 5})
	must(t, err)
	if !slices.Equal(lost.LostTail, []int64{first, second}) {
		t.Errorf("lost are %v", lost.LostTail)
	}
	same(t, s)
	settle(t, se, 30, first, second)
	same(t, s)
	if n, err := s.MarkReplicated(t.Context(), se.Load, 30); err != nil || len(n) != 4 {
		t.Errorf("%d have replicated, %v", len(n), err)
	}
}
