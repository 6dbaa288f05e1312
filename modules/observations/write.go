package observations

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// write carries out what build puts together, and waits as the client prefers.
func (m *Module) write(ctx context.Context, in api.Write, build func(ctx context.Context, tx *txn.Builder) error) (txn.Receipt, error) {
	return m.carryOut(ctx, in, record.Request(ctx, in), build)
}

func (m *Module) carryOut(ctx context.Context, in api.Write, request txn.Request, build func(ctx context.Context, tx *txn.Builder) error) (txn.Receipt, error) {
	receipt, err := m.writer.Write(ctx, request, build)
	if err != nil {
		return txn.Receipt{}, err
	}
	if in.Wait() > 0 {
		receipt = m.writer.Wait(ctx, receipt, in.Wait())
	}
	return receipt, nil
}

// changed is the id of the first row of a table that a transaction changes.
func changed(receipt txn.Receipt, table string) uuid.UUID {
	for _, c := range receipt.Changes {
		if c.Table == table {
			return c.ID
		}
	}
	return uuid.Nil
}

// present reads a record that an earlier request has written, as it is by now. When
// it cannot be read, or is gone, the earlier request itself says what it wrote.
func present[R any](ctx context.Context, m *Module, receipt txn.Receipt, table string, id uuid.UUID, get getter[R]) (*found[R], pending.Sync, error) {
	var f found[R]
	sync := receipt.Sync
	err := m.reader.Read(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		row, err := get(ctx, s, id)
		if err != nil {
			return missing(err, table, id)
		}
		f.row, f.whole, sync = row, true, s.Sync(table, id)
		return nil
	})
	switch {
	case err == nil:
		return &f, sync, nil
	case isUnreachable(err):
		view, err := m.reader.PendingOnly(ctx)
		if err != nil {
			return nil, sync, err
		}
		if err := fromView(&f, view, pending.Key{Table: table, ID: id}); err != nil && !errors.Is(err, problem.NotFound) {
			return nil, sync, err
		}
	case !errors.Is(err, problem.NotFound):
		return nil, sync, err
	}
	if f.whole {
		return &f, sync, nil
	}
	return &f, sync, f.overlay(receipt.Changes, table, id)
}

// isUnreachable says whether the site's replica could not be read: then what is
// pending may still answer.
func isUnreachable(err error) bool { return errors.Is(err, problem.ReplicaUnreachable) }
