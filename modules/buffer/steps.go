package buffer

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/txn"
)

// tableDecision is where main keeps what operators have decided, for good.
const tableDecision = "dead_letter_decision"

// Steps returns one value of each step of this module, for the catalog.
func Steps() []txn.Step { return []txn.Step{Discard{}} }

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
	Site   string    `json:"site"`
	Reason string    `json:"reason"`
	Actor  string    `json:"actor"`
	At     time.Time `json:"at"`
}

// Rows implements txn.Step. The decision is no row of a buffered table, so nothing is
// pending on it; the history of changes has it all the same.
func (s Discard) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableDecision, s.TransactionID, decision{s.Site, s.Reason, s.Actor, s.At})}
}

// Slices implements txn.Slicer: a discarded bulk of ten thousand files is megabytes.
func (s Discard) Slices(max int) []txn.Step {
	var parts []string
	for rest := s.Document; len(parts) == 0 || rest != ""; {
		end := min(max, len(rest))
		for end < len(rest) && !utf8.RuneStart(rest[end]) {
			end-- // a message must be whole characters
		}
		parts = append(parts, rest[:end])
		rest = rest[end:]
	}
	slices := make([]txn.Step, len(parts))
	for i, part := range parts {
		slice := s
		slice.PartNumber, slice.PartCount, slice.Document = int32(i+1), int32(len(parts)), part
		slices[i] = slice
	}
	return slices
}

// discards are the decisions that a transaction carries.
func discards(tx *pending.Tx, catalog *txn.Catalog) ([]Discard, error) {
	whole, err := tx.Transaction()
	if err != nil {
		return nil, err
	}
	var found []Discard
	for _, stored := range whole.Steps {
		if stored.Kind != (Discard{}).Kind() {
			continue
		}
		step, err := catalog.Decode(stored)
		if err != nil {
			return nil, err
		}
		found = append(found, step.(Discard))
	}
	return found, nil
}
