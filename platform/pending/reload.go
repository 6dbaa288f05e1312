package pending

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// loadCount bounds one page of a reload.
const loadCount = 500

// reload reads everything anew: counters and sets in one moment, then the
// stream in pages. What happened since that moment follows from `changes`.
func (s *Store) reload(ctx context.Context) error {
	started := time.Now()
	if _, err := s.putBack(ctx, s.client); err != nil {
		return err
	}
	// A restarted Redis may have other settings than the one before.
	if err := s.checkDurability(ctx); err != nil {
		s.log.ErrorContext(ctx, "the buffer's Redis is not as it must be", "error", err)
	}
	s.mu.Lock()
	before := s.state.LastSeq
	s.mu.Unlock()
	st := newState(s.opts.Tables, s.opts.Decoder)
	sets, err := s.loadSets(ctx, st)
	if err != nil {
		return err
	}
	loading := newLoading(s.opts.Decoder, func(seq int64) bool { return seq <= st.LastSeq && !sets.left[seq] })
	for page := range s.stored(ctx) {
		if page.err != nil {
			return fmt.Errorf("loading the pending transactions: %w", page.err)
		}
		list, err := loading.read(page.messages)
		if err != nil {
			return err
		}
		for _, t := range list {
			if t != nil {
				sets.settle(t)
				st.insert(t)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.state; old.Load == st.Load && before <= st.LastSeq {
		// Own transactions accepted meanwhile stay visible.
		old.sets.all.Ascend(&Tx{Seq: st.LastSeq + 1}, func(t *Tx) bool {
			st.insert(t)
			return true
		})
		st.advance()
	}
	s.state, s.last = st, View{}
	s.touched()
	s.log.InfoContext(ctx, "the pending transactions were loaded", "transactions", st.sets.all.Len(), "took", time.Since(started))
	return nil
}

// storedPage is one page of the stream of transactions, or why there is none.
type storedPage struct {
	messages []redis.XMessage
	err      error
}

// stored yields the stream of transactions in pages, oldest first: the next ones are on
// their way while the caller is busy with one. An error is the last page.
func (s *Store) stored(ctx context.Context) func(yield func(storedPage) bool) {
	return func(yield func(storedPage) bool) {
		ctx, cancel := context.WithCancel(ctx)
		pages := make(chan storedPage, 1)
		var reading sync.WaitGroup
		reading.Go(func() {
			defer close(pages)
			from := "-"
			for {
				var p storedPage
				p.messages, p.err = s.client.XRangeN(ctx, s.prefix+"transactions", from, "+", loadCount).Result()
				select {
				case pages <- p:
				case <-ctx.Done():
					return
				}
				if p.err != nil || len(p.messages) < loadCount {
					return
				}
				from = "(" + p.messages[len(p.messages)-1].ID
			}
		})
		defer reading.Wait()
		defer cancel()
		for p := range pages {
			if !yield(p) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(storedPage{err: context.Cause(ctx)})
		}
	}
}

// loading reads the pages of one reload on all processors: reading a transaction is
// most of what a cold start is made of.
type loading struct {
	wanted  func(seq int64) bool
	readers []*state // one a goroutine, for the names that it keeps
}

func newLoading(decoder Decoder, wanted func(seq int64) bool) *loading {
	l := &loading{wanted: wanted, readers: make([]*state, runtime.GOMAXPROCS(0))}
	for i := range l.readers {
		l.readers[i] = newState(nil, decoder)
	}
	return l
}

// read gives the transactions of a page in its order, nil for those that are not wanted.
func (l *loading) read(page []redis.XMessage) ([]*Tx, error) {
	list, failed := make([]*Tx, len(page)), make([]error, len(l.readers))
	var working sync.WaitGroup
	for i, reader := range l.readers {
		working.Go(func() {
			for at := i; at < len(page); at += len(l.readers) {
				e, err := entryOf(messageOf(page[at]))
				if err != nil {
					failed[i] = err
					return
				}
				if l.wanted(e.seq) {
					list[at] = reader.read(e.seq, e.head, e.body)
				}
			}
		})
	}
	working.Wait()
	return list, errors.Join(failed...)
}
