package buffer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// DeadLetterDecision is what an operator has decided about a dead letter.
type DeadLetterDecision struct {
	TransactionID uuid.UUID     `json:"transaction_id" doc:"The dead letter."`
	Outcome       string        `json:"outcome" enum:"discarded,replaced,applied" doc:"discarded: it is never applied; replaced: neither, and replaced_by has taken its place; applied: main had it already when the decision came there, so it counts as applied."`
	ReplacedBy    *uuid.UUID    `json:"replaced_by" doc:"The transaction that took its place; null when none did."`
	Reason        string        `json:"reason" doc:"Why, in the operator's words."`
	Actor         string        `json:"actor" doc:"Who decided: user:<username>, or shell:<login name> for opsdb buffer on the site's machine."`
	At            time.Time     `json:"at" doc:"When."`
	Sync          *pending.Sync `json:"sync" doc:"How far the decision itself is: it is a transaction of its own."`
}

const (
	outcomeDiscarded = "discarded"
	outcomeReplaced  = "replaced"
	outcomeApplied   = "applied"
)

// DiscardDeadLetter discards the dead letter id, in one transaction that w buffers.
// Done again it changes nothing and gives the first decision. The errors beside w's
// are not-found and not-a-dead-letter.
func DiscardDeadLetter(ctx context.Context, w txn.Writer, catalog *txn.Catalog, req txn.Request, id uuid.UUID, reason string) (DeadLetterDecision, txn.Receipt, error) {
	var before *DeadLetterDecision
	receipt, err := w.Write(ctx, req, func(ctx context.Context, tx *txn.Builder) (err error) {
		var dead *pending.Tx
		if dead, before, err = undecided(ctx, tx, catalog, id); err != nil {
			return err
		}
		return decide(tx, catalog, dead, reason, req.Actor, nil)
	})
	if before != nil && errors.Is(err, NotADeadLetter) {
		if req.ValidateOnly {
			before.Sync = nil
			return *before, txn.Receipt{ValidateOnly: true}, nil
		}
		return *before, txn.Receipt{State: before.Sync.State, Sync: *before.Sync, Replayed: true}, nil
	}
	if err != nil {
		return DeadLetterDecision{}, txn.Receipt{}, err
	}
	d, err := decisionOf(receipt, id)
	return d, receipt, err
}

// undecided finds a dead letter that nobody has decided about. A decision that there is
// comes with the refusal: as an answer of its own it would pass over the key, which may
// be another request's.
func undecided(ctx context.Context, tx *txn.Builder, catalog *txn.Catalog, id uuid.UUID) (dead *pending.Tx, before *DeadLetterDecision, err error) {
	if before, err = decided(ctx, tx, catalog, id); err != nil {
		return nil, nil, err
	}
	if before != nil {
		return nil, before, NotADeadLetter.New("it has been %s already", before.Outcome)
	}
	dead, err = deadLetter(tx.Pending(), id)
	return dead, nil, err
}

// deadLetter finds a transaction that may be decided about.
func deadLetter(view pending.View, id uuid.UUID) (*pending.Tx, error) {
	tx, ok := view.Tx(id)
	if !ok {
		return nil, problem.NotFound.Field("path.id", id.String(), "no such transaction is pending; GET /transactions/{id} tells what became of it")
	}
	if !tx.State.Dead() {
		return nil, NotADeadLetter.New("the transaction is %s; only failed and blocked ones can be decided about", tx.State)
	}
	return tx, nil
}

// decide adds the decision that a dead letter is discarded, or replaced by another
// transaction, and those that it was to record itself: they would be lost with it. What
// it was to replace is discarded when it is itself: nothing takes that place any more.
func decide(tx *txn.Builder, catalog *txn.Catalog, dead *pending.Tx, reason, actor string, by *uuid.UUID) error {
	all, err := decisions(dead, catalog)
	if err != nil {
		return err
	}
	d, err := newDiscard(dead, reason, actor, tx.Now())
	if err != nil {
		return err
	}
	for _, d := range append(all, d.replace(by)) {
		if by == nil || d.ReplacedBy == nil {
			tx.Add(d.discard())
		} else {
			tx.Add(d)
		}
		tx.Guard(d.TransactionID.String())
	}
	// Its rows leave the view or become others: what another process has checked
	// against them must look again, or it could only die at main.
	for i := range dead.Changes {
		tx.Guard(dead.Changes[i].ID.String())
	}
	tx.Discard(dead.Discards...)
	tx.Discard(dead.Seq)
	return nil
}

// decided finds an earlier decision about a transaction, nil when there is none:
// among what is pending, and else in the database.
func decided(ctx context.Context, tx *txn.Builder, catalog *txn.Catalog, id uuid.UUID) (*DeadLetterDecision, error) {
	view := tx.Pending()
	target, ok := view.Tx(id)
	if ok && target.State != pending.StateDiscarded {
		return nil, nil
	}
	if ok {
		if d, err := decisionIn(view, catalog, target); err != nil || d != nil {
			return d, err
		}
	}
	var found *DeadLetterDecision
	err := tx.Check(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		row, err := db.New(s.DB).GetDeadLetterDecision(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("looking for a decision: %w", err)
		}
		found = decisionAbout(id, row.Outcome, row.Reason, row.Actor, row.At, row.ReplacedBy)
		found.Sync = &pending.Sync{State: pending.StateReplicated}
		return nil
	})
	return found, err
}

// decisionAbout shows a decision; one in favour of another transaction is called replaced.
func decisionAbout(id uuid.UUID, outcome, reason, actor string, at time.Time, by *uuid.UUID) *DeadLetterDecision {
	if by != nil {
		outcome = outcomeReplaced
	}
	return &DeadLetterDecision{TransactionID: id, Outcome: outcome, ReplacedBy: by, Reason: reason, Actor: actor, At: at}
}

// decisionIn is the pending decision about a discarded transaction, nil when none is.
func decisionIn(view pending.View, catalog *txn.Catalog, target *pending.Tx) (*DeadLetterDecision, error) {
	by, ok := view.TxBySeq(target.DiscardedBy)
	if !ok {
		return nil, nil
	}
	all, err := decisions(by, catalog)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.TransactionID == target.ID {
			found := decisionAbout(target.ID, outcomeDiscarded, d.Reason, d.Actor, d.At, d.ReplacedBy)
			found.Sync = &pending.Sync{State: by.State, TransactionID: &by.ID}
			return found, nil
		}
	}
	return nil, nil
}

// decisionOf reads the decision from what its transaction does.
func decisionOf(receipt txn.Receipt, id uuid.UUID) (DeadLetterDecision, error) {
	for _, c := range receipt.Changes {
		if c.Table != tableDecision || c.ID != id {
			continue
		}
		var d decision
		if err := json.Unmarshal(c.Columns, &d); err != nil {
			return DeadLetterDecision{}, fmt.Errorf("reading a decision: %w", err)
		}
		found := decisionAbout(id, outcomeDiscarded, d.Reason, d.Actor, d.At, d.ReplacedBy)
		found.Sync = receipt.Sync.Shown()
		return *found, nil
	}
	return DeadLetterDecision{}, fmt.Errorf("reading a decision: transaction %s has none about %s", receipt.TransactionID, id)
}
