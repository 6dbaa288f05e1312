package protocol

// Dead letters, and what an operator does about them (scripts/retry.lua, the
// discard transaction, pause and resume).

// held are the dead letters that those of set hold back, transitively.
func (m *Model) held(r *Redis, set Set) (out Set) {
	in := set
	for grown := true; grown; {
		grown = false
		for x := Tx(0); x < firstCancel; x++ {
			if b := r.BlockedBy[x]; b != 0 && (r.Dead &^ r.Discarded &^ in).has(x) && in.has(b-1) {
				in |= one(x)
				out |= one(x)
				grown = true
			}
		}
	}
	return out
}

// retry puts a dead letter and what it holds back into the list, by seq.
func (m *Model) retry(s *State, a Action) bool {
	if !(s.Redis.Dead &^ s.Redis.Discarded).has(a.X) || !m.can(s, OperatorRetry) {
		return false
	}
	s.Watch.Retried = true
	m.requeue(s, a.X)
	return true
}

// retryDue is the same by the processor itself, when the next try is due.
func (m *Model) retryDue(s *State, a Action) bool {
	r := &s.Redis
	if !(r.Dead &^ r.Discarded).has(a.X) || r.BlockedBy[a.X] != 0 || r.Tries[a.X] >= m.scenario.Retries {
		return false
	}
	m.requeue(s, a.X)
	return true
}

func (m *Model) requeue(s *State, x Tx) {
	r := &s.Redis
	again := one(x)
	if !m.faults.RetryLeavesWhatItBlocks {
		again |= m.held(r, again)
	}
	m.enlist(r, again)
	if m.faults.RetryGoesToTheNewEnd {
		r.Seq++
		s.Seqs[x] = r.Seq
	}
}

// discard accepts a transaction whose effect is the decision; the target's rows
// leave the view at once, and nothing picks it up or puts it back any more.
func (m *Model) discard(s *State, a Action) bool {
	r := &s.Redis
	d := Tx(firstCancel)
	for d < maxTx && s.Targets[d-firstCancel] != 0 {
		d++
	}
	if !(r.Dead &^ r.Discarded).has(a.X) || d == maxTx || !m.can(s, OperatorDiscard) {
		return false
	}
	s.Watch.Decided |= one(a.X)
	r.Discarded |= one(a.X)
	if m.faults.DiscardIsOnlyInRedis {
		return true
	}
	s.Targets[d-firstCancel] = by(a.X)
	m.store(s, d)
	r.List |= one(d)
	return true
}

// replace accepts a correction in the place of the dead letter X: one transaction that
// decides about it and does what it was to do. It is checked as if what builds on the
// dead letter came later.
func (m *Model) replace(s *State, a Action) bool {
	r := &s.Redis
	c := Tx(0)
	for target, ok := m.corrected(c); !ok || target != a.X; target, ok = m.corrected(c) {
		if c++; c == firstCancel {
			return false
		}
	}
	log := s.shown()
	at := site(log)
	if s.Watch.Accepted[c] != 0 || !(r.Dead &^ r.Discarded).has(a.X) || at.Batch < r.Swept {
		return false
	}
	later := m.withDependents(s, one(a.X), r.Transactions)
	answer, _ := m.merge(s, m.pendingIn(r)&^later, m.play(s, log).Rows, at.LastSeq)
	if !m.fitsAll(c, answer) || !m.can(s, OperatorReplace) {
		return false
	}
	s.Watch.Decided |= one(a.X)
	r.Discarded |= one(a.X)
	m.store(s, c)
	r.List |= one(c)
	for _, step := range m.request(c).Steps {
		r.Guards[step.Row] = r.Seq
	}
	return true
}

func (m *Model) pause(s *State, _ Action) bool {
	if s.Redis.Paused || !m.can(s, OperatorPause) {
		return false
	}
	s.Redis.Paused = true
	return true
}

func (m *Model) resume(s *State, _ Action) bool {
	if !s.Redis.Paused {
		return false
	}
	s.Redis.Paused = false
	return true
}

// mend removes at main what made the poison fail.
func (m *Model) mend(s *State, _ Action) bool {
	if s.Mended || !m.can(s, CauseRemoved) {
		return false
	}
	s.Mended = true
	return true
}

// export writes a sneakernet file: everything still kept, except what is discarded and
// dead letters with what depends on them; an earlier settled one may have been lost at
// main.
func (m *Model) export(s *State, _ Action) bool {
	if s.File.Written || m.most[Imports] == 0 || s.Redis.List == 0 || s.Resting {
		return false
	}
	kept := s.Redis.Transactions &^ s.Redis.Discarded
	dead := s.Redis.Dead & kept
	if !m.faults.ExportsWhatWaits {
		dead = m.withDependents(s, dead, kept)
	}
	s.File = File{Written: true, Transactions: kept &^ dead}
	if m.faults.ExportsOnlyTheBuffered {
		s.File.Transactions = s.Redis.List
	}
	return true
}

// importFile applies a file at main: one commit each, with ledger and last_seq, not
// with the site's number; what depends on one that failed waits for the site.
func (m *Model) importFile(s *State, _ Action) bool {
	if !s.File.Written || s.File.Imported || m.full(s, 4) || !m.can(s, Imports) {
		return false
	}
	s.File.Imported = true
	contents, held := m.play(s, s.log()), Set(0)
	m.inOrder(s, s.File.Transactions, func(x Tx) {
		for y := Tx(0); y < firstCancel; y++ {
			if held.has(y) && m.dependsOn(x, y) {
				held |= one(x)
				return
			}
		}
		c := site(s.log())
		switch m.applyOne(s, x, &contents, &c) {
		case failed:
			held |= one(x)
		case appliedNow:
			if !m.faults.ImportLeavesLastSeq {
				c.LastSeq = max(c.LastSeq, s.Seqs[x])
			}
			s.commit(c)
		}
	})
	s.File.Transactions = 0
	return true
}
