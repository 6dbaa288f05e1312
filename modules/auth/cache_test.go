package auth

import (
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
	if _, ok := c.get(Hash{1}, now); !ok {
		t.Fatal("the first entry is gone too early")
	}
	c.put(entry(3), c.generation()) // replaces itself: nothing has to go
	c.put(entry(4), c.generation())
	for n, want := range map[byte]bool{1: true, 2: false, 3: true, 4: true} {
		if p, ok := c.get(Hash{n}, now); ok != want || ok && p.UserID != int64(n) {
			t.Errorf("entry %d: %+v %t, want %t", n, p, ok, want)
		}
	}
	if _, ok := c.get(Hash{1}, now.Add(time.Minute)); ok {
		t.Error("an entry outlives its time")
	}
	if !c.has(Hash{1}) || c.has(Hash{2}) {
		t.Error("what was verified is not known any more, or what was forgotten is")
	}
	if len(c.entries) != 3 || c.recent.Len() != 3 {
		t.Errorf("%d entries, %d in order", len(c.entries), c.recent.Len())
	}
}

func TestWhatWasLookedUpBeforeADropIsNotKept(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := newCache(3)
	looking := c.generation()
	c.drop(func(*verified) bool { return false }) // what is looked up is in no cache yet
	c.put(&verified{hash: Hash{1}, until: now.Add(time.Minute)}, looking)
	if _, ok := c.get(Hash{1}, now); ok {
		t.Error("a credential that was read before a revocation is trusted after it")
	}
}
