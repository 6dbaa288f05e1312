package protocol

// A read that takes its time (pending.Reader): X-Min-LSN, catch-up, view,
// snapshot. A read in an instant is checked in every state (invariants.go).

// waitForLSN: the tracker has seen the replica at the position of direct write X,
// on its timeline.
func (m *Model) waitForLSN(s *State, a Action) bool {
	w := &s.Watch
	if s.Reader.Stage != readIdle || s.Resting || w.Sites[a.X] == 0 {
		return false
	}
	same := s.Replica.Timeline == w.Timelines[a.X] || m.faults.MinLSNOnAnyTimeline
	if !same || s.Replica.Replayed < w.Sites[a.X] || !m.can(s, Reads) {
		return false
	}
	s.Reader = Reader{Stage: readWaited, Min: a.X + 1}
	return true
}

// catchUpToRead is a catch-up and the view: one moment of Redis. Everything
// answered before it must be in the answer.
func (m *Model) catchUpToRead(s *State, a Action) bool {
	reader := &s.Reader
	if m.faults.SnapshotBeforeTheView && reader.Stage != readSnapshotFirst {
		return false
	}
	switch reader.Stage {
	case readIdle:
		if s.Resting || !m.can(s, Reads) {
			return false
		}
	case readWaited, readSnapshotFirst:
	default:
		return false
	}
	if reader.Stage != readSnapshotFirst {
		reader.Acknowledged, reader.Shown = m.acknowledged(s), s.Watch.Shown
	}
	m.follow(s, int(a.X))
	view := s.Views[a.X]
	if !m.scenario.Lag {
		s.Views[a.X] = View{}
	}
	reader.Pending = view.Pending
	if !m.faults.SweptIsReadBeforeTheView || reader.Stage == readSnapshotFirst {
		reader.Swept = view.Swept
	}
	reader.Stage = readView
	if m.faults.SnapshotBeforeTheView {
		m.answerRead(s, reader.Rows, reader.Batch, reader.LastSeq)
	}
	return true
}

// readSweptFirst is a planted mistake: the counters in one message, the entries in
// the next.
func (m *Model) readSweptFirst(s *State, _ Action) bool {
	if !m.faults.SweptIsReadBeforeTheView || s.Reader.Stage != readIdle || s.Resting || !m.can(s, Reads) {
		return false
	}
	s.Reader = Reader{Stage: readWaited, Swept: s.Redis.Swept}
	return true
}

// snapshot is the replica in one moment after the view; below swept it is not
// used, and the reader begins again.
func (m *Model) snapshot(s *State, _ Action) bool {
	log := s.shown()
	at := site(log)
	if m.faults.SnapshotBeforeTheView {
		if s.Reader.Stage != readIdle || s.Resting || !m.can(s, Reads) {
			return false
		}
		s.Reader = Reader{
			Stage: readSnapshotFirst, Rows: m.play(s, log).Rows, Batch: at.Batch, LastSeq: at.LastSeq,
			Acknowledged: m.acknowledged(s), Shown: s.Watch.Shown,
		}
		return true
	}
	if s.Reader.Stage != readView {
		return false
	}
	m.answerRead(s, m.play(s, log).Rows, at.Batch, at.LastSeq)
	return true
}

func (m *Model) answerRead(s *State, rows [maxRows]Row, batch, lastSeq uint8) {
	reader := s.Reader
	s.Reader = Reader{}
	if batch < reader.Swept && !m.faults.ReadersIgnoreSwept {
		return // replica-behind: once more
	}
	answer, stale := m.merge(s, reader.Pending, rows, lastSeq)
	if stale >= 0 {
		m.breaks("a read shows the table's row %c although a pending one replaces it", 'A'+stale)
	}
	m.checkAnswer(s, answer, reader.Acknowledged&^s.Watch.Forgotten, reader.Shown)
	if reader.Min != 0 {
		m.checkMinLSN(s, answer, reader.Min-1)
	}
}
