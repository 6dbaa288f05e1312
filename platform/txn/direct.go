package txn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn/internal/db"
)

// DirectConfig is what a Direct writer needs.
type DirectConfig struct {
	// Pool leads to the primary. At a secondary site it must be a pool of its own,
	// with an application name other than the processor's, which ends its namesakes.
	Pool *pgxpool.Pool
	// Reader gives the snapshot that transactions are validated against.
	Reader   *pending.Reader
	Catalog  *Catalog
	Problems *problem.Catalog
	Site     string
	SiteID   int64
	// Replayed waits at a secondary site until the local replica has replayed a
	// commit, so that the writer's next read shows it; its error means that the
	// limit was over. Nil at main.
	Replayed func(ctx context.Context, position lsn.Position) error
	Logger   *slog.Logger
	// Tracer makes the spans of validating and applying; nil makes none.
	Tracer trace.Tracer
	// Clock tells the time; nil is time.Now.
	Clock func() time.Time
}

// Direct is the Writer of the main site, and of the non-critical writes of a
// secondary one: it commits on the primary before it returns.
type Direct struct {
	config   DirectConfig
	attempts attempts
}

// NewDirect makes a Direct writer. Pool and Reader stay the caller's to close.
func NewDirect(config DirectConfig) *Direct {
	if config.Clock == nil {
		config.Clock = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Direct{config: config}
}

// commitPatience bounds one commit, with a second more for each MiB that is sent. It
// goes on when the client hangs up, for a commit given up half-way has an unknown
// outcome.
const commitPatience = 15 * time.Second

// numberPatience bounds the question for an id: nothing is written yet, so the client
// can be told soon.
const numberPatience = 5 * time.Second

// Write implements Writer.
func (d *Direct) Write(ctx context.Context, req Request, build func(ctx context.Context, tx *Builder) error) (Receipt, error) {
	return d.attempts.one(ctx, req, func() (Receipt, error) { return d.write(ctx, req, build) })
}

func (d *Direct) write(ctx context.Context, req Request, build func(ctx context.Context, tx *Builder) error) (Receipt, error) {
	b := &Builder{id: newID(), now: newNow(d.config.Clock), siteID: d.config.SiteID, userID: req.UserID}
	b.numbers = d.nextNumber
	if req.ValidateOnly {
		req.Key = ""
		b.numbers = func(context.Context, string) (int64, error) { return 0, nil }
	}
	validating, validated := span(ctx, d.config.Tracer, "validate")
	replay, err := d.read(validating, req, func(ctx context.Context, s *pending.Snapshot) error {
		b.snapshot = s
		defer func() { b.snapshot = nil }()
		return build(ctx, b)
	})
	validated(err)
	if err != nil {
		return Receipt{}, d.unreadable(err)
	}
	if replay != nil {
		return *replay, nil
	}
	draft, err := b.finish(d.config.Catalog)
	if err != nil {
		return Receipt{}, err
	}
	if req.ValidateOnly {
		return draft.dryRun()
	}
	applying, applied := span(ctx, d.config.Tracer, "apply")
	receipt, err := d.commit(applying, req, draft)
	applied(err)
	return receipt, err
}

// nextNumber asks the primary for the next id of a table.
func (d *Direct) nextNumber(ctx context.Context, table string) (int64, error) {
	bounded, cancel := context.WithTimeout(ctx, numberPatience)
	defer cancel()
	n, err := db.New(d.config.Pool).NextNumber(bounded, table)
	if err != nil {
		return 0, d.unsent(ctx, fmt.Errorf("taking an id of %s: %w", table, err))
	}
	return n, nil
}

// unsent is the problem of a write of which the primary has heard nothing. A primary that
// holds its answer back is not to be reached either.
func (d *Direct) unsent(ctx context.Context, err error) error {
	p := d.config.Problems.From(err)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		p = problem.MainUnreachable.New("the primary does not answer")
	}
	d.config.Logger.WarnContext(ctx, "a write at the primary was not begun", "problem", p.Code(), "error", err)
	return p
}

