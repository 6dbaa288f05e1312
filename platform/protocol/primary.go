package protocol

// What the messages of a processor do at the primary (txn.Link): the claim, and
// the groups of a flush, each one commit.

// claim: UPDATE site_status SET epoch … WHERE epoch < it.
func (m *Model) claim(s *State, epoch uint8) bool {
	c := site(s.log())
	if c.Epoch >= epoch {
		if !m.faults.ClaimTakesAnyEpoch {
			return false
		}
		if c.Epoch > epoch {
			m.breaks("a late claim fences off its successor")
		}
	}
	c.Epoch = epoch
	if m.faults.ClaimLiftsTheNumber {
		c.Batch = max(c.Batch, s.Redis.Batch) + 1
		s.Redis.Batch = c.Batch
		s.Clock = max(s.Clock, c.Batch)
	}
	s.commit(c)
	return true
}

// deliver lets the primary work off the next group of a flush: head, then per
// transaction guard, ledger row and steps behind a savepoint, COMMIT. A head of
// another epoch or number is refused, and everything after it.
func (m *Model) deliver(s *State, f *Flush, epoch uint8, previous *uint8) {
	g := f.Delivered
	c := site(s.log())
	if c.Epoch != epoch && !m.faults.HeadIgnoresTheEpoch || c.Batch != *previous && !m.faults.HeadIgnoresTheNumber {
		f.Refused = true
		return
	}
	f.Delivered++
	number := f.Numbers[g]
	if number <= c.Batch {
		m.breaks("the site's number goes back or repeats at the primary")
	}
	*previous = number
	c.Batch = number
	whole := Set(0)
	for _, group := range f.Groups {
		whole |= group
	}
	contents := m.play(s, s.log())
	m.inOrder(s, f.Groups[g], func(x Tx) {
		c.LastSeq = max(c.LastSeq, s.Seqs[x])
		if !m.faults.NoGuardInTheFlush && m.postponed(s, x, whole, &contents) {
			return
		}
		switch m.applyOne(s, x, &contents, &c) {
		case wasDiscarded:
			f.Discards |= one(x)
			f.Done[g] |= one(x)
		case wasApplied:
			if m.faults.FoundCountsAsFailed {
				f.Failed |= one(x)
				return
			}
			f.Done[g] |= one(x)
		case appliedNow:
			f.Done[g] |= one(x)
		case failed:
			f.Failed |= one(x)
		}
	})
	s.commit(c)
}

// postponed: an earlier one of the same flush, on which x depends, is not in the
// ledger: no failure, x stays buffered.
func (m *Model) postponed(s *State, x Tx, flush Set, contents *Contents) bool {
	for y := Tx(0); y < firstCancel; y++ {
		if flush.has(y) && m.before(s, y, x) && m.dependsOn(x, y) && !(contents.Applied | contents.Discarded).has(y) {
			return true
		}
	}
	return false
}

type outcome uint8

const (
	appliedNow   outcome = iota
	wasApplied           // found in the ledger
	wasDiscarded         // found there as discarded
	failed
)

// applyOne inserts the ledger row and does the steps, into contents and the commit.
func (m *Model) applyOne(s *State, x Tx, contents *Contents, c *Commit) outcome {
	if contents.Discarded.has(x) {
		return wasDiscarded
	}
	if contents.Applied.has(x) {
		if !m.faults.NoLedger {
			return wasApplied
		}
		m.breaks("%s is applied twice", m.name(x))
	}
	if s.Watch.DiscardDone.has(x) {
		m.breaks("%s is applied after its discard was", m.name(x))
	}
	if x >= firstCancel {
		return m.applyDiscard(s, x, contents, c)
	}
	if m.faults.SeqIsUnique && m.seqTaken(s, x, contents) {
		return failed
	}
	if others := m.attemptsOf(x) &^ one(x); contents.Applied.any(others) { // unique (actor, key)
		return failed
	}
	target, correction := m.corrected(x)
	if correction && contents.Applied.has(target) && !m.faults.CorrectsWhatWasApplied {
		return failed
	}
	if !m.apply(x, &contents.Rows, s.Mended) {
		return failed
	}
	m.checkOrder(s, x, contents)
	contents.Applied |= one(x)
	c.Applied |= one(x)
	if correction {
		if contents.Applied.has(target) {
			m.breaks("%s and what it corrects have both taken effect", m.name(x))
		}
		m.decide(s, one(target), contents, c)
	}
	return appliedNow
}

