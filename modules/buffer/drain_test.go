package buffer

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

func TestBufferedTransactionsReachBothSites(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	var want []uuid.UUID
	for i := range 250 {
		want = append(want, txntest.Note(t, s.Buffered, fmt.Sprintf("note %d", i), nil))
	}
	if got := txntest.Bodies(t, s.PrimaryPool); len(got) != 0 {
		t.Fatalf("the primary has %d notes before anything drains", len(got))
	}
	start(t, make1(t, s))
	drained(t, s, 10*time.Second)
	for site, got := range map[string]map[uuid.UUID]string{"primary": txntest.Bodies(t, s.PrimaryPool), "replica": txntest.Bodies(t, s.ReplicaPool)} {
		if len(got) != len(want) {
			t.Errorf("the %s has %d notes, want %d", site, len(got), len(want))
		}
		for i, id := range want {
			if got[id] != fmt.Sprintf("note %d", i) {
				t.Errorf("the %s has %q for note %d", site, got[id], i)
			}
		}
	}
	// With the processor running, a new one arrives without any further help.
	id := txntest.Note(t, s.Buffered, "late", nil)
	drained(t, s, 5*time.Second)
	if got := txntest.Bodies(t, s.ReplicaPool); got[id] != "late" {
		t.Error("the replica does not show the late note although it is replicated")
	}
}

func TestPoisonHoldsBackWhatDependsOnItAndNothingElse(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	poison := txntest.Note(t, s.Buffered, "poison", nil)
	child := txntest.Note(t, s.Buffered, "child", &poison)
	grandchild := txntest.Note(t, s.Buffered, "grandchild", &child)
	other := txntest.Note(t, s.Buffered, "other", nil)
	start(t, make1(t, s))
	drained(t, s, 10*time.Second)
	got := txntest.Bodies(t, s.PrimaryPool)
	if len(got) != 1 || got[other] != "other" {
		t.Fatalf("the primary has %v, want the independent note alone", got)
	}
	dead := s.Store.Current().Dead()
	if len(dead) != 3 || dead[0].State != pending.StateFailed || dead[1].State != pending.StateBlocked || dead[2].State != pending.StateBlocked {
		t.Fatalf("dead letters: %+v", dead)
	}
	// What comes later and answers a blocked note is born blocked.
	late := txntest.EditNote(t, s.Buffered, txntest.Edit{ID: grandchild, Body: "edited", Status: "open"})
	if late.State != pending.StateBlocked {
		t.Errorf("an edit of a blocked note is %s", late.State)
	}
	// The cause is mended at main, and one call heals all.
	s.Exec(t, "ALTER TABLE note DROP CONSTRAINT note_body_check")
	if _, err := s.Store.Retry(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, 10*time.Second, "all dead letters to be applied", func() bool { return len(s.Store.Current().Dead()) == 0 })
	drained(t, s, 10*time.Second)
	got = txntest.Bodies(t, s.PrimaryPool)
	if len(got) != 4 || got[poison] != "poison" || got[grandchild] != "edited" {
		t.Errorf("the primary has %v", got)
	}
}
