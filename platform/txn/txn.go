// Package txn is the one way to write: typed steps, put together to a
// transaction by a builder, and carried out by a Writer. At the main site a
// Writer commits on the primary at once; at a secondary site it buffers the
// transaction in the site's Redis, and the processor applies it to the primary
// later, exactly once and in order. A handler does not know which of the two it
// has.
//
// A module defines a step from the Params struct that sqlc generates for one
// write query, so a column is written down once, in SQL:
//
//	// Start records a run that has begun.
//	type Start db.StartExecutedObsUnitParams
//
//	func (Start) Kind() string { return "executed_obs_units.start/1" }
//
//	func (s Start) Apply(ctx context.Context, to txn.DBTX) error {
//		return db.New(to).StartExecutedObsUnit(ctx, db.StartExecutedObsUnitParams(s))
//	}
//
//	func (s Start) Rows() []pending.Change {
//		return []pending.Change{txn.Create("executed_obs_unit", s.ID, s)}
//	}
//
// and a handler adds steps to a transaction:
//
//	receipt, err := m.writer.Write(ctx, req, func(ctx context.Context, tx *txn.Builder) error {
//		unit := Start{ID: tx.NewID(), StartTime: tx.Now(), …}
//		if err := tx.Check(ctx, func(ctx context.Context, s *pending.Snapshot) error {
//			return m.unitExists(ctx, s, unit.ObsUnitID)
//		}); err != nil {
//			return err
//		}
//		tx.Add(unit)
//		return nil
//	})
//	if receipt.Replayed { … answer with the record of receipt.Changes … }
package txn

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

// DBTX is what generated code runs its statements on; sqlc generates the same
// interface for each package.
type DBTX interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Step is one typed write inside a transaction. It is a value: marshalled to
// JSON it is what the buffer keeps, so its fields and their tags are frozen with
// its kind.
type Step interface {
	// Kind names the step and its version, `<resource>.<verb>/<version>`. A
	// released kind never changes its meaning or its fields: a buffer somewhere
	// may still hold it. A new shape gets the next version.
	Kind() string
	// Apply calls exactly one generated `:exec` method on db. What db does with
	// it is not the step's business: it is recorded and sent on a pipeline
	// together with many others, so nothing can be read back.
	Apply(ctx context.Context, db DBTX) error
	// Rows says what the step does to rows of buffered tables, and which rows of
	// buffered tables it refers to. The pending rows are made of it, so it must
	// say exactly what the statement does; package txntest checks that.
	Rows() []pending.Change
}

// Refuser is implemented by a step that can say which problem it means when its
// statement changed no row although one was due (SQLSTATE OP001). Without it the
// problem is state-conflict.
type Refuser interface {
	Refusal() *problem.Kind
}

// Confidential is implemented by a step whose content not everybody may read who may read the buffer: ReadBy is the
// permission that it takes.
type Confidential interface {
	ReadBy() string
}

// Slicer is implemented by a step of many rows (arrays as parameters). Slices
// cuts it into steps of the same kind of at most max bytes each, so that no
// message to the primary takes long on a slow line: one that takes more than 10
// seconds would be ended by main, for ever again.
type Slicer interface {
	Slices(max int) []Step
}

// Request is what a Writer must know about who asks for a transaction, most of it
// from api.WriteRequest.
type Request struct {
	// Operation is the OpenAPI operation id, e.g. "start-executed-obs-unit".
	Operation string
	// Actor is `user:<username>`; idempotency keys are valid per actor.
	Actor string
	// UserID is the user's id where it is known, for created rows.
	UserID *int64
	// Key is the Idempotency-Key, empty when the client sent none.
	Key string
	// Digest is the digest of route and body. The same key with another digest is
	// refused with idempotency-key-reused.
	Digest []byte
	// Apart says that the checks of build look at no pending row. A view that is
	// some milliseconds old then does as well, and is cheaper to have. Rows that
	// the steps touch or refer to are guarded in any case.
	Apart bool
	// Replaces is the dead letter whose place the transaction takes, nil for none (see
	// Builder.Replace): build is then checked against what is true without it, and
	// without what builds on it.
	Replaces *uuid.UUID
	// ValidateOnly makes a dry run of it: every check on what is true by now, and
	// nothing is written. The key is not looked at: it is no attempt.
	ValidateOnly bool
}

