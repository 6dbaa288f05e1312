// Package pending keeps what a secondary site knows of transactions that its
// replica does not show yet: the durable form in the site's Redis, changed only
// by the scripts of this package, and each process's view of the rows they
// touch, narrowed into the parameters of merged queries.
//
// The parts, in the order a request meets them:
//
//   - Store is the site's Redis. CatchUp brings this process's View up to what
//     Redis holds now; Accept stores one new transaction durably.
//   - View is an immutable picture: pending transactions by seq, id and state,
//     and per buffered table the rows they make, folded in seq order.
//   - Reader gives one answer its View and, after that, one snapshot of the
//     database; Snapshot narrows the View to the rows that can matter to a query.
//   - Session holds the scripts of a processor; MarkReplicated, Unsweep and
//     Expire are the tracker's; Retry, Pause and Resume are the operator's.
//
// State is derived, never stored twice: the first that holds of discarded,
// replicated, applied, dead letter (failed or blocked), else buffered. Every
// change of state is one script, so a transaction is never in two states or in
// none, and every script may run twice: the client repeats a command whose
// answer was lost.
package pending

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Op is what a step does to one row.
type Op string

// The three things a step can do to a row.
const (
	OpCreate Op = "create"
	OpUpdate Op = "update"
	OpDelete Op = "delete"
)

// Key names one row of a buffered table. Tables whose key is not a uuid make
// one: see ModuleRowID.
type Key struct {
	Table string    `json:"table"`
	ID    uuid.UUID `json:"id"`
}

// Change is what one step does to one row.
type Change struct {
	Table string    `json:"table"`
	ID    uuid.UUID `json:"id"`
	Op    Op        `json:"op"`
	// Columns is one JSON object. A create names every column; an update names
	// the changed ones and, when they are known, the row's immutable columns
	// that Table declares (Time and Fixed), so that the row can be placed without
	// its create. A delete may name those too.
	Columns json.RawMessage `json:"columns,omitempty"`
	// References are the rows of buffered tables that this row points to.
	References []Key `json:"references,omitempty"`
}

// moduleRows is the name space of ModuleRowID.
var moduleRows = uuid.MustParse("3c1f7a52-6f0b-5c0e-9d59-0d6f2f6c8a11")

// ModuleRowID is the row id of an executed_obs_unit_module, whose key in the
// database is the pair of its arguments. It is used only as a Key.
func ModuleRowID(execution uuid.UUID, configuration int64) uuid.UUID {
	var b [24]byte
	copy(b[:16], execution[:])
	binary.BigEndian.PutUint64(b[16:], uint64(configuration))
	return uuid.NewSHA1(moduleRows, b[:])
}

// Table declares one buffered table to the view. The module that owns the table
// makes it; a table that nobody declares has no pending rows.
type Table struct {
	// Name is the table's name in SQL.
	Name string
	// Time is the column of the newest-first order (time, then id). It must never
	// change once a row exists.
	Time string
	// Paths are the columns with an access path of their own: Page.Path names one
	// of them, and a list by that column then costs what its own rows cost.
	Paths []string
	// Fixed are the columns that never change once a row exists (parents). A
	// filter on one of them rules out the stored row too; updates should carry
	// them. Paths that are not Fixed cost more: every pending update could have
	// moved its row into or out of them.
	Fixed []string
}

// keeps says that a column never changes once a row exists.
func (t Table) keeps(column string) bool {
	return column == t.Time || slices.Contains(t.Fixed, column)
}

// ErrUnknownKind is what a Decoder returns for a step kind that this build does
// not know: the transaction was accepted by a newer one. Its transaction stays
// pending, without rows, and the processor must stop before it.
var ErrUnknownKind = errors.New("unknown step kind")

// Decoder says what a stored step does to rows. txn.Catalog implements it.
type Decoder interface {
	// Changes returns the changes of one step. The Columns it returns may alias
	// data; nobody changes either. Unknown kinds are ErrUnknownKind.
	Changes(kind string, data json.RawMessage) ([]Change, error)
}

