package pending

import (
	"slices"
	"sync"
)

// copying guards the trees of published views against being copied twice at once.
var copying sync.Mutex

// Without is the view as it would be if those transactions had never been accepted: it
// shows nothing of what they do to rows. They stay among the transactions. What takes
// the place of a mistake is checked against it.
func (v View) Without(txs ...*Tx) View {
	if len(txs) == 0 {
		return v
	}
	copying.Lock()
	defer copying.Unlock()
	v.tables = slices.Clone(v.tables)
	own := make([]bool, len(v.tables))
	for _, t := range txs {
		if t.State == StateDiscarded {
			continue // its rows are in no view
		}
		for i := range t.Changes {
			n, ok := v.index[t.Changes[i].Table]
			if !ok {
				continue
			}
			if !own[n] {
				v.tables[n], own[n] = v.tables[n].own(), true
			}
			v.tables[n].remove(t.Changes[i].ID, t.Seq)
		}
	}
	return v
}

// own returns a copy of published rows that may be changed.
func (r *rows) own() *rows {
	c := &rows{def: r.def, byID: r.byID.own(), byTime: r.byTime.own(), nowhere: r.nowhere.own(), moved: r.moved.own(), paths: slices.Clone(r.paths)}
	for i := range c.paths {
		p, from := &c.paths[i], &r.paths[i]
		p.byValue, p.loose, p.changed = from.byValue.own(), from.loose.own(), from.changed.own()
	}
	return c
}
