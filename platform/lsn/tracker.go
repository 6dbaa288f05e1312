package lsn

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/lsn/internal/db"
)

// Config is what a Tracker needs. Zero durations mean the defaults given.
type Config struct {
	// Pool leads to the site's replica.
	Pool *pgxpool.Pool
	// Site names the row of site_status to look at.
	Site string
	// Interval is the longest pause between two looks while something is
	// unconfirmed or waited for, 100 ms. With nothing to wait for it is ten times
	// that.
	Interval time.Duration
	// NoLSN leaves the positions of the log out while nobody waits for one; commit
	// numbers are still read.
	NoLSN bool
	// Unconfirmed says whether a commit of the site has not been seen on the replica
	// yet. It is asked before each look; nil means never.
	Unconfirmed func() bool
	// Before is called before each look; Seen is given its answer. What Seen compares
	// the look with must be from before it, or a look that was overtaken seems to show
	// a replica that went back. Nil means nothing.
	Before func() any
	// Seen is called after each look with what it has shown, by one goroutine. An
	// error is logged, and the look repeated. Nil means nobody is told.
	Seen   func(ctx context.Context, before any, r Replica) error
	Logger *slog.Logger
}

// Replica is what one look at the replica has shown.
type Replica struct {
	// At is when it was looked at; zero: never.
	At time.Time
	// Batch is the number of the site's newest commit that the replica shows, and
	// LastSeq the highest seq those commits have carried.
	Batch, LastSeq int64
	// InRecovery is false when the server is no replica (any more).
	InRecovery bool
	// Replayed is how far the log is replayed, Received how far it has arrived, and
	// Sent where the primary's log stood when it last said so. Sent is 0 without a
	// running connection to the primary, or without the right to see it.
	Replayed, Received, Sent LSN
	// Certain is what it surely shows; empty when it was not asked.
	Certain Standing
	// LagBytes is how much of the log known to exist is not replayed.
	LagBytes int64
	// Lag is how old the newest replayed transaction is, 0 when nothing is known to
	// be missing.
	Lag time.Duration
}

// Tracker looks at a site's replica: it confirms commits, wakes those who wait
// for a position, and knows the lag. One runs in each API process of a secondary
// site. Safe for concurrent use.
type Tracker struct {
	config Config
	wake   chan struct{}
	stop   context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	last    Replica
	err     error
	flushed LSN
	waiters map[*waiter]struct{}
}

// New makes a Tracker that does nothing until it is started.
func New(config Config) *Tracker {
	if config.Interval == 0 {
		config.Interval = 100 * time.Millisecond
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Tracker{config: config, wake: make(chan struct{}, 1), waiters: map[*waiter]struct{}{}}
}

// Start begins to look at the replica until Stop. It is called once.
func (t *Tracker) Start(ctx context.Context) {
	ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	t.done = make(chan struct{})
	go func() {
		defer close(t.done)
		t.run(ctx)
	}()
}

// Stop ends the looking and waits until it has ended. Those who wait for a
// position go on until their context ends.
func (t *Tracker) Stop() {
	if t.stop == nil {
		return
	}
	t.stop()
	<-t.done
}

// Flushed tells the tracker that a flush was applied, whose commits the replica
// will show soon; at is where the primary's log stood, 0 when it is not known.
func (t *Tracker) Flushed(at LSN) {
	t.mu.Lock()
	t.flushed = max(t.flushed, at)
	t.mu.Unlock()
	t.nudge()
}

// Last returns what the newest look has shown, and the error when it could not
// look since.
func (t *Tracker) Last() (Replica, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.err
}

// waiter is one call of Wait.
type waiter struct {
	at    Position
	since time.Time
	woken chan error // has room for the one answer
}

// judge answers the waiter when a look decides: it was begun at the time given.
func (w *waiter) judge(r Replica, began time.Time) bool {
	there, err := r.Certain.Shows(w.at)
	if err != nil && !began.After(w.since) {
		// Only a look from after the question: an older one may not know yet that
		// the replica follows a new primary.
		return false
	}
	if err != nil || there {
		w.woken <- err
		return true
	}
	return false
}

// Wait returns as soon as the replica surely shows everything up to at, an
// *OtherTimelineError when it follows another timeline, or the context's error.
func (t *Tracker) Wait(ctx context.Context, at Position) error {
	w := &waiter{at: at, since: time.Now(), woken: make(chan error, 1)}
	t.mu.Lock()
	if t.err == nil && !t.last.At.IsZero() && w.judge(t.last, time.Time{}) {
		t.mu.Unlock()
		return <-w.woken
	}
	t.waiters[w] = struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.waiters, w)
		t.mu.Unlock()
	}()
	t.nudge()
	select {
	case err := <-w.woken:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the replica to replay %s: %w", at, context.Cause(ctx))
	}
}

