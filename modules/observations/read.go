package observations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/observations/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// Limits of the lists inside details.
const (
	detailPackages = 500
	detailFiles    = 100
	packageFiles   = 10_000
)

// found is what is known of one row: all of it, or, when the replica cannot be
// read, what the pending writes say.
type found[R any] struct {
	row R
	// whole says that row has every column. Otherwise it holds nothing to rely on.
	whole bool
	// columns are what pending updates name of a row that is not whole.
	columns json.RawMessage
}

// getter reads one row with its pending changes.
type getter[R any] func(ctx context.Context, s *pending.Snapshot, id uuid.UUID) (R, error)

// find looks for the row that a transaction is about to change, against the
// snapshot it is validated with. A row that is neither stored nor pending is
// not-found. When the replica cannot be read, a pending create is the whole row,
// and of any other row too little is known to refuse anything.
func find[R any](ctx context.Context, m *Module, tx *txn.Builder, table string, id uuid.UUID, get getter[R]) (found[R], error) {
	var f found[R]
	err := tx.Check(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		row, err := get(ctx, s, id)
		if err != nil {
			return missing(err, table, id)
		}
		f.row, f.whole = row, true
		return nil
	})
	if err != nil || f.whole {
		return f, err
	}
	view, err := m.reader.PendingOnly(ctx)
	if err != nil {
		return f, err
	}
	return f, fromView(&f, view, pending.Key{Table: table, ID: id})
}

// fromView fills f with what is pending on a row.
func fromView[R any](f *found[R], view pending.View, key pending.Key) error {
	row, ok := view.Row(key)
	switch {
	case !ok:
		return nil
	case row.Deleted:
		return missing(pgx.ErrNoRows, key.Table, key.ID)
	case row.Create:
		f.whole = true
		return decode(row.Columns, &f.row)
	}
	f.columns = row.Columns
	return nil
}

// overlay lays what a transaction does to a row over what was known of it.
func (f *found[R]) overlay(changes []pending.Change, table string, id uuid.UUID) error {
	for _, c := range changes {
		if c.Table != table || c.ID != id {
			continue
		}
		if c.Op == pending.OpCreate {
			f.whole = true
		}
		if f.whole {
			if err := decode(c.Columns, &f.row); err != nil {
				return err
			}
			continue
		}
		merged, err := merge(f.columns, c.Columns)
		if err != nil {
			return err
		}
		f.columns = merged
	}
	return nil
}

// merge lays the members of one JSON object over those of another.
func merge(under, over json.RawMessage) (json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	for _, object := range []json.RawMessage{under, over} {
		if len(object) == 0 {
			continue
		}
		if err := json.Unmarshal(object, &members); err != nil {
			return nil, fmt.Errorf("merging pending columns: %w", err)
		}
	}
	merged, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("merging pending columns: %w", err)
	}
	return merged, nil
}

// missing turns "no rows" into not-found and leaves every other error.
func missing(err error, table string, id uuid.UUID) error {
	if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("reading %s %s: %w", table, id, err)
	}
	return problem.NotFound.Field("path.id", id.String(), "%s", "there is no such "+words[table])
}

// words are what a client calls the rows of a table.
var words = map[string]string{
	tableExecution: "execution", tableFile: "file", tablePackage: "package",
}

// params gives the two parameters that every merged query has.
func params(o pending.Overlay) (json.RawMessage, []uuid.UUID) {
	list, replaced := o.Pending, o.Replaced
	if list == nil {
		list = json.RawMessage("[]")
	}
	// NULL would make every comparison with it unknown and hide the whole table.
	if replaced == nil {
		replaced = []uuid.UUID{}
	}
	return list, replaced
}

func getExecution(ctx context.Context, s *pending.Snapshot, id uuid.UUID) (db.GetExecutedObsUnitRow, error) {
	list, replaced := params(s.Rows(tableExecution, id))
	return db.New(s.DB).GetExecutedObsUnit(ctx, db.GetExecutedObsUnitParams{ID: id, Pending: list, Replaced: replaced})
}

func getFile(ctx context.Context, s *pending.Snapshot, id uuid.UUID) (db.RawDataFile, error) {
	list, replaced := params(s.Rows(tableFile, id))
	return db.New(s.DB).GetRawDataFile(ctx, db.GetRawDataFileParams{ID: id, Pending: list, Replaced: replaced})
}

func getPackage(ctx context.Context, s *pending.Snapshot, id uuid.UUID) (db.RawDataPackage, error) {
	list, replaced := params(s.Rows(tablePackage, id))
	return db.New(s.DB).GetRawDataPackage(ctx, db.GetRawDataPackageParams{ID: id, Pending: list, Replaced: replaced})
}

// getMetadata reads the metadata of a package, nil when it has none.
func getMetadata(ctx context.Context, s *pending.Snapshot, id uuid.UUID) (json.RawMessage, error) {
	list, replaced := params(s.Rows(tableMetadata, id))
	row, err := db.New(s.DB).GetRawDataPackageMetadata(ctx, db.GetRawDataPackageMetadataParams{RawDataPackageID: id, Pending: list, Replaced: replaced})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("reading the metadata of a package: %w", err)
	}
	return row.Metadata, nil
}
