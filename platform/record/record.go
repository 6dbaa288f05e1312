// Package record answers reads of tables that are not buffered: a page of records by name, or one record. What
// modules give is their queries and how a row is shown; what is the same for all of them is here once.
//
// Such a table has no pending rows, so its answers are complete even while the site's Redis cannot be reached. A record
// that shows figures of buffered tables beside its own columns is answered by Merged instead of One.
//
// It also says once, for buffered tables too, what a write's request is to its transaction, and what the transaction's
// receipt is to the answer.
package record

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

// Reader gives an answer its snapshot of the site's database; pending.Reader is one.
type Reader interface {
	Read(ctx context.Context, fn func(ctx context.Context, s *pending.Snapshot) error) error
}

// From is where a page begins and how many rows to ask for: the parameters after_name, after_id and page_size of its
// query.
type From struct {
	Name *string // of the last row before the page; nil for the first page
	ID   *int64
	Size int32
}

// List is how one kind of record is listed: by name, then id.
type List[Row, Item any] struct {
	// Check refuses the list on its snapshot, when its parent is unknown; may be nil.
	Check func(ctx context.Context, db pending.DBTX) error
	// Page reads the rows of a page in order.
	Page func(ctx context.Context, db pending.DBTX, from From) ([]Row, error)
	// Count reads how many rows match the filters.
	Count func(ctx context.Context, db pending.DBTX) (int64, error)
	// Items shows the rows of one page; what belongs to them is read here, for all of them at once. See Each.
	Items func(ctx context.Context, s *pending.Snapshot, rows []Row) ([]Item, error)
	// Key is the place of a row in the list.
	Key func(Row) (name string, id int64)
}

// Each is List.Items for records that are their row alone.
func Each[Row, Item any](show func(Row) Item) func(context.Context, *pending.Snapshot, []Row) ([]Item, error) {
	return func(_ context.Context, _ *pending.Snapshot, rows []Row) ([]Item, error) {
		items := make([]Item, 0, len(rows))
		for _, row := range rows {
			items = append(items, show(row))
		}
		return items, nil
	}
}

// Answer reads one page, and the total when it is asked for, from one snapshot.
func (l List[Row, Item]) Answer(ctx context.Context, reader Reader, in api.List) (*api.PageOutput[Item], error) {
	var out *api.PageOutput[Item]
	err := reader.Read(pending.WithoutBuffer(ctx), func(ctx context.Context, s *pending.Snapshot) error {
		if l.Check != nil {
			if err := l.Check(ctx, s.DB); err != nil {
				return err
			}
		}
		// One more than the page holds tells whether another page follows.
		from := From{Size: int32(in.Limit) + 1}
		if after, ok := in.After(); ok {
			from.Name, from.ID = &after.Name, &after.Int
		}
		rows, err := l.Page(ctx, s.DB, from)
		if err != nil {
			return fmt.Errorf("reading a page: %w", err)
		}
		var last *api.SortKey
		if len(rows) > in.Limit {
			rows = rows[:in.Limit]
			name, id := l.Key(rows[in.Limit-1])
			last = &api.SortKey{Name: name, Int: id}
		}
		var total *int64
		if in.Count {
			n, err := l.Count(ctx, s.DB)
			if err != nil {
				return fmt.Errorf("counting: %w", err)
			}
			total = &n
		}
		items, err := l.Items(ctx, s, rows)
		if err != nil {
			return err
		}
		out = api.NewPage(in, items, last, total)
		out.ReplayLSN = s.ReplayLSN
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Fill hands the filters of a request to the parameters of a list's queries, pointers to Params structs.
func Fill(in api.List, params ...any) error {
	for _, p := range params {
		if err := in.Values.Into(p); err != nil {
			return err
		}
	}
	return nil
}

// Output is the answer with one record.
type Output[T any] struct {
	api.Versioned
	api.ReadAt
	Body T
}

// One reads one record and gives it its version. get returns a problem, by way of Found, when it is not there.
func One[Item any](ctx context.Context, reader Reader, in api.IfNoneMatch, get func(ctx context.Context, s *pending.Snapshot) (Item, error)) (*Output[Item], error) {
	return answer(pending.WithoutBuffer(ctx), reader, in, get)
}

// Merged is One for a record that is made of pending rows as well: without them it is refused, unless the client takes
// an answer that lacks them.
func Merged[Item any](ctx context.Context, reader Reader, read api.Read, in api.IfNoneMatch, get func(ctx context.Context, s *pending.Snapshot) (Item, error)) (*Output[Item], error) {
	if read.OverlayOptional() {
		ctx = pending.WithOverlayOptional(ctx)
	}
	without := false
	out, err := answer(ctx, reader, in, func(ctx context.Context, s *pending.Snapshot) (Item, error) {
		without = s.OverlayUnavailable
		return get(ctx, s)
	})
	if err != nil {
		return nil, err
	}
	out.SetOverlayUnavailable(without)
	return out, nil
}

func answer[Item any](ctx context.Context, reader Reader, in api.IfNoneMatch, get func(ctx context.Context, s *pending.Snapshot) (Item, error)) (*Output[Item], error) {
	out := &Output[Item]{}
	err := reader.Read(ctx, func(ctx context.Context, s *pending.Snapshot) (err error) {
		out.ReplayLSN = s.ReplayLSN
		out.Body, err = get(ctx, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	out.ETag = api.ETag(out.Body, out.Body)
	if err := in.Unchanged(out.ETag); err != nil {
		return nil, err
	}
	return out, nil
}

// Found turns the outcome of looking one row up into an answer's: a row that is not there is a 404 that names it by
// its path id and in words, such as "instrument".
func Found(err error, id any, what string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NotFound.Field("path.id", id, "there is no such %s", what)
	}
	if err != nil {
		return fmt.Errorf("reading one %s: %w", what, err)
	}
	return nil
}
