package pending

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/rdb"
)

const (
	// readCount bounds what one round trip of a catch-up brings.
	readCount = 256
	// changeCount bounds the changes of state of one round trip.
	changeCount = 1000
	// catchUpLimit bounds one catch-up as a whole, a reload of a full buffer
	// included; each of its round trips has a limit of its own.
	catchUpLimit = 10 * time.Minute
)

// sharing lets concurrent requests share one exchange with Redis. A request
// never joins the exchange that is under way, which may have read before the
// request came and would miss what was accepted in between, but the next one.
type sharing struct {
	mu      sync.Mutex
	running bool
	next    *shared
}

type shared struct {
	done chan struct{}
	view View
	err  error
}

// CatchUp brings the view of this process up to everything any process had
// stored when CatchUp was called, and returns it. Concurrent calls share one
// round trip. A Redis that was restarted is put back first. The error is
// pending-unavailable, or ctx's.
func (s *Store) CatchUp(ctx context.Context) (View, error) {
	s.sharing.mu.Lock()
	mine := s.sharing.next
	if mine == nil {
		mine = &shared{done: make(chan struct{})}
		s.sharing.next = mine
	}
	lead := !s.sharing.running
	if lead {
		s.sharing.running = true
		s.sharing.next = nil
	}
	s.sharing.mu.Unlock()
	if lead {
		s.lead(ctx, mine)
		return mine.view, mine.err
	}
	select {
	case <-mine.done:
		return mine.view, mine.err
	case <-ctx.Done():
		return View{}, ctx.Err()
	}
}

// lead runs one exchange, then hands over to whoever waits for the next.
func (s *Store) lead(ctx context.Context, call *shared) {
	// The others who wait must not fail because the one who leads went away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), catchUpLimit)
	call.view, call.err = s.catchUp(ctx)
	cancel()
	close(call.done)
	s.sharing.mu.Lock()
	next := s.sharing.next
	s.sharing.next = nil
	s.sharing.running = next != nil
	s.sharing.mu.Unlock()
	if next != nil {
		go s.lead(context.WithoutCancel(ctx), next)
	}
}

// news is what one exchange brought.
type news struct {
	load              string
	seq, change       int64
	swept             int64
	paused            bool
	missing, lostTail time.Time
	entries           []message
	changes           []message
	entriesCut, short bool // more entries follow; fewer than the counters say
}

func (s *Store) catchUp(ctx context.Context) (View, error) {
	v, err := s.exchange(ctx)
	if err != nil {
		s.setStatus(func(st *Status) { st.Reachable, st.Err = false, err })
		return View{}, s.unavailable("catching up with the buffer", err)
	}
	if st := s.status.Load(); !st.Reachable {
		s.setStatus(func(st *Status) { st.Reachable, st.Err = true, nil })
	}
	return v, nil
}

// exchange reads until the view holds all that Redis held at one moment.
func (s *Store) exchange(ctx context.Context) (View, error) {
	reloaded := false
	for {
		s.mu.Lock()
		load, seq, change := s.state.Load, s.state.LastSeq, s.state.LastChange
		s.mu.Unlock()
		if load == "" {
			loaded, err := s.reload(ctx)
			if err != nil {
				return View{}, err
			}
			reloaded = reloaded || loaded
			continue
		}
		n, err := s.read(ctx, seq, change)
		if err != nil {
			return View{}, err
		}
		if n.load == load && n.seq >= seq && n.change >= change && !(n.short && !reloaded) {
			v, done, ok := s.apply(n)
			if done {
				return v, nil
			}
			if ok {
				continue
			}
		}
		// Another Redis, one that has forgotten something, or a missing change.
		loaded, err := s.reload(ctx)
		if err != nil {
			return View{}, err
		}
		reloaded = reloaded || loaded
	}
}

// read asks for everything after our positions, in one moment.
func (s *Store) read(ctx context.Context, seq, change int64) (news, error) {
	reply, err := scripts.catchUp.Run(ctx, s.client, []string{s.prefix}, seq, readCount, change, changeCount).Slice()
	if err != nil {
		return news{}, err
	}
	a := answer{list: reply}
	c := a.next()
	n := news{seq: number(c.at(1)), change: number(c.at(2)), swept: number(c.at(3)), paused: c.at(4) != nil, missing: moment(c.at(5)), lostTail: moment(c.at(6))}
	n.load, _ = c.at(0).(string)
	n.entries = a.messages()
	n.changes = a.messages()
	n.entriesCut = len(n.entries) == readCount
	if !n.entriesCut && n.seq > seq {
		last := int64(0)
		if len(n.entries) > 0 {
			if last, err = idNumber(n.entries[len(n.entries)-1].id); err != nil {
				return news{}, err
			}
		}
		n.short = last < n.seq
	}
	return n, nil
}

