package txn

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/opsdb/opsdb/platform/problem"
)

// attempts are the writes of this process that are under way and have an idempotency key. Those that come with the same one
// meanwhile wait here, where they hold no connection to the primary, and are answered with what became of the first.
type attempts struct {
	mu      sync.Mutex
	running map[attemptKey]*attempt
}

type attemptKey struct{ actor, key string }

// attempt is one write; receipt and err are to be read once done is closed.
type attempt struct {
	done    chan struct{}
	digest  []byte
	receipt Receipt
	err     error
}

// one carries write out, unless another of the same key is under way. Should that fail, the next tries.
func (a *attempts) one(ctx context.Context, req Request, write func() (Receipt, error)) (Receipt, error) {
	if req.Key == "" || req.ValidateOnly {
		return write()
	}
	patience := time.NewTimer(commitPatience)
	defer patience.Stop()
	key := attemptKey{req.Actor, req.Key}
	for {
		mine, theirs := a.begin(key, req.Digest)
		if theirs == nil {
			defer a.end(key, mine)
			mine.receipt, mine.err = write()
			return mine.receipt, mine.err
		}
		select {
		case <-theirs.done:
		case <-patience.C:
			return Receipt{}, onItsWay()
		case <-ctx.Done():
			return Receipt{}, onItsWay()
		}
		switch {
		case theirs.err != nil:
		case !bytes.Equal(theirs.digest, req.Digest):
			return Receipt{}, reused()
		default:
			receipt := theirs.receipt
			receipt.Replayed = true
			return receipt, nil
		}
	}
}

// begin returns the attempt that has begun now, or the one that is under way.
func (a *attempts) begin(key attemptKey, digest []byte) (mine, theirs *attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if theirs = a.running[key]; theirs != nil {
		return nil, theirs
	}
	if a.running == nil {
		a.running = map[attemptKey]*attempt{}
	}
	mine = &attempt{done: make(chan struct{}), digest: digest, err: onItsWay()}
	a.running[key] = mine
	return mine, nil
}

func (a *attempts) end(key attemptKey, mine *attempt) {
	a.mu.Lock()
	delete(a.running, key)
	a.mu.Unlock()
	close(mine.done)
}

func onItsWay() *problem.Problem {
	return problem.DatabaseBusy.New("another request with the same Idempotency-Key is on its way")
}