// read runs fn on the snapshot that a transaction is validated against. When the ledger
// in it has the request's key, it gives the receipt of the first attempt instead of what
// fn comes to: a retry must not be refused because its first attempt succeeded.
func (d *Direct) read(ctx context.Context, req Request, fn func(ctx context.Context, s *pending.Snapshot) error) (replay *Receipt, err error) {
	if d.config.Replayed != nil {
		// At a secondary site the snapshot is the replica's, with what is pending.
		err = d.config.Reader.Read(ctx, func(ctx context.Context, s *pending.Snapshot) (err error) {
			if replay, err = findKey(ctx, d.config.Catalog, db.New(s.DB), req, pending.StateApplied); err != nil || replay != nil {
				return err
			}
			return fn(ctx, s)
		})
		return replay, err
	}
	var keyErr error
	err = d.config.Reader.CheckPrimary(ctx, keyQuestion(ctx, d.config.Catalog, req, pending.StateApplied, func(found *Receipt, err error) error {
		replay, keyErr = found, err
		return errKeyKnown
	}), fn)
	if replay != nil || keyErr != nil {
		return replay, keyErr
	}
	return nil, err
}

// Wait implements Writer. A direct write is applied when it is answered, which
// is all that can be waited for at main.
func (d *Direct) Wait(_ context.Context, receipt Receipt, _ time.Duration) Receipt { return receipt }

// unreadable names the primary where a reader speaks of a replica: at main the
// reader reads the primary.
func (d *Direct) unreadable(err error) error {
	if d.config.Replayed == nil && errors.Is(err, problem.ReplicaUnreachable) {
		return problem.MainUnreachable.New("the primary cannot be read")
	}
	return err
}

// findKey looks for the request's key in a ledger, the primary's or a replica's.
// It returns nil when the key is unknown there, and idempotency-key-reused when
// it was used for another request.
func findKey(ctx context.Context, catalog *Catalog, q *db.Queries, req Request, applied pending.State) (*Receipt, error) {
	if req.Key == "" {
		return nil, nil
	}
	row, err := q.FindIdempotencyKey(ctx, db.FindIdempotencyKeyParams{Actor: req.Actor, IdempotencyKey: &req.Key})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the idempotency key in the ledger: %w", err)
	}
	if !bytes.Equal(row.RequestDigest, req.Digest) {
		return nil, reused()
	}
	changes, err := decodeEntries(row.Changes)
	if err != nil {
		return nil, err
	}
	r := &Receipt{TransactionID: row.ID, State: applied, Replayed: true, Changes: changes, Checked: true, Sync: pending.Sync{State: applied}}
	if row.Outcome == "applied" {
		return r, nil
	}
	// The ids that it was answered with still are its answer.
	var steps []pending.Step
	if err := json.Unmarshal(row.DiscardedSteps, &steps); err != nil {
		return nil, fmt.Errorf("reading a discarded transaction: %w", err)
	}
	if r.Changes, err = catalog.changesOf(steps); err != nil {
		return nil, fmt.Errorf("reading a discarded transaction: %w", err)
	}
	if !row.Replaced {
		r.State, r.Sync.State = pending.StateDiscarded, pending.StateDiscarded
	}
	return r, nil
}

func reused() *problem.Problem {
	return problem.IdempotencyKeyReused.Field("header.Idempotency-Key", nil, "the key was used for another request")
}

