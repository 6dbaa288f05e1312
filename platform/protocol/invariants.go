package protocol

// What must hold in every state: a read made in this instant shows everything
// acknowledged, and nothing that was shown goes back.

// always checks a state and remembers what it shows. why names a broken promise.
func (m *Model) always(s *State) (why string) {
	m.broken = ""
	if m.mustPutBack(s) { // a read would
		with := *s
		m.putBack(&with, Action{})
		why = m.always(&with)
		s.Watch.Shown = with.Watch.Shown
		return why
	}
	log := s.shown()
	at := site(log)
	if at.Batch < s.Redis.Swept && !m.faults.ReadersIgnoreSwept {
		m.checkReadersGoOn(s, at.Batch)
		return m.broken
	}
	answer, stale := m.merge(s, m.pendingIn(&s.Redis), m.play(s, log).Rows, at.LastSeq)
	if stale >= 0 {
		m.breaks("the table's row %c is shown although a pending one replaces it", 'A'+stale)
	}
	m.checkAnswer(s, answer, m.acknowledged(s)&^s.Watch.Forgotten, s.Watch.Shown)
	s.Watch.Shown = answer
	return m.broken
}

// checkReadersGoOn: a replica that went back keeps readers waiting for one look of
// the tracker; only what has expired has to wait for the replica.
func (m *Model) checkReadersGoOn(s *State, batch uint8) {
	if s.Watch.Expired != 0 {
		return
	}
	with := *s
	with.Trackers[0] = Tracker{Looking: true, Batch: batch, Swept: s.Redis.Swept, Load: s.Redis.Load}
	m.unsweep(&with, Action{})
	if batch < with.Redis.Swept {
		m.breaks("readers wait for the replica although nothing has expired")
	}
}

// acknowledged are the transactions whose answers clients have.
func (m *Model) acknowledged(s *State) (out Set) {
	for _, answer := range s.Clients.Answers {
		if answer != 0 {
			out |= one(answer - 1)
		}
	}
	for x := Tx(0); x < firstCancel; x++ {
		if _, ok := m.corrected(x); ok && s.Watch.Accepted[x] != 0 {
			out |= one(x)
		}
	}
	return out
}

// checkAnswer compares an answer with what clients know and with what was shown.
func (m *Model) checkAnswer(s *State, answer [maxRows]Row, acknowledged Set, before [maxRows]Row) {
	for i := range m.rows {
		now, was := answer[i], before[i]
		if now.Exists && (now.Columns[0] == null || now.Columns[1] == null) {
			m.breaks("row %c is shown with columns that nobody wrote", 'A'+i)
		}
		if was.Exists && !now.Exists && !m.mayBeGone(s, i) {
			m.breaks("row %c was shown and is missing", 'A'+i)
		}
		if !was.Exists || !now.Exists {
			continue
		}
		for k, w := range now.Columns {
			if old := was.Columns[k]; w != old && !m.mayVanish(s, old) && !m.lostDirect(s, w) && m.rank(s, w) < m.rank(s, old) {
				m.breaks("row %c, column %d, goes back from %s to %s", 'A'+i, k, m.writerName(old), m.writerName(w))
			}
		}
	}
	for x := Tx(0); x < firstCancel; x++ {
		if acknowledged.has(x) && !m.mayVanish(s, by(x)) {
			m.checkShown(s, x, answer)
		}
	}
}

// checkShown: an acknowledged transaction is in the answer, or something newer is.
func (m *Model) checkShown(s *State, x Tx, answer [maxRows]Row) {
	for _, step := range m.request(x).Steps {
		row := answer[step.Row]
		if step.Kind == Delete {
			if row.Exists {
				m.breaks("acknowledged %s is not shown", m.name(x))
			}
			continue
		}
		if m.deleted(s, int(step.Row)) {
			continue
		}
		if !row.Exists {
			if !m.mayVanish(s, m.maker(s, int(step.Row))) {
				m.breaks("acknowledged %s is missing", m.name(x))
			}
			continue
		}
		for k, w := range row.Columns {
			if (step.Kind == Create || step.Columns>>k&1 == 1) && !m.lostDirect(s, w) && m.rank(s, w) < m.rank(s, by(x)) {
				m.breaks("acknowledged %s is not shown", m.name(x))
			}
		}
	}
}

// checkMinLSN: an answer to a read with the LSN of a direct write shows that write,
// or something newer; a write of the site that is not confirmed lies on top.
func (m *Model) checkMinLSN(s *State, answer [maxRows]Row, i uint8) {
	w := m.scenario.Direct[i]
	row := answer[w.Row]
	if m.lostDirect(s, direct+i) || w.Delete || !row.Exists {
		return
	}
	for k, got := range row.Columns {
		if _, pending := byTx(got); w.Columns>>k&1 == 1 && !pending && m.rank(s, got) < m.rank(s, direct+i) {
			m.breaks("a read with X-Min-LSN does not show direct write %d", i+1)
		}
	}
}

// rank orders the writers of a column: what the primary has by where it is there,
// the rest by acceptance. A correction of what the primary has will be refused, and
// stands where that is.
func (m *Model) rank(s *State, w writer) int {
	if w == null || w == initial {
		return -1
	}
	x, isTx := byTx(w)
	these := Set(0)
	if isTx {
		these = one(x)
		if target, ok := m.corrected(x); ok {
			these |= one(target)
		}
	}
	for i, c := range s.log() {
		if c.Applied.any(these) {
			return i<<8 + int(m.place(s, x))
		}
		if !isTx && c.Direct == w-direct+1 {
			return i << 8
		}
	}
	if isTx {
		return logRoom<<8 + int(m.place(s, x))
	}
	return -1 // a direct write that a failover has lost
}

// mayVanish: discarded by decision, accepted after the copy that was restored, or
// written at main directly and lost there.
func (m *Model) mayVanish(s *State, w writer) bool {
	if x, ok := byTx(w); ok {
		return (s.Watch.Decided | s.Watch.Forgotten).has(x)
	}
	return w >= direct && w < initial
}

// lostDirect: a direct write that a failover has lost: main's own loss, which a
// replica on the old timeline may still show.
func (m *Model) lostDirect(s *State, w writer) bool {
	return w >= direct && w < initial && m.rank(s, w) < 0
}

func (m *Model) mayBeGone(s *State, row int) bool {
	return m.deleted(s, row) || m.mayVanish(s, m.maker(s, row))
}

// deleted: somebody has deleted the row, here or at main.
func (m *Model) deleted(s *State, row int) bool {
	for i, w := range m.scenario.Direct {
		if w.Delete && int(w.Row) == row && s.Written>>i&1 == 1 {
			return true
		}
	}
	return m.accepted(s, row, Delete) != null
}

// maker is who has created a row.
func (m *Model) maker(s *State, row int) writer {
	if w := m.accepted(s, row, Create); w != null {
		return w
	}
	return initial
}

func (m *Model) accepted(s *State, row int, kind StepKind) writer {
	for x := Tx(0); x < firstCancel; x++ {
		r := m.request(x)
		if r == nil || s.Watch.Accepted[x] == 0 {
			continue
		}
		if _, corrected := m.correction(s, x); corrected {
			continue
		}
		for _, step := range r.Steps {
			if step.Kind == kind && int(step.Row) == row {
				return by(x)
			}
		}
	}
	return null
}
