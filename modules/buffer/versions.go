package buffer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/buffer/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
)

// RowVersions are the two versions of a row that a dead letter leaves.
type RowVersions struct {
	Table string           `json:"table" doc:"The table."`
	ID    uuid.UUID        `json:"id" doc:"The row."`
	Site  *json.RawMessage `json:"site" doc:"The columns that the transaction was to write; null when it was to delete the row."`
	Main  *json.RawMessage `json:"main" doc:"The row as main has it, so far as this site's replica shows it; null when it shows none."`
}

// versionsOf shows what a dead letter was to write beside what main has, for its first
// rows; nil when it is no dead letter, or when the replica cannot be read.
func (m *Module) versionsOf(ctx context.Context, tx *pending.Tx) ([]RowVersions, error) {
	if !tx.State.Dead() {
		return nil, nil
	}
	changes := make([]pending.Change, 0, min(len(tx.Changes), maxRows))
	for _, c := range tx.Changes {
		if c.Table != tableDecision && len(changes) < maxRows {
			changes = append(changes, c)
		}
	}
	ids := make([]uuid.UUID, len(changes))
	for i, c := range changes {
		ids[i] = c.ID
	}
	stored := map[pending.Key]*json.RawMessage{}
	err := m.config.Reader.Read(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		rows, err := db.New(s.DB).ListStoredRows(ctx, ids)
		if err != nil {
			return fmt.Errorf("reading what main has: %w", err)
		}
		clear(stored)
		for i := range rows {
			stored[pending.Key{Table: rows[i].TableName, ID: rows[i].ID}] = &rows[i].Columns
		}
		return nil
	})
	if passes(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	versions := make([]RowVersions, len(changes))
	for i := range changes {
		c := &changes[i]
		versions[i] = RowVersions{Table: c.Table, ID: c.ID, Main: stored[pending.Key{Table: c.Table, ID: c.ID}]}
		if c.Op != pending.OpDelete {
			versions[i].Site = &c.Columns
		}
	}
	return versions, nil
}