// commit writes a transaction in one round trip: the ledger's row, the steps, the
// commit, and after it the position of the primary's log. Read inside the
// transaction the position would not cover its commit.
func (d *Direct) commit(ctx context.Context, req Request, draft draft) (Receipt, error) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitPatience)
	defer cancel()
	conn, err := d.config.Pool.Acquire(bounded)
	if err != nil {
		return Receipt{}, d.unsent(ctx, fmt.Errorf("getting a connection to the primary: %w", err))
	}
	defer conn.Release()
	ready, err := d.statements(bounded, conn.Conn())
	if err != nil {
		return Receipt{}, d.unsent(ctx, err)
	}
	tx := draft.transaction(req, d.config.Site)
	e, err := ready.encode(ctx, d.config.Catalog, tx, nil, newNow(d.config.Clock))
	if err != nil {
		var value *valueError
		if errors.As(err, &value) {
			return Receipt{}, problem.InvalidValue.New("a value cannot be sent to the primary: %s", value.err)
		}
		return Receipt{}, err
	}
	sending, sent := context.WithTimeout(context.WithoutCancel(ctx), commitPatience+time.Duration(e.bytes>>20)*time.Second)
	defer sent()
	position, failedAt, err := sendCommit(sending, conn.Conn().PgConn(), ready, e)
	if err == nil {
		receipt := Receipt{
			TransactionID: tx.ID, State: pending.StateApplied, CommitLSN: position.String(), Changes: draft.changes,
			Sync: pending.Sync{State: pending.StateApplied}, Checked: draft.builder.Checked(),
		}
		d.waitReplayed(ctx, position)
		return receipt, nil
	}
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "23505" && pg.ConstraintName == IdempotencyKey:
		// Another request with the key was faster, perhaps the first attempt of this
		// one, whose answer was lost.
		found, err := findKey(sending, d.config.Catalog, db.New(d.config.Pool), req, pending.StateApplied)
		if err != nil {
			return Receipt{}, d.failed(ctx, draft, err)
		}
		if found != nil {
			return *found, nil
		}
		return Receipt{}, onItsWay()
	case pg != nil && problem.ClassOf(err) == problem.Data:
		return Receipt{}, refusals{d.config.Problems}.refusal(e, failedAt, err)
	}
	return Receipt{}, d.failed(ctx, draft, err)
}

// waitReplayed holds the answer until the local replica shows the commit. When
// that takes too long the answer goes out all the same; the client has the
// position and can ask for it.
func (d *Direct) waitReplayed(ctx context.Context, position lsn.Position) {
	if d.config.Replayed == nil {
		return
	}
	if err := d.config.Replayed(ctx, position); err != nil {
		d.config.Logger.InfoContext(ctx, "a direct write was answered before the replica showed it", "position", position.String(), "error", err)
	}
}

// failed is the problem of a write that could not be carried out, or of which
// that is not known: the log gets the cause, and the same key decides on retry.
func (d *Direct) failed(ctx context.Context, draft draft, err error) error {
	if isProblem(err) {
		return err
	}
	p := d.config.Problems.From(err)
	d.config.Logger.WarnContext(ctx, "a write at the primary was not carried out, or its outcome is unknown",
		"transaction_id", draft.builder.id, "problem", p.Code(), "error", err)
	return p
}

// prepared is the key of a connection's statements.
const prepared = "github.com/opsdb/opsdb/platform/txn"

// statements are those of a pool's connection, prepared when it is first used.
func (d *Direct) statements(ctx context.Context, conn *pgx.Conn) (*statements, error) {
	raw := conn.PgConn()
	if s, ok := raw.CustomData()[prepared].(*statements); ok {
		return s, nil
	}
	texts := d.config.Catalog.texts()
	p := raw.StartPipeline(ctx)
	// Rows that a processor's flush holds are free within a moment; a client is
	// better told to come back than kept.
	sendControl(p, "SET lock_timeout = '3s'")
	sendControl(p, "SET synchronous_commit = on")
	sendPrepare(p, texts)
	if err := p.Sync(); err != nil {
		return nil, fmt.Errorf("preparing statements: %w", err)
	}
	for range 2 {
		if _, _, err := readRows(p); err != nil {
			return nil, errors.Join(fmt.Errorf("preparing statements: %w", err), p.Close())
		}
	}
	s, err := readPrepared(p, texts, conn.TypeMap())
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.Close(); err != nil {
		return nil, fmt.Errorf("preparing statements: %w", err)
	}
	raw.CustomData()[prepared] = s
	return s, nil
}

