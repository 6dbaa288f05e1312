package auth

import (
	"errors"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/api"
)

func TestCacheForgetsTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := newCache(3)
	entry := func(n byte) *verified {
		return &verified{hash: Hash{n}, principal: api.Principal{UserID: int64(n)}, until: now.Add(time.Minute)}
	}
	for n := byte(1); n <= 3; n++ {
		c.put(entry(n), c.generation())
	}
	if _, _, ok := c.get(Hash{1}, now); !ok {
		t.Fatal("the first entry is gone too early")
	}
	c.put(entry(3), c.generation()) // replaces itself: nothing has to go
	c.put(entry(4), c.generation())
	for n, want := range map[byte]bool{1: true, 2: false, 3: true, 4: true} {
		if p, _, ok := c.get(Hash{n}, now); ok != want || ok && p.UserID != int64(n) {
			t.Errorf("entry %d: %+v %t, want %t", n, p, ok, want)
		}
	}
	if _, _, ok := c.get(Hash{1}, now.Add(time.Minute)); ok {
		t.Error("an entry outlives its time")
	}
	if !c.has(Hash{1}) || c.has(Hash{2}) {
		t.Error("what was verified is not known any more, or what was forgotten is")
	}
	if len(c.entries) != 3 || c.recent.Len() != 3 {
		t.Errorf("%d entries, %d in order", len(c.entries), c.recent.Len())
	}
}

func TestARefusalIsForgottenByADrop(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := newCache(3)
	why := errors.New("revoked")
	c.put(&verified{hash: Hash{1}, refused: why, until: now.Add(time.Minute)}, c.generation())
	if _, refused, ok := c.get(Hash{1}, now); !ok || refused != why || c.has(Hash{1}) {
		t.Errorf("what is refused: %v, %t; it counts as verified: %t", refused, ok, c.has(Hash{1}))
	}
	c.drop(func(*verified) bool { return true })
	if _, _, ok := c.get(Hash{1}, now); ok || c.has(Hash{1}) || len(c.entries) != 0 || c.recent.Len() != 0 {
		t.Errorf("a refusal is left: %d entries, %d in order", len(c.entries), c.recent.Len())
	}
}

func TestWhatWasLookedUpBeforeADropIsNotKept(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := newCache(3)
	looking := c.generation()
	c.drop(func(*verified) bool { return false }) // what is looked up is in no cache yet
	c.put(&verified{hash: Hash{1}, until: now.Add(time.Minute)}, looking)
	if _, _, ok := c.get(Hash{1}, now); ok {
		t.Error("a credential that was read before a revocation is trusted after it")
	}
}
