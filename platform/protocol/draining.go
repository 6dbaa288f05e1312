package protocol

import "fmt"

// The processor (modules/buffer) and its scripts.

// fenced: another epoch or another `load` than this session's.
func (m *Model) fenced(s *State, p *Processor) bool {
	return s.Redis.Epoch != p.Epoch && !m.faults.SessionsCarryNoEpoch || s.Redis.Load != p.Load && !m.faults.SessionsCarryNoLoad
}

// session is what a script of a processor begins with: when it is fenced the
// connection ends, and nothing else happens.
func (m *Model) session(s *State, p *Processor) bool {
	if !m.fenced(s, p) {
		return true
	}
	*p = Processor{}
	return false
}

// beginEpoch is INCR epoch, for a new connection.
func (m *Model) beginEpoch(s *State, a Action) bool {
	p := &s.Processors[a.X]
	if p.Stage != unconnected || !s.Resting && s.Used[Connections] > m.most[Connections] {
		return false
	}
	if !s.Resting {
		s.Used[Connections]++ // one more than the bound: the first is free
	}
	s.Redis.Epoch++
	*p = Processor{Stage: claiming, Epoch: s.Redis.Epoch, Load: s.Redis.Load, Timeline: s.Primary.Timeline}
	return true
}

// connectFlush arrives at the primary: claim, and which of our dead letters the
// ledger has.
func (m *Model) connectFlush(s *State, a Action) bool {
	p := &s.Processors[a.X]
	if p.Stage != claiming || p.Timeline != s.Primary.Timeline || m.full(s, 1) {
		return false
	}
	was := site(s.log())
	if !m.claim(s, p.Epoch) {
		p.Stage, p.ClaimEpoch = claimRefused, was.Epoch
		return true
	}
	contents := m.play(s, s.log())
	p.Stage, p.ClaimBatch, p.ClaimSeq, p.Previous = claimed, was.Batch, was.LastSeq, site(s.log()).Batch
	p.Found = (contents.Applied | contents.Discarded) & s.Redis.Dead
	return true
}

// raiseEpoch: a refused claim although `epoch` is still ours means a Redis that
// has forgotten its own.
func (m *Model) raiseEpoch(s *State, a Action) bool {
	p := &s.Processors[a.X]
	if p.Stage != claimRefused {
		return false
	}
	if !m.fenced(s, p) {
		s.Redis.Epoch = max(s.Redis.Epoch, p.ClaimEpoch)
	}
	*p = Processor{}
	return true
}

// connected is the script that tells Redis what the claim said: the lost tail goes
// back before anything is sent, numbers begin above everything ever sent, and dead
// letters that the ledger has are sent again. Y is the number that the clock gives,
// 0 for the smallest that a clock can give.
func (m *Model) connected(s *State, a Action) bool {
	p, r := &s.Processors[a.X], &s.Redis
	if p.Stage != claimed {
		return false
	}
	if !m.session(s, p) {
		return true
	}
	batch := max(r.Batch, p.ClaimBatch)
	switch {
	case m.faults.NumbersBeginAtTheClaim:
	case m.faults.NumbersLeap:
		batch += 3
	default:
		batch = max(batch, s.Clock)
	}
	if a.Y != 0 {
		if a.Y < batch {
			return false
		}
		batch = a.Y
	}
	tail := Set(0)
	for x := Tx(0); x < maxTx; x++ {
		if r.Positions[x] > p.ClaimBatch && !r.Discarded.has(x) {
			tail |= one(x)
		}
	}
	switch {
	case m.faults.TailStays:
		tail = 0
	case m.faults.TailLeavesReplicated:
		tail &^= r.Replicated
	case m.faults.TailIsWhatTheLedgerLacks:
		contents := m.play(s, s.log())
		tail &^= contents.Applied
	}
	m.enlist(r, tail)
	r.Batch = batch
	r.Seq = max(r.Seq, p.ClaimSeq)
	if again := p.Found & r.Dead &^ r.Discarded; !m.faults.DeadLettersAreNotAskedFor {
		m.enlist(r, again|m.held(r, again))
	}
	if !m.faults.FoundIsSettledWithTheClaim {
		p.ClaimBatch = 0 // nobody needs it any more
	}
	*p = p.goesOn(ready)
	return true
}

