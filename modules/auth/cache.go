package auth

import (
	"container/list"
	"crypto/subtle"
	"sync"
	"time"

	"github.com/opsdb/opsdb/platform/api"
)

// cache holds what was verified lately, so that most requests cost no look-up. It is bounded: the least recently
// used entry makes room for a new one.
type cache struct {
	capacity int

	mu      sync.Mutex
	entries map[Hash]*list.Element // of *verified
	recent  *list.List             // front = most recently used
}

// verified is one credential that was found valid. It is never changed after it was put into the cache.
type verified struct {
	hash      Hash
	principal api.Principal
	until     time.Time // not used from then on
}

func newCache(capacity int) *cache {
	return &cache{capacity: capacity, entries: make(map[Hash]*list.Element), recent: list.New()}
}

// get returns the principal of a hash that was verified and has not outlived its time.
func (c *cache) get(hash Hash, now time.Time) (api.Principal, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[hash]
	if !ok {
		return api.Principal{}, false
	}
	entry := element.Value.(*verified)
	if !now.Before(entry.until) {
		c.recent.Remove(element)
		delete(c.entries, hash)
		return api.Principal{}, false
	}
	// A map compares byte by byte; the comparison that decides does not tell by its duration how much was right.
	if subtle.ConstantTimeCompare(entry.hash[:], hash[:]) != 1 {
		return api.Principal{}, false
	}
	c.recent.MoveToFront(element)
	return entry.principal, true
}

func (c *cache) put(entry *verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.entries[entry.hash]; ok {
		element.Value = entry
		c.recent.MoveToFront(element)
		return
	}
	for len(c.entries) >= c.capacity {
		oldest := c.recent.Back()
		c.recent.Remove(oldest)
		delete(c.entries, oldest.Value.(*verified).hash)
	}
	c.entries[entry.hash] = c.recent.PushFront(entry)
}

func (c *cache) drop(hash Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.entries[hash]; ok {
		c.recent.Remove(element)
		delete(c.entries, hash)
	}
}
