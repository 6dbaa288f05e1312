package pending

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
)

// bounds of one walk. Where a walk stops, the page may end with a cursor.
type bounds struct {
	undecided int // rows that travel although SQL may drop them
	replaced  int // ids that the table branch leaves out
	visited   int // rows looked at
}

var usualBounds = bounds{undecided: 500, replaced: 2_000, visited: 20_000}

// Cursor is a place in the newest-first order: just before or at a row.
type Cursor struct {
	Time time.Time
	ID   uuid.UUID
}

// Page says which rows a query asks for, as far as Go can judge it.
type Page struct {
	// Path is the column of an access path of the table, with its value in Parent
	// (nil for NULL); empty for the whole table.
	Path   string
	Parent any
	// Filters are the simple filters. They need not be complete: what is left out
	// only lets more rows travel, if Undecided says so.
	Filters []Filter
	// Undecided is set when conditions exist that Filters do not name (free text,
	// cone, joined columns): then no row counts as surely shown.
	Undecided bool
	// After is the last place of the page before, nil for the first page.
	After *Cursor
	// Limit is the page size of the query; 0 means none.
	Limit int
}

// Overlay is what a View adds to one query: the parameters of the merged
// statement.
type Overlay struct {
	// Pending is the argument of <table>_pending:
	// [{"id": …, "create": bool, "columns": {…}}, …].
	Pending json.RawMessage
	// Replaced are the ids that the table branch must leave out.
	Replaced []uuid.UUID
	// Bound, when set, is the last place that Pending and Replaced are complete
	// to: the query must not go past it (time, id) >= bound, and a page that ends
	// there with fewer rows than asked for has it as its next cursor.
	Bound *Cursor
	// Counted are the rows of a Count that surely match and do not travel.
	Counted int64
}

// entry of the Pending parameter.
type traveller struct {
	ID      uuid.UUID       `json:"id"`
	Create  bool            `json:"create"`
	Columns json.RawMessage `json:"columns"`
}

// narrowing collects one Overlay.
type narrowing struct {
	view    View
	rows    *rows
	page    Page
	lastSeq int64
	out     Overlay
	travel  []traveller
	sure    int
	maybe   int
	visited int
	bounds  bounds
	path    int    // index of the page's path, -1 for none
	token   []byte // its value
	stored  []*row // that may be stored with this value, while they have another one here
}

func (v View) narrowing(table string, p Page, lastSeq int64) *narrowing {
	n := &narrowing{view: v, page: p, lastSeq: lastSeq, path: -1, bounds: usualBounds}
	if i, ok := v.index[table]; ok {
		n.rows = v.tables[i]
		if p.Path == "" {
			p.Path, p.Parent = n.rows.pathOf(p.Filters)
			n.page.Path, n.page.Parent = p.Path, p.Parent
		}
		if p.Path != "" {
			n.path = slices.IndexFunc(n.rows.paths, func(x path) bool { return x.column == p.Path })
			token, ok := jsonToken(p.Parent)
			n.token = []byte(token)
			if !ok || n.path < 0 || !n.findStored() {
				// No access path: the filter still holds, on a walk of everything.
				n.path = -1
				n.page.Filters = append(slices.Clip(n.page.Filters), parentFilter(p))
			}
		}
	}
	return n
}

// pathOf chooses the first access path that one of the filters allows: a walk of the
// rows with one value, instead of one that skips most rows.
func (r *rows) pathOf(filters []Filter) (column string, value any) {
	for i := range r.paths {
		for _, f := range filters {
			if f.Column == r.paths[i].column && f.Op == "in" && len(f.Values) == 1 && f.Values[0] != nil {
				if _, ok := jsonToken(f.Values[0]); ok {
					return f.Column, f.Values[0]
				}
			}
		}
	}
	return "", nil
}

