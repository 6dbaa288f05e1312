package buffer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

// seenBefore is what the buffer held before the replica was looked at.
type seenBefore struct {
	load  string
	swept int64
}

// beforeLook is called by the tracker before each look.
func (m *Module) beforeLook() any {
	view := m.config.Store.Current()
	return seenBefore{load: view.Load, swept: view.Swept}
}

// follow is what the tracker's callback remembers.
type follow struct {
	mu      sync.Mutex
	behind  atomic.Bool  // the replica shows less than it did; read without mu, which is held while Redis is asked
	at      int64        // the batch at which that was last put right
	putBack time.Time    // and when
	shown   atomic.Int64 // the highest batch that it has shown
}

// seen is called by the tracker after each look: the site's commit number at the
// replica says what has replicated. A number below what it has shown before means
// that the replica went back (it crashed, was rebuilt, follows another primary):
// what is kept is put back to applied, so that its rows are pending again and
// reads go on; what is not kept any more has to wait for the replica.
func (m *Module) seen(ctx context.Context, before any, r lsn.Replica) error {
	b := before.(seenBefore)
	m.follow.mu.Lock()
	defer m.follow.mu.Unlock()
	m.follow.shown.Store(max(r.Batch, m.follow.shown.Load()))
	if b.load == "" {
		return nil // nothing is known of the buffer yet
	}
	if r.Batch < b.swept {
		return m.wentBack(ctx, b, r)
	}
	if m.follow.behind.CompareAndSwap(true, false) {
		m.log.InfoContext(ctx, "the replica shows again what it has shown before", "batch", r.Batch)
	}
	gone, err := m.config.Store.MarkReplicated(ctx, b.load, r.Batch)
	m.replicated(gone)
	return err
}

func (m *Module) wentBack(ctx context.Context, b seenBefore, r lsn.Replica) error {
	if m.follow.behind.CompareAndSwap(false, true) {
		m.log.WarnContext(ctx, "the replica shows less than it did", "batch", r.Batch, "swept", b.swept)
	}
	if m.follow.at == r.Batch && time.Since(m.follow.putBack) < time.Second {
		return nil
	}
	n, err := m.config.Store.Unsweep(ctx, b.load, r.Batch)
	if err != nil {
		return err
	}
	m.follow.at, m.follow.putBack = r.Batch, time.Now()
	if n > 0 {
		m.log.InfoContext(ctx, "rows are pending again that the replica no longer shows", "transactions", n)
	}
	return nil
}

// replicaBehind says whether the replica shows less than it did.
func (m *Module) replicaBehind() bool {
	return m.follow.behind.Load()
}

// expire forgets what had replicated long enough ago when this process last heard of
// the primary: behind a line that is down main may have failed over, and nobody here
// knows yet what it has lost.
func (m *Module) expire(ctx context.Context) {
	last := m.state.lastHeard()
	heard, ok := heardForSure(m.started, last, last.Sub(m.started), m.config.Store.Retention())
	if !ok {
		return
	}
	for ctx.Err() == nil {
		n, err := m.config.Store.Expire(ctx, heard)
		if err != nil {
			level := slog.LevelWarn
			if errors.Is(err, pending.ErrStale) || errors.Is(err, problem.PendingUnavailable) {
				level = slog.LevelDebug // another process, or a Redis that is away
			}
			m.log.Log(ctx, level, "replicated transactions could not be forgotten now", "error", err)
			return
		}
		if n == 0 {
			return
		}
	}
}

// heardForSure is when main was heard of, no later than this process can have measured
// itself, so that a clock that is set makes nothing look old: passed is by the monotonic
// clock. A process that is here for less than the retention does not know what the clock
// was before; it is false for one, and when main was never heard of.
func heardForSure(started, heard time.Time, passed, retention time.Duration) (time.Time, bool) {
	if heard.IsZero() || passed < retention {
		return time.Time{}, false
	}
	if steady := started.Round(0).Add(passed); steady.Before(heard.Round(0)) {
		return steady, true
	}
	return heard, true
}
