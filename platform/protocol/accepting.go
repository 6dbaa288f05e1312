package protocol

import "fmt"

// Accepting at a secondary site (txn.Buffered, scripts/accept.lua).

func (m *Model) send(s *State, a Action) bool {
	x := a.X
	r, n := m.request(x), x/m.attempts
	clients := &s.Clients
	if r.Corrects != 0 || clients.Sent[n] != x%m.attempts || clients.Answers[n] != 0 || clients.Refused[n] != 0 {
		return false
	}
	for _, earlier := range r.After {
		if clients.Answers[earlier] == 0 {
			return false
		}
	}
	clients.Sent[n]++
	s.Calls[x] = Call{Stage: sent}
	return true
}

// process is the API process that a call has come to: a retry goes to the next.
func process(x Tx) int { return int(x) % maxApis }

// takeView: the process's own view as it is; one just caught up when the view has
// refused before, or the script has said that it is stale.
func (m *Model) takeView(s *State, a Action) bool {
	c := &s.Calls[a.X]
	if c.Stage != sent {
		return false
	}
	if !m.scenario.Lag || c.Fresh {
		if m.mustPutBack(s) {
			return false
		}
		m.follow(s, process(a.X))
	}
	c.View, c.Stage = s.Views[process(a.X)], hasView
	if !m.scenario.Lag {
		s.Views[process(a.X)] = View{} // nobody looks at it again before the next catch-up
	}
	return true
}

// validate: the idempotency key in the replica's ledger, then references and
// states against the merged view, in one snapshot taken after the view. A replica
// that shows less than it did is as good as none: accepted without checks.
func (m *Model) validate(s *State, a Action) bool {
	c := &s.Calls[a.X]
	if c.Stage != hasView {
		return false
	}
	log := s.shown()
	at, contents := site(log), m.play(s, log)
	if at.Batch < c.View.Swept && !m.faults.ReadersIgnoreSwept {
		c.Stage = valid
		return true
	}
	if found := (contents.Applied | contents.Discarded) & m.attemptsOf(a.X); found != 0 && !m.faults.KeyNotInTheLedger {
		for x := Tx(0); x < firstCancel; x++ {
			if found.has(x) {
				*c = Call{Stage: accepted, Answer: by(x)}
			}
		}
		return true
	}
	answer, _ := m.merge(s, c.View.Pending, contents.Rows, at.LastSeq)
	switch {
	case m.fitsAll(a.X, answer):
		c.Stage = valid
	case !c.Fresh && !m.faults.RefusesOnAnOldView:
		*c = Call{Stage: sent, Fresh: true}
	default:
		*c = Call{Stage: refused}
	}
	return true
}

// fitsAll says whether a transaction can be done to what is shown. That the id of a
// create is taken is found out only where it was known before: the client made it, or
// the create is corrected.
func (m *Model) fitsAll(x Tx, rows [maxRows]Row) bool {
	r := m.request(x)
	_, correction := m.corrected(x)
	for _, parent := range r.References {
		if !rows[parent].Exists {
			return false
		}
	}
	for _, step := range r.Steps {
		if (step.Kind != Create || step.ClientID || correction) && !m.fits(step, rows[step.Row]) {
			return false
		}
		change(step, &rows[step.Row], by(x))
	}
	return true
}

// accept is the script: idempotency, load, guards, seq; then stream, list or dead
// letters, idempotency, guards.
func (m *Model) accept(s *State, a Action) bool {
	x := a.X
	c, r, request := &s.Calls[x], &s.Redis, m.request(x)
	if c.Stage != valid {
		return false
	}
	n := x / m.attempts
	if r.Keys[n] != 0 && !m.faults.KeyNotInTheScript {
		*c = Call{Stage: accepted, Answer: r.Keys[n]}
		return true
	}
	if c.View.Load != r.Load && !m.faults.AcceptsUnderAnyLoad || m.guarded(request, r, c.View.LastSeq) {
		*c = Call{Stage: sent, Fresh: true}
		return true
	}
	for y := Tx(0); y < firstCancel; y++ {
		if m.attemptsOf(x).has(y) && s.Watch.Accepted[y] != 0 && !s.Watch.Forgotten.has(y) {
			m.breaks("%s is accepted, and so was %s", m.name(x), m.name(y))
		}
	}
	m.store(s, x)
	if blocker, born := m.bornBlocked(s, x, c.View.Dead); born {
		r.Dead |= one(x)
		r.BlockedBy[x] = by(blocker)
	} else {
		r.List |= one(x)
	}
	r.Keys[n] = by(x)
	for _, step := range request.Steps {
		if step.Kind != Create || step.ClientID {
			r.Guards[step.Row] = r.Seq
		}
	}
	if v := &s.Views[process(x)]; m.scenario.Lag && v.Load == r.Load && v.LastSeq < r.Seq {
		v.Pending |= one(x) // a process shows at once what it has accepted itself
		v.Dead |= r.Dead & one(x)
		if v.LastSeq+1 == r.Seq {
			v.LastSeq++
		}
	}
	*c = Call{Stage: accepted, Answer: by(x)}
	return true
}

