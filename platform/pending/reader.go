package pending

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/problem"
)

// DBTX is what generated queries run on.
type DBTX interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Snapshot is what one answer is made of: the pending rows, and one snapshot of
// the database that is not older than they are. It is valid inside the function
// it was given to, for one goroutine.
type Snapshot struct {
	DB   DBTX
	View View
	// Batch and LastSeq are the site's row in this snapshot.
	Batch, LastSeq int64
	// ReplayLSN is how far the database had replayed, `<timeline>:<X/Y>`; at main
	// it is the primary's own position.
	ReplayLSN string
	// OverlayUnavailable is set when the pending rows could not be read and the
	// request wanted the replica alone.
	OverlayUnavailable bool

	settled State
	check   *checking // of the accepting path, which opens it late
}

// Reader gives answers their snapshots. At main it has no Store and nothing is
// ever pending, so both sites read the same way.
type Reader struct {
	pool     *pgxpool.Pool
	checks   *pgxpool.Pool
	store    *Store
	site     string
	siteText []byte
	limits   Limits
	// Nanoseconds since made until which the replica is not asked: by anyone, and by the
	// accepting path. That one gives up much sooner; a moment too slow for it must
	// not turn reads away. No clock that is set moves them.
	down, slow atomic.Int64
	made       time.Time
	// answered counts the checks that the replica has answered.
	answered atomic.Int64
}

// Limits bound the waiting of a Reader; the zero value has sensible ones.
type Limits struct {
	// Read bounds getting a connection and a snapshot for a read (default 2 s).
	Read time.Duration
	// Accept bounds the same on the accepting path (default 200 ms): a broken
	// replica must not stop observing.
	Accept time.Duration
	// Check bounds the queries of one validation on that path (default 1 s, and two
	// milliseconds more for each of many rows: Snapshot.Open).
	Check time.Duration
	// Remember is how long an unreachable replica is not asked again (default 1 s).
	Remember time.Duration
	// Behind is how long a read waits for a replica that shows less than it did
	// (default 2 s).
	Behind time.Duration
}

// NewReader reads from pool, the site's replica (at main: the primary). store is
// nil at main.
func NewReader(pool *pgxpool.Pool, store *Store, site string, l Limits) *Reader {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&l.Read, 2*time.Second)
	def(&l.Accept, 200*time.Millisecond)
	def(&l.Check, time.Second)
	def(&l.Remember, time.Second)
	def(&l.Behind, 2*time.Second)
	return &Reader{pool: pool, checks: pool, store: store, site: site, siteText: []byte(site), limits: l, made: time.Now()}
}

// CheckOn gives the accepting path connections of its own, so that large reads
// cannot hold up observing. Their plans may be generic ones: no check has optional
// filters. It is called before the first check.
func (r *Reader) CheckOn(pool *pgxpool.Pool) { r.checks = pool }

type (
	overlayOptional struct{}
	unbuffered      struct{}
	minLSN          struct{}
)

// leastLSN is what a read must show at least, and until when it waits for that.
type leastLSN struct {
	position lsn.Position
	until    time.Time
}

// WithMinLSN is for reads with X-Min-LSN: they use only snapshots that show
// everything up to that position. Having waited for it once is not enough: the
// replica may have gone back since.
func WithMinLSN(ctx context.Context, at lsn.Position, until time.Time) context.Context {
	return context.WithValue(ctx, minLSN{}, leastLSN{at, until})
}

// WithOverlayOptional lets reads go on without the pending rows when Redis
// cannot be reached, for requests with X-Overlay: optional.
func WithOverlayOptional(ctx context.Context) context.Context {
	return context.WithValue(ctx, overlayOptional{}, true)
}

// WithoutBuffer is for reads of nothing but tables that are never buffered: Redis
// is not asked, so whether it answers does not matter. The snapshot is still not
// older than what this process knows the replica to have shown.
func WithoutBuffer(ctx context.Context) context.Context {
	return context.WithValue(ctx, unbuffered{}, true)
}