// Receipt says what became of a transaction.
type Receipt struct {
	TransactionID uuid.UUID
	// ValidateOnly says that nothing was written: Changes are what would be. It has no
	// TransactionID, no State and no Sync.
	ValidateOnly bool
	// State is buffered or blocked at a secondary site, applied at main; of a
	// replay and after Wait whatever it has become by then.
	State pending.State
	// Replayed says that the same actor has sent the same key, route and body
	// before: nothing was written now, and TransactionID and Changes are those of
	// the first attempt.
	Replayed bool
	// CommitLSN is `<timeline>:<X/Y>` of a commit on the primary, else empty.
	CommitLSN string
	// Sync goes into the record that is answered.
	Sync pending.Sync
	// Changes are what the transaction does to rows, in the order of its steps.
	// The ids and values of a replay come from here, never from build.
	Changes []pending.Change
	// Checked is false when the transaction was accepted while the replica could
	// not be read, so that Check was skipped.
	Checked bool
	// load is the life of Redis in which a buffered transaction was last seen. What
	// leaves the view of that life has replicated; of another one nothing follows.
	load string
}

// Writer carries transactions out. It is decided once, when the server is wired,
// whether that means applying or buffering.
type Writer interface {
	// Write asks build for the steps of a transaction and writes them, all or
	// nothing. build may run more than once, since what it was checked against can
	// have changed meanwhile; it must be free of side effects, and a value it hands
	// out through a variable is that of its last run. An error of build is
	// returned as it is. With an idempotency key that was used before, nothing is
	// written and the receipt of the first attempt is returned. A dry run ends with the
	// checks; one that could not make them is replica-unreachable.
	//
	// Errors are *problem.Problem where the client can understand them: those of
	// build; idempotency-key-reused; buffer-full and pending-unavailable at a
	// secondary site; the mapped constraint, database-busy and main-unreachable
	// where the primary is written. After the last two the transaction may have
	// been applied; the same key decides it on retry.
	Write(ctx context.Context, req Request, build func(ctx context.Context, tx *Builder) error) (Receipt, error)
	// Wait holds the receipt until the transaction is replicated (at main:
	// applied), failed, blocked or discarded, or the timeout is over, and returns
	// it with the state reached by then. A timeout is no error.
	Wait(ctx context.Context, receipt Receipt, timeout time.Duration) Receipt
}

// Create is the change of a step that creates one row of which it gives every
// column: step marshalled to JSON is the row. references are the rows of
// buffered tables that it points to.
//
// It panics when step cannot be marshalled, which no value that came from JSON
// can cause.
func Create(table string, id uuid.UUID, step any, references ...pending.Key) pending.Change {
	return pending.Change{Table: table, ID: id, Op: pending.OpCreate, Columns: columns(step), References: references}
}

// Update is the change of a step that sets some columns of one row. columns are
// the ones it sets, and the immutable sort and parent columns of the row where
// the step knows them. It panics as Create does.
func Update(table string, id uuid.UUID, set map[string]any, references ...pending.Key) pending.Change {
	return pending.Change{Table: table, ID: id, Op: pending.OpUpdate, Columns: columns(set), References: references}
}

// Delete is the change of a step that removes one row.
func Delete(table string, id uuid.UUID) pending.Change {
	return pending.Change{Table: table, ID: id, Op: pending.OpDelete}
}

func columns(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("marshalling the columns of %T: %v", v, err))
	}
	return data
}