func (t *Tracker) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// eager is how long after a flush, and after each sign that the replica is moving,
// it is looked at every 2 ms.
const eager = 500 * time.Millisecond

func (t *Tracker) run(ctx context.Context) {
	const shortest = time.Millisecond
	pause := shortest
	timer := time.NewTimer(pause)
	defer timer.Stop()
	var moved time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
			pause, moved = shortest, time.Now()
		case <-timer.C:
		}
		before, _ := t.Last()
		err := t.look(ctx)
		if ctx.Err() != nil {
			return
		}
		after, _ := t.Last()
		if after.Batch != before.Batch || after.Replayed != before.Replayed {
			moved = time.Now()
		}
		switch {
		case err != nil:
			pause = min(max(2*pause, 10*time.Millisecond), 10*t.config.Interval)
		case !t.wanted():
			pause = 10 * t.config.Interval
		case time.Since(moved) < eager:
			pause = min(2*shortest, t.config.Interval)
		default:
			pause = min(2*max(pause, shortest), t.config.Interval)
		}
		timer.Reset(pause)
	}
}

// wanted says whether anybody needs the next look soon.
func (t *Tracker) wanted() bool {
	if t.config.Unconfirmed != nil && t.config.Unconfirmed() {
		return true
	}
	return t.Waited()
}

// Waited says whether anybody waits for a position.
func (t *Tracker) Waited() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiters) > 0
}

// look asks the replica once and tells everyone.
func (t *Tracker) look(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var before any
	if t.config.Before != nil {
		before = t.config.Before()
	}
	began := time.Now()
	r, err := t.ask(bounded)
	if err == nil {
		t.keep(r, began)
		if t.config.Seen != nil {
			if err = t.config.Seen(ctx, before, r); err != nil {
				err = fmt.Errorf("telling what the replica shows: %w", err)
			}
		}
	}
	t.mu.Lock()
	first := err != nil && t.err == nil
	again := err == nil && t.err != nil
	t.err = err
	t.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case first:
		t.config.Logger.WarnContext(ctx, "the replica cannot be followed", "site", t.config.Site, "error", err)
	case again:
		t.config.Logger.InfoContext(ctx, "the replica can be followed again", "site", t.config.Site)
	}
	return err
}

func (t *Tracker) ask(ctx context.Context) (Replica, error) {
	q := db.New(t.config.Pool)
	if t.config.NoLSN && !t.Waited() {
		row, err := q.GetReplicaBatch(ctx, t.config.Site)
		if err != nil {
			return Replica{}, fmt.Errorf("looking at the replica: %w", err)
		}
		return Replica{At: time.Now(), Batch: row.Batch, LastSeq: row.LastSeq, InRecovery: true}, nil
	}
	row, err := q.GetReplicaPosition(ctx, t.config.Site)
	if err != nil {
		return Replica{}, fmt.Errorf("looking at the replica: %w", err)
	}
	r := Replica{At: time.Now(), Batch: row.Batch, LastSeq: row.LastSeq, InRecovery: row.InRecovery}
	for _, part := range []struct {
		to   *LSN
		text string
	}{{&r.Replayed, row.ReplayLsn}, {&r.Received, row.ReceiveLsn}, {&r.Sent, row.SentLsn}} {
		if *part.to, err = Parse(part.text); err != nil {
			return Replica{}, fmt.Errorf("looking at the replica: %w", err)
		}
	}
	if r.Certain, err = standing(row.CertainLsn, row.Timeline, row.Exact); err != nil {
		return Replica{}, err
	}
	t.mu.Lock()
	known := max(r.Received, r.Sent, t.flushed)
	t.mu.Unlock()
	if r.LagBytes = known.Sub(r.Replayed); r.LagBytes > 0 {
		// Only with something missing: on an idle primary the age of the newest
		// transaction grows all the time.
		r.Lag = max(0, r.At.Sub(row.ReplayedAt))
	}
	return r, nil
}

// keep stores a look, begun at the time given, and wakes those it answers.
func (t *Tracker) keep(r Replica, began time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = r
	for w := range t.waiters {
		if w.judge(r, began) {
			delete(t.waiters, w)
		}
	}
}
