package buffer

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// tableDecision is where main keeps what operators have decided, for good.
const tableDecision = "dead_letter_decision"

// Steps returns one value of each step of this module, for the catalog.
func Steps() []txn.Step { return []txn.Step{Discard{}, Replace{}} }

// Discard decides that a dead letter is never applied. It gives the ledger the dead
// letter's id, actor and key without effects, so that nothing that still carries it
// (a stale flush, a sneakernet file) can apply it; when the ledger has it already it
// was applied meanwhile, and the decision says so.
type Discard db.DiscardTransactionParams

// newDiscard is the decision on a dead letter.
func newDiscard(dead *pending.Tx, reason, actor string, at time.Time) (Discard, error) {
	whole, err := dead.Transaction()
	if err != nil {
		return Discard{}, err
	}
	return Discard{
		TransactionID: dead.ID, Site: whole.Site, Reason: reason, Actor: actor, At: at, PartNumber: 1, PartCount: 1, Document: string(dead.JSON()),
		Seq: &dead.Seq, Operation: dead.Operation, TransactionActor: dead.Actor, IdempotencyKey: whole.IdempotencyKey,
		RequestDigest: whole.RequestDigest, AcceptedAt: dead.AcceptedAt,
	}, nil
}

// Kind implements txn.Step.
func (Discard) Kind() string { return "buffer.discard/1" }

// Apply implements txn.Step.
func (s Discard) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).DiscardTransaction(ctx, db.DiscardTransactionParams(s))
}

// decision is what the ledger's history says of a Discard.
type decision struct {
	Site       string     `json:"site"`
	Reason     string     `json:"reason"`
	Actor      string     `json:"actor"`
	At         time.Time  `json:"at"`
	ReplacedBy *uuid.UUID `json:"replaced_by,omitempty"`
}

// Rows implements txn.Step. The decision is no row of a buffered table, so nothing is
// pending on it; the history of changes has it all the same.
func (s Discard) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableDecision, s.TransactionID, decision{s.Site, s.Reason, s.Actor, s.At, nil})}
}

// Slices implements txn.Slicer: a discarded bulk of ten thousand files is megabytes.
func (s Discard) Slices(max int) []txn.Step {
	return slicesOf(s.Document, max, func(number, count int32, part string) txn.Step {
		s.PartNumber, s.PartCount, s.Document = number, count, part
		return s
	})
}

// slicesOf makes a step of each part of a document.
func slicesOf(document string, max int, step func(number, count int32, part string) txn.Step) []txn.Step {
	parts := cutText(document, max)
	slices := make([]txn.Step, len(parts))
	for i, part := range parts {
		slices[i] = step(int32(i+1), int32(len(parts)), part)
	}
	return slices
}

// cutText cuts a text into parts of at most max bytes each, the last of which may be
// empty only if the text is.
func cutText(text string, max int) []string {
	var parts []string
	for rest := text; len(parts) == 0 || rest != ""; {
		end := min(max, len(rest))
		for end < len(rest) && !utf8.RuneStart(rest[end]) {
			end-- // a message must be whole characters
		}
		parts = append(parts, rest[:end])
		rest = rest[end:]
	}
	return parts
}

// Replace decides that the transaction it is part of takes the place of a dead letter.
// It does what Discard does, but when the ledger has the dead letter already it fails,
// and the whole transaction with it: one of the two is applied, never both.
type Replace db.ReplaceTransactionParams

// replace makes the decision one in favour of another transaction, nil for none.
func (s Discard) replace(by *uuid.UUID) Replace {
	return Replace{
		TransactionID: s.TransactionID, Site: s.Site, Reason: s.Reason, Actor: s.Actor, At: s.At, PartNumber: 1, PartCount: 1, Document: s.Document,
		Seq: s.Seq, Operation: s.Operation, TransactionActor: s.TransactionActor, IdempotencyKey: s.IdempotencyKey,
		RequestDigest: s.RequestDigest, AcceptedAt: s.AcceptedAt, ReplacedBy: by,
	}
}

// discard is the decision without what was to take the dead letter's place.
func (s Replace) discard() Discard {
	return Discard{
		TransactionID: s.TransactionID, Site: s.Site, Reason: s.Reason, Actor: s.Actor, At: s.At, PartNumber: 1, PartCount: 1, Document: s.Document,
		Seq: s.Seq, Operation: s.Operation, TransactionActor: s.TransactionActor, IdempotencyKey: s.IdempotencyKey,
		RequestDigest: s.RequestDigest, AcceptedAt: s.AcceptedAt,
	}
}

// Kind implements txn.Step.
func (Replace) Kind() string { return "buffer.replace/1" }

// Apply implements txn.Step.
func (s Replace) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).ReplaceTransaction(ctx, db.ReplaceTransactionParams(s))
}

// Rows implements txn.Step.
func (s Replace) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableDecision, s.TransactionID, decision{s.Site, s.Reason, s.Actor, s.At, s.ReplacedBy})}
}

// Refusal implements txn.Refuser.
func (Replace) Refusal() *problem.Kind { return DeadLetterApplied }

// Slices implements txn.Slicer.
func (s Replace) Slices(max int) []txn.Step {
	return slicesOf(s.Document, max, func(number, count int32, part string) txn.Step {
		s.PartNumber, s.PartCount, s.Document = number, count, part
		return s
	})
}

// decisions are what a transaction decides about dead letters: each a Replace, whose
// ReplacedBy is nil for a discard.
func decisions(tx *pending.Tx, catalog *txn.Catalog) ([]Replace, error) {
	whole, err := tx.Transaction()
	if err != nil {
		return nil, err
	}
	var found []Replace
	for _, stored := range whole.Steps {
		if stored.Kind != (Discard{}).Kind() && stored.Kind != (Replace{}).Kind() {
			continue
		}
		step, err := catalog.Decode(stored)
		if err != nil {
			return nil, err
		}
		switch d := step.(type) {
		case Discard:
			found = append(found, d.replace(nil))
		case Replace:
			found = append(found, d)
		}
	}
	return found, nil
}
