package pending

import (
	"bytes"
	"encoding/json"
	"iter"
	"time"

	"github.com/google/uuid"
)

// View is what one process knows of the pending transactions at one moment. It
// never changes and costs nothing to keep or to copy. The zero View holds
// nothing.
type View struct {
	// Load names the life of Redis that this view belongs to. Scripts given
	// another one do nothing.
	Load string
	// LastSeq: every transaction up to it was seen. Transactions this process
	// accepted itself may be in the view beyond it.
	LastSeq int64
	// LastChange is the number of the last change of state seen.
	LastChange int64
	// Swept is the highest commit number whose pending rows were dropped: a
	// snapshot whose site row is below it shows less than this view expects.
	Swept int64
	// Paused is set while an operator has stopped the draining.
	Paused bool
	// Missing is when main was last found to have commits of this site that its Redis
	// did not know: acknowledged writes may be missing. Zero when that was not in the
	// last week.
	Missing time.Time
	// LostTail is when main was last found to have lost commits of this site. Zero when
	// that was not in the last hour.
	LostTail time.Time

	sets   *sets
	tables []*rows
	index  map[string]int // table name → tables, shared and never changed
}

// sets hold the transactions of a view, by what they are looked up by.
type sets struct {
	all      cow[*Tx] // by seq
	ids      cow[*Tx] // by id
	buffered cow[*Tx] // by place, then seq
	applied  cow[*Tx] // by position, then seq; discarded ones with a position too
	dead     cow[*Tx] // by seq
	failed   int
}

func bySeq(a, b *Tx) bool { return a.Seq < b.Seq }

// byPlace is the order of applying: a correction comes before what was accepted
// after the mistake, although its seq is higher.
func byPlace(a, b *Tx) bool {
	if a.Place != b.Place {
		return a.Place < b.Place
	}
	return a.Seq < b.Seq
}

func byID(a, b *Tx) bool { return compareID(a.ID, b.ID) < 0 }

func byPosition(a, b *Tx) bool {
	if a.Position != b.Position {
		return a.Position < b.Position
	}
	return a.Seq < b.Seq
}