// decide gives the ledger rows under the ids of what is never to be applied.
func (m *Model) decide(s *State, targets Set, contents *Contents, c *Commit) {
	contents.Discarded |= targets
	c.Discarded |= targets
	s.Watch.DiscardDone |= targets
}

// decidedBy are the dead letters that a discard is about: one, and what that was to
// correct.
func (m *Model) decidedBy(s *State, discard Tx) Set {
	target := s.Targets[discard-firstCancel] - 1
	if mistake, ok := m.corrected(target); ok {
		return one(target) | one(mistake)
	}
	return one(target)
}

// applyDiscard writes the decision and a ledger row under the target's id, unless
// it has one: then it was applied meanwhile, and the ledger wins. At the site its rows
// stay out of the view all the same: what came after it may have replicated already,
// and would be hidden by them.
func (m *Model) applyDiscard(s *State, x Tx, contents *Contents, c *Commit) outcome {
	contents.Applied |= one(x)
	c.Applied |= one(x)
	m.decide(s, m.decidedBy(s, x)&^contents.Applied, contents, c)
	return appliedNow
}

func (m *Model) seqTaken(s *State, x Tx, contents *Contents) bool {
	for y := Tx(0); y < maxTx; y++ {
		if y != x && contents.Applied.has(y) && s.Seqs[y] == s.Seqs[x] {
			if !s.Watch.Forgotten.has(x) {
				m.breaks("a seq given out again makes %s fail", m.name(x))
			}
			return true
		}
	}
	return false
}

// checkOrder: what touches one row takes effect in the order of acceptance.
func (m *Model) checkOrder(s *State, x Tx, contents *Contents) {
	w := &s.Watch
	for y := Tx(0); y < firstCancel; y++ {
		if y != x && contents.Applied.has(y) && m.acceptedAs(s, y) > m.acceptedAs(s, x) && m.touchesSame(x, y) && !w.Decided.has(x) && !w.Forgotten.any(one(x)|one(y)) {
			m.breaks("%s takes effect after %s, which was accepted later", m.name(x), m.name(y))
		}
	}
}

// acceptedAs is when x was accepted; a correction counts as what it corrects.
func (m *Model) acceptedAs(s *State, x Tx) uint8 {
	if target, ok := m.corrected(x); ok {
		return s.Watch.Accepted[target]
	}
	return s.Watch.Accepted[x]
}

func (m *Model) touchesSame(x, y Tx) bool {
	for _, a := range m.request(x).Steps {
		for _, b := range m.request(y).Steps {
			if a.Row == b.Row {
				return true
			}
		}
	}
	return false
}

// deliverLate: the network delivers what a connection that is gone had sent.
func (m *Model) deliverLate(s *State, a Action) bool {
	l := &s.Late[a.X]
	switch l.Kind {
	case lateClaim:
		if m.full(s, 1) {
			return false
		}
		m.claim(s, l.Epoch)
		*l = Late{}
	case lateFlush:
		if m.full(s, 1) {
			return false
		}
		m.deliver(s, &l.Flush, l.Epoch, &l.Previous)
		if f := &l.Flush; f.Refused || f.Delivered == maxGroups || f.Groups[f.Delivered] == 0 {
			*l = Late{}
		} else {
			f.Done, f.Discards, f.Failed = [maxGroups]Set{}, 0, 0 // nobody reads the answer
		}
	default:
		return false
	}
	return true
}
