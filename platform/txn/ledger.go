package txn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

// LedgerKey is the constraint whose violation says "this transaction is in the
// ledger already". It alone is an answer about the id; every other unique
// violation is an error of the data.
const LedgerKey = "applied_transaction_pkey"

// IdempotencyKey is the constraint whose violation says that the actor has used
// the key for another transaction.
const IdempotencyKey = "applied_transaction_actor_idempotency_key_key"

// Problems maps the ledger's own constraints. Where a direct write meets the key
// again its Writer replays the first attempt instead; a buffered transaction
// whose key main has seen under another id becomes a dead letter.
var Problems = problem.Set{Constraints: map[string]problem.Constraint{
	LedgerKey:      {Kind: problem.Conflict, Message: "The transaction has been applied already."},
	IdempotencyKey: {Kind: problem.IdempotencyKeyReused, Message: "The primary has seen this Idempotency-Key with another transaction."},
}}

// entry is one change as the ledger keeps it: which row, what was done, and the
// new values. The old value of a column is that of the row's previous entry.
type entry struct {
	Table  string          `json:"table"`
	ID     rowID           `json:"id"`
	Kind   pending.Op      `json:"kind"`
	Values json.RawMessage `json:"values,omitempty"`
}

// rowID is the id of a row in the ledger: a UUID, or the number of a table whose key is
// one.
type rowID uuid.UUID

// MarshalJSON implements json.Marshaler.
func (r rowID) MarshalJSON() ([]byte, error) {
	if n, ok := NumberOf(uuid.UUID(r)); ok {
		return strconv.AppendInt(nil, n, 10), nil
	}
	return json.Marshal(uuid.UUID(r))
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *rowID) UnmarshalJSON(data []byte) error {
	if n, err := strconv.ParseInt(string(data), 10, 64); err == nil {
		*r = rowID(NumberID(n))
		return nil
	}
	return json.Unmarshal(data, (*uuid.UUID)(r))
}

// encodeEntries writes changes in pieces of at most about max bytes that put
// together are one JSON array. max 0 means one piece.
func encodeEntries(changes []pending.Change, max int) ([]string, error) {
	var pieces []string
	var b bytes.Buffer
	b.WriteByte('[')
	for i, c := range changes {
		data, err := json.Marshal(entry{Table: c.Table, ID: rowID(c.ID), Kind: c.Op, Values: c.Columns})
		if err != nil {
			return nil, fmt.Errorf("encoding the change of %s %s: %w", c.Table, c.ID, err)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		if max > 0 && b.Len() > 1 && b.Len()+len(data) > max {
			pieces = append(pieces, b.String())
			b.Reset()
		}
		b.Write(data)
	}
	b.WriteByte(']')
	return append(pieces, b.String()), nil
}

// decodeEntries reads what the ledger keeps of a transaction.
func decodeEntries(data json.RawMessage) ([]pending.Change, error) {
	var entries []entry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("reading changes from the ledger: %w", err)
	}
	changes := make([]pending.Change, len(entries))
	for i, e := range entries {
		changes[i] = pending.Change{Table: e.Table, ID: uuid.UUID(e.ID), Op: e.Kind, Columns: e.Values}
	}
	return changes, nil
}

func isProblem(err error) bool {
	var p *problem.Problem
	return errors.As(err, &p)
}
