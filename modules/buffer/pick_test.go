package buffer

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// seqs are those of what a selection sends, by group.
func seqs(s selection) [][]int64 {
	var all [][]int64
	for _, g := range s.groups {
		var group []int64
		for _, tx := range g {
			group = append(group, tx.Seq)
		}
		all = append(all, group)
	}
	return all
}

func TestSelectFlushKeepsOrderAndLimits(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	one := txntest.Note(t, s.Buffered, "one", nil)                                         // seq 1
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: one, Body: "two", Status: "open"})    // 2: touches what 1 creates
	three := txntest.Note(t, s.Buffered, "three", &one)                                    // 3: refers to what 1 creates
	txntest.Note(t, s.Buffered, "four", nil)                                               // 4
	txntest.EditNote(t, s.Buffered, txntest.Edit{ID: three, Body: "five", Status: "open"}) // 5
	view := s.Store.Current()
	now := time.Now()
	ids := map[int64]uuid.UUID{}
	view.Ascend(0, func(tx *pending.Tx) bool {
		ids[tx.Seq] = tx.ID
		return true
	})

	all := selectFlush(view, limits{count: 1000, bytes: 4 << 20}, nil, now)
	if diff := cmp.Diff([][]int64{{1, 2, 3, 4, 5}}, seqs(all)); diff != "" {
		t.Errorf("everything (-want +got):\n%s", diff)
	}
	for i, want := range map[int][]uuid.UUID{0: nil, 1: {ids[1]}, 2: {ids[1]}, 3: nil, 4: {ids[3]}} {
		if diff := cmp.Diff(want, all.earlier[int64(i+1)]); diff != "" {
			t.Errorf("guards of %d (-want +got):\n%s", i+1, diff)
		}
	}

	few := selectFlush(view, limits{count: 2, bytes: 4 << 20}, nil, now)
	if diff := cmp.Diff([][]int64{{1, 2}}, seqs(few)); diff != "" {
		t.Errorf("at most two (-want +got):\n%s", diff)
	}

	// What is held keeps back what depends on it, or the order would be lost.
	two := map[int64]held{2: {tries: 1, until: now.Add(time.Minute)}, 3: {tries: 1, until: now.Add(time.Second)}}
	rest := selectFlush(view, limits{count: 1000, bytes: 4 << 20}, two, now)
	if diff := cmp.Diff([][]int64{{1, 4}}, seqs(rest)); diff != "" {
		t.Errorf("with two held (-want +got):\n%s", diff)
	}
	if rest.wait != time.Second {
		t.Errorf("the next try is due in %v, want 1s", rest.wait)
	}
	rest = selectFlush(view, limits{count: 1000, bytes: 4 << 20}, two, now.Add(2*time.Second))
	if diff := cmp.Diff([][]int64{{1, 3, 4, 5}}, seqs(rest)); diff != "" {
		t.Errorf("with one held (-want +got):\n%s", diff)
	}
	// What waits counts for nothing in the limits of a flush: everything waits for the
	// first but the fourth, and there is room for one.
	first := map[int64]held{1: {tries: 1, until: now.Add(time.Minute)}}
	narrow := selectFlush(view, limits{count: 1, bytes: 1}, first, now)
	if diff := cmp.Diff([][]int64{{4}}, seqs(narrow)); diff != "" {
		t.Errorf("with the first held and room for one (-want +got):\n%s", diff)
	}
}

// TestAllThatADeadLetterHoldsBackIsFoundAtOnce: a chain of transactions behind one is
// blocked in one go, and not one link a flush.
func TestAllThatADeadLetterHoldsBackIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	ctx := sandboxtest.Context(t)
	one := txntest.Note(t, s.Buffered, "one", nil)           // seq 1
	two := txntest.Note(t, s.Buffered, "two", &one)          // 2: refers to what 1 creates
	three := txntest.Note(t, s.Buffered, "three", &two)      // 3: to what 2 creates
	txntest.Note(t, s.Buffered, "four", &three)              // 4: to what 3 creates
	txntest.Note(t, s.Buffered, "independent of these", nil) // 5
	session, err := s.Store.BeginEpoch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Fail(ctx, []pending.Failure{{Seq: 1, Problem: encodeProblem(NotADeadLetter.New("made for the test")), At: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	view, err := s.Store.CatchUp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	chosen := selectFlush(view, limits{count: 1000, bytes: 4 << 20}, nil, time.Now())
	if diff := cmp.Diff([]pending.Blocking{{Seq: 2, By: 1}, {Seq: 3, By: 2}, {Seq: 4, By: 3}}, chosen.blocked); diff != "" {
		t.Errorf("blocked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]int64{{5}}, seqs(chosen)); diff != "" {
		t.Errorf("chosen (-want +got):\n%s", diff)
	}
}

// Of a group whose commit was not answered nothing is known, whatever its
// transactions answered: settled, they would be lost.
func TestNothingOfAnUnansweredCommitIsSettled(t *testing.T) {
	t.Parallel()
	p := &processor{holding: map[int64]held{}, now: time.Now}
	got := p.sort(pending.View{}, []txn.GroupAnswer{
		{Committed: true, Position: 7, Items: []txn.Answer{{Seq: 1, Outcome: txn.Applied}, {Seq: 2, Outcome: txn.Discarded}, {Seq: 3, Outcome: txn.Postponed}}},
		{Position: 8, Items: []txn.Answer{{Seq: 4, Outcome: txn.Applied}, {Seq: 5, Outcome: txn.Applied}}},
	}, time.Now())
	want := []pending.Settled{{Seq: 1, Position: 7, Outcome: pending.StateApplied}, {Seq: 2, Position: 7, Outcome: pending.StateDiscarded}}
	if diff := cmp.Diff(want, got.settled); diff != "" {
		t.Errorf("settled (-want +got):\n%s", diff)
	}
	if len(got.failed) != 0 || got.fault != nil {
		t.Errorf("%+v", got)
	}
}

func TestPauseGrowsToItsLimit(t *testing.T) {
	t.Parallel()
	b := pause{limit: 2 * time.Second}
	var last time.Duration
	for range 100 {
		if last = b.next(); last <= 0 || last > 2*time.Second {
			t.Fatalf("paused for %v", last)
		}
	}
	if last < time.Second {
		t.Errorf("after many tries it pauses for %v only", last)
	}
	if mayHold(errors.New("anything else")) {
		t.Error("an unknown error must not be blamed on one transaction")
	}
}
