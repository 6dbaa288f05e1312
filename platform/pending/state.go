package pending

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// state is the view under construction: the one mutable copy of a process,
// guarded by Store.mu. publish takes an immutable picture of it.
type state struct {
	View
	decoder   Decoder
	dirty     []bool // per table, changed since the last picture
	setsDirty bool
	names     map[string]string // operations and actors, each kept once
	// ahead is the change up to which parts of a load may be ahead of LastChange: what
	// such a change is about may have replicated and be forgotten already.
	ahead int64
}

func newState(tables []Table, decoder Decoder) *state {
	s := &state{decoder: decoder, names: map[string]string{}, dirty: make([]bool, len(tables))}
	s.sets = newSets()
	s.index = make(map[string]int, len(tables))
	for i, t := range tables {
		s.index[t.Name] = i
		s.tables = append(s.tables, newRows(t))
	}
	return s
}

// publish returns an immutable picture that shares everything unchanged with
// the last one.
func (s *state) publish(last View) View {
	v := s.View
	if v.sets = last.sets; s.setsDirty || last.sets == nil {
		v.sets = s.sets.copy()
	}
	v.tables = make([]*rows, len(s.tables))
	for i, t := range s.tables {
		if s.dirty[i] || last.sets == nil {
			v.tables[i] = t.copy()
		} else {
			v.tables[i] = last.tables[i]
		}
		s.dirty[i] = false
	}
	s.setsDirty = false
	return v
}

func (s *state) name(n string) string {
	if have, ok := s.names[n]; ok {
		return have
	}
	if len(s.names) < 10_000 {
		s.names[n] = n
	}
	return n
}

// read makes the buffered Tx of a stored transaction. A transaction that cannot
// be read stays pending: it is shown to the operator, and the processor stops
// before it.
func (s *state) read(seq int64, h, b []byte) *Tx {
	t, err := decode(seq, h, b)
	if err != nil {
		return &Tx{Seq: seq, Place: seq, State: StateBuffered, Unknown: err, head: h, body: b}
	}
	x := s.tx(t, h, b)
	if x.Changes, err = s.changes(t.Steps); err != nil {
		x.Changes, x.Unknown = nil, err
	}
	return x
}

func (s *state) tx(t *Transaction, h, b []byte) *Tx {
	x := &Tx{
		Seq: t.Seq, ID: t.ID, Operation: s.name(t.Operation), Actor: s.name(t.Actor), Rows: t.Rows, AcceptedAt: t.AcceptedAt,
		State: StateBuffered, Discards: t.Discards, Place: t.Place, head: h, body: b, clientIDs: t.ClientIDs,
	}
	if x.Place == 0 {
		x.Place = t.Seq
	}
	return x
}

func (s *state) changes(steps []Step) ([]Change, error) {
	out := make([]Change, 0, len(steps))
	for _, step := range steps {
		changes, err := s.decoder.Changes(step.Kind, step.Data)
		if err != nil {
			return nil, fmt.Errorf("reading step %s: %w", step.Kind, err)
		}
		for _, c := range changes {
			out = append(out, aliased(c, step.Data, s))
		}
	}
	return slices.Clip(out), nil
}

// aliased lets a change share the bytes of the step it came from, which the
// view keeps anyway.
func aliased(c Change, data json.RawMessage, s *state) Change {
	if bytes.Equal(c.Columns, data) {
		c.Columns = data
	}
	c.Table = s.name(c.Table)
	return c
}

// insert adds a transaction that the view does not hold yet.
func (s *state) insert(t *Tx) {
	if _, ok := s.sets.all.Get(t); ok {
		return
	}
	t.hidden = taken(t)
	s.place(t)
	if t.State == StateDiscarded {
		return // its rows are in no view
	}
	chosen := setOf(t.clientIDs)
	for i := range t.Changes {
		c := &t.Changes[i]
		if n, ok := s.index[c.Table]; ok {
			s.tables[n].add(c.ID, image{seq: t.Seq, place: t.Place, change: c, client: c.Op == OpCreate && chosen(c.ID), hidden: t.hidden})
			s.dirty[n] = true
		}
	}
}

// taken reports whether t is a dead letter because its id is taken: its rows
// must not be laid over main's row of that id, which is another one.
func taken(t *Tx) bool {
	if t.Dead == nil {
		return false
	}
	var p struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(t.Dead.Problem, &p) == nil && p.Type == "/problems/id-taken"
}

// place puts t into the sets of its state.
func (s *state) place(t *Tx) {
	s.setsDirty = true
	s.sets.all.set(t)
	if t.ID != uuid.Nil {
		s.sets.ids.set(t)
	}
	switch t.State {
	case StateApplied:
		s.sets.applied.set(t)
	case StateDiscarded:
		if t.Position != 0 {
			s.sets.applied.set(t) // its discard is: replicated by the same look at the replica
		}
	case StateFailed, StateBlocked:
		s.sets.dead.set(t)
		if t.State == StateFailed {
			s.sets.failed++
		}
	default:
		s.sets.buffered.set(t)
	}
}

// displace takes t out of the sets of its state.
func (s *state) displace(t *Tx) {
	s.setsDirty = true
	switch t.State {
	case StateApplied, StateDiscarded:
		s.sets.applied.remove(t)
	case StateFailed, StateBlocked:
		s.sets.dead.remove(t)
		if t.State == StateFailed {
			s.sets.failed--
		}
	default:
		s.sets.buffered.remove(t)
	}
}

// change gives the transaction seq a new state; false when the view does not
// hold it.
func (s *state) change(seq int64, f func(*Tx)) bool {
	old, ok := s.sets.all.Get(&Tx{Seq: seq})
	if !ok {
		return s.LastChange < s.ahead
	}
	t := *old
	f(&t)
	t.hidden = taken(&t)
	s.displace(old)
	s.place(&t)
	if t.hidden != old.hidden {
		for i := range t.Changes {
			if n, ok := s.index[t.Changes[i].Table]; ok {
				s.tables[n].hide(t.Changes[i].ID, seq, t.hidden)
				s.dirty[n] = true
			}
		}
	}
	return true
}

// discard takes the images of a transaction out of the view. It stays itself, for
// who asks what became of it.
func (s *state) discard(seq int64, f func(*Tx)) bool {
	old, ok := s.sets.all.Get(&Tx{Seq: seq})
	if !ok {
		return s.LastChange < s.ahead
	}
	if old.State != StateDiscarded {
		s.withdraw(old)
	}
	return s.change(seq, func(t *Tx) {
		t.State, t.Dead = StateDiscarded, nil
		f(t)
	})
}

// withdraw takes the images of a transaction off its rows.
func (s *state) withdraw(t *Tx) {
	for i := range t.Changes {
		if n, ok := s.index[t.Changes[i].Table]; ok {
			s.tables[n].remove(t.Changes[i].ID, t.Seq)
			s.dirty[n] = true
		}
	}
}

// drop takes a transaction and its images out of the view: it has replicated.
func (s *state) drop(seq int64) {
	t, ok := s.sets.all.Get(&Tx{Seq: seq})
	if !ok {
		return
	}
	s.displace(t)
	s.sets.all.remove(t)
	if t.ID != uuid.Nil {
		// A reused id (Redis restored to an older state) may belong to another seq.
		if other, ok := s.sets.ids.Get(t); ok && other.Seq == seq {
			s.sets.ids.remove(t)
		}
	}
	s.withdraw(t)
}
