package protocol

// Redis restarted, restored, emptied; what every process does about it; and what a
// process's view knows.

// mustPutBack: `load` does not name the run id of the Redis that answers.
func (m *Model) mustPutBack(s *State) bool {
	return m.lossy && !m.faults.NothingIsPutBack && s.Redis.LoadRun != s.Run
}

// putBack is the script of whoever notices first: everything still kept goes back
// into the list, except dead letters and discarded targets, for what was settled
// may be settled in a past that the primary has lost.
func (m *Model) putBack(s *State, _ Action) bool {
	if !m.mustPutBack(s) {
		return false
	}
	r := &s.Redis
	back := r.Transactions &^ r.Dead &^ r.Discarded
	if m.faults.PutBackLeavesReplicated {
		back &^= r.Replicated
	}
	m.enlist(r, back)
	if !m.faults.PutBackKeepsTheEpoch {
		r.Epoch++
	}
	s.Tokens++
	r.Load, r.LoadRun = s.Tokens, s.Run
	r.Change++ // "reload"
	return true
}

// enlist takes transactions back into the list, whatever they were.
func (m *Model) enlist(r *Redis, set Set) {
	r.List |= set
	r.Replicated &^= set
	r.Dead &^= set
	for x := range r.Positions {
		if set.has(Tx(x)) {
			r.Positions[x], r.BlockedBy[x] = 0, 0
		}
	}
}

// follow brings the view of a process up to Redis: entries and changes after its
// positions, or everything anew when `load` is another, or a counter behind ours.
func (m *Model) follow(s *State, p int) {
	v, r := &s.Views[p], &s.Redis
	now := View{Pending: m.pendingIn(r), Dead: r.Dead &^ r.Discarded, LastSeq: r.Seq, LastChange: r.Change, Swept: r.Swept, Load: r.Load, Run: s.Run}
	if m.lossy && v.Run != s.Run && v.Load == r.Load && r.Seq >= v.LastSeq && r.Change >= v.LastChange {
		// Another Redis that looks like the one we know: only what lies beyond our
		// positions is read.
		old := v.Pending
		for x := Tx(0); x < maxTx; x++ {
			if now.Pending.has(x) && s.Seqs[x] <= v.LastSeq {
				now.Pending &^= one(x)
				now.Dead &^= one(x)
			}
		}
		now.Pending |= old
		now.Dead |= v.Dead
	}
	*v = now
}

func (m *Model) catchUp(s *State, a Action) bool {
	before := s.Views[a.X]
	m.follow(s, int(a.X))
	return before != s.Views[a.X]
}

// copyRedis is a backup, taken once.
func (m *Model) copyRedis(s *State, _ Action) bool {
	if s.HasCopy != 0 || s.Resting {
		return false
	}
	s.Copy, s.HasCopy, s.CopyAt = s.Redis, 1, s.Watch.N
	return true
}

// restore brings the copy back, counters and `load` included, as another run.
func (m *Model) restore(s *State, _ Action) bool {
	if s.HasCopy != 1 || !m.can(s, RedisRestored) {
		return false
	}
	s.Redis = s.Copy
	if s.Used[RedisRestored] == m.most[RedisRestored] {
		s.Copy, s.HasCopy = Redis{}, 2
	}
	m.forget(s, s.CopyAt)
	s.Run++
	return true
}

func (m *Model) restart(s *State, _ Action) bool {
	if !m.can(s, RedisRestarted) {
		return false
	}
	s.Run++
	return true
}

// noLoad is a `load` that is missing.
const noLoad = 255

// empty: a Redis without its file (X 0), or FLUSHALL under live connections (X 1).
func (m *Model) empty(s *State, a Action) bool {
	if !m.can(s, RedisEmptied) {
		return false
	}
	s.Redis = Redis{Load: noLoad, LoadRun: noLoad}
	m.forget(s, 0)
	if a.X == 0 {
		s.Run++
	}
	return true
}

// forget: what was accepted later than that is not promised any more, and what was
// shown of it may disappear.
func (m *Model) forget(s *State, after uint8) {
	for x, n := range s.Watch.Accepted {
		if n > after {
			s.Watch.Forgotten |= one(Tx(x))
		}
	}
	s.Watch.Shown = [maxRows]Row{}
}