// apply brings news into the view. done: the view is complete. ok is false when
// everything must be read anew.
func (s *Store) apply(n news) (v View, done, ok bool) {
	// Decoding is the slow part and needs no lock: only one exchange runs.
	txs, err := s.decodeAll(n.entries, func(seq int64) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, own := s.state.sets.all.Get(&Tx{Seq: seq})
		return own
	})
	if err != nil {
		s.log.Error("a stored transaction cannot be read", "error", err)
		return View{}, false, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	quiet := len(txs) == 0 && len(n.changes) == 0 && st.Swept == n.swept && st.Paused == n.paused && st.Missing.Equal(n.missing) && st.LostTail.Equal(n.lostTail)
	done, ok = st.absorb(n, txs)
	if !quiet {
		s.touched()
	}
	if !done {
		return View{}, false, ok
	}
	return s.current(), true, true
}

// absorb brings news and their transactions, decoded, into the state. done and ok are
// those of Store.apply.
func (s *state) absorb(n news, txs []*Tx) (done, ok bool) {
	for _, t := range txs {
		if t.Seq > s.LastSeq {
			s.insert(t)
			s.LastSeq = t.Seq
		}
	}
	s.advance()
	if n.entriesCut {
		// Changes may be about transactions that are still to come.
		return false, true
	}
	s.LastSeq = max(s.LastSeq, n.seq)
	for _, m := range n.changes {
		number, err := idNumber(m.id)
		if err != nil || number != s.LastChange+1 || !s.follow(m) {
			return false, false
		}
		s.LastChange = number
	}
	s.Swept, s.Paused, s.Missing, s.LostTail = n.swept, n.paused, n.missing, n.lostTail
	if s.LastChange < n.change {
		// Either more follow, or some are missing: then the next read begins with
		// a gap.
		return false, len(n.changes) > 0
	}
	return true, true
}

// decodeAll reads transactions, but for those that the caller has.
func (s *Store) decodeAll(list []message, have func(seq int64) bool) ([]*Tx, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]*Tx, 0, len(list))
	reader := &state{decoder: s.opts.Decoder, names: s.names}
	for _, m := range list {
		e, err := entryOf(m)
		if err != nil {
			return nil, err
		}
		if have(e.seq) {
			continue
		}
		out = append(out, reader.read(e.seq, e.head, e.body))
	}
	return out, nil
}

// follower wakes this process when another one changes something.
type follower struct {
	cancel context.CancelFunc
	done   chan struct{}
	client *rdb.Client
}

// The follower's reads are spaced: under load one wake for many is enough. Own
// writes wake it too, to find nothing new, and while they come it looks less often.
const (
	followPause = 2 * time.Millisecond
	ownPause    = 10 * time.Millisecond
)

func (s *Store) follow() *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{cancel: cancel, done: make(chan struct{}), client: s.client.Fork("opsdb-follower")}
	go func() {
		defer close(f.done)
		s.followLoop(ctx, f.client)
	}()
	return f
}

func (f *follower) stop() error {
	f.cancel()
	err := f.client.Close() // interrupts the blocking read
	<-f.done
	return err
}

func (s *Store) followLoop(ctx context.Context, client *rdb.Client) {
	wait := followPause
	for ctx.Err() == nil {
		seq, change := s.positions()
		found, err := client.XRead(ctx, &redis.XReadArgs{
			Streams: []string{s.prefix + "transactions", s.prefix + "changes", fmt.Sprintf("%d-0", seq), fmt.Sprintf("%d-0", change)},
			Count:   1, Block: 5 * time.Second,
		}).Result()
		if ctx.Err() != nil {
			return
		}
		own := err == nil && s.knows(found)
		if !own && (err == nil || errors.Is(err, redis.Nil)) {
			_, err = s.CatchUp(ctx)
		}
		if own {
			wait = ownPause
		} else if err == nil {
			wait = followPause
		} else {
			if wait <= ownPause {
				s.log.Log(ctx, slog.LevelWarn, "the buffer cannot be followed", "error", err)
			}
			s.setStatus(func(st *Status) { st.Reachable, st.Err = false, err })
			wait = min(max(2*wait, 50*time.Millisecond), time.Second)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// positions are how far the view has come.
func (s *Store) positions() (seq, change int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.LastSeq, s.state.LastChange
}

// knows reports whether the view holds by now all that was found: transactions that
// this process has accepted itself.
func (s *Store) knows(found []redis.XStream) bool {
	seq, _ := s.positions()
	for _, stream := range found {
		for _, m := range stream.Messages {
			n, err := idNumber(m.ID)
			if err != nil || stream.Stream != s.prefix+"transactions" || n > seq {
				return false
			}
		}
	}
	return true
}
