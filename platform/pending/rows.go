package pending

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
)

// rows are the pending rows of one buffered table: every row that a pending
// transaction touches, and the ordered trees that a page walks. Only placed rows
// are in those: shown, and with a known sort key.
type rows struct {
	def    Table
	byID   cow[*row]
	byTime cow[*row]
	// nowhere holds shown rows whose sort key nobody knows: their updates were
	// accepted while the replica could not be read. They belong to every page.
	nowhere cow[*row]
	// moved holds shown rows that were deleted and created again: the stored row
	// of that id may lie anywhere.
	moved cow[*row]
	paths []path
}

// path is one access path: the placed rows by the path's value, and apart the
// loose ones, whose stored row may have any value: it is unknown here, or a
// pending update may have changed it. Rows that are created here under an id of ours
// and changed afterwards have a stored row only once their create is there: they are
// among byValue, and among changed by the seq of their create.
type path struct {
	column  string
	fixed   bool
	byValue cow[*row]
	loose   cow[*row]
	changed cow[*row]
}

// image is what one transaction does to one row.
type image struct {
	seq    int64
	place  int64 // the seq that orders it: its own, or that of the one it replaces
	change *Change
	client bool // the client chose the created row's id
	hidden bool // its transaction is a dead letter whose rows are not shown
}

// before orders the images of a row.
func (m image) before(other image) bool {
	return m.place < other.place || m.place == other.place && m.seq < other.seq
}

// row is one row with the images of its pending transactions in order. A
// published row never changes: each new image makes a new row.
type row struct {
	id        uuid.UUID
	time      int64 // microseconds, or unplaced
	createSeq int64
	images    []image
	values    [][]byte // per path, the JSON of the column; nil when unknown
	loose     uint64   // a bit per path: the stored row may have another value
	changed   uint64   // a bit per path: it may have one once the create is stored

	shown, created, clientID, deleted, moved bool
}

// unplaced is the sort key of a row that nobody knows.
const unplaced = math.MinInt64

func byCreate(a, b *row) bool {
	if a.createSeq != b.createSeq {
		return a.createSeq < b.createSeq
	}
	return compareID(a.id, b.id) < 0
}

// newest first: time, then id, both falling.
func newestFirst(a, b *row) bool {
	if a.time != b.time {
		return a.time > b.time
	}
	return compareID(a.id, b.id) > 0
}

func newRows(def Table) *rows {
	r := &rows{def: def, byTime: tree(newestFirst), nowhere: tree(newestFirst), moved: tree(newestFirst)}
	r.byID = tree(func(a, b *row) bool { return compareID(a.id, b.id) < 0 })
	for i, c := range def.Paths {
		r.paths = append(r.paths, path{column: c, fixed: slices.Contains(def.Fixed, c), loose: tree(newestFirst), changed: tree(byCreate), byValue: tree(func(a, b *row) bool {
			if c := bytes.Compare(a.values[i], b.values[i]); c != 0 {
				return c < 0
			}
			return newestFirst(a, b)
		})})
	}
	return r
}

func (r *rows) copy() *rows {
	c := &rows{def: r.def, byID: r.byID.take(), byTime: r.byTime.take(), nowhere: r.nowhere.take(), moved: r.moved.take(), paths: slices.Clone(r.paths)}
	for i := range c.paths {
		p, from := &c.paths[i], &r.paths[i]
		p.byValue, p.loose, p.changed = from.byValue.take(), from.loose.take(), from.changed.take()
	}
	return c
}

// add lays an image of a row over what is there. Images come in any order.
func (r *rows) add(id uuid.UUID, m image) {
	old, ok := r.byID.Get(&row{id: id})
	var images []image
	if ok {
		images = make([]image, 0, len(old.images)+1)
		images = append(images, old.images...)
		at := len(images)
		for at > 0 && m.before(images[at-1]) {
			at--
		}
		images = slices.Insert(images, at, m)
	} else {
		old, images = nil, []image{m}
	}
	r.replace(old, r.fold(id, images))
}

// remove takes the images of one transaction off a row.
func (r *rows) remove(id uuid.UUID, seq int64) {
	old, ok := r.byID.Get(&row{id: id})
	if !ok {
		return
	}
	left := make([]image, 0, len(old.images))
	for _, m := range old.images {
		if m.seq != seq {
			left = append(left, m)
		}
	}
	if len(left) == 0 {
		r.replace(old, nil)
		return
	}
	r.replace(old, r.fold(id, left))
}

// hide shows or hides the images of one transaction.
func (r *rows) hide(id uuid.UUID, seq int64, hidden bool) {
	old, ok := r.byID.Get(&row{id: id})
	if !ok {
		return
	}
	images := slices.Clone(old.images)
	for i := range images {
		if images[i].seq == seq {
			images[i].hidden = hidden
		}
	}
	r.replace(old, r.fold(id, images))
}