// findStored collects the rows whose create the snapshot may hold with the path's value
// while a pending update has given them another one: few, for an applied create leaves
// the view as soon as it has replicated. False when there are too many to sort for one
// page, as with thousands of dead letters.
func (n *narrowing) findStored() bool {
	p := &n.rows.paths[n.path]
	p.changed.Scan(func(r *row) bool {
		if r.createSeq > n.lastSeq || len(n.stored) > n.bounds.replaced {
			return false
		}
		if !bytes.Equal(r.values[n.path], n.token) {
			n.stored = append(n.stored, r)
		}
		return true
	})
	if len(n.stored) > n.bounds.replaced {
		n.stored = nil
		return false
	}
	slices.SortFunc(n.stored, compareNewest)
	return true
}

func compareNewest(a, b *row) int {
	switch {
	case newestFirst(a, b):
		return -1
	case newestFirst(b, a):
		return 1
	}
	return 0
}

func parentFilter(p Page) Filter {
	if p.Parent == nil {
		return Filter{Column: p.Path, Op: "has", Values: []any{false}}
	}
	return Filter{Column: p.Path, Op: "in", Values: []any{p.Parent}}
}

// judge tests the page's conditions: how the row as pending images leave it
// stands to them, and whether even the stored row cannot match, because a column
// that never changes says so.
func (n *narrowing) judge(r *row) (v verdict, neverStored bool) {
	v = yes
	if n.page.Undecided || !r.created {
		v = maybe // an update's row may be gone at main
	}
	test := func(name string, got verdict) {
		switch got {
		case no:
			v = no
			neverStored = neverStored || n.rows.def.keeps(name)
		case maybe:
			if v == yes {
				v = maybe
			}
		}
	}
	if n.path >= 0 {
		got := maybe
		if have := r.values[n.path]; have != nil {
			got = verdictOf(bytes.Equal(have, n.token))
		}
		test(n.page.Path, got)
	}
	for _, f := range n.page.Filters {
		if v == no && neverStored {
			break
		}
		test(f.Column, f.judge(r.lookup(f.Column)))
	}
	if r.deleted {
		v = no
	}
	return v, neverStored
}

// take lets one row into the overlay. travels is false for a Count's sure rows.
func (n *narrowing) take(r *row, counting bool) {
	n.visited++
	v, never := n.judge(r)
	// The stored row must not be shown beside its image, nor instead of it. A
	// created row can be stored when the client chose its id, or when the
	// snapshot may hold its create already.
	if !r.moved && !never && (!r.created || r.clientID || r.createSeq <= n.lastSeq) {
		n.out.Replaced = append(n.out.Replaced, r.id)
	}
	switch {
	case v == no:
		return
	case v == yes && counting:
		n.out.Counted++
		return
	case v == yes:
		n.sure++
	default:
		n.maybe++
	}
	n.travel = append(n.travel, traveller{r.id, r.created, r.columns()})
}

// full reports whether the walk may end here.
func (n *narrowing) full() bool {
	return n.page.Limit > 0 && n.sure >= n.page.Limit || n.maybe >= n.bounds.undecided || len(n.out.Replaced) >= n.bounds.replaced || n.visited >= n.bounds.visited
}

// times is what the filters leave of the time that orders the rows, which never
// changes: a walk of the newest rows would end at its bounds before it came to a week
// of last year.
func (n *narrowing) times() (from, to int64) {
	from, to = math.MinInt64, math.MaxInt64
	for _, f := range n.page.Filters {
		if f.Column != n.rows.def.Time || len(f.Values) != 1 {
			continue
		}
		at, ok := f.Values[0].(time.Time)
		switch {
		case ok && f.Op == "from":
			from = max(from, at.UnixMicro())
		case ok && f.Op == "to":
			to = min(to, at.UnixMicro())
		}
	}
	return from, to
}

