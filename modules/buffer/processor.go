package buffer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// The processor's own times.
const (
	leaseTime      = 3 * time.Second
	heartbeatEvery = 5 * time.Second
	reconnectLimit = 2 * time.Second
	againLimit     = 30 * time.Second
)

// store is what the processor needs of the site's buffer; *pending.Store has it.
type store interface {
	CatchUp(ctx context.Context) (pending.View, error)
	Current() pending.View
	Watch() <-chan struct{}
	Lease(ctx context.Context, holder string, ttl time.Duration) (bool, error)
	ReleaseLease(ctx context.Context, holder string) error
	Retry(ctx context.Context, dead ...int64) ([]int64, error)
}

// session is a processor's right to change states, for one connection;
// pending.Session is one.
type session interface {
	RaiseEpoch(ctx context.Context, primary int64) error
	Connected(ctx context.Context, c pending.Claim) (pending.Connection, error)
	RaiseBatch(ctx context.Context, groups int) (first int64, err error)
	Settle(ctx context.Context, settled []pending.Settled) error
	Fail(ctx context.Context, failed []pending.Failure) error
	Block(ctx context.Context, blocked []pending.Blocking) error
}

// link is the processor's connection to the primary; *txn.Link is one.
type link interface {
	preparer
	Flush(ctx context.Context, first int64, groups iter.Seq[[]*txn.Item], bytes int, heard func([]txn.GroupAnswer) error) error
	Heartbeat(ctx context.Context, s txn.Status) error
	Alive() error
	Close()
}

// processor drains a site's buffer into the primary. One runs in every API
// process of a secondary site; the one that holds the lease drains. Nothing
// leaves the buffer before its commit is known, and everything that a lost
// connection leaves open is sent again on the next one, where the primary's
// ledger tells what had arrived.
//
// docs/architecture.md#draining
type processor struct {
	store   store
	begin   func(ctx context.Context) (session, int64, error)
	connect func(ctx context.Context, epoch int64, dead []uuid.UUID) (link, txn.Claim, error)
	shown   func() int64 // the highest number that the replica has shown
	flushed func(at lsn.LSN)
	limit   limits
	retries int
	delay   time.Duration
	idle    time.Duration
	version string
	holder  string
	figures *figures
	tracer  trace.Tracer // nil: no traces
	state   *processorState
	log     *slog.Logger
	now     func() time.Time

	holding map[int64]held
	faults  int       // flushes in a row that main's own faults made fail
	fault   error     // the newest of them
	resting time.Time // nothing is sent before
}

// errStopped ends a connection because the process is to end.
var errStopped = errors.New("the processor is to stop")

// errLease ends a connection because another process holds the lease.
var errLease = errors.New("another process drains the buffer")

// run drains until stopping is closed; a flush that is on its way is settled
// first. The context ends it at once.
func (p *processor) run(ctx context.Context, stopping <-chan struct{}) {
	defer p.state.set(statusStopped, nil)
	backoff := pause{limit: reconnectLimit}
	for {
		started := p.now()
		err := p.drain(ctx, stopping)
		switch {
		case ctx.Err() != nil, errors.Is(err, errStopped):
			p.release(ctx)
			return
		case errors.Is(err, errLease):
			p.state.set(statusStandby, nil)
			backoff.reset()
			if !p.sleep(ctx, stopping, leaseTime/5) {
				return
			}
			continue
		case errors.Is(err, pending.ErrStale):
			// Not at once: two that supersede each other would never get anything done.
			p.figures.superseded.Inc()
			p.log.InfoContext(ctx, "the processor begins again", "reason", err)
		default:
			p.state.failed(err)
			p.figures.lost.Inc()
			p.log.WarnContext(ctx, "the processor lost its connection and will try again", "class", problem.ClassOf(err).String(), "error", err)
		}
		if p.now().Sub(started) > reconnectLimit {
			backoff.reset() // it had worked for a while
		}
		if !p.sleep(ctx, stopping, backoff.next()) {
			p.release(ctx)
			return
		}
	}
}