// fold makes the row that images, in order, leave.
func (r *rows) fold(id uuid.UUID, images []image) *row {
	r.uncarry(images)
	n := &row{id: id, time: unplaced, images: images}
	for _, m := range images {
		if m.hidden {
			continue
		}
		before := n.shown
		n.shown = true
		switch m.change.Op {
		case OpCreate:
			n.moved = before
			n.created, n.deleted, n.clientID, n.createSeq = true, false, m.client, m.seq
		case OpDelete:
			n.deleted = true
		}
	}
	if v := n.lookup(r.def.Time); v != nil {
		if t, ok := jsonTime(v); ok {
			n.time = t.UnixMicro()
		}
	}
	if len(r.paths) > 0 {
		n.values = make([][]byte, len(r.paths))
		for i := range r.paths {
			p := &r.paths[i]
			n.values[i] = n.lookup(p.column)
			switch {
			case n.values[i] != nil && (p.fixed || !n.changes(p.column)):
			case n.values[i] != nil && n.created && !n.clientID:
				n.changed |= 1 << i
			default:
				n.loose |= 1 << i
			}
		}
	}
	return n
}

// changes reports whether an image may have given the stored row's column
// another value than the row has now.
func (n *row) changes(name string) bool {
	if !n.created {
		return true
	}
	for i := len(n.images) - 1; i >= 0; i-- {
		if m := &n.images[i]; !m.hidden {
			if m.change.Op == OpCreate {
				return false
			}
			if column(m.change.Columns, name) != nil {
				return true
			}
		}
	}
	return false
}

// lookup returns the JSON of a column as the images leave it, nil when they do
// not say.
func (n *row) lookup(name string) []byte {
	for i := len(n.images) - 1; i >= 0; i-- {
		m := &n.images[i]
		if m.hidden {
			continue
		}
		if v := column(m.change.Columns, name); v != nil {
			return v
		}
		if m.change.Op == OpCreate {
			return nil
		}
	}
	return nil
}

// columns folds the images to one JSON object, column by column.
func (n *row) columns() json.RawMessage {
	first, count := 0, 0
	for i := range n.images {
		if m := &n.images[i]; !m.hidden && m.change.Op != OpDelete {
			if m.change.Op == OpCreate {
				first, count = i, 0
			} else if count == 0 {
				first = i
			}
			count++
		}
	}
	if count == 1 {
		return n.images[first].change.Columns
	}
	if count == 0 {
		return json.RawMessage("{}")
	}
	type member struct{ name, value []byte }
	var out []member
	at := map[string]int{}
	size := 2
	for _, m := range n.images[first:] {
		if m.hidden || m.change.Op == OpDelete {
			continue
		}
		if err := eachField(inside(m.change.Columns), func(name, value []byte) error {
			if i, ok := at[string(name)]; ok {
				size += len(value) - len(out[i].value)
				out[i].value = value
				return nil
			}
			at[string(name)] = len(out)
			out = append(out, member{name, value})
			size += len(name) + len(value) + 4
			return nil
		}); err != nil {
			continue // what cannot be read cannot be laid over anything
		}
	}
	b := append(make([]byte, 0, size), '{')
	for i, m := range out {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), m.name...), '"', ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}

// newest is the seq of the newest shown image.
func (n *row) newest() int64 {
	for i := len(n.images) - 1; i >= 0; i-- {
		if !n.images[i].hidden {
			return n.images[i].seq
		}
	}
	return 0
}

func (n *row) placed() bool { return n != nil && n.shown && n.time != unplaced }

// replace puts a row in the place of its former self; either may be nil.
func (r *rows) replace(old, n *row) {
	swap(&r.byID, old, n, true, true)
	swap(&r.byTime, old, n, old.placed(), n.placed())
	swap(&r.nowhere, old, n, old != nil && old.shown && !old.placed(), n != nil && n.shown && !n.placed())
	swap(&r.moved, old, n, old != nil && old.moved, n != nil && n.moved)
	for i := range r.paths {
		p := &r.paths[i]
		oldLoose, newLoose := old.placed() && old.loose>>i&1 == 1, n.placed() && n.loose>>i&1 == 1
		swap(&p.loose, old, n, oldLoose, newLoose)
		swap(&p.byValue, old, n, old.placed() && !oldLoose, n.placed() && !newLoose)
		swap(&p.changed, old, n, old.placed() && old.changed>>i&1 == 1, n.placed() && n.changed>>i&1 == 1)
	}
}

// swap replaces old by n in a tree that held old and shall hold n.
func swap(t *cow[*row], old, n *row, had, has bool) {
	had, has = had && old != nil, has && n != nil
	if had && (!has || t.Less(old, n) || t.Less(n, old)) {
		t.remove(old)
	}
	if has {
		t.set(n)
	}
}

// jsonTime reads a JSON string with a time of RFC 3339.
func jsonTime(v []byte) (time.Time, bool) {
	if len(v) < 2 || v[0] != '"' {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(v[1:len(v)-1]))
	return t, err == nil
}
