package protocol

// Replication, failover, and the tracker that follows them (platform/lsn,
// modules/buffer/follow.go, scripts/mark.lua, unsweep.lua, expire.lua).

// replay: the replica shows the first X commits of its timeline.
func (m *Model) replay(s *State, a Action) bool {
	r := &s.Replica
	n := r.N
	if r.Timeline == s.Primary.Timeline {
		n = s.Primary.N
	}
	if a.X <= r.Replayed || a.X > n {
		return false
	}
	r.Replayed = a.X
	return true
}

// replicaCrash: it is open again before it has replayed everything.
func (m *Model) replicaCrash(s *State, a Action) bool {
	if a.X >= s.Replica.Replayed || !m.can(s, ReplicaCrash) {
		return false
	}
	s.Replica.Replayed = a.X
	return true
}

// failover: a standby that has the first X commits becomes the primary. What it
// lacks is lost, direct writes too; no commit whose transactions have expired here is.
func (m *Model) failover(s *State, a Action) bool {
	p, r := &s.Primary, &s.Replica
	if a.X >= p.N || s.Resting {
		return false
	}
	contents := m.play(s, p.Log[:a.X])
	expired := s.Watch.Expired&^(contents.Applied|contents.Discarded) != 0 || s.Watch.Expired != 0 && site(p.Log[:a.X]).Batch < s.Redis.Expired
	if expired || !m.can(s, Failover) {
		return false
	}
	if r.Timeline == p.Timeline {
		r.Old, r.N, r.Fork = p.Log, p.N, a.X
	} else {
		r.Fork = min(r.Fork, a.X)
	}
	for i := a.X; i < p.N; i++ {
		p.Log[i] = Commit{}
	}
	p.N = a.X
	p.Timeline++
	s.Late = [maxLate]Late{}
	s.Watch.DiscardDone &= contents.Discarded
	return true
}

// follow the new primary: the replica is rewound to where the timelines part.
func (m *Model) rewind(s *State, _ Action) bool {
	r := &s.Replica
	if r.Timeline == s.Primary.Timeline {
		return false
	}
	r.Replayed = min(r.Replayed, r.Fork)
	r.Timeline, r.Old, r.N, r.Fork = s.Primary.Timeline, [logRoom]Commit{}, 0, 0
	return true
}

// look: what the buffer holds, and then the site's number at the replica.
func (m *Model) look(s *State, a Action) bool {
	t, r := &s.Trackers[a.X], &s.Redis
	if t.Looking || m.mustPutBack(s) {
		return false
	}
	*t = Tracker{Looking: true, Batch: site(s.shown()).Batch, Swept: r.Swept, Load: r.Load}
	if m.faults.MarkTrustsTheView {
		t.Seen = m.reached(r, t.Batch)
	}
	return true
}

// reached are the settled ones that a replica with this number shows.
func (m *Model) reached(r *Redis, batch uint8) (out Set) {
	for x := Tx(0); x < maxTx; x++ {
		if n := r.Positions[x]; n != 0 && r.Transactions.has(x) && (n <= batch || m.faults.AnyLaterNumberReplicates && batch > r.Swept) {
			out |= one(x)
		}
	}
	return out
}

// mark is the script: what the number has reached is replicated, its rows leave the
// view, and swept rises.
func (m *Model) mark(s *State, a Action) bool {
	t, r := &s.Trackers[a.X], &s.Redis
	if !t.Looking || t.Batch < t.Swept && !m.faults.ReplicaNeverGoesBack {
		return false
	}
	if t.Load == r.Load {
		gone := m.reached(r, t.Batch) &^ r.Replicated
		if m.faults.MarkTrustsTheView {
			gone = t.Seen &^ r.Replicated &^ r.List &^ r.Dead
		}
		r.Replicated |= gone
		for x := range r.Positions {
			if gone.has(Tx(x)) {
				r.Swept = max(r.Swept, min(r.Positions[x], t.Batch))
				if m.faults.NothingIsRetained {
					m.expireOne(s, Tx(x))
				}
			}
		}
	}
	*t = Tracker{}
	return true
}

// unsweep is the script for a replica that shows less than it did: the kept ones
// above its number are applied again, and swept sinks, not below what has expired.
func (m *Model) unsweep(s *State, a Action) bool {
	t, r := &s.Trackers[a.X], &s.Redis
	if !t.Looking || t.Batch >= t.Swept || m.faults.ReplicaNeverGoesBack {
		return false
	}
	if t.Load == r.Load && t.Batch < r.Swept {
		for x := range r.Positions {
			if r.Positions[x] > t.Batch {
				r.Replicated &^= one(Tx(x))
			}
		}
		lower := max(t.Batch, r.Expired)
		if m.faults.SweptSinksBelowExpired {
			lower = t.Batch
		}
		r.Swept = min(r.Swept, lower)
	}
	*t = Tracker{}
	return true
}

// expire forgets a replicated transaction when the primary, as it is now, has had it
// for the retention, in order of position and of applying. No request and no tracker
// takes as long as that, nor a connection to a primary that is none any more.
func (m *Model) expire(s *State, a Action) bool {
	r := &s.Redis
	if !r.Replicated.has(a.X) || s.Resting {
		return false
	}
	// A trace does not tell when main was heard: before a connection ended counts too.
	if !m.following && !m.heard(s) && !m.faults.ExpiresWithoutMain {
		return false
	}
	for _, t := range s.Trackers {
		if t.Looking {
			return false
		}
	}
	for x := range s.Calls {
		if c := s.Calls[x].Stage; m.attemptsOf(a.X).has(Tx(x)) && c != idle && c != over {
			return false
		}
	}
	for x, n := range r.Positions {
		older := n < r.Positions[a.X] && !m.faults.ExpiresInAnyOrder
		before := n == r.Positions[a.X] && m.before(s, Tx(x), a.X) && !m.faults.ExpiresAnyOfAGroup
		if n != 0 && (older || before) {
			return false
		}
	}
	if !m.can(s, Expiries) {
		return false
	}
	m.expireOne(s, a.X)
	s.Watch.Expired |= one(a.X)
	return true
}

// heard: a processor is connected to the primary, so that what main had lost has gone
// back to the buffer.
func (m *Model) heard(s *State) bool {
	for _, p := range s.Processors {
		if p.Stage >= ready && p.Timeline == s.Primary.Timeline {
			return true
		}
	}
	return false
}

func (m *Model) expireOne(s *State, x Tx) {
	r := &s.Redis
	r.Expired = max(r.Expired, r.Positions[x])
	for n := range r.Keys {
		if r.Keys[n] == by(x) {
			r.Keys[n] = 0
		}
	}
	for i := range r.Guards {
		if r.Guards[i] == s.Seqs[x] {
			r.Guards[i] = 0
		}
	}
	r.Transactions &^= one(x)
	r.Replicated &^= one(x)
	r.Discarded &^= one(x)
	r.Positions[x], r.Tries[x] = 0, 0
}

func overTrackers(m *Model) (out []Action) {
	for t := range 1 + m.most[SecondTracker] {
		out = append(out, Action{X: t})
	}
	return out
}

func overCommits(*Model) (out []Action) {
	for n := range uint8(searchLog + 1) {
		out = append(out, Action{X: n})
	}
	return out
}
