package protocol

// What transactions do to rows, at the primary and in the view of a reader.

// request is what a transaction was built from; nil for a discard.
func (m *Model) request(x Tx) *Request {
	if x >= firstCancel || int(x/m.attempts) >= len(m.scenario.Requests) {
		return nil
	}
	return &m.scenario.Requests[x/m.attempts]
}

// attempts of the request that x is one of.
func (m *Model) attemptsOf(x Tx) Set {
	if x >= firstCancel {
		return one(x)
	}
	return (one(m.attempts) - 1) << (x / m.attempts * m.attempts)
}

func (m *Model) running(w writer) bool {
	if x, ok := byTx(w); ok {
		for _, step := range m.request(x).Steps {
			if step.Kind == Create {
				return true
			}
		}
		return false
	}
	return w == initial
}

// fits says whether a step can be done to a row.
func (m *Model) fits(step Step, row Row) bool {
	switch step.Kind {
	case Create:
		return !row.Exists
	case Update:
		return row.Exists && (!step.Running || m.running(row.Columns[0]))
	}
	return row.Exists
}

// change does a step to a row.
func change(step Step, row *Row, w writer) {
	switch step.Kind {
	case Create:
		*row = Row{Exists: true, Columns: [maxColumns]writer{w, w}}
	case Update:
		for i := range row.Columns {
			if step.Columns>>i&1 == 1 {
				row.Columns[i] = w
			}
		}
	case Delete:
		*row = Row{}
	}
}

// apply does all steps of a transaction or none; false is an error in the
// database: a constraint, or an UPDATE that changed no row.
func (m *Model) apply(x Tx, rows *[maxRows]Row, mended bool) bool {
	r := m.request(x)
	if r.Poison && !mended {
		return false
	}
	before := *rows
	for _, parent := range r.References {
		if !rows[parent].Exists {
			return false
		}
	}
	for _, step := range r.Steps {
		if !m.fits(step, rows[step.Row]) {
			*rows = before
			return false
		}
		change(step, &rows[step.Row], by(x))
	}
	return true
}

// Contents is what a log has made of the database.
type Contents struct {
	Rows               [maxRows]Row
	Applied, Discarded Set // the ledger
}

func (m *Model) play(s *State, log []Commit) Contents {
	var c Contents
	for i := range c.Rows {
		if m.scenario.Present>>i&1 == 1 {
			c.Rows[i] = Row{Exists: true, Columns: [maxColumns]writer{initial, initial}}
		}
	}
	for _, commit := range log {
		if commit.Direct != 0 {
			m.playDirect(commit.Direct-1, &c.Rows)
		}
		if commit.Applied != 0 {
			m.inOrder(s, commit.Applied&(one(firstCancel)-1), func(x Tx) { m.apply(x, &c.Rows, true) })
			c.Applied |= commit.Applied
		}
		c.Discarded |= commit.Discarded
	}
	return c
}

func (m *Model) playDirect(i uint8, rows *[maxRows]Row) {
	w := m.scenario.Direct[i]
	row := &rows[w.Row]
	switch {
	case w.Delete:
		*row = Row{}
	case row.Exists:
		change(Step{Kind: Update, Columns: w.Columns}, row, direct+i)
	}
}

// dependsOn: later touches a row of earlier, or references one that earlier creates
// or deletes; any one row counts for the whole transaction.
func (m *Model) dependsOn(later, earlier Tx) bool {
	l, e := m.request(later), m.request(earlier)
	if l == nil || e == nil || later == earlier {
		return false
	}
	steps := e.Steps
	if m.faults.OnlyTheFirstRowCounts {
		steps = steps[:1]
	}
	for _, made := range steps {
		for _, step := range l.Steps {
			if step.Row == made.Row {
				return true
			}
		}
		for _, parent := range l.References {
			if parent == made.Row && made.Kind != Update {
				return true
			}
		}
	}
	return false
}

// withDependents are those of set and what of all comes after one of them and depends on
// it, transitively.
func (m *Model) withDependents(s *State, set, all Set) Set {
	m.inOrder(s, all, func(x Tx) {
		for y := Tx(0); y < firstCancel; y++ {
			if set.has(y) && m.before(s, y, x) && m.dependsOn(x, y) {
				set |= one(x)
			}
		}
	})
	return set
}

// pendingIn is what the view of Redis shows: buffered, applied, failed, blocked.
func (m *Model) pendingIn(r *Redis) Set {
	set := r.Transactions &^ r.Replicated &^ r.Discarded
	if m.faults.SweptWhenApplied {
		for x := Tx(0); x < maxTx; x++ {
			if r.Positions[x] != 0 {
				set &^= one(x)
			}
		}
	}
	if m.faults.DeadLettersLeaveTheView {
		set &^= r.Dead
	}
	return set
}

// merge is the answer of a read: the images of the pending transactions, folded by
// row and column, laid over the rows of one snapshot. stale names a row that the
// table shows although a pending image supersedes it.
func (m *Model) merge(s *State, pending Set, rows [maxRows]Row, lastSeq uint8) (answer [maxRows]Row, stale int) {
	answer, stale = rows, -1
	var images [maxRows]struct {
		any, created, deleted, always bool
		seq                           uint8
		columns                       [maxColumns]writer
	}
	m.inOrder(s, pending&(one(firstCancel)-1), func(x Tx) {
		for _, step := range m.request(x).Steps {
			image := &images[step.Row]
			image.any = true
			switch step.Kind {
			case Create:
				image.created, image.deleted, image.seq, image.always = true, false, s.Seqs[x], step.ClientID
				image.columns = [maxColumns]writer{by(x), by(x)}
			case Update:
				for k := range image.columns {
					if step.Columns>>k&1 == 1 {
						image.columns[k] = by(x)
					}
				}
			case Delete:
				image.deleted = true
			}
		}
	})
	for i := range m.rows {
		image := &images[i]
		if !image.any {
			continue
		}
		base := rows[i]
		replaced := !image.created && !m.faults.UpdatesNotReplaced ||
			image.created && (image.always || image.seq <= lastSeq) && !m.faults.CreatesNotReplaced
		if base.Exists && !replaced {
			stale = i
		}
		answer[i] = Row{}
		switch {
		case image.deleted:
		case base.Exists || image.created || m.faults.UpdatesShowWithoutTheirRow:
			answer[i] = base
			answer[i].Exists = true
			for k, w := range image.columns {
				if w != null {
					answer[i].Columns[k] = w
				}
			}
		}
	}
	return answer, stale
}
