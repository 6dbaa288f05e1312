// Package buffer drains a secondary site's buffer into the primary and tells how
// it is: the processor, the tracker's callbacks, the expiry of what is no longer
// needed, and the operations on transactions, dead letters, health and sites. At
// the main site it ends stalled processors and keeps main's own row.
package buffer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// Config is what the module needs. Store, Replica and PrimaryURL are those of a
// secondary site; without Store this is the main site. Zero values mean the
// defaults given.
type Config struct {
	Site string
	// URL is where the site answers from outside, "" when it is not known.
	URL string
	// Version is the program's, as main and /health show it.
	Version string
	// Store is the site's buffer; nil at main.
	Store *pending.Store
	// Writer buffers what operators decide about dead letters; nil at main.
	Writer txn.Writer
	// Editor knows the requests behind transactions, for correcting dead letters; nil
	// when there is nothing to correct, and at main.
	Editor Editor
	// Reader reads what the site shows; at main it reads the primary.
	Reader *pending.Reader
	// Replica is the pool of the site's replica, nil at main; Primary is the
	// primary's. At a secondary site Primary is the one for direct writes, and only
	// asked whether main is there; it may be nil.
	Replica, Primary *pgxpool.Pool
	// PrimaryURL is where the processor connects.
	PrimaryURL string
	Catalog    *txn.Catalog
	Problems   *problem.Catalog

	// Capacity is what the buffer holds, 1,000,000; /health warns above 80 %.
	Capacity int
	// BatchSize and BatchBytes bound one flush: 1000, 4 MiB.
	BatchSize, BatchBytes int
	// RetryAttempts is how often a transaction is tried that its own data makes
	// fail, 3, and RetryDelay how long between two tries, 5 s.
	RetryAttempts int
	RetryDelay    time.Duration
	// Interval is the fallback of the processor, 1 s: accepting wakes it at once.
	Interval time.Duration
	// LSNInterval is the longest pause of the tracker, 100 ms; NoLSN leaves log
	// positions out.
	LSNInterval time.Duration
	NoLSN       bool
	// Stalled is how long a processor may be stuck at main before it is ended, 12 s.
	Stalled time.Duration

	// Audit is told what operators have decided: the action, the transaction it was about
	// ("" for none or all) and what else is to be known. Nil tells nobody.
	Audit  func(ctx context.Context, action, transaction string, detail map[string]any)
	Logger *slog.Logger
	// Tracer makes the spans of flushes, and of what became of traced requests; nil
	// makes none.
	Tracer trace.Tracer
	// Ending is closed when the process is told to stop: waits then end with the state
	// reached. It may be nil.
	Ending <-chan struct{}
	// Clock tells the time; nil is time.Now.
	Clock func() time.Time
}

// Module is the buffer of one API process.
type Module struct {
	config    Config
	log       *slog.Logger
	state     *processorState
	tracker   *lsn.Tracker
	processor *processor
	follow    follow
	rates     rates
	figures   *figures
	started   time.Time
	looked    time.Time // when a process in standby last asked for the primary

	stop     context.CancelFunc
	stopping chan struct{}
	halt     sync.Once
	done     sync.WaitGroup
}

// New makes the module; nothing runs before Start.
func New(config Config) (*Module, error) {
	defaults(&config)
	if config.Site == "" || config.Reader == nil || config.Catalog == nil || config.Problems == nil {
		return nil, errors.New("making the buffer module: site, reader, catalog and problems are required")
	}
	m := &Module{config: config, log: config.Logger, started: config.Clock(), state: &processorState{status: statusStarting}, figures: newFigures(), stopping: make(chan struct{})}
	if config.Store == nil {
		if config.Primary == nil {
			return nil, errors.New("making the buffer module: main needs its primary")
		}
		return m, nil
	}
	if config.Replica == nil || config.PrimaryURL == "" {
		return nil, errors.New("making the buffer module: a secondary site needs its replica and the primary's URL")
	}
	config.Store.ObserveAccepts(func(took time.Duration) { m.figures.accept.Observe(took.Seconds()) })
	m.tracker = lsn.New(lsn.Config{
		Pool: config.Replica, Site: config.Site, Interval: config.LSNInterval, NoLSN: config.NoLSN, Logger: config.Logger,
		Unconfirmed: func() bool { return config.Store.Current().Counts().Applied > 0 },
		Before:      m.beforeLook, Seen: m.seen,
	})
	line := txn.LinkConfig{URL: config.PrimaryURL, Site: config.Site, Problems: config.Problems, Clock: config.Clock}
	m.processor = &processor{
		store: config.Store,
		begin: func(ctx context.Context) (session, int64, error) {
			s, err := config.Store.BeginEpoch(ctx)
			return s, s.Epoch, err
		},
		connect: func(ctx context.Context, epoch int64, dead []uuid.UUID) (link, txn.Claim, error) {
			l, claim, err := txn.Connect(ctx, line, config.Catalog, epoch, dead)
			return l, claim, err
		},
		shown:   m.follow.shown.Load,
		flushed: m.tracker.Flushed,
		limit:   limits{count: config.BatchSize, bytes: config.BatchBytes},
		retries: config.RetryAttempts, delay: config.RetryDelay, idle: config.Interval,
		version: config.Version, holder: holder(), figures: m.figures, tracer: config.Tracer, state: m.state, log: config.Logger, now: config.Clock,
		holding: map[int64]held{},
	}
	return m, nil
}