// compareID orders ids as PostgreSQL does: byte by byte.
func compareID(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

func newSets() *sets {
	return &sets{all: tree(bySeq), ids: tree(byID), buffered: tree(byPlace), applied: tree(byPosition), dead: tree(bySeq)}
}

func (s *sets) copy() *sets {
	return &sets{s.all.take(), s.ids.take(), s.buffered.take(), s.applied.take(), s.dead.take(), s.failed}
}

// Tx returns the pending transaction of that id. One that is not there was never
// accepted here, or has replicated: ask the ledger.
func (v View) Tx(id uuid.UUID) (*Tx, bool) {
	if v.sets == nil {
		return nil, false
	}
	return v.sets.ids.Get(&Tx{ID: id})
}

// TxBySeq is Tx by seq.
func (v View) TxBySeq(seq int64) (*Tx, bool) {
	if v.sets == nil {
		return nil, false
	}
	return v.sets.all.Get(&Tx{Seq: seq})
}

// Ascend calls f with the pending transactions of all states, oldest first, from
// seq on, until f returns false.
func (v View) Ascend(seq int64, f func(*Tx) bool) {
	if v.sets != nil {
		v.sets.all.Ascend(&Tx{Seq: seq}, f)
	}
}

// Buffered gives the transactions to be applied, oldest first, by place. It never goes
// beyond LastSeq: what another process accepted before them may still be missing there.
func (v View) Buffered() iter.Seq[*Tx] {
	return func(yield func(*Tx) bool) {
		if v.sets != nil {
			v.sets.buffered.Scan(func(t *Tx) bool { return t.Seq <= v.LastSeq && yield(t) })
		}
	}
}

// Dead returns the dead letters, failed and blocked, oldest first.
func (v View) Dead() []*Tx {
	if v.sets == nil {
		return nil
	}
	return v.sets.dead.Items()
}

// UnknownDead returns the dead letter that comes first of those that this build cannot
// read, nil for none. It may hold back anything that comes after it.
func (v View) UnknownDead() (first *Tx) {
	if v.sets == nil {
		return nil
	}
	v.sets.dead.Scan(func(t *Tx) bool {
		if t.Unknown != nil && (first == nil || byPlace(t, first)) {
			first = t
		}
		return true
	})
	return first
}

// Applied returns what is applied with a position up to batch, in order of
// position: all of it has replicated when the replica shows batch.
func (v View) Applied(batch int64) []*Tx {
	if v.sets == nil {
		return nil
	}
	var out []*Tx
	v.sets.applied.Scan(func(t *Tx) bool {
		if t.Position > batch {
			return false
		}
		out = append(out, t)
		return true
	})
	return out
}

// OldestPending is when the oldest transaction that has not replicated was
// accepted, dead letters included; zero when there is none.
func (v View) OldestPending() time.Time {
	if v.sets != nil {
		if t, ok := v.sets.all.Min(); ok {
			return t.AcceptedAt
		}
	}
	return time.Time{}
}

// Counts sum up a view.
type Counts struct {
	Buffered, Applied, Failed, Blocked int
	// OldestAccepted is when the oldest buffered transaction was accepted, zero
	// when none is.
	OldestAccepted time.Time
	// RowsByTable counts rows with pending changes.
	RowsByTable map[string]int
}

// Counts sums up the view.
func (v View) Counts() Counts {
	c := Counts{RowsByTable: map[string]int{}}
	if v.sets == nil {
		return c
	}
	c.Buffered, c.Applied = v.sets.buffered.Len(), v.sets.applied.Len()
	c.Failed = v.sets.failed
	c.Blocked = v.sets.dead.Len() - c.Failed
	if t, ok := v.sets.buffered.Min(); ok {
		c.OldestAccepted = t.AcceptedAt
	}
	for name, i := range v.index {
		c.RowsByTable[name] = v.tables[i].byID.Len()
	}
	return c
}

// Row is one row as its pending transactions leave it.
type Row struct {
	ID uuid.UUID
	// Create is set when a pending transaction creates the row: Columns then has
	// every column. Otherwise it has those that updates name, to be laid over the
	// stored row.
	Create bool
	// ClientID is set when the client chose the created row's id.
	ClientID bool
	// Deleted is set when its last image is a delete.
	Deleted bool
	// Columns is the folded JSON object.
	Columns json.RawMessage
	// Newest is the newest transaction that touches the row.
	Newest *Tx
	// CreateSeq is the seq of the newest create.
	CreateSeq int64
}

// Row folds what is pending on one row; false when nothing is.
func (v View) Row(k Key) (Row, bool) {
	i, ok := v.index[k.Table]
	if !ok {
		return Row{}, false
	}
	r, ok := v.tables[i].byID.Get(&row{id: k.ID})
	if !ok || !r.shown {
		return Row{}, false
	}
	return v.row(r), true
}

func (v View) row(r *row) Row {
	out := Row{ID: r.id, Create: r.created, ClientID: r.clientID, Deleted: r.deleted, Columns: r.columns(), CreateSeq: r.createSeq}
	out.Newest, _ = v.TxBySeq(r.newest())
	return out
}

// Blockers returns the dead letters, by rising seq, that hold back a transaction
// with these changes and this place (0: a new one). A transaction that touches a
// row of a dead letter waits for it, and so does one that references a row which
// a dead letter creates or deletes. A failed comment does not hold back an
// execution's files.
func (v View) Blockers(changes []Change, place int64) []int64 {
	if v.sets == nil || v.sets.dead.Len() == 0 {
		return nil
	}
	found := tree(func(a, b int64) bool { return a < b })
	look := func(k Key, touched bool) {
		i, ok := v.index[k.Table]
		if !ok {
			return
		}
		r, ok := v.tables[i].byID.Get(&row{id: k.ID})
		if !ok {
			return
		}
		for _, m := range r.images {
			if place != 0 && m.place >= place || !touched && m.change.Op == OpUpdate {
				continue
			}
			if t, ok := v.TxBySeq(m.seq); ok && t.State.Dead() {
				found.set(m.seq)
			}
		}
	}
	for _, c := range changes {
		look(Key{c.Table, c.ID}, true)
		for _, k := range c.References {
			look(k, false)
		}
	}
	return found.Items()
}
