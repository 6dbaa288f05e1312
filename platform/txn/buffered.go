package txn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn/internal/db"
)

// BufferedConfig is what a Buffered writer needs.
type BufferedConfig struct {
	Store *pending.Store
	// Reader gives the snapshot of the replica that transactions are validated
	// against, merged with the pending rows.
	Reader   *pending.Reader
	Catalog  *Catalog
	Problems *problem.Catalog
	Site     string
	SiteID   int64
	// Direct, when it is set, writes to main whenever nothing but dead letters is
	// pending and none of their rows is concerned (CRITICAL_OPERATIONS_BUFFER=false).
	Direct *Direct
	Logger *slog.Logger
	// Tracer makes the spans of validating and accepting; nil makes none, and then
	// transactions keep no trace context.
	Tracer trace.Tracer
	// Ending is closed when the process is told to stop: who waits then is told how far
	// it is, or the process would end under a request. It may be nil.
	Ending <-chan struct{}
	// Clock tells the time; nil is time.Now.
	Clock func() time.Time
}

// Buffered is the Writer of a secondary site: it stores the transaction durably
// in the site's Redis and returns. The processor applies it.
type Buffered struct {
	config BufferedConfig
	warned rate.Sometimes // of what is accepted without its checks
}

// NewBuffered makes a Buffered writer. Store and Reader stay the caller's to
// close.
func NewBuffered(config BufferedConfig) *Buffered {
	if config.Clock == nil {
		config.Clock = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Buffered{config: config, warned: rate.Sometimes{Interval: time.Minute}}
}

// acceptTries bounds how often a transaction is validated again because others
// were faster. Each try is beaten by a write that was accepted, so the site makes
// progress; the client is told to come back.
const acceptTries = 16

// Write implements Writer.
//
// The first validation uses this process's view as it is: the accept script
// notices when a row concerned has changed since, and then the view is caught up
// and build runs again. A refusal needs more, because nothing notices a view
// that refuses wrongly: it is repeated on a view just caught up, and given only
// after the key has been looked up once more, for this may be a retry whose first
// attempt is what makes it fail now.
func (w *Buffered) Write(ctx context.Context, req Request, build func(ctx context.Context, tx *Builder) error) (Receipt, error) {
	first := &Builder{id: newID(), now: newNow(w.config.Clock), siteID: w.config.SiteID, userID: req.UserID}
	if req.ValidateOnly {
		req.Key = ""
	}
	// Whether nothing is pending must not be guessed, and no script looks over a dry run.
	fresh := w.config.Direct != nil || req.ValidateOnly
	for range acceptTries {
		view, err := w.view(ctx, req, fresh)
		if err != nil {
			return Receipt{}, err
		}
		validating, validated := span(ctx, w.config.Tracer, "validate")
		if req.Replaces != nil {
			view = unmade(view, *req.Replaces)
		}
		v, err := w.validate(validating, first.again(), view, req, build)
		if err == nil && v.replay == nil {
			v.draft, err = v.builder.finish(w.config.Catalog)
		}
		validated(err)
		switch {
		case err == nil && v.replay != nil:
			return w.replayed(ctx, req, *v.replay)
		case err != nil && !refuses(err):
			return Receipt{}, err
		case err != nil && !fresh:
			fresh = true
			continue
		case err != nil:
			return w.refuse(ctx, req, err)
		case req.ValidateOnly:
			return v.draft.dryRun()
		}
		if w.config.Direct != nil && len(v.builder.discards) == 0 && bypasses(v.view, v.draft.changes) {
			// The ledgers know nothing of an attempt that was buffered and is a dead letter now.
			existing, err := w.existing(ctx, req)
			switch {
			case err != nil:
				return Receipt{}, err
			case existing != nil:
				return w.replay(ctx, req, existing)
			}
			return w.config.Direct.commit(ctx, req, v.draft)
		}
		tx := v.draft.transaction(req, w.config.Site)
		if w.config.Tracer != nil {
			tx.Trace = traceParent(ctx)
		}
		ctx, done := span(ctx, w.config.Tracer, "accept")
		accepted, err := w.config.Store.Accept(ctx, pending.Accept{Transaction: tx, Changes: v.draft.changes, View: v.view, Exempt: v.builder.exempt, Unchecked: !v.builder.Checked()})
		done(err)
		switch {
		case err != nil:
			return Receipt{}, err
		case accepted.Existing != nil:
			return w.replay(ctx, req, accepted.Existing)
		case accepted.Stale:
			fresh = true
			continue
		}
		state := pending.StateBuffered
		if accepted.BlockedBy != 0 {
			state = pending.StateBlocked
		}
		return Receipt{
			TransactionID: tx.ID, State: state, Changes: v.draft.changes, Checked: v.builder.Checked(),
			Sync: pending.Sync{State: state, TransactionID: &tx.ID}, load: v.view.Load,
		}, nil
	}
	return Receipt{}, problem.DatabaseBusy.New("other writes to the same records were faster each time")
}

// validation is one run of build and what it was run against.
type validation struct {
	view    pending.View
	builder *Builder
	replay  *Receipt
	draft   draft
}

// view is what a transaction is validated against.
func (w *Buffered) view(ctx context.Context, req Request, fresh bool) (pending.View, error) {
	if !fresh {
		view := w.config.Store.Current
		if req.Apart {
			view = w.config.Store.Recent
		}
		if v := view(); v.Load != "" {
			return v, nil
		}
	}
	return w.config.Store.CatchUp(ctx)
}

// validate runs build against a view and a snapshot taken after it. When the
// replica cannot be read in time (the reader then does not ask it again for a
// while), build runs without a snapshot, or to its end without its checks: a broken
// replica must not stop observing.
func (w *Buffered) validate(ctx context.Context, b *Builder, view pending.View, req Request, build func(ctx context.Context, tx *Builder) error) (validation, error) {
	b.view = view
	v := validation{view: view, builder: b}
	var built bool
	var buildErr, keyErr error
	err := w.config.Reader.Check(ctx, view, keyQuestion(ctx, w.config.Catalog, req, pending.StateReplicated, func(found *Receipt, err error) error {
		v.replay, keyErr = found, err
		return errKeyKnown
	}), func(ctx context.Context, s *pending.Snapshot) error {
		b.snapshot = s
		defer func() { b.snapshot = nil }()
		buildErr = build(ctx, b)
		built = true
		return nil
	})
	switch {
	case keyErr != nil || v.replay != nil:
		return v, keyErr
	case errors.Is(err, problem.ReplicaBehind):
		built, b = false, b.again()
	case built && (buildErr != nil || err == nil):
		return v, buildErr
	case ctx.Err() != nil, !errors.Is(err, problem.ReplicaUnreachable):
		return v, err
	}
	w.warned.Do(func() {
		w.config.Logger.WarnContext(ctx, "a write is accepted without its checks: the replica cannot be read", "error", err)
	})
	if built {
		return v, nil
	}
	v.builder = b
	return v, build(ctx, b)
}

// unmade is a view as it would be without a transaction and without what builds on it,
// so far as neither is applied: what takes its place was not made later than those.
func unmade(view pending.View, id uuid.UUID) pending.View {
	target, ok := view.Tx(id)
	if !ok {
		return view // build will say so
	}
	without := []*pending.Tx{target}
	var gone Dependencies
	gone.Add(target.Seq, target.Place, target.Changes)
	view.Ascend(target.Seq+1, func(tx *pending.Tx) bool {
		if (tx.State == pending.StateBuffered || tx.State.Dead()) && len(gone.Of(tx.Place, tx.Changes)) > 0 {
			gone.Add(tx.Seq, tx.Place, tx.Changes)
			without = append(without, tx)
		}
		return true
	})
	return view.Without(without...)
}

// errKeyKnown ends a check whose transaction was written before.
var errKeyKnown = errors.New("the idempotency key is known")

// keyText is the generated query that looks for a key in the ledger.
var keyText = func() string {
	asked, err := recordQuery(func(q *db.Queries) error {
		_, err := q.FindIdempotencyKey(context.Background(), db.FindIdempotencyKeyParams{})
		return err
	})
	if err != nil {
		panic(fmt.Sprintf("recording the question for a key: %v", err))
	}
	return asked.sql
}()

// keyQuestion asks a ledger, the replica's or the primary's, for the request's key; nil
// when it has none. answer is called when the ledger has it.
func keyQuestion(ctx context.Context, catalog *Catalog, req Request, applied pending.State, answer func(*Receipt, error) error) *pending.Question {
	if req.Key == "" {
		return nil
	}
	return &pending.Question{SQL: keyText, Values: [][]byte{[]byte(req.Actor), []byte(req.Key)}, Answer: func(row pgx.Row) error {
		return answer(findKey(ctx, catalog, db.New(answered{row: row}), req, applied))
	}}
}

// answered is a DBTX for generated code whose one query was asked already.
type answered struct {
	DBTX
	row pgx.Row
}

// QueryRow implements DBTX.
func (a answered) QueryRow(context.Context, string, ...any) pgx.Row { return a.row }

// refuse gives a refusal, unless the request's key says that an earlier attempt
// was accepted.
func (w *Buffered) refuse(ctx context.Context, req Request, refusal error) (Receipt, error) {
	existing, err := w.existing(ctx, req)
	switch {
	case err != nil:
		return Receipt{}, err
	case existing == nil:
		return Receipt{}, refusal
	}
	return w.replay(ctx, req, existing)
}

// replayed is the receipt of an earlier attempt that the replica's ledger has, unless this site has acknowledged another
// one with the key: it stands by that, whatever another site did with the key meanwhile.
func (w *Buffered) replayed(ctx context.Context, req Request, inLedger Receipt) (Receipt, error) {
	existing, err := w.existing(ctx, req)
	if err != nil || existing == nil {
		return inLedger, err
	}
	stored, err := w.config.Store.Lookup(ctx, existing.Seq)
	if err != nil || stored == nil || stored.ID == inLedger.TransactionID {
		return inLedger, err
	}
	return w.replay(ctx, req, existing)
}

// existing is an earlier attempt that this site has buffered with the request's key, nil when there is none.
func (w *Buffered) existing(ctx context.Context, req Request) (*pending.Existing, error) {
	if req.Key == "" {
		return nil, nil
	}
	return w.config.Store.Existing(ctx, req.Actor, req.Key)
}

// replay is the receipt of an earlier attempt that this site accepted.
func (w *Buffered) replay(ctx context.Context, req Request, existing *pending.Existing) (Receipt, error) {
	if !bytes.Equal(existing.Digest, req.Digest) {
		return Receipt{}, reused()
	}
	load := w.config.Store.Current().Load
	stored, err := w.config.Store.Lookup(ctx, existing.Seq)
	if err != nil {
		return Receipt{}, err
	}
	if stored == nil {
		return Receipt{}, problem.DatabaseBusy.New("the first attempt is just leaving the buffer; its record is in the ledger")
	}
	changes, err := w.config.Catalog.changesOf(stored.Steps)
	if err != nil {
		return Receipt{}, err
	}
	r := Receipt{TransactionID: stored.ID, Replayed: true, Changes: changes, Checked: true, load: load}
	view, err := w.config.Store.CatchUp(ctx)
	if err != nil {
		return Receipt{}, err
	}
	r, known := w.reached(ctx, r, view)
	if !known {
		return Receipt{}, problem.DatabaseBusy.New("the site's Redis was restarted while the first attempt was looked for")
	}
	return r, nil
}

// reached gives a receipt the state that a view shows. A transaction that has left the
// view it was in has replicated. One that is missing after Redis has lost its memory, or
// come back with an older one, may be lost: then only the ledger can tell, and false says
// that it does not, and that the receipt is as it was.
func (w *Buffered) reached(ctx context.Context, r Receipt, view pending.View) (Receipt, bool) {
	tx, pendingStill := view.Tx(r.TransactionID)
	switch {
	case pendingStill:
		r.State, r.Sync, r.load = tx.State, pending.Sync{State: tx.State, TransactionID: &tx.ID}, view.Load
	case view.Load != "" && view.Load == r.load:
		r.State, r.Sync = pending.StateReplicated, pending.Sync{State: pending.StateReplicated}
	default:
		state, err := w.inLedger(ctx, r.TransactionID)
		if err != nil {
			w.config.Logger.DebugContext(ctx, "the replica cannot tell about a transaction that Redis has lost", "error", err)
		}
		if state == "" {
			return r, false
		}
		r.State, r.Sync = state, pending.Sync{State: state}
	}
	return r, true
}

// inLedger is what the replica's ledger says of a transaction, "" when it has none.
func (w *Buffered) inLedger(ctx context.Context, id uuid.UUID) (state pending.State, err error) {
	err = w.config.Reader.Read(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		rows, err := db.New(s.DB).FindLedgerOutcomes(ctx, []uuid.UUID{id})
		for _, row := range rows {
			state = pending.StateReplicated
			if row.Outcome != "applied" {
				state = pending.StateDiscarded
			}
		}
		return err
	})
	return state, err
}

