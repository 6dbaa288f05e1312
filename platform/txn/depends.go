package txn

import (
	"slices"

	"github.com/opsdb/opsdb/platform/pending"
)

// Dependencies remembers what some transactions do to rows, to tell which later
// ones depend on them: one that touches a row that an earlier one touches, or that
// refers to a row that an earlier one creates or deletes. A reference to a row
// that is merely updated is no dependency: a failed comment does not hold back
// the files of an execution. One row counts for the whole transaction. It is the
// rule of pending.View.Blockers, for transactions that are no dead letters.
//
// The zero value is empty and ready.
type Dependencies struct {
	touched map[pending.Key][]placed
	made    map[pending.Key][]placed // created or deleted
}

// placed is a transaction and its place, which is its seq unless it corrects an
// earlier one.
type placed struct{ seq, place int64 }

// Add remembers the changes of the transaction seq with its place.
func (d *Dependencies) Add(seq, place int64, changes []pending.Change) {
	if d.touched == nil {
		d.touched = map[pending.Key][]placed{}
		d.made = map[pending.Key][]placed{}
	}
	for _, c := range changes {
		k := pending.Key{Table: c.Table, ID: c.ID}
		d.touched[k] = appendOnce(d.touched[k], placed{seq, place})
		if c.Op != pending.OpUpdate {
			d.made[k] = appendOnce(d.made[k], placed{seq, place})
		}
	}
}

// Of lists, by seq, the remembered transactions that come before place and that changes
// depend on, without order and without doubles.
func (d *Dependencies) Of(place int64, changes []pending.Change) []int64 {
	if len(d.touched) == 0 {
		return nil
	}
	var found []int64
	add := func(those []placed) {
		for _, t := range those {
			if t.place < place && !slices.Contains(found, t.seq) {
				found = append(found, t.seq)
			}
		}
	}
	for _, c := range changes {
		add(d.touched[pending.Key{Table: c.Table, ID: c.ID}])
		for _, r := range c.References {
			add(d.made[r])
		}
	}
	return found
}

// Empty says that nothing is remembered.
func (d *Dependencies) Empty() bool { return len(d.touched) == 0 }

func appendOnce(those []placed, t placed) []placed {
	if n := len(those); n > 0 && those[n-1] == t {
		return those
	}
	return append(those, t)
}