// release gives the lease back so that the next process need not wait for it.
func (p *processor) release(ctx context.Context) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := p.store.ReleaseLease(bounded, p.holder); err != nil {
		p.log.DebugContext(ctx, "the lease was not given back and will run out", "error", err)
	}
}

// sleep waits; false means that the processor is to stop.
func (p *processor) sleep(ctx context.Context, stopping <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stopping:
	case <-ctx.Done():
	}
	return false
}

// drain makes one connection and drains on it until it fails. The error says why
// it ended, never nil.
func (p *processor) drain(ctx context.Context, stopping <-chan struct{}) error {
	mine, err := p.store.Lease(ctx, p.holder, leaseTime)
	if err != nil {
		return fmt.Errorf("taking the lease: %w", err)
	}
	if !mine {
		return errLease
	}
	lost, giveUp := p.keepLease(ctx)
	defer giveUp()
	s, l, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	p.state.connected(p.now())
	beat := p.now()
	for {
		changed := p.store.Watch()
		step, err := p.flush(ctx, s, l)
		if err != nil {
			return err
		}
		select {
		case <-stopping:
			return errStopped
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-lost:
			return errLease
		default:
		}
		if p.now().Sub(beat) >= heartbeatEvery {
			beat = p.now()
			if err := p.heartbeat(ctx, l); err != nil {
				return err
			}
		}
		if step.more {
			continue
		}
		if err := l.Alive(); err != nil {
			return err
		}
		p.state.set(step.status, step.reason)
		wait := min(p.idle, beat.Add(heartbeatEvery).Sub(p.now()))
		if step.wait > 0 {
			wait = min(wait, step.wait)
		}
		timer := time.NewTimer(max(wait, time.Millisecond))
		select {
		case <-changed:
		case <-timer.C:
		case <-stopping:
		case <-lost:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// keepLease renews the lease until giveUp is called. lost is closed when another
// process has it: the connection then ends between two flushes, only to save
// work, for the epoch makes two at once harmless.
func (p *processor) keepLease(ctx context.Context) (lost <-chan struct{}, giveUp func()) {
	ctx, cancel := context.WithCancel(ctx)
	gone, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(leaseTime / 5)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// An error here is met by the drain loop too, which says so.
			if mine, err := p.store.Lease(ctx, p.holder, leaseTime); err == nil && !mine {
				close(gone)
				return
			}
		}
	}()
	return gone, func() { cancel(); <-done }
}

// open takes an epoch and connects with it.
func (p *processor) open(ctx context.Context) (session, link, error) {
	s, epoch, err := p.begin(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("taking an epoch: %w", err)
	}
	seqs := map[uuid.UUID]int64{}
	var ids []uuid.UUID
	for _, tx := range p.store.Current().Dead() {
		seqs[tx.ID] = tx.Seq
		ids = append(ids, tx.ID)
	}
	l, claim, err := p.connect(ctx, epoch, ids)
	var refused *txn.RefusedError
	if errors.As(err, &refused) {
		// Either another processor was faster, then this says stale and it holds the
		// lease by now; or Redis has forgotten how far its epoch was.
		return nil, nil, errors.Join(err, s.RaiseEpoch(ctx, refused.Epoch))
	}
	if err != nil {
		return nil, nil, err
	}
	found := pending.Claim{Batch: claim.Batch, LastSeq: claim.LastSeq, Shown: p.shown()}
	for _, id := range claim.Found {
		found.InLedger = append(found.InLedger, seqs[id])
	}
	connection, err := s.Connected(ctx, found)
	if err != nil {
		l.Close()
		return nil, nil, fmt.Errorf("recording the claim: %w", err)
	}
	if len(connection.LostTail) > 0 {
		p.log.ErrorContext(ctx, "the primary has lost commits of this site; they are sent again", "transactions", len(connection.LostTail), "batch", claim.Batch)
	}
	if connection.Alarm {
		p.log.ErrorContext(ctx, "the primary or the replica has seen commits that this site's Redis does not know: acknowledged writes may be missing", "batch", claim.Batch, "shown", found.Shown)
	}
	p.figures.claims.Inc()
	p.figures.lostTail.Add(float64(len(connection.LostTail)))
	return s, l, nil
}

func (p *processor) heartbeat(ctx context.Context, l link) error {
	c := p.store.Current().Counts()
	status := txn.Status{Buffered: int64(c.Buffered), Failed: int64(c.Failed), Blocked: int64(c.Blocked), Version: p.version}
	if !c.OldestAccepted.IsZero() {
		status.OldestAge = p.now().Sub(c.OldestAccepted)
	}
	if err := l.Heartbeat(ctx, status); err != nil {
		return err
	}
	p.state.hear(p.now())
	return nil
}

// step says what one round has come to.
type step struct {
	more   bool // there may be more to send at once
	wait   time.Duration
	status string
	reason error
}

// flush sends what may be sent, in one round trip, and settles each commit as soon
// as its answer has come. Its error ends the connection.
func (p *processor) flush(ctx context.Context, s session, l link) (step, error) {
	view, err := p.store.CatchUp(ctx)
	if err != nil {
		return step{}, fmt.Errorf("looking at the buffer: %w", err)
	}
	if view.Paused {
		return step{status: statusPaused}, nil
	}
	retried, next, err := p.retryDue(ctx, view)
	if err != nil {
		return step{}, err
	}
	if retried {
		return step{more: true}, nil
	}
	now := p.now()
	if rest := p.resting.Sub(now); rest > 0 {
		return step{status: statusFault, reason: p.fault, wait: shortest(rest, next)}, nil
	}
	for seq := range p.holding {
		if _, pendingStill := view.TxBySeq(seq); !pendingStill {
			delete(p.holding, seq)
		}
	}
	chosen := selectFlush(view, p.limit, p.holding, now)
	if len(chosen.blocked) > 0 {
		// Evaluated again on what is left: these make room for others.
		return step{more: true}, s.Block(ctx, chosen.blocked)
	}
	if len(chosen.groups) == 0 {
		if chosen.unknown != nil {
			return step{status: statusStopped, reason: fmt.Errorf("this program is too old for what the buffer holds: %w", chosen.unknown), wait: next}, nil
		}
		return step{status: statusIdle, wait: shortest(next, chosen.wait)}, nil
	}
	p.state.set(statusRunning, nil)
	first, err := s.RaiseBatch(ctx, len(chosen.groups))
	if err != nil {
		return step{}, err
	}
	ctx, flight := p.takeOff(ctx, chosen)
	encoding := encoding{selection: chosen}
	var outcome outcome
	lost := l.Flush(ctx, first, encoding.ready(ctx, l), chosen.bytes, func(groups []txn.GroupAnswer) error {
		known := p.sort(view, groups, now)
		err := p.settle(ctx, s, known)
		if err == nil {
			outcome.add(known)
		}
		return err
	})
	flight.land(view, outcome, lost)
	if lost != nil {
		return step{}, lost
	}
	if len(encoding.refused) > 0 || len(encoding.kept) > 0 {
		if err := errors.Join(s.Fail(ctx, p.withRetries(view, encoding.refused)), s.Block(ctx, encoding.kept)); err != nil {
			return step{}, err
		}
	}
	if encoding.err != nil {
		return step{status: statusStopped, reason: encoding.err, wait: againLimit}, nil
	}
	if outcome.fault != nil {
		p.faults++
		wait := pause{limit: againLimit, tries: p.faults}
		p.fault, p.resting = outcome.fault, now.Add(wait.next())
		p.log.ErrorContext(ctx, "the primary cannot apply transactions through no fault of theirs", "error", outcome.fault)
		return step{status: statusFault, reason: p.fault, wait: p.resting.Sub(now)}, nil
	}
	p.faults, p.fault = 0, nil
	return step{more: true}, nil
}

// pause is a jittered exponential backoff.
type pause struct {
	limit time.Duration
	tries int
}

func (b *pause) reset() { b.tries = 0 }

func (b *pause) next() time.Duration {
	d := b.limit
	if b.tries < 12 {
		d = min(d, 50*time.Millisecond<<b.tries)
	}
	b.tries++
	return d/2 + rand.N(d/2+1)
}