// sendCommit sends an encoded transaction as one commit. failedAt is the index of
// the message that the primary refused.
func sendCommit(ctx context.Context, conn *pgconn.PgConn, ready *statements, e *encoded) (position lsn.Position, failedAt int, err error) {
	asked, err := recordQuery(func(q *db.Queries) error { _, err := q.GetFlushPosition(ctx); return err })
	if err != nil {
		return position, -1, err
	}
	ask, err := ready.message(asked)
	if err != nil {
		return position, -1, err
	}
	p := conn.StartPipeline(ctx)
	send(p, message{name: ready.byText[begin].Name})
	for _, m := range e.messages {
		send(p, m)
	}
	send(p, message{name: ready.byText[commit].Name})
	p.SendPipelineSync()
	send(p, ask)
	if err := p.Sync(); err != nil {
		return position, -1, fmt.Errorf("sending a transaction: %w", err)
	}
	tag, _, failed, err, lost := readSegment(p, len(e.messages)+2)
	if lost != nil {
		return position, -1, fmt.Errorf("reading the answer to a transaction: %w", errors.Join(lost, p.Close()))
	}
	if err != nil {
		// Frees the rows at once. Without it the pool would throw the connection away.
		return position, failed - 1, errors.Join(err, abandon(ctx, conn, p))
	}
	if tag.String() != commit {
		return position, -1, errors.Join(errRolledBack, p.Close())
	}
	_, rows, _, err, lost := readSegment(p, 1)
	if err := errors.Join(err, lost, p.Close()); err != nil {
		return position, -1, fmt.Errorf("reading the position of a commit: %w", err)
	}
	if position, err = positionOf(rows); err != nil {
		return position, -1, err
	}
	return position, -1, nil
}

// abandon reads what is left of a pipeline after an error and ends its
// transaction.
func abandon(ctx context.Context, conn *pgconn.PgConn, p *pgconn.Pipeline) error {
	// The second segment fails too: its transaction is aborted already.
	if _, _, _, _, lost := readSegment(p, 1); lost != nil {
		return errors.Join(lost, p.Close())
	}
	if err := p.Close(); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
		return fmt.Errorf("rolling back: %w", err)
	}
	return nil
}

// positionOf reads GetFlushPosition: the LSN, and the timeline from the first
// eight digits of the name of the WAL file it lies in. pg_control_checkpoint
// would lag behind a promotion by minutes.
func positionOf(rows [][]string) (lsn.Position, error) {
	if len(rows) != 1 || len(rows[0]) != 2 || len(rows[0][1]) < 8 {
		return lsn.Position{}, fmt.Errorf("reading the position of a commit: unexpected answer %q", rows)
	}
	at, err := lsn.Parse(rows[0][0])
	if err != nil {
		return lsn.Position{}, err
	}
	timeline, err := strconv.ParseUint(rows[0][1][:8], 16, 32)
	if err != nil {
		return lsn.Position{}, fmt.Errorf("reading the timeline of a commit: %w", err)
	}
	return lsn.Position{Timeline: uint32(timeline), LSN: at}, nil
}

// transaction is the draft in its stored form.
func (d draft) transaction(req Request, site string) *pending.Transaction {
	tx := &pending.Transaction{
		ID: d.builder.id, Operation: req.Operation, Rows: len(d.changes), AcceptedAt: d.builder.now,
		Site: site, Actor: req.Actor, UserID: req.UserID, RequestDigest: req.Digest,
		ClientIDs: d.builder.client, Guards: d.builder.guards, Discards: d.builder.discards, Place: d.builder.place, Steps: d.steps,
	}
	if req.Key != "" {
		tx.IdempotencyKey = &req.Key
	}
	return tx
}
