package txn

import (
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
	touched map[pending.Key][]int64 // by rising seq
	made    map[pending.Key][]int64 // created or deleted
}

// Add remembers the changes of the transaction seq. It is called in order of seq.
func (d *Dependencies) Add(seq int64, changes []pending.Change) {
	if d.touched == nil {
		d.touched = map[pending.Key][]int64{}
		d.made = map[pending.Key][]int64{}
	}
	for _, c := range changes {
		k := pending.Key{Table: c.Table, ID: c.ID}
		d.touched[k] = appendOnce(d.touched[k], seq)
		if c.Op != pending.OpUpdate {
			d.made[k] = appendOnce(d.made[k], seq)
		}
	}
}

// Of lists the remembered transactions before seq that changes depend on,
// without order and without doubles.
func (d *Dependencies) Of(seq int64, changes []pending.Change) []int64 {
	if len(d.touched) == 0 {
		return nil
	}
	var found []int64
	add := func(seqs []int64) {
		for _, s := range seqs {
			if s < seq && !contains(found, s) {
				found = append(found, s)
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

func appendOnce(seqs []int64, seq int64) []int64 {
	if n := len(seqs); n > 0 && seqs[n-1] == seq {
		return seqs
	}
	return append(seqs, seq)
}

func contains(seqs []int64, seq int64) bool {
	for _, s := range seqs {
		if s == seq {
			return true
		}
	}
	return false
}