// goesOn is the same connection with nothing on it.
func (p *Processor) goesOn(stage uint8) Processor {
	return Processor{Stage: stage, Epoch: p.Epoch, Load: p.Load, Timeline: p.Timeline, Previous: p.Previous, ClaimBatch: p.ClaimBatch}
}

// pick chooses the oldest Y&7 that may be sent; Y&8 in two groups.
func (m *Model) pick(s *State, a Action) bool {
	n := a.Y & 7
	if a.Y&8 == 0 {
		return m.choose(s, a.X, n, n)
	}
	return m.scenario.Split && m.choose(s, a.X, n, 1)
}

// choose takes, on a view just caught up, the oldest n that may be sent, in a group
// of the first so many and a second one. What waits for a dead letter is blocked
// first, transitively, and everything evaluated again.
func (m *Model) choose(s *State, processor, n, first uint8) bool {
	p, r := &s.Processors[processor], &s.Redis
	if p.Stage != ready || r.Paused || r.List == 0 {
		return false
	}
	dead := r.Dead &^ r.Discarded
	if m.faults.LaterOnesAreNotBlocked {
		dead = 0
	}
	var blocked, chosen, second Set
	var blockedBy [maxTx]uint8
	count := uint8(0)
	m.inOrder(s, r.List, func(x Tx) {
		for y := Tx(0); y < firstCancel; y++ {
			if dead.has(y) && m.before(s, y, x) && m.dependsOn(x, y) && !(m.faults.BlockingIsNotTransitive && (blocked.has(y) || r.BlockedBy[y] != 0)) {
				blocked |= one(x)
				blockedBy[x] = by(y)
				dead |= one(x)
				return
			}
		}
		if count == n {
			return
		}
		count++
		chosen |= one(x)
		if count > first {
			second |= one(x)
		}
	})
	if blocked != 0 {
		if n > 1 {
			return false // the same as with 1
		}
		p.Stage, p.Blocked, p.BlockedBy = blocking, blocked, blockedBy
		return true
	}
	if count < n {
		return false // the same as a smaller flush
	}
	if m.faults.PopsBeforeTheCommit {
		r.List &^= chosen
	}
	p.Stage, p.Flush = picked, Flush{Groups: [maxGroups]Set{chosen &^ second, second}}
	return true
}

// block is the script: only what still is in the list, and only if its blocker
// still is a dead letter.
func (m *Model) block(s *State, a Action) bool {
	p, r := &s.Processors[a.X], &s.Redis
	if p.Stage != blocking {
		return false
	}
	if !m.session(s, p) {
		return true
	}
	m.inOrder(s, p.Blocked&r.List, func(x Tx) {
		if blocker := p.BlockedBy[x] - 1; (r.Dead &^ r.Discarded).has(blocker) || m.faults.BlocksWhateverItsBlockerIs {
			r.List &^= one(x)
			r.Dead |= one(x)
			r.BlockedBy[x] = by(blocker)
		}
	})
	p.Stage, p.Blocked, p.BlockedBy = ready, 0, [maxTx]uint8{}
	return true
}

// raiseBatch reserves the numbers of the flush in Redis; then it is sent.
func (m *Model) raiseBatch(s *State, a Action) bool {
	p, r := &s.Processors[a.X], &s.Redis
	if p.Stage != picked {
		return false
	}
	if !m.session(s, p) {
		return true
	}
	n := r.Batch
	if m.faults.NumbersAreNotKept {
		n = p.Previous
	}
	for g := range p.Flush.Groups {
		if p.Flush.Groups[g] != 0 {
			n++
			p.Flush.Numbers[g] = n
		}
	}
	if !m.faults.NumbersAreNotKept {
		r.Batch = n
	}
	s.Clock = max(s.Clock, n)
	p.Stage = flushing
	return true
}

// deliverGroup: the primary works off the next group of the flush.
func (m *Model) deliverGroup(s *State, a Action) bool {
	p := &s.Processors[a.X]
	if !p.sending() || p.Timeline != s.Primary.Timeline || m.full(s, 1) {
		return false
	}
	m.deliver(s, &p.Flush, p.Epoch, &p.Previous)
	return true
}

// sending: groups of its flush are on their way, also while the answers to the first
// ones are settled.
func (p *Processor) sending() bool {
	return (p.Stage == flushing || p.Stage == answered || p.Stage == failing) && p.Flush.more()
}

