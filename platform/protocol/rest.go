package protocol

// From every state the world must come to rest by itself: all processes die, faults
// end, and what runs without anybody's help runs. rest does that; atRest says what
// must hold then.

// runs is what one processor does by itself, in this order.
var runs = []Kind{claimArrives, epochIsRaised, connectedScript, blockScript, raiseBatchScript, groupCommits, settleScript, failScript}

// rest lets everything run; why names a promise broken on the way.
func (m *Model) rest(s *State) (why string) {
	s.Resting = true
	for i := range s.Calls {
		if s.Calls[i].Stage != idle {
			s.Calls[i] = Call{Stage: over}
		}
	}
	s.Processors, s.Trackers, s.Late = [maxApis]Processor{}, [maxApis]Tracker{}, [maxLate]Late{}
	s.Reader, s.Views = Reader{}, [maxApis]View{}
	do := func(k Kind, x, y uint8) bool {
		happened, broken := m.Do(s, Action{k, x, y})
		if why == "" {
			why = broken
		}
		return happened
	}
	do(putBackScript, 0, 0)
	do(replicaFollows, 0, 0)
	do(bufferIsResumed, 0, 0)
	for range 40 {
		was, n := s.Redis, s.Primary.N
		do(replicaReplays, s.Primary.N, 0)
		for range 2 { // a look that puts rows back, and one that confirms
			do(trackerLooks, 0, 0)
			if !do(unsweepScript, 0, 0) {
				do(markScript, 0, 0)
			}
		}
		if s.Processors[0].Stage == unconnected {
			do(epochBegins, 0, 0)
		}
		for moved := true; moved && why == ""; {
			moved = false
			for _, k := range runs {
				moved = do(k, 0, 0) || moved
			}
			if f := &s.Processors[0].Flush; s.Processors[0].Stage == flushing && !f.more() {
				moved = do(answersArrive, 0, f.Delivered) || moved
			}
		}
		if p := &s.Processors[0]; p.Stage == ready && s.Redis.List != 0 {
			for n := uint8(4); n > 0 && !do(flushIsChosen, 0, n); n-- {
			}
		}
		for x := Tx(0); x < firstCancel && s.Redis.List == 0; x++ {
			if s.Redis.Dead.has(x) {
				do(retryIsDue, x, 0)
			}
		}
		if why != "" || was == s.Redis && n == s.Primary.N && s.Processors[0].Stage == ready {
			return why
		}
	}
	return why
}

// atRest names a promise that does not hold when everything has come to rest.
func (m *Model) atRest(s *State) string {
	m.broken = ""
	r := &s.Redis
	if s.Primary.N >= logRoom-4 {
		return "" // no room left in the model's log: no verdict
	}
	contents := m.play(s, s.log())
	switch {
	case r.List != 0:
		m.breaks("the buffer never becomes empty")
	case s.Processors[0].Stage != ready:
		m.breaks("no processor can connect")
	case site(s.shown()).Batch < r.Swept:
		m.breaks("readers wait for ever: the replica's number stays below swept")
	}
	deadRows := uint16(0)
	for x := Tx(0); x < maxTx; x++ {
		switch {
		case s.Watch.Accepted[x] == 0 || s.Watch.Forgotten.has(x):
		case s.Watch.Expired.has(x) && !r.Transactions.has(x):
			if !(contents.Applied | contents.Discarded).has(x) {
				m.breaks("lost: %s has expired and is not in the ledger", m.name(x))
			}
		default:
			deadRows |= m.restOf(s, x, &contents)
		}
	}
	if m.broken == "" {
		m.compare(s, &contents, deadRows)
	}
	return m.broken
}

