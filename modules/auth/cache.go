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
	drops   uint64                 // how often something was dropped
}

// verified is one credential that was found valid, or refused although it was valid once. It is never changed after it was
// put into the cache.
type verified struct {
	hash      Hash
	principal api.Principal
	refused   error     // why it is refused; nil: it is valid
	until     time.Time // not used from then on
}

func newCache(capacity int) *cache {
	return &cache{capacity: capacity, entries: make(map[Hash]*list.Element), recent: list.New()}
}

// get returns what was found of a hash, or why it was refused; false when nothing is known that has not outlived its time.
func (c *cache) get(hash Hash, now time.Time) (principal api.Principal, refused error, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[hash]
	if !ok {
		return api.Principal{}, nil, false
	}
	entry := element.Value.(*verified)
	if !now.Before(entry.until) {
		return api.Principal{}, nil, false
	}
	// A map compares byte by byte; the comparison that decides does not tell by its duration how much was right.
	if subtle.ConstantTimeCompare(entry.hash[:], hash[:]) != 1 {
		return api.Principal{}, nil, false
	}
	c.recent.MoveToFront(element)
	return entry.principal, entry.refused, true
}

// has tells whether a hash was verified, however long ago, and not refused since.
func (c *cache) has(hash Hash) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[hash]
	return ok && element.Value.(*verified).refused == nil
}

// generation is to be taken before a credential is looked up, and handed to put with what was found.
func (c *cache) generation() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drops
}

// put keeps what was found, unless something was dropped since: what was read before a revocation must not outlive it.
func (c *cache) put(entry *verified, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.drops {
		return
	}
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

// drop makes what a condition holds for be verified anew, and what is being looked up meanwhile is not put in.
func (c *cache) drop(which func(*verified) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	for hash, element := range c.entries {
		switch entry := element.Value.(*verified); {
		case !which(entry):
		case entry.refused != nil:
			c.recent.Remove(element)
			delete(c.entries, hash)
		default:
			element.Value = &verified{hash: hash}
		}
	}
}

// remove takes out what was refused.
func (c *cache) remove(hash Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.entries[hash]; ok {
		c.recent.Remove(element)
		delete(c.entries, hash)
	}
}