// walk visits the rows of the page's path and times, newest first from its cursor on,
// until f returns false. Rows without a known place come first.
func (n *narrowing) walk(f func(*row) bool) {
	if n.rows == nil {
		return
	}
	n.rows.moved.Scan(func(r *row) bool { n.out.Replaced = append(n.out.Replaced, r.id); return true })
	n.rows.nowhere.Scan(func(r *row) bool { f(r); return true })
	oldest, newest := n.times()
	from := &row{time: newest}
	for i := range from.id {
		from.id[i] = 0xff
	}
	after := &row{}
	if a := n.page.After; a != nil {
		after = &row{time: a.Time.UnixMicro(), id: a.ID}
		if newestFirst(from, after) {
			from = after
		}
	}
	visit := func(r *row) bool {
		switch {
		case r.time < oldest:
			return false
		case n.page.After != nil && r.id == after.id && r.time == after.time:
			return true
		}
		return f(r)
	}
	if n.path < 0 {
		n.rows.byTime.Ascend(from, visit)
		return
	}
	from.values = make([][]byte, len(n.rows.paths))
	from.values[n.path] = n.token
	p := n.rows.paths[n.path]
	a, b := p.byValue.Iter(), p.loose.Iter()
	defer a.Release()
	defer b.Release()
	moreA, moreB := a.Seek(from), b.Seek(from)
	first, _ := slices.BinarySearchFunc(n.stored, from, compareNewest)
	stored := n.stored[first:]
	for {
		moreA = moreA && bytes.Equal(a.Item().values[n.path], n.token)
		var next *row
		if moreA {
			next = a.Item()
		}
		isB := moreB && (next == nil || newestFirst(b.Item(), next))
		if isB {
			next = b.Item()
		}
		isStored := len(stored) > 0 && (next == nil || newestFirst(stored[0], next))
		if isStored {
			next = stored[0]
		}
		if next == nil || !visit(next) {
			return
		}
		switch {
		case isStored:
			stored = stored[1:]
		case isB:
			moreB = b.Next()
		default:
			moreA = a.Next()
		}
	}
}

func (n *narrowing) done() Overlay {
	n.out.Pending = json.RawMessage("[]")
	if n.out.Replaced == nil {
		n.out.Replaced = []uuid.UUID{}
	}
	if len(n.travel) > 0 {
		n.out.Pending = encodeTravellers(n.travel)
	}
	return n.out
}

func encodeTravellers(list []traveller) json.RawMessage {
	size := 2
	for _, t := range list {
		size += len(t.Columns) + 80
	}
	b := append(make([]byte, 0, size), '[')
	for i, t := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":"`...)
		b = append(b, t.ID.String()...)
		if t.Create {
			b = append(b, `","create":true,"columns":`...)
		} else {
			b = append(b, `","create":false,"columns":`...)
		}
		b = append(append(b, t.Columns...), '}')
	}
	return append(b, ']')
}

// page narrows to what can matter to one page of a list.
func (v View) page(table string, p Page, lastSeq int64) Overlay {
	return v.narrowing(table, p, lastSeq).bounded()
}

func (n *narrowing) bounded() Overlay {
	var stopped *row
	n.walk(func(r *row) bool {
		n.take(r, false)
		if r.time == unplaced {
			return true
		}
		if n.full() {
			stopped = r
			return false
		}
		return true
	})
	if stopped != nil {
		n.out.Bound = &Cursor{time.UnixMicro(stopped.time).UTC(), stopped.id}
	}
	return n.done()
}

func (v View) every(table string, p Page, lastSeq int64, counting bool) Overlay {
	p.After, p.Limit = nil, 0
	n := v.narrowing(table, p, lastSeq)
	n.walk(func(r *row) bool { n.take(r, counting); return true })
	return n.done()
}

func (v View) some(table string, lastSeq int64, ids []uuid.UUID) Overlay {
	n := v.narrowing(table, Page{}, lastSeq)
	if n.rows != nil {
		for _, id := range ids {
			if r, ok := n.rows.byID.Get(&row{id: id}); ok && r.shown {
				n.take(r, false)
				if r.moved {
					n.out.Replaced = append(n.out.Replaced, r.id)
				}
			}
		}
	}
	return n.done()
}

// Created returns the rows of a page that pending transactions create, newest
// first: what can still be shown while the replica cannot be read. Conditions
// that Go cannot decide are not applied; a row they are certain to exclude is
// not there.
func (v View) Created(table string, p Page) []Row {
	n := v.narrowing(table, p, 0)
	var out []Row
	n.walk(func(r *row) bool {
		if verdict, _ := n.judge(r); r.created && verdict != no {
			out = append(out, v.row(r))
		}
		return p.Limit == 0 || len(out) < p.Limit
	})
	return out
}
