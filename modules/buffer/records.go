package buffer

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// Transaction is one unit of work and what became of it.
type Transaction struct {
	ID         uuid.UUID            `json:"id" doc:"The transaction's id, as X-Transaction-Id gave it."`
	Site       *string              `json:"site" doc:"The site that accepted it."`
	Seq        *int64               `json:"seq" doc:"Its number in the site's buffer; null for a write at main."`
	Operation  string               `json:"operation" doc:"The operation that asked for it."`
	Actor      string               `json:"actor" doc:"Who asked for it, user:<username>."`
	State      pending.State        `json:"state" enum:"buffered,applied,replicated,failed,blocked,discarded" doc:"What has become of it: buffered (waits for the primary), applied (the primary has it), replicated (this site's replica shows it), failed or blocked (a dead letter), discarded (by an operator)."`
	AcceptedAt time.Time            `json:"accepted_at" doc:"When the site accepted it."`
	AppliedAt  *time.Time           `json:"applied_at" doc:"When the primary applied it; null until this site shows its ledger row."`
	Attempts   []TransactionAttempt `json:"attempts" doc:"The tries that its own data made fail, oldest first."`
	NextTry    *time.Time           `json:"next_try" doc:"When a failed one is tried again by itself; null for never."`
	Problem    *problem.Problem     `json:"problem" doc:"Why it failed."`
	BlockedBy  *uuid.UUID           `json:"blocked_by" doc:"The dead letter that it waits for."`
	Position   *int64               `json:"position" doc:"The number of the site's commit that holds it; it is replicated when the replica has reached it. Null again when the site has forgotten it (HISTORY_RETENTION after it replicated)."`
	LSN        *string              `json:"lsn" doc:"Where the primary's log stood after it was applied; null unless it is applied and not replicated."`
	Rows       []TransactionRow     `json:"rows" maxItems:"100" doc:"What it does to rows, the first 100; row_count tells all."`
	RowCount   int                  `json:"row_count" doc:"How many changes of rows it makes."`
	Replaces   *uuid.UUID           `json:"replaces" doc:"The dead letter whose place it takes; null for its own."`
	Decision   *DeadLetterDecision  `json:"decision" doc:"What an operator has decided about it; null when nothing was decided."`
}

// maxRows is how many rows a transaction shows: a bulk has ten thousand.
const maxRows = 100

// TransactionAttempt is one failed try of a transaction.
type TransactionAttempt struct {
	At      time.Time        `json:"at" doc:"When it was tried."`
	Problem *problem.Problem `json:"problem" doc:"Why it failed."`
}

// TransactionRow is what a transaction does to one row.
type TransactionRow struct {
	Table string    `json:"table" doc:"The table."`
	ID    uuid.UUID `json:"id" doc:"The row."`
	Op    string    `json:"op" enum:"create,update,delete" doc:"What is done to it."`
}

// BufferedTransaction is a pending transaction with everything it carries.
type BufferedTransaction struct {
	Transaction
	IdempotencyKey *string           `json:"idempotency_key" doc:"The client's Idempotency-Key."`
	Request        *json.RawMessage  `json:"request" doc:"The body of the request that would make it now, which can be edited and sent to replace it when it is a dead letter; of a bulk of files an object of them by id. Null when there is nothing to edit."`
	Versions       []RowVersions     `json:"versions" nullable:"true" maxItems:"100" doc:"What a dead letter was to write, beside what main has, for its first 100 rows; null when it is no dead letter, and while the site's replica cannot be read."`
	Steps          []TransactionStep `json:"steps" doc:"Its writes, in order."`
}

// TransactionStep is one write of a transaction.
type TransactionStep struct {
	Kind string         `json:"kind" doc:"The kind of write and its version."`
	Data map[string]any `json:"data" doc:"Its columns; none of an audit event or a revocation for who may not read the audit log."`
}

// transactionOf shows a pending transaction.
func transactionOf(site string, view pending.View, tx *pending.Tx, attempts []pending.Attempt) (Transaction, error) {
	t := Transaction{
		ID: tx.ID, Site: &site, Seq: &tx.Seq, Operation: tx.Operation, Actor: tx.Actor, State: tx.State, AcceptedAt: tx.AcceptedAt,
		Attempts: []TransactionAttempt{}, Rows: rowsOf(tx.Changes), RowCount: len(tx.Changes),
	}
	if tx.Position != 0 {
		t.Position = &tx.Position
	}
	if tx.LSN != "" {
		t.LSN = &tx.LSN
	}
	var err error
	if t.Attempts, err = attemptsOf(attempts); err != nil || tx.Dead == nil {
		return t, err
	}
	if t.Problem, err = problemOf(tx.Dead.Problem); err != nil {
		return t, err
	}
	if !tx.Dead.NextTry.IsZero() {
		t.NextTry = &tx.Dead.NextTry
	}
	if by, ok := view.TxBySeq(tx.Dead.BlockedBy); ok {
		t.BlockedBy = &by.ID
	}
	return t, nil
}

func attemptsOf(attempts []pending.Attempt) ([]TransactionAttempt, error) {
	out := make([]TransactionAttempt, len(attempts))
	for i, a := range attempts {
		p, err := problemOf(a.Problem)
		if err != nil {
			return nil, err
		}
		out[i] = TransactionAttempt{At: a.At, Problem: p}
	}
	return out, nil
}

func rowsOf(changes []pending.Change) []TransactionRow {
	changes = changes[:min(len(changes), maxRows)]
	rows := make([]TransactionRow, len(changes))
	for i, c := range changes {
		rows[i] = TransactionRow{Table: c.Table, ID: c.ID, Op: string(c.Op)}
	}
	return rows
}

// problemOf reads the problem of a dead letter, nil when there is none.
func problemOf(data json.RawMessage) (*problem.Problem, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	var p problem.Problem
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("reading the problem of a dead letter: %w", err)
	}
	return &p, nil
}

// stepsOf shows the writes that a pending transaction carries. Of what is confidential, and may tells that the caller may
// not read it, only the kind is shown; hidden says that there is such.
func (m *Module) stepsOf(tx *pending.Tx, may func(permission string) bool) (key *string, steps []TransactionStep, hidden bool, err error) {
	whole, err := tx.Transaction()
	if err != nil {
		return nil, nil, false, err
	}
	steps = make([]TransactionStep, len(whole.Steps))
	for i, s := range whole.Steps {
		steps[i].Kind = s.Kind
		step, err := m.config.Catalog.Decode(s)
		if err != nil && !errors.Is(err, pending.ErrUnknownKind) {
			return nil, nil, false, err
		}
		if c, confidential := step.(txn.Confidential); confidential && !may(c.ReadBy()) {
			steps[i].Data, hidden = map[string]any{}, true
			continue
		}
		if err := json.Unmarshal(s.Data, &steps[i].Data); err != nil {
			return nil, nil, false, fmt.Errorf("reading step %s of transaction %s: %w", s.Kind, tx.ID, err)
		}
	}
	return whole.IdempotencyKey, steps, hidden, nil
}
