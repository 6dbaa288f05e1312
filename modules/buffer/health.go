package buffer

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

// The three words of /health.
const (
	healthy   = "healthy"
	degraded  = "degraded"
	unhealthy = "unhealthy"
)

// How a server stands to this process.
const (
	connected   = "connected"
	unreachable = "unreachable"
)

// lagWarning is how far the replica may be behind before a site counts as
// degraded.
const (
	lagWarning      = time.Minute
	lagWarningBytes = 256 << 20
)

// oldestWarning is how long a transaction may wait although the primary can be reached,
// before a site that works is told to be worried.
const oldestWarning = time.Minute

// examineLimit bounds an answer of /health, whatever hangs.
const examineLimit = time.Second

// findings are what was found out for /health.
type findings struct {
	health  Health
	down    []string // why the site cannot accept its writes
	limping []string // what else is wrong
}

func (f *findings) finish() Health {
	f.health.Reasons = append(append([]string{}, f.down...), f.limping...)
	switch {
	case len(f.down) > 0:
		f.health.Status = unhealthy
	case len(f.limping) > 0:
		f.health.Status = degraded
	default:
		f.health.Status = healthy
	}
	return f.health
}

// examine looks at everything now. It takes a second at most: only one server is
// asked, the rest is what others have found out.
func (m *Module) examine(ctx context.Context) Health {
	ctx, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	f := &findings{health: Health{Site: m.config.Site, SiteType: m.siteType(), Version: m.config.Version, Time: m.config.Clock().UTC()}}
	if m.main() {
		f.health.Database = connected
		if err := bounded(ctx, m.config.Primary.Ping); err != nil {
			f.health.Database = unreachable
			f.down = append(f.down, "the primary cannot be reached")
			f.lastError(err)
		}
		return f.finish()
	}
	m.examineBuffer(ctx, f)
	m.examineProcessor(f)
	m.examineReplica(f)
	return f.finish()
}

// errorShown is the text of an error for callers with a credential: where the primary is, and as whom, is the log's to say.
func errorShown(err error) string {
	var connect *pgconn.ConnectError
	var network *net.OpError
	if errors.As(err, &connect) || errors.As(err, &network) {
		return "the primary cannot be reached; the log says why"
	}
	return err.Error()
}

// lastError keeps the text of an error: it is shown to callers with a credential only.
func (f *findings) lastError(err error) {
	if err != nil {
		text := errorShown(err)
		f.health.LastError = &text
	}
}

func (m *Module) examineBuffer(ctx context.Context, f *findings) {
	redis := connected
	err := bounded(ctx, func(ctx context.Context) error {
		_, err := m.config.Store.CatchUp(ctx)
		return err
	})
	view := m.config.Store.Current()
	if err != nil {
		redis = unreachable
		f.down = append(f.down, "the site's Redis cannot be reached, so no write can be accepted")
		f.lastError(err)
	}
	f.health.Redis = &redis
	status := m.config.Store.Status()
	durability := string(status.Mode)
	if status.Checked && !status.Durability.Safe() {
		if status.Mode == pending.Strict {
			f.down = append(f.down, "the site's Redis can lose acknowledged writes, so none is accepted")
		} else {
			f.limping = append(f.limping, "the site's Redis can lose acknowledged writes (BUFFER_DURABILITY=relaxed)")
		}
	}
	c := view.Counts()
	f.health.TransactionBuffer = &BufferHealth{Size: int64(c.Buffered), Failed: int64(c.Failed), Blocked: int64(c.Blocked), OldestAgeS: m.age(c.OldestAccepted), Durability: durability}
	held := c.Buffered + c.Failed + c.Blocked
	m.figures.mu.Lock()
	server := m.figures.redis
	m.figures.mu.Unlock()
	if server.NoRoom() || !status.RefusedFull.IsZero() && time.Since(status.RefusedFull) < problem.BufferFull.RetryAfter {
		f.down = append(f.down, "the site's Redis has no room: its memory limit is reached, or its disk is full")
	}
	switch {
	case held >= m.config.Capacity:
		f.down = append(f.down, "the buffer is full")
	case held*5 > m.config.Capacity*4:
		f.limping = append(f.limping, "the buffer is more than 80 % full")
	}
	if c.Failed+c.Blocked > 0 {
		f.limping = append(f.limping, "there are dead letters")
	}
	if !view.LostTail.IsZero() {
		f.limping = append(f.limping, "within the last hour the primary had lost commits of this site; they were sent again")
	}
	if !view.Missing.IsZero() {
		f.limping = append(f.limping, "within the last week the primary or the replica had commits that the site's Redis did not know: acknowledged writes may be missing")
	}
	switch r := m.state.report(); {
	case view.Paused:
		f.limping = append(f.limping, "draining is paused")
	case r.Online && m.age(c.OldestAccepted) > oldestWarning.Seconds():
		f.limping = append(f.limping, "the oldest buffered transaction has waited for more than a minute, although the primary can be reached")
	}
}

// bounded runs what asks a server, and does not wait for it beyond ctx: a server
// that hangs can hold a call longer than its context.
func bounded(ctx context.Context, ask func(context.Context) error) error {
	answer := make(chan error, 1)
	go func() { answer <- ask(ctx) }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// age is how long ago something was, in seconds; 0 for nothing.
func (m *Module) age(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return max(0, m.config.Clock().Sub(at).Seconds())
}

func (m *Module) examineProcessor(f *findings) {
	r := m.state.report()
	f.health.BackgroundProcessor = &ProcessorHealth{Status: r.Status, TransactionsProcessed: r.Processed}
	if !r.LastRun.IsZero() {
		at := r.LastRun.UTC()
		f.health.BackgroundProcessor.LastRun = &at
	}
	f.health.Database = connected
	switch {
	case r.Answered:
		f.limping = append(f.limping, "the primary ended the connection, so a flush failed; it is tried again")
		f.lastError(r.LastError)
	case !r.Online:
		f.health.Database = unreachable
		f.limping = append(f.limping, "the primary cannot be reached; writes are buffered")
		f.lastError(r.LastError)
	}
	switch r.Status {
	case statusFault:
		f.limping = append(f.limping, "the primary cannot apply transactions, through no fault of theirs")
		f.lastError(r.Reason)
	case statusStopped:
		f.limping = append(f.limping, "the processor has stopped")
		f.lastError(r.Reason)
	}
}

func (m *Module) examineReplica(f *findings) {
	state := connected
	r, err := m.tracker.Last()
	if err != nil && !errors.Is(err, pending.ErrStale) || r.At.IsZero() {
		state = unreachable
		f.limping = append(f.limping, "the site's replica cannot be read; writes are accepted without their checks")
		f.lastError(err)
	}
	f.health.Replica = &state
	f.health.Replication = &ReplicationHealth{LagBytes: r.LagBytes, LagS: r.Lag.Seconds()}
	if r.Lag > lagWarning || r.LagBytes > lagWarningBytes {
		f.limping = append(f.limping, "the replica is behind the primary")
	}
	if m.replicaBehind() {
		f.limping = append(f.limping, "the replica shows less than it did; reads wait until it shows that again")
	}
}

// siteType is the word of SITE_TYPE.
func (m *Module) siteType() string {
	if m.main() {
		return "main"
	}
	return "secondary"
}