// Read gives fn everything this site has acknowledged before Read was called.
// The errors, beside fn's own, are pending-unavailable, replica-unreachable and
// replica-behind; with a position also timeline-changed and not-replicated-in-time.
func (r *Reader) Read(ctx context.Context, fn func(ctx context.Context, s *Snapshot) error) error {
	view, without, err := r.catchUp(ctx)
	if err != nil {
		return err
	}
	var behindSince time.Time
	for {
		// The view first, then the snapshot. The other way round a transaction
		// could replicate and be dropped between the two, and be in neither.
		lacks, err := r.snapshot(ctx, view, without, fn)
		if lacks == nil {
			return err
		}
		until := lacks.until
		if until.IsZero() {
			if behindSince.IsZero() {
				behindSince = time.Now()
			}
			until = behindSince.Add(r.limits.Behind)
		}
		if !time.Now().Before(until) {
			return lacks.problem
		}
		var changed <-chan struct{}
		if r.store != nil {
			changed = r.store.Watch()
		}
		if view, without, err = r.catchUp(ctx); err != nil {
			return err
		}
		again := time.NewTimer(10 * time.Millisecond)
		select {
		case <-changed: // the tracker has put the rows back
		case <-again.C: // or the replica has replayed again
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		}
		again.Stop()
	}
}

// catchUp gives the view of a read; without is set when there is none and the
// request does not insist.
func (r *Reader) catchUp(ctx context.Context) (view View, without bool, err error) {
	if r.store == nil {
		return View{}, false, nil
	}
	if ctx.Value(unbuffered{}) != nil {
		return r.store.Current(), false, nil
	}
	view, err = r.store.CatchUp(ctx)
	if err != nil && ctx.Value(overlayOptional{}) != nil && errors.Is(err, problem.PendingUnavailable) {
		return View{}, true, nil
	}
	return view, false, err
}

// Check gives fn a snapshot not older than view, for the accepting path: Redis is
// not asked, since the accept script's guards notice what view lacks. Until fn asks
// something of the snapshot nothing is sent; then the question (if there is one) goes
// along and is answered first. When fn asks nothing, the question is asked after it,
// so an error of the question counts more than what fn came to.
//
// Check asks the replica for no longer than Limits.Accept (and waits for its turn, while
// others are answered, until Limits.Check), and answers
// replica-unreachable at once for a while after that failed. What was only slow says
// nothing of a replica that has answered meanwhile: this check before, or others. An error
// of a query is returned whatever fn makes of it.
func (r *Reader) Check(ctx context.Context, view View, question *Question, fn func(ctx context.Context, s *Snapshot) error) error {
	now, answered := time.Now(), r.answered.Load()
	if at := int64(time.Since(r.made)); at < r.down.Load() || at < r.slow.Load() {
		return problem.ReplicaUnreachable.New("the site's replica could not be reached a moment ago")
	}
	conn, err := r.queue(ctx, now.Add(r.limits.Check))
	if err != nil {
		return r.failed(ctx, "getting a connection for a check", err, checks)
	}
	c := &checking{conn: conn, site: r.siteText, swept: view.Swept, question: question, limit: r.limits.Accept, until: now.Add(r.limits.Check)}
	return r.check(ctx, c, &Snapshot{View: view, settled: StateReplicated}, fn, func(err error) warned {
		if errors.Is(err, os.ErrDeadlineExceeded) && (c.answered || r.answered.Load() != answered) {
			return nobody
		}
		return checks
	})
}

// queue gets a connection for a check. While others are answered the replica is there
// and only the queue is long: a crowd of writes must not be taken for a broken replica,
// or all of them would be accepted without their checks.
func (r *Reader) queue(ctx context.Context, until time.Time) (*pgxpool.Conn, error) {
	for {
		answered := r.answered.Load()
		conn, err := r.acquire(ctx, r.checks, r.limits.Accept)
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil || r.answered.Load() == answered || time.Now().After(until) {
			return conn, err
		}
	}
}

// CheckPrimary is Check at main, where nothing is pending and nothing is written
// without the database that is asked: it is asked for as long as ctx allows.
func (r *Reader) CheckPrimary(ctx context.Context, question *Question, fn func(ctx context.Context, s *Snapshot) error) error {
	if int64(time.Since(r.made)) < r.down.Load() {
		return problem.ReplicaUnreachable.New("the primary could not be reached a moment ago")
	}
	conn, err := r.acquire(ctx, r.checks, r.limits.Read)
	if err != nil {
		return r.failed(ctx, "getting a connection for a check", err, everybody)
	}
	c := &checking{conn: conn, site: r.siteText, question: question, patient: true}
	return r.check(ctx, c, &Snapshot{settled: StateApplied}, fn, func(error) warned { return everybody })
}