func (f *Flush) more() bool {
	return !f.Refused && f.Delivered < maxGroups && f.Groups[f.Delivered] != 0
}

// rollBack: the group's COMMIT answers ROLLBACK, without an error.
func (m *Model) rollBack(s *State, a Action) bool {
	p := &s.Processors[a.X]
	f := &p.Flush
	if !p.sending() || p.Timeline != s.Primary.Timeline || !m.can(s, RolledBack) {
		return false
	}
	if m.faults.TakesAnyTagForACommit {
		f.Done[f.Delivered] = f.Groups[f.Delivered]
		p.Previous = f.Numbers[f.Delivered]
		f.Delivered++
		return true
	}
	f.Refused = true
	return true
}

// waits, in the Y of hear, says that the processor waits for the answers to the other
// groups.
const waits uint8 = 4

// hear: the processor knows the answers to the first Y groups. Fewer than it has
// sent, and it waits for the others while these are settled, or the connection is
// lost: then of the others nothing is known.
func (m *Model) hear(s *State, a Action) bool {
	p := &s.Processors[a.X]
	f := &p.Flush
	n, on, groups := a.Y&^waits, a.Y&waits != 0, f.groups()
	if p.Stage != flushing || n > f.Delivered || n < f.Heard || n == f.Heard && (on || !f.Refused) || on && n == groups {
		return false
	}
	lost := n < groups && !on
	if lost && !f.Refused && p.Timeline == s.Primary.Timeline && !s.Resting && !m.can(s, LinkCut) {
		return false
	}
	known := Set(0)
	next := p.goesOn(answered)
	next.Lost = lost
	for g := f.Heard; g < n; g++ {
		known |= f.Groups[g]
		next.Settled[g], next.Numbers[g] = f.Done[g], f.Numbers[g]
	}
	if m.faults.SettlesWhatItHasNotHeard && n > 0 {
		for g := n; g < groups; g++ {
			next.Settled[g], next.Numbers[g] = f.Groups[g], f.Numbers[g]
		}
	}
	if m.faults.SettlesPastWhatIsFound && m.can(s, LinkCut) {
		for g, done := range next.Settled {
			next.Settled[g] &^= m.found(s, done, next.Numbers[g])
			next.Lost = next.Lost || next.Settled[g] != done
		}
	}
	next.Discards, next.Failed = f.Discards&known, f.Failed&known
	if on {
		next.Flush = *f
		next.Flush.Heard = n
	}
	if n == f.Heard && !m.faults.SettlesWhatItHasNotHeard {
		next = Processor{}
	}
	*p = next
	return true
}

// settle is the script: by id, each with the number of the group that holds it or
// has found it.
func (m *Model) settle(s *State, a Action) bool {
	p, r := &s.Processors[a.X], &s.Redis
	if p.Stage != answered {
		return false
	}
	if !m.session(s, p) {
		return true
	}
	for g := range p.Settled {
		number := p.Numbers[g]
		if m.faults.FoundIsSettledWithTheClaim && p.ClaimBatch > 1 && m.found(s, p.Settled[g], number) == p.Settled[g] {
			number = p.ClaimBatch
		}
		done := p.Settled[g]
		if m.faults.SettlesFromTheOldEnd {
			done = m.oldest(s, done)
		}
		m.inOrder(s, done, func(x Tx) {
			m.settleOne(r, x, number, p.Discards.has(x))
			if x >= firstCancel {
				back := Set(0)
				if m.faults.LateDiscardsComeBack {
					back = m.play(s, s.log()).Applied
				}
				m.inOrder(s, m.decidedBy(s, x), func(target Tx) { m.settleOne(r, target, number, !back.has(target)) })
			}
			if target, ok := m.corrected(x); ok {
				m.settleOne(r, target, number, true)
				if !m.faults.CorrectionsReleaseNothing {
					m.enlist(r, m.held(r, one(target)))
				}
			}
		})
	}
	if p.Failed != 0 {
		next := p.goesOn(failing)
		next.Failed, next.Lost, next.Flush = p.Failed, p.Lost, p.Flush
		*p = next
	} else {
		*p = p.afterAnswers()
	}
	return true
}

// afterAnswers is the connection once what is known of its flush is settled.
func (p *Processor) afterAnswers() Processor {
	switch {
	case p.Lost:
		return Processor{}
	case p.Flush.Heard != 0:
		next := p.goesOn(flushing)
		next.Flush = p.Flush
		return next
	}
	return p.goesOn(ready)
}

