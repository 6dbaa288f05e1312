package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn/internal/db"
)

// ProcessorName is the application name of a site's processor at the primary.
// Main's reaper finds processors by it, and a new connection ends its
// predecessor by it, so it is one name per site.
func ProcessorName(site string) string { return ProcessorPrefix + site }

// ProcessorPrefix begins the application name of every processor.
const ProcessorPrefix = "opsdb-processor:"

// LinkConfig says how a processor reaches the primary. Zero values mean the
// defaults given.
type LinkConfig struct {
	// URL is a libpq connection string; several hosts with
	// target_session_attrs=read-write work. A pooler in between does not.
	URL  string
	Site string
	// Patience is how long an exchange may take beyond the time its bytes need on
	// the slowest line, 15 s.
	Patience time.Duration
	// SlowestRate is the slowest line in bytes a second for which deadlines are
	// made, 32000 (256 kbit/s).
	SlowestRate int
	// Problems turns errors of the primary into the problems of dead letters.
	Problems *problem.Catalog
	// Clock tells the time; nil is time.Now.
	Clock func() time.Time
}

func (c LinkConfig) withDefaults() LinkConfig {
	if c.Patience == 0 {
		c.Patience = 15 * time.Second
	}
	if c.SlowestRate == 0 {
		c.SlowestRate = 32000
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// Link is a processor's connection to the primary, claimed for one epoch. It is
// used by one goroutine. After an error that says the outcome is unknown it must
// be closed and another one made: what was sent is then sent again, and the
// ledger tells what had arrived.
type Link struct {
	config  LinkConfig
	catalog *Catalog
	whole   *pgx.Conn
	conn    *pgconn.PgConn
	epoch   int64
	batch   int64 // the site's number at the primary as far as this link knows
	ready   *statements
	once    sync.Once
}

// Claim is what the connect flush has found.
type Claim struct {
	// Batch and LastSeq are the site's numbers at the primary.
	Batch, LastSeq int64
	// Found are those of the asked-for transactions that the ledger has, applied or
	// discarded.
	Found []uuid.UUID
}

// ErrSiteMissing says that the primary has no row for the site: it was never
// added there, or the URL leads to another database.
var ErrSiteMissing = errors.New("the primary does not know this site: it needs `opsdb site add` there")

// RefusedError says that another connection has claimed the site with the same
// or a later epoch.
type RefusedError struct{ Epoch int64 }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the claim was refused: the primary is at epoch %d", e.Epoch)
}

// Connect makes the connection and the connect flush, one round trip after the
// handshake: end the predecessors' backends, prepare every statement, claim the
// site for epoch, look up dead in the ledger. Errors: ErrSiteMissing,
// *RefusedError, those of the connection, and *pgconn.PgError of a primary that is
// not migrated or grants too little.
func Connect(ctx context.Context, config LinkConfig, catalog *Catalog, epoch int64, dead []uuid.UUID) (*Link, Claim, error) {
	config = config.withDefaults()
	params := pg.ProcessorParams()
	// A primary that gives up on long statements would never take a large one.
	params["statement_timeout"] = "0"
	conn, err := pg.Connect(ctx, config.URL, ProcessorName(config.Site), params)
	if err != nil {
		return nil, Claim{}, fmt.Errorf("connecting to the primary: %w", err)
	}
	l := &Link{config: config, catalog: catalog, epoch: epoch, whole: conn, conn: conn.PgConn()}
	claim, err := l.claim(ctx, dead)
	if err != nil {
		l.Close()
		return nil, Claim{}, fmt.Errorf("claiming the site at the primary: %w", err)
	}
	l.batch = claim.Batch
	return l, claim, nil
}

// idOnLine is about what the id of a dead letter needs on the line.
const idOnLine = 40

// idsAtOnce is of how many dead letters one message asks: 80 kB, which take less than 3 s at 256 kbit/s. Main ends a
// backend that waits for the rest of a message for longer (EndStalledProcessors).
const idsAtOnce = 2000

func (l *Link) claim(ctx context.Context, dead []uuid.UUID) (Claim, error) {
	var c Claim
	texts := l.catalog.texts()
	bounded, cancel := context.WithTimeout(ctx, l.patience(idOnLine*len(dead)))
	defer cancel()
	p := l.conn.StartPipeline(bounded)
	once := func(run func(q *db.Queries) error) error {
		c, err := recordQuery(run)
		if err != nil {
			return err
		}
		if err := sendUnprepared(p, c); err != nil {
			return err
		}
		p.SendPipelineSync()
		return nil
	}
	site := l.config.Site
	sent := once(func(q *db.Queries) error { return q.EndPredecessors(ctx, ProcessorName(site)) })
	sendPrepare(p, texts)
	p.SendPipelineSync()
	sent = errors.Join(sent,
		once(func(q *db.Queries) error {
			_, err := q.ClaimSite(ctx, db.ClaimSiteParams{Epoch: l.epoch, Site: site})
			return err
		}),
		once(func(q *db.Queries) error { _, err := q.GetSiteEpoch(ctx, site); return err }))
	asked := slices.Collect(slices.Chunk(dead, idsAtOnce))
	for _, ids := range asked {
		sent = errors.Join(sent, once(func(q *db.Queries) error { _, err := q.FindLedgerOutcomes(ctx, ids); return err }))
	}
	if sent = errors.Join(sent, p.Flush()); sent != nil {
		return c, fmt.Errorf("sending the connect flush: %w", sent)
	}
	var err error
	if _, _, _, err, lost := readSegment(p, 1); err != nil || lost != nil {
		return c, fmt.Errorf("ending predecessors: %w", errors.Join(err, lost))
	}
	if l.ready, err = readPrepared(p, texts, l.whole.TypeMap()); err != nil {
		return c, err
	}
	if _, _, _, err, lost := readSegment(p, 0); err != nil || lost != nil {
		return c, fmt.Errorf("preparing statements: %w", errors.Join(err, lost))
	}
	_, rows, _, err, lost := readSegment(p, 1)
	if err != nil || lost != nil {
		return c, fmt.Errorf("claiming: %w", errors.Join(err, lost))
	}
	_, epochs, _, err, lost := readSegment(p, 1)
	if err != nil || lost != nil {
		return c, fmt.Errorf("reading the epoch: %w", errors.Join(err, lost))
	}
	for range asked {
		_, found, _, err, lost := readSegment(p, 1)
		if err != nil || lost != nil {
			return c, fmt.Errorf("reading the ledger: %w", errors.Join(err, lost))
		}
		for _, row := range found {
			id, err := uuid.Parse(row[0])
			if err != nil {
				return c, fmt.Errorf("reading the ledger: %w", err)
			}
			c.Found = append(c.Found, id)
		}
	}
	if err := p.Close(); err != nil {
		return c, fmt.Errorf("ending the connect flush: %w", err)
	}
	switch {
	case len(epochs) == 0:
		return c, ErrSiteMissing
	case len(rows) == 0:
		at, err := strconv.ParseInt(epochs[0][0], 10, 64)
		if err != nil {
			return c, fmt.Errorf("reading the epoch: %w", err)
		}
		return c, &RefusedError{Epoch: at}
	}
	if c.Batch, err = strconv.ParseInt(rows[0][0], 10, 64); err != nil {
		return c, fmt.Errorf("reading the claim: %w", err)
	}
	if c.LastSeq, err = strconv.ParseInt(rows[0][1], 10, 64); err != nil {
		return c, fmt.Errorf("reading the claim: %w", err)
	}
	return c, nil
}

// Batch is the site's number at the primary as far as this link knows.
func (l *Link) Batch() int64 { return l.batch }

// Epoch is the epoch the link has claimed.
func (l *Link) Epoch() int64 { return l.epoch }

// Status is what a heartbeat tells main of the site.
type Status struct {
	Buffered, Failed, Blocked int64
	// OldestAge is how long the oldest buffered transaction has waited; zero when
	// there is none.
	OldestAge time.Duration
	Version   string
}

// heartbeatPatience is how long a heartbeat may take: a few bytes each way, after
// which the line counts as down.
const heartbeatPatience = 5 * time.Second

// Alive finds out, without sending anything, whether the primary or something on
// the way has closed the connection.
func (l *Link) Alive() error {
	//lint:ignore SA1019 Ping costs a round trip, which is what this is to spare on a long line.
	if err := l.conn.CheckConn(); err != nil {
		return fmt.Errorf("the connection to the primary is gone: %w", err)
	}
	return nil
}

// Heartbeat writes the site's status into its row at the primary. It also finds
// out that the line is dead before there is something to send.
func (l *Link) Heartbeat(ctx context.Context, s Status) error {
	now := newNow(l.config.Clock)
	age := s.OldestAge.Seconds()
	m, err := l.ready.of(func(q *db.Queries) error {
		return q.Heartbeat(ctx, db.HeartbeatParams{
			LastSeenAt: &now, Buffered: s.Buffered, Failed: s.Failed, Blocked: s.Blocked,
			OldestAgeS: &age, Version: s.Version, Site: l.config.Site, Epoch: l.epoch,
		})
	})
	if err != nil {
		return fmt.Errorf("telling main how the site is: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, min(l.config.Patience, heartbeatPatience))
	defer cancel()
	p := l.conn.StartPipeline(bounded)
	send(p, m)
	if err := p.Sync(); err != nil {
		return fmt.Errorf("telling main how the site is: %w", err)
	}
	_, _, _, err, lost := readSegment(p, 1)
	if err == nil {
		err = lost
	}
	if err != nil {
		return fmt.Errorf("telling main how the site is: %w", err)
	}
	if err := p.Close(); err != nil {
		return fmt.Errorf("telling main how the site is: %w", err)
	}
	return nil
}

// Close ends the connection at once, so that a flush given up here does not
// arrive later. Any further call does nothing.
func (l *Link) Close() { l.once.Do(func() { pg.Abandon(l.whole) }) }