// restOf judges one transaction, and returns the rows of a dead letter.
func (m *Model) restOf(s *State, x Tx, contents *Contents) (deadRows uint16) {
	r, name := &s.Redis, m.name(x)
	applied, discarded := contents.Applied.has(x), contents.Discarded.has(x)
	switch {
	case !r.Transactions.has(x):
		m.breaks("lost: %s has left Redis", name)
	case r.Discarded.has(x):
		if by, ok := m.correction(s, x); ok && r.Dead.has(by) {
			break // the correction has failed in its turn
		}
		if !discarded && !(applied && s.Watch.Decided.has(x)) { // main had it: the ledger wins
			m.breaks("%s is called discarded, and the ledger does not say so", name)
		}
	case r.Dead.has(x):
		for _, step := range m.request(x).Steps {
			deadRows |= 1 << step.Row
		}
		blocker := r.BlockedBy[x]
		switch {
		case applied && m.waitsForAnOperator(s, x, contents):
			// A file brought it to main; the operator has to discard the correction.
		case applied:
			m.breaks("%s is a dead letter, and took effect", name)
		case blocker == 0:
			if !m.mayFail(s, x) {
				m.breaks("%s is a dead letter, and nothing was wrong with it", name)
			}
		case !r.Dead.has(blocker-1) && !s.Watch.Decided.has(blocker-1):
			m.breaks("%s waits for ever for %s, which is no dead letter", name, m.name(blocker-1))
		case m.appliedInstead(s, blocker-1, contents):
			m.breaks("%s waits for ever for %s, which was corrected", name, m.name(blocker-1))
		case !m.dependsOn(x, blocker-1):
			m.breaks("%s is held back by %s, on which it does not depend", name, m.name(blocker-1))
		}
	case r.Positions[x] == 0:
		m.breaks("%s is in no state", name)
	case !applied && !discarded:
		m.breaks("lost: %s is called applied, and is not at the primary", name)
	case !r.Replicated.has(x):
		m.breaks("%s never becomes replicated", name)
	}
	if s.Watch.Decided.has(x) && !r.Discarded.has(x) && !applied && !m.decisionForgotten(s, x) {
		m.breaks("the discard of %s is forgotten", name)
	}
	return deadRows
}

// waitsForAnOperator: x is held back, in the end, by a correction that main refuses,
// since it had what was to be corrected.
func (m *Model) waitsForAnOperator(s *State, x Tx, contents *Contents) bool {
	for s.Redis.BlockedBy[x] != 0 {
		x = s.Redis.BlockedBy[x] - 1
	}
	target, ok := m.corrected(x)
	return ok && contents.Applied.has(target)
}

// appliedInstead: what was put in the place of x is applied.
func (m *Model) appliedInstead(s *State, x Tx, contents *Contents) bool {
	by, ok := m.correction(s, x)
	return ok && contents.Applied.has(by)
}

// mayFail: something that is no mistake of the protocol makes x fail.
func (m *Model) mayFail(s *State, x Tx) bool {
	r := m.request(x)
	if r.Poison || s.Watch.Retried {
		return true
	}
	if target, ok := m.corrected(x); ok && m.play(s, s.log()).Applied.has(target) {
		return true // main had it when the correction came there
	}
	rows := uint16(0)
	for _, step := range r.Steps {
		rows |= 1 << step.Row
	}
	for _, parent := range r.References {
		rows |= 1 << parent
	}
	for i, w := range m.scenario.Direct {
		if s.Written>>i&1 == 1 && rows>>w.Row&1 == 1 {
			return true
		}
	}
	for y := Tx(0); y < firstCancel; y++ {
		other := m.request(y)
		if other == nil || s.Watch.Accepted[y] == 0 || y == x {
			continue
		}
		shares := m.attemptsOf(x).has(y)
		for _, step := range other.Steps {
			shares = shares || rows>>step.Row&1 == 1
		}
		// What a restore has forgotten may be at main all the same; what was discarded
		// may be what this one needed.
		if shares && (s.Watch.Forgotten.has(y) || s.Watch.Decided.has(y) && s.Watch.Accepted[y] < s.Watch.Accepted[x]) {
			return true
		}
	}
	return false
}

// decisionForgotten: it was taken after the copy that was restored.
func (m *Model) decisionForgotten(s *State, x Tx) bool {
	for d, target := range s.Targets {
		if target == by(x) && s.Watch.Forgotten.has(firstCancel+Tx(d)) {
			return true
		}
	}
	by, ok := m.correction(s, x)
	return ok && s.Watch.Forgotten.has(by)
}

// compare: nothing the site shows differs from main for ever, dead letters apart.
func (m *Model) compare(s *State, contents *Contents, deadRows uint16) {
	answer, stale := m.merge(s, m.pendingIn(&s.Redis), contents.Rows, site(s.log()).LastSeq)
	if stale >= 0 {
		m.breaks("the table's row %c is shown although a pending one replaces it", 'A'+stale)
	}
	for i := range m.rows {
		if deadRows>>i&1 == 0 && answer[i] != contents.Rows[i] && s.Watch.Forgotten == 0 {
			m.breaks("row %c differs from main for ever", 'A'+i)
		}
	}
	m.checkAnswer(s, answer, m.acknowledged(s)&^s.Watch.Forgotten, s.Watch.Shown)
}