// State is where a transaction is on its way into the database.
type State string

// The states of a transaction. A View holds all but the replicated ones. A
// discarded one stays, without its rows, until its discard has replicated and the
// ledger answers for it.
const (
	StateBuffered   State = "buffered"
	StateApplied    State = "applied"
	StateFailed     State = "failed"
	StateBlocked    State = "blocked"
	StateReplicated State = "replicated"
	StateDiscarded  State = "discarded"
)

// Dead reports whether s is one of the two states of a dead letter.
func (s State) Dead() bool { return s == StateFailed || s == StateBlocked }

// DeadLetter is why a transaction is not on its way.
type DeadLetter struct {
	// Problem is the problem+json document of a failed transaction.
	Problem json.RawMessage
	// BlockedBy is the seq of the dead letter that holds a blocked one back, 0
	// for one that failed itself.
	BlockedBy int64
	// NextTry is when the processor tries again by itself, zero for never.
	NextTry time.Time
}

// Tx is a pending transaction as one View sees it. It never changes: a new
// state is a new Tx.
type Tx struct {
	Seq        int64
	ID         uuid.UUID
	Operation  string
	Actor      string
	Rows       int
	AcceptedAt time.Time
	State      State
	// Position and LSN say which commit holds an applied transaction: the commit
	// number, and where the primary's log stood after its flush.
	Position int64
	LSN      string
	// Dead is set for failed and blocked ones.
	Dead *DeadLetter
	// Attempts counts the tries that its own data made fail.
	Attempts int
	// Changes are what it does to rows, in the order of its steps; nil when
	// Unknown is set.
	Changes []Change
	// Unknown says why its steps could not be read (ErrUnknownKind).
	Unknown error
	// Discards are the seqs of the dead letters that it discards.
	Discards []int64
	// DiscardedBy is the seq of the transaction that discards a discarded one, 0
	// when only the ledger says so.
	DiscardedBy int64
	// Place is the seq whose place its changes take among those of a row: its own,
	// or that of the dead letter that it replaces.
	Place int64

	head, body []byte
	clientIDs  []uuid.UUID
	appliedAt  int64 // unix time in microseconds; 0: before this process looked
	hidden     bool  // dead letter id-taken: main's row of that id is another one
}

// Transaction decodes the whole transaction, its steps included. The steps' data
// alias what the view holds and must not be changed.
func (t *Tx) Transaction() (*Transaction, error) { return decode(t.Seq, t.head, t.body) }

// Trace is the trace context of the request that made the transaction, "" when it
// was not traced.
func (t *Tx) Trace() string {
	text := ""
	if err := eachField(t.body, func(name, v []byte) error {
		switch string(name) {
		case "trace":
			if err := json.Unmarshal(v, &text); err != nil {
				return err
			}
			return errFound
		case "steps": // the long part, and the last one
			return errFound
		}
		return nil
	}); err != nil && !errors.Is(err, errFound) {
		return ""
	}
	return text
}

// AppliedAt is when this process saw that the transaction was applied; false when
// it is not, or was before this process began to look.
func (t *Tx) AppliedAt() (time.Time, bool) {
	if t.State != StateApplied || t.appliedAt == 0 {
		return time.Time{}, false
	}
	return time.UnixMicro(t.appliedAt).UTC(), true
}

// Bytes is the stored size of the transaction, for the limits of a flush.
func (t *Tx) Bytes() int { return len(t.head) + len(t.body) }

// Sync is the replication state shown with a record of a buffered table: that
// of the newest transaction that touched the row.
type Sync struct {
	State State `json:"state"`
	// TransactionID is null when nothing is pending on the row.
	TransactionID *uuid.UUID `json:"transaction_id"`
}

// Shown is the sync of a record: null when it has no state, since nothing was written.
func (s Sync) Shown() *Sync {
	if s.State == "" {
		return nil
	}
	return &s
}

// Attempt is one failed try of a transaction.
type Attempt struct {
	At      time.Time       `json:"at"`
	Problem json.RawMessage `json:"problem"`
}