// check runs fn on a snapshot that c opens when it is asked.
func (r *Reader) check(ctx context.Context, c *checking, s *Snapshot, fn func(ctx context.Context, s *Snapshot) error, warn func(error) warned) error {
	defer c.release()
	s.DB, s.check = c, c
	// How far the snapshot is ahead is known too late to narrow by: any create that
	// is pending may be stored by now.
	s.LastSeq = math.MaxInt64
	err := fn(ctx, s)
	if unread := c.settle(ctx); unread != nil {
		err = unread
	}
	switch {
	case errors.Is(err, errBehind):
		return problem.ReplicaBehind.New("the site's replica shows less than it did")
	case err != nil && lost(err):
		return r.failed(ctx, "checking a write", err, warn(err))
	}
	r.answered.Add(1)
	return err
}

// Open asks for the snapshot now, apart from the queries about that many rows, which may
// then take longer than getting a snapshot may. Snapshots of reads are open anyway.
func (s *Snapshot) Open(ctx context.Context, rows int) error {
	if s.check == nil {
		return nil
	}
	s.check.large = rows > 0
	s.check.until = s.check.until.Add(time.Duration(rows) * 2 * time.Millisecond)
	return s.check.settle(ctx)
}

// Wait lets the queries that follow take as long as ctx allows.
func (s *Snapshot) Wait(ctx context.Context) error {
	if s.check == nil {
		return nil
	}
	s.check.patient = true
	return s.check.settle(ctx)
}

// PendingOnly gives the pending rows alone, for records whose create is pending
// while the replica cannot be reached.
func (r *Reader) PendingOnly(ctx context.Context) (View, error) {
	if ctx.Value(minLSN{}) != nil {
		return View{}, problem.ReplicaUnreachable.New("X-Min-LSN needs the site's replica, which cannot be reached")
	}
	view, _, err := r.catchUp(ctx)
	return view, err
}

// lacking is why a snapshot could not be used: the problem it is when it stays so,
// until a time (zero: for Limits.Behind).
type lacking struct {
	problem *problem.Problem
	until   time.Time
}

func behind(view View) *lacking {
	return &lacking{problem: problem.ReplicaBehind.New("the site's replica shows less than it did; commit %d is missing", view.Swept)}
}

// snapshot runs fn on one snapshot, unless that lacks something that must be in the
// answer.
func (r *Reader) snapshot(ctx context.Context, view View, without bool, fn func(ctx context.Context, s *Snapshot) error) (*lacking, error) {
	if int64(time.Since(r.made)) < r.down.Load() {
		return nil, problem.ReplicaUnreachable.New("the site's replica could not be reached a moment ago")
	}
	conn, s, lacks, err := r.open(ctx)
	if err != nil || lacks != nil {
		return lacks, r.failed(ctx, "opening a snapshot", err, everybody)
	}
	defer release(conn, false)
	if s.Batch < view.Swept {
		return behind(view), nil
	}
	if r.store != nil && !without && s.LastSeq > view.LastSeq {
		// The snapshot has writes that the view has not heard of. Together they would
		// show one row as such a write left it and another, of an earlier write, as the
		// view still knows it. A view taken after the snapshot is as good as one before
		// it while nothing was dropped that the snapshot lacks.
		if view, without, err = r.catchUp(ctx); err != nil {
			return nil, err
		}
		if s.Batch < view.Swept {
			return behind(view), nil
		}
	}
	s.View, s.OverlayUnavailable = view, without
	if err = fn(ctx, s); err != nil && lost(err) {
		return nil, r.failed(ctx, "reading the replica", err, everybody)
	}
	return nil, err
}

// open gets a connection and, in one round trip, begins the snapshot with the
// site's row as its first statement. A position that the read names is asked for
// before that: asked inside, it could be ahead of what the snapshot shows.
func (r *Reader) open(ctx context.Context) (*pgxpool.Conn, *Snapshot, *lacking, error) {
	inner, cancel := context.WithTimeout(ctx, r.limits.Read)
	defer cancel()
	conn, err := r.pool.Acquire(inner)
	if err != nil {
		return nil, nil, nil, err
	}
	s := &Snapshot{DB: conn, settled: StateReplicated}
	if r.store == nil {
		s.settled = StateApplied
	}
	var lacks *lacking
	if least, ok := ctx.Value(minLSN{}).(leastLSN); ok {
		lacks, err = least.lacking(inner, conn)
	}
	if lacks == nil && err == nil {
		err = s.begin(inner, conn, r.site)
	}
	if lacks != nil || err != nil {
		conn.Release()
		return nil, nil, lacks, err
	}
	return conn, s, nil, nil
}