// store gives x the next seq and puts it into the stream.
func (m *Model) store(s *State, x Tx) {
	s.Redis.Seq++
	s.Seqs[x] = s.Redis.Seq
	s.Redis.Transactions |= one(x)
	s.Watch.N++
	s.Watch.Accepted[x] = s.Watch.N
}

// guarded: a row concerned was touched after the view.
func (m *Model) guarded(request *Request, r *Redis, seen uint8) bool {
	if m.faults.AcceptsWithoutGuards {
		return false
	}
	for _, step := range request.Steps {
		if (step.Kind != Create || step.ClientID) && r.Guards[step.Row] > seen {
			return true
		}
	}
	for _, parent := range request.References {
		if r.Guards[parent] > seen {
			return true
		}
	}
	return false
}

// bornBlocked: the possible blockers are the dead letters that the view has heard of;
// the script looks whether one of them is one still. One that failed after the view is
// left to whoever chooses the next flush.
func (m *Model) bornBlocked(s *State, x Tx, known Set) (blocker Tx, born bool) {
	if m.faults.LaterOnesAreNotBlocked {
		return 0, false
	}
	for y := Tx(0); y < firstCancel; y++ {
		if (known & s.Redis.Dead &^ s.Redis.Discarded).has(y) && m.dependsOn(x, y) {
			return y, true
		}
	}
	return 0, false
}

// answer reaches the client. Before a refusal the key is looked up in Redis once
// more: the first attempt may be what makes this one fail.
func (m *Model) answer(s *State, a Action) bool {
	c, n := &s.Calls[a.X], a.X/m.attempts
	clients := &s.Clients
	switch {
	case c.Stage == valid && m.faults.AnswersBeforeStoring && clients.Answers[n] == 0:
		clients.Answers[n] = by(a.X)
		return true
	case c.Stage == accepted:
		if clients.Answers[n] != 0 && clients.Answers[n] != c.Answer {
			m.breaks("two answers to %q name different transactions", m.request(a.X).Name)
		}
		clients.Answers[n] = c.Answer
	case c.Stage == refused:
		if m.mustPutBack(s) {
			return false
		}
		if key := s.Redis.Keys[n]; key != 0 && !m.faults.RefusesWithoutTheKey {
			*c = Call{Stage: accepted, Answer: key}
			return true
		}
		for y := Tx(0); y < firstCancel; y++ {
			if m.attemptsOf(a.X).has(y) && s.Watch.Accepted[y] != 0 && !s.Watch.Forgotten.has(y) {
				m.breaks("%s is refused although %s was accepted", m.name(a.X), m.name(y))
			}
		}
		if m.faults.RefusesOnAnOldView && !c.Fresh {
			m.refusedWrongly(s, a.X)
		}
		clients.Refused[n] = 1
	default:
		return false
	}
	*c = Call{Stage: over}
	return true
}

// refusedWrongly: what the client has been answered makes the request right.
func (m *Model) refusedWrongly(s *State, x Tx) {
	for _, earlier := range m.request(x).After {
		if s.Clients.Answers[earlier] == 0 {
			return
		}
	}
	m.breaks("%s is refused although what it needs had been answered", m.name(x))
}

func (m *Model) apiDies(s *State, a Action) bool {
	c := &s.Calls[a.X]
	if c.Stage == idle || c.Stage == over || !m.can(s, ApiDies) {
		return false
	}
	*c = Call{Stage: over}
	return true
}

// directWrite is a write at main to rows that the site may know.
func (m *Model) directWrite(s *State, a Action) bool {
	if s.Written>>a.X&1 == 1 || m.full(s, 1) || s.Resting {
		return false
	}
	if contents := m.play(s, s.log()); !contents.Rows[m.scenario.Direct[a.X].Row].Exists {
		return false
	}
	s.Written |= 1 << a.X
	c := site(s.log())
	c.Direct = a.X + 1
	s.commit(c)
	s.Watch.Sites[a.X], s.Watch.Timelines[a.X] = s.Primary.N, s.Primary.Timeline
	return true
}

func overCalls(m *Model) (out []Action) {
	for x := range uint8(len(m.scenario.Requests)) * m.attempts {
		out = append(out, Action{X: x})
	}
	return out
}

func words(format string) func(m *Model, a Action) string {
	return func(m *Model, a Action) string { return fmt.Sprintf(format, m.name(a.X)) }
}
