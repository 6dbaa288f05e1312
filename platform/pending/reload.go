package pending

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// reload reads everything anew: counters, then the stream in pages, each with the states
// of its transactions at its own moment, then what changed since the counters, so that the
// view that is shown is of one moment. It is false when Redis was another one meanwhile, or
// has forgotten a change: then the view stays what it was.
func (s *Store) reload(ctx context.Context) (loaded bool, err error) {
	started := time.Now()
	if _, err := s.putBack(ctx, s.client); err != nil {
		return false, err
	}
	// A restarted Redis may have other settings than the one before.
	if err := s.CheckDurability(ctx); err != nil && !errors.Is(err, ErrNotDurable) {
		return false, err
	}
	s.mu.Lock()
	before := s.state.LastSeq
	s.mu.Unlock()
	st := newState(s.opts.Tables, s.opts.Decoder)
	lsn, err := s.loadCounters(ctx, st)
	if err != nil {
		return false, err
	}
	loading := newLoading(s.opts.Decoder)
	for page := range s.stored(ctx, st.Load, st.LastSeq) {
		switch {
		case errors.Is(page.err, ErrStale):
			return false, nil
		case page.err != nil:
			return false, fmt.Errorf("loading the pending transactions: %w", page.err)
		}
		list, err := loading.read(page.messages)
		if err != nil {
			return false, err
		}
		for i, t := range list {
			if err := page.standings[i].settle(t, lsn); err != nil {
				return false, err
			}
			st.insert(t)
		}
		st.Swept, st.ahead = page.swept, page.change
	}
	if ok, err := s.complete(ctx, st); err != nil || !ok {
		return false, err
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
	return true, nil
}

// complete brings a state that nobody sees yet up to what Redis holds; false when it must
// be loaded anew.
func (s *Store) complete(ctx context.Context, st *state) (bool, error) {
	for {
		n, err := s.read(ctx, st.LastSeq, st.LastChange)
		if err != nil {
			return false, err
		}
		if n.load != st.Load || n.seq < st.LastSeq || n.change < st.LastChange {
			return false, nil
		}
		txs, err := s.decodeAll(n.entries, func(int64) bool { return false })
		if err != nil {
			return false, err
		}
		if done, ok := st.absorb(n, txs); done || !ok {
			return ok, nil
		}
	}
}

// storedPage is one page of the stream of transactions without those that have replicated,
// or why there is none. Change and swept are Redis' own at that moment.
type storedPage struct {
	messages      []message
	standings     []standing
	change, swept int64
	err           error
}

// stored yields the stream of transactions up to a seq in pages, oldest first: the next ones
// are on their way while the caller is busy with one. An error is the last page.
func (s *Store) stored(ctx context.Context, load string, upTo int64) func(yield func(storedPage) bool) {
	return func(yield func(storedPage) bool) {
		ctx, cancel := context.WithCancel(ctx)
		pages := make(chan storedPage, 1)
		var reading sync.WaitGroup
		reading.Go(func() {
			defer close(pages)
			for after, more := int64(0), true; more; {
				var p storedPage
				p, after, more = s.page(ctx, load, after, upTo)
				select {
				case pages <- p:
				case <-ctx.Done():
					return
				}
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

// page reads the page after a seq. more: others may follow the one that ends with last.
func (s *Store) page(ctx context.Context, load string, after, upTo int64) (p storedPage, last int64, more bool) {
	reply, err := scripts.loadPage.Run(ctx, s.client, []string{s.prefix}, load, after, upTo, s.opts.loadCount).Slice()
	if err != nil {
		return storedPage{err: stale(err)}, after, false
	}
	a := answer{list: reply}
	p.change, p.swept = number(a.at(0)), number(a.at(1))
	if a.at(2) == nil {
		return p, after, false
	}
	last, a.done = number(a.at(2)), 3
	for list := a.next(); list.done < len(list.list); {
		item := list.next()
		entry := item.next()
		m := message{}
		m.id, _ = entry.at(0).(string)
		m.fields, _ = entry.at(1).([]any)
		p.messages = append(p.messages, m)
		p.standings = append(p.standings, standing{position: item.at(1), discardedBy: item.at(2), dead: item.at(3), attempts: item.at(4)})
	}
	return p, last, true
}

// loading reads the pages of one reload on all processors: reading a transaction is
// most of what a cold start is made of.
type loading struct {
	readers []*state // one a goroutine, for the names that it keeps
}

func newLoading(decoder Decoder) *loading {
	l := &loading{readers: make([]*state, runtime.GOMAXPROCS(0))}
	for i := range l.readers {
		l.readers[i] = newState(nil, decoder)
	}
	return l
}

// read gives the transactions of a page in its order.
func (l *loading) read(page []message) ([]*Tx, error) {
	list, failed := make([]*Tx, len(page)), make([]error, len(l.readers))
	var working sync.WaitGroup
	for i, reader := range l.readers {
		working.Go(func() {
			for at := i; at < len(page); at += len(l.readers) {
				e, err := entryOf(page[at])
				if err != nil {
					failed[i] = err
					return
				}
				list[at] = reader.read(e.seq, e.head, e.body)
			}
		})
	}
	working.Wait()
	return list, errors.Join(failed...)
}