// lacking asks a server whether it shows what the read must show.
func (l leastLSN) lacking(ctx context.Context, conn *pgxpool.Conn) (*lacking, error) {
	standing, err := lsn.StandingOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	there, err := standing.Shows(l.position)
	switch {
	case err != nil:
		return nil, problem.TimelineChanged.New("this site follows timeline %d, and X-Min-LSN names timeline %d", standing.Timeline, l.position.Timeline)
	case !there:
		return &lacking{problem.NotReplicatedInTime.New("this site does not surely show %s yet", l.position), l.until}, nil
	}
	return nil, nil
}

func (r *Reader) acquire(ctx context.Context, pool *pgxpool.Pool, limit time.Duration) (*pgxpool.Conn, error) {
	inner, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return pool.Acquire(inner)
}

// warned are those who do not ask the replica for a while after it has failed.
type warned int

const (
	nobody warned = iota
	checks
	everybody
)

// failed turns an error of the replica into replica-unreachable, and remembers
// it, when the replica is why it failed.
func (r *Reader) failed(ctx context.Context, doing string, err error, who warned) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	if !lost(err) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	until := int64(time.Since(r.made) + r.limits.Remember)
	if who >= checks {
		r.slow.Store(until)
	}
	if who == everybody {
		r.down.Store(until)
	}
	return &refusal{problem.ReplicaUnreachable.New("the site's replica cannot be reached"), fmt.Errorf("%s: %w", doing, err)}
}

// lost reports whether err says that the database could not be asked, rather than
// what it answered. Whatever the reason for which it lets nobody in (it is starting,
// it is being rebuilt and does not know the role yet), there is no answer.
func lost(err error) bool {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return true
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		// 57P01-57P03: shutting down, crashed, starting up; 53: no room.
		return len(pg.Code) == 5 && (pg.Code[:3] == "57P" || pg.Code[:2] == "08" || pg.Code[:2] == "53")
	}
	var p *problem.Problem
	return !errors.As(err, &p) && (errors.Is(err, context.DeadlineExceeded) || problem.ClassOf(err) == problem.Retry)
}

// release ends the snapshot without keeping the answer waiting for it; a
// connection that does not end its transaction is closed by the pool.
func release(conn *pgxpool.Conn, spoilt bool) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if spoilt {
			conn.Conn().Close(ctx)
		}
		if !conn.Conn().IsClosed() && conn.Conn().PgConn().TxStatus() != 'I' {
			if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
				conn.Conn().Close(ctx)
			}
		}
		conn.Release()
	}()
}

// Page narrows to what can matter to one page of a list.
func (s *Snapshot) Page(table string, p Page) Overlay { return s.View.page(table, p, s.LastSeq) }

// Count narrows for an exact count of all rows that match p: everything that is
// not ruled out travels, except rows that surely match; those are in Counted, to
// be added to what the query counts.
func (s *Snapshot) Count(table string, p Page) Overlay {
	return s.View.every(table, p, s.LastSeq, true)
}

// All lets every row travel that p does not rule out, for queries without a
// page.
func (s *Snapshot) All(table string, p Page) Overlay {
	return s.View.every(table, p, s.LastSeq, false)
}

// Rows lets the named rows travel, for details.
func (s *Snapshot) Rows(table string, ids ...uuid.UUID) Overlay {
	return s.View.some(table, s.LastSeq, ids)
}

// Sync is the replication state shown with a record.
func (s *Snapshot) Sync(table string, id uuid.UUID) Sync {
	if i, ok := s.View.index[table]; ok {
		if r, ok := s.View.tables[i].byID.Get(&row{id: id}); ok && r.shown {
			if t, ok := s.View.TxBySeq(r.newest()); ok {
				return Sync{State: t.State, TransactionID: &t.ID}
			}
		}
	}
	return Sync{State: s.settled}
}