func defaults(c *Config) {
	number := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	duration := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	number(&c.Capacity, 1_000_000)
	number(&c.BatchSize, 1000)
	number(&c.BatchBytes, 4<<20)
	number(&c.RetryAttempts, 3)
	duration(&c.RetryDelay, 5*time.Second)
	duration(&c.Interval, time.Second)
	duration(&c.LSNInterval, 100*time.Millisecond)
	duration(&c.Stalled, 12*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
}

// holder names this process in the lease.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s:%d:%s", host, os.Getpid(), rand.Text())
}

// main says whether this is the main site, where nothing is buffered.
func (m *Module) main() bool { return m.config.Store == nil }

// Start begins to drain, to follow the replica and to clean up; at main to look
// after the processors. It returns at once: what cannot be reached now is tried
// again until Stop.
func (m *Module) Start(ctx context.Context) {
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	if m.main() {
		m.loop(ctx, time.Second, m.reap)
		m.loop(ctx, heartbeatEvery, m.announce)
		m.loop(ctx, heartbeatEvery, m.lookAtSites)
		return
	}
	m.tracker.Start(ctx)
	m.done.Go(func() { m.processor.run(ctx, m.stopping) })
	m.loop(ctx, 10*time.Second, m.expire)
	m.loop(ctx, 10*time.Second, m.lookAtRedis)
	m.loop(ctx, time.Second, m.measure)
	if m.config.Primary != nil {
		m.loop(ctx, time.Second, m.lookAtMain)
	}
}

// Stop lets the processor settle the flush that is on its way, gives the lease
// back and ends everything. When ctx ends first it ends at once; what was sent
// is then found again by the next processor.
func (m *Module) Stop(ctx context.Context) error {
	if m.stop == nil {
		return nil
	}
	m.halt.Do(func() { close(m.stopping) })
	finished := make(chan struct{})
	go func() {
		m.done.Wait()
		close(finished)
	}()
	var err error
	select {
	case <-finished:
	case <-ctx.Done():
		err = fmt.Errorf("stopping the buffer: a flush was not settled in time: %w", context.Cause(ctx))
	}
	m.stop()
	<-finished
	if m.tracker != nil {
		m.tracker.Stop()
	}
	return err
}

// loop runs fn now and then, until the module stops.
func (m *Module) loop(ctx context.Context, every time.Duration, fn func(ctx context.Context)) {
	m.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			fn(ctx)
			select {
			case <-tick.C:
			case <-m.stopping:
				return
			case <-ctx.Done():
				return
			}
		}
	})
}

// WaitForReplay waits until the site's replica has replayed a commit, for writes
// that went to main directly. After a failover the replica may still be on the old
// timeline, further on than this position: that says nothing of this commit.
func (m *Module) WaitForReplay(ctx context.Context, position lsn.Position) error {
	if m.tracker == nil {
		return nil
	}
	for {
		err := m.tracker.Wait(ctx, position)
		var other *lsn.OtherTimelineError
		if !errors.As(err, &other) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Replayed waits until what this site reads has come to a position,
// `<timeline>:<X/Y>`, for reads with X-Min-LSN, and returns the context to read
// with: a snapshot that shows less is not used. A position on another timeline is
// timeline-changed: the same number means other contents there.
func (m *Module) Replayed(ctx context.Context, position string, until time.Time) (context.Context, error) {
	at, err := lsn.ParsePosition(position)
	if err != nil {
		return nil, problem.Invalid.Field("header.X-Min-LSN", position, "must be <timeline>:<X/Y>, as X-Commit-LSN gives it")
	}
	reading := pending.WithMinLSN(ctx, at, until)
	if m.tracker == nil {
		// At main a commit shows before its position is known: only a position that was
		// never given is waited for, by the read itself.
		return reading, nil
	}
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	err = m.tracker.Wait(limited, at)
	var other *lsn.OtherTimelineError
	if errors.As(err, &other) {
		return nil, problem.TimelineChanged.New("this site follows timeline %d, and X-Min-LSN names timeline %d", other.Timeline, at.Timeline)
	}
	return reading, err
}
