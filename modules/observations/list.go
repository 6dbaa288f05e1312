package observations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

// pendingOnly marks an answer that was made of pending rows alone, because the
// site's replica could not be read.
const pendingOnly = "pending-only"

// merged are the parameters that every merged list query has beside its filters.
type merged struct {
	pending  json.RawMessage
	replaced []uuid.UUID
	after    *pending.Cursor
	bound    *pending.Cursor
	size     int32
}

// lister reads pages of one table. R is a row of its query, T what clients see.
type lister[R, T any] struct {
	table string
	rows  func(ctx context.Context, s *pending.Snapshot, m merged) ([]R, error)
	count func(ctx context.Context, s *pending.Snapshot, m merged) (int64, error)
	show  func(row *R, sync pending.Sync) T
	place func(row *R) pending.Cursor
}

// pageOf is what Go can judge of the filters of a list. The path is a column with
// an access path, used when the client asks for one value of it.
func pageOf(in api.List, paths ...string) pending.Page {
	conditions, undecided := in.Values.Simple()
	page := pending.Page{Undecided: undecided, Limit: in.Limit + 1}
	for _, c := range conditions {
		if page.Path == "" && c.Op == "in" && len(c.Values) == 1 {
			for _, path := range paths {
				if c.Column == path {
					page.Path, page.Parent = c.Column, c.Values[0]
				}
			}
			if page.Path != "" {
				continue
			}
		}
		page.Filters = append(page.Filters, pending.Filter(c))
	}
	if after, ok := in.After(); ok {
		page.After = &pending.Cursor{Time: after.Time, ID: after.UUID}
	}
	return page
}

// list answers one page. It asks for one row more than the page has, to know
// whether another page follows.
func (l lister[R, T]) list(ctx context.Context, m *Module, in api.List, page pending.Page) (*api.PageOutput[T], error) {
	var out *api.PageOutput[T]
	err := m.read(ctx, in.Read, func(ctx context.Context, s *pending.Snapshot) error {
		overlay := s.Page(l.table, page)
		q := merged{after: page.After, bound: overlay.Bound, size: int32(page.Limit)}
		q.pending, q.replaced = params(overlay)
		rows, err := l.rows(ctx, s, q)
		if err != nil {
			return fmt.Errorf("listing %s: %w", l.table, err)
		}
		var last *pending.Cursor
		switch {
		case len(rows) > in.Limit:
			rows = rows[:in.Limit]
			place := l.place(&rows[in.Limit-1])
			last = &place
		case overlay.Bound != nil:
			last = overlay.Bound
		}
		items := make([]T, len(rows))
		for i := range rows {
			items[i] = l.show(&rows[i], s.Sync(l.table, l.place(&rows[i]).ID))
		}
		total, err := l.total(ctx, s, in, page)
		if err != nil {
			return err
		}
		out = api.NewPage(in, items, sortKey(last), total)
		out.ReplayLSN = s.ReplayLSN
		out.SetOverlayUnavailable(s.OverlayUnavailable)
		return nil
	})
	if errors.Is(err, problem.ReplicaUnreachable) && !page.Undecided {
		return l.unstored(ctx, m, in, page, err)
	}
	return out, err
}

func (l lister[R, T]) total(ctx context.Context, s *pending.Snapshot, in api.List, page pending.Page) (*int64, error) {
	if !in.Count {
		return nil, nil
	}
	overlay := s.Count(l.table, page)
	var q merged
	q.pending, q.replaced = params(overlay)
	total, err := l.count(ctx, s, q)
	if err != nil {
		return nil, fmt.Errorf("counting %s: %w", l.table, err)
	}
	total += overlay.Counted
	return &total, nil
}

// unstored answers a page of the rows whose create is pending, while the replica
// cannot be read. Where nothing is pending it stays with the refusal.
func (l lister[R, T]) unstored(ctx context.Context, m *Module, in api.List, page pending.Page, refusal error) (*api.PageOutput[T], error) {
	view, err := m.reader.PendingOnly(ctx)
	if err != nil {
		return nil, err
	}
	created := view.Created(l.table, page)
	if len(created) == 0 {
		return nil, refusal
	}
	var last *pending.Cursor
	items := make([]T, 0, len(created))
	for i := range created {
		if i == in.Limit {
			break
		}
		var row R
		if err := decode(created[i].Columns, &row); err != nil {
			return nil, err
		}
		place := l.place(&row)
		items, last = append(items, l.show(&row, syncOf(created[i]))), &place
	}
	if len(created) <= in.Limit {
		last = nil
	}
	out := api.NewPage(in, items, sortKey(last), nil) // how many are stored is not known
	out.Overlay = pendingOnly
	return out, nil
}

func sortKey(c *pending.Cursor) *api.SortKey {
	if c == nil {
		return nil
	}
	return &api.SortKey{Time: c.Time, UUID: c.ID}
}

// syncOf is the sync of a row that only the view knows.
func syncOf(row pending.Row) pending.Sync {
	if row.Newest == nil {
		return pending.Sync{State: pending.StateBuffered}
	}
	return pending.Sync{State: row.Newest.State, TransactionID: &row.Newest.ID}
}

// read is Reader.Read as the client wants it.
func (m *Module) read(ctx context.Context, in api.Read, fn func(ctx context.Context, s *pending.Snapshot) error) error {
	if in.OverlayOptional() {
		ctx = pending.WithOverlayOptional(ctx)
	}
	return m.reader.Read(ctx, fn)
}

// absent is missing for reads: without the pending rows nobody can say that a
// record does not exist.
func absent(s *pending.Snapshot, err error, table string, id uuid.UUID) error {
	err = missing(err, table, id)
	if s.OverlayUnavailable && errors.Is(err, problem.NotFound) {
		return problem.PendingUnavailable.New("the replica has no such record; it may be among the pending writes, which cannot be read now")
	}
	return err
}

// fill gives the filters of a list to its two queries.
func fill(in api.List, queries ...any) error {
	for _, q := range queries {
		if err := in.Values.Into(q); err != nil {
			return err
		}
	}
	return nil
}

// cursor takes a place apart for a query's parameters.
func cursor(c *pending.Cursor) (*time.Time, *uuid.UUID) {
	if c == nil {
		return nil, nil
	}
	return &c.Time, &c.ID
}