// found are those of the set that the commit of that number does not hold.
func (m *Model) found(s *State, set Set, number uint8) Set {
	for _, c := range s.log() {
		if c.Batch == number {
			set &^= c.Applied
		}
	}
	return set
}

// oldest are as many as set has, from the old end of the list.
func (m *Model) oldest(s *State, set Set) (out Set) {
	n := 0
	for x := Tx(0); x < maxTx; x++ {
		if set.has(x) {
			n++
		}
	}
	m.inOrder(s, s.Redis.List, func(x Tx) {
		if n > 0 {
			out |= one(x)
			n--
		}
	})
	return out
}

// settleOne: only what is buffered or dead. A settled dead letter releases what it
// blocked.
func (m *Model) settleOne(r *Redis, x Tx, number uint8, discarded bool) {
	if !(r.List | r.Dead).has(x) || !r.Transactions.has(x) {
		return
	}
	wasDead := r.Dead.has(x)
	r.List &^= one(x)
	r.Dead &^= one(x)
	r.Positions[x], r.BlockedBy[x] = number, 0
	if discarded {
		r.Discarded |= one(x)
		return
	}
	r.Discarded &^= one(x)
	if wasDead {
		m.enlist(r, m.held(r, one(x)))
	}
}

// fail is the script: dead letters, of what still is in the list.
func (m *Model) fail(s *State, a Action) bool {
	p, r := &s.Processors[a.X], &s.Redis
	if p.Stage != failing {
		return false
	}
	if !m.session(s, p) {
		return true
	}
	m.inOrder(s, p.Failed, func(x Tx) {
		if !r.List.has(x) && !(m.faults.FailsWhatHasLeftTheList && r.Transactions.has(x) && !r.Dead.has(x)) {
			return
		}
		if r.Positions[x] != 0 {
			m.breaks("%s goes from applied to failed", m.name(x))
		}
		r.List &^= one(x)
		r.Replicated &^= one(x)
		r.Dead |= one(x)
		r.Positions[x], r.BlockedBy[x] = 0, 0
		r.Tries[x]++
	})
	*p = p.afterAnswers()
	return true
}

// lose ends a connection: the process dies, or the line is cut, and what the
// primary has not received is gone.
func (m *Model) lose(s *State, a Action) bool {
	p := &s.Processors[a.X]
	if p.Stage == unconnected || p.Timeline == s.Primary.Timeline && !m.can(s, LinkCut) {
		return false
	}
	*p = Processor{}
	return true
}

// loseLate is the same while the network still holds what was sent.
func (m *Model) loseLate(s *State, a Action) bool {
	p := &s.Processors[a.X]
	if p.Timeline != s.Primary.Timeline || p.Stage != claiming && !p.sending() {
		return false
	}
	for i := range s.Late {
		if l := &s.Late[i]; l.Kind == lateNothing {
			if !m.can(s, LateMessage) {
				return false
			}
			*l = Late{Kind: lateClaim, Epoch: p.Epoch}
			if p.Stage != claiming {
				*l = Late{Kind: lateFlush, Epoch: p.Epoch, Previous: p.Previous, Flush: p.Flush}
			}
			*p = Processor{}
			return true
		}
	}
	return false
}

func overProcessors(m *Model) (out []Action) {
	for p := range max(m.scenario.Processors, 1) {
		out = append(out, Action{X: p})
	}
	return out
}

func overFlushes(m *Model) (out []Action) {
	for p := range max(m.scenario.Processors, 1) {
		for n := uint8(1); n <= max(m.scenario.Flush, 1); n++ {
			out = append(out, Action{X: p, Y: n})
			if n > 1 && m.scenario.Split {
				out = append(out, Action{X: p, Y: n | 8})
			}
		}
	}
	return out
}

func overAnswers(m *Model) (out []Action) {
	for p := range max(m.scenario.Processors, 1) {
		for n := range uint8(maxGroups + 1) {
			out = append(out, Action{X: p, Y: n})
			if n > 0 && n < maxGroups && m.scenario.Split {
				out = append(out, Action{X: p, Y: n | waits})
			}
		}
	}
	return out
}

func ofProcessor(format string) func(m *Model, a Action) string {
	return func(_ *Model, a Action) string { return fmt.Sprintf("processor %d: "+format, a.X+1) }
}
