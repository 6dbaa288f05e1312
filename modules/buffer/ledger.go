package buffer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
)

// ledgerEntry looks a transaction up in the ledger of a snapshot; false when it is
// not there.
func ledgerEntry(ctx context.Context, s *pending.Snapshot, id uuid.UUID) (db.GetLedgerEntryRow, bool, error) {
	row, err := db.New(s.DB).GetLedgerEntry(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return row, false, nil
	}
	if err != nil {
		return row, false, fmt.Errorf("looking for a transaction in the ledger: %w", err)
	}
	return row, true, nil
}

// kept adds what the site still keeps of a transaction of its own that has
// replicated.
func (m *Module) kept(ctx context.Context, t *Transaction) error {
	if m.main() || t.Seq == nil || t.Site == nil || *t.Site != m.config.Site {
		return nil
	}
	position, attempts, err := m.config.Store.Kept(ctx, *t.Seq)
	if err != nil {
		return err
	}
	if position != 0 {
		t.Position = &position
	}
	t.Attempts, err = attemptsOf(attempts)
	return err
}

// settledState is what a transaction is that this site's database shows.
func (m *Module) settledState() pending.State {
	if m.main() {
		return pending.StateApplied
	}
	return pending.StateReplicated
}

// fromLedger is a transaction that the ledger has: at main applied, at a
// secondary site replicated, since its replica shows it.
func (m *Module) fromLedger(row db.GetLedgerEntryRow) (Transaction, error) {
	t := Transaction{
		ID: row.ID, Site: &row.Site, Seq: row.Seq, Operation: row.Operation, Actor: row.Actor, State: m.settledState(),
		AcceptedAt: row.AcceptedAt, AppliedAt: &row.AppliedAt, Replaces: row.Replaces, Attempts: []TransactionAttempt{}, Rows: []TransactionRow{},
	}
	if row.DecisionAt != nil {
		t.Decision = decisionAbout(row.ID, *row.DecisionOutcome, *row.DecisionReason, *row.DecisionActor, *row.DecisionAt, row.DecisionReplacedBy)
		t.Decision.Sync = &pending.Sync{State: m.settledState()}
	}
	if row.Outcome != outcomeApplied {
		t.State = pending.StateDiscarded
	}
	var changes []struct {
		Table string    `json:"table"`
		ID    uuid.UUID `json:"id"`
		Kind  string    `json:"kind"`
	}
	if err := json.Unmarshal(row.Changes, &changes); err != nil {
		return t, fmt.Errorf("reading the changes of transaction %s: %w", row.ID, err)
	}
	t.RowCount = len(changes)
	for _, c := range changes[:min(len(changes), maxRows)] {
		t.Rows = append(t.Rows, TransactionRow{Table: c.Table, ID: c.ID, Op: c.Kind})
	}
	return t, nil
}