// lookAgain is how often the ledger is asked about a transaction that Redis has lost:
// nothing tells when it comes there.
const lookAgain = time.Second

// Wait implements Writer: it waits until the transaction is replicated, failed,
// blocked or discarded, until time is up, or until the process is to end.
func (w *Buffered) Wait(ctx context.Context, receipt Receipt, timeout time.Duration) Receipt {
	if receipt.CommitLSN != "" || receipt.ValidateOnly {
		return receipt // written at main directly, or not at all
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		changed := w.config.Store.Watch()
		var known bool
		receipt, known = w.reached(ctx, receipt, w.config.Store.Current())
		if receipt.State != pending.StateBuffered && receipt.State != pending.StateApplied {
			return receipt
		}
		var again <-chan time.Time
		if !known {
			again = time.After(lookAgain)
		}
		select {
		case <-changed:
		case <-again:
		case <-w.config.Ending:
			return receipt
		case <-ctx.Done():
			return receipt
		}
	}
}

// bypasses says whether a transaction may be written to main past the buffer:
// nothing but dead letters is pending, and none of their rows is concerned.
func bypasses(view pending.View, changes []pending.Change) bool {
	counts := view.Counts()
	return counts.Buffered == 0 && counts.Applied == 0 && len(view.Blockers(changes, 0)) == 0
}

// refuses says whether err is a refusal of the request (4xx), which the same
// request may not meet on a newer view.
func refuses(err error) bool {
	var p *problem.Problem
	return errors.As(err, &p) && p.Status < 500
}
