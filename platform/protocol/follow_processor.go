package protocol

// What is seen of processors and of the primary. A processor is known by the epoch
// and the load that its scripts carry.

// commit lets the next commit at the primary happen: the places that explain it.
func (f *follower) commit(at place) (out []place) {
	if int(at.commits) == len(f.trace.Commits) {
		return nil
	}
	c := &f.trace.Commits[at.commits]
	at.commits++
	if c.Failover {
		if f.m.failover(&at.State, Action{X: c.Keep}) {
			out = append(out, at)
		}
		return out
	}
	if c.Import {
		if f.imported(&at, c) {
			out = append(out, at)
		}
		return out
	}
	fits := func(then place) {
		if n := then.Primary.N; n == at.Primary.N+1 && then.Primary.Log[n-1] == c.Commit {
			out = append(out, then)
		}
	}
	for i := range at.Processors {
		p := &at.Processors[i]
		if p.Epoch != c.Epoch || p.Timeline != at.Primary.Timeline {
			continue
		}
		then := at
		switch {
		case p.Stage == claiming:
			if f.m.connectFlush(&then.State, Action{X: uint8(i)}) {
				fits(then)
			}
		case p.sending() && p.Flush.Numbers[p.Flush.Delivered] == c.Batch:
			if f.m.deliverGroup(&then.State, Action{X: uint8(i)}) {
				fits(then)
			}
		}
	}
	for i := range at.Late {
		l := &at.Late[i]
		if l.Epoch != c.Epoch || l.Kind == lateFlush && l.Flush.Numbers[l.Flush.Delivered] != c.Batch {
			continue
		}
		then := at
		if f.m.deliverLate(&then.State, Action{X: uint8(i)}) {
			fits(then)
		}
	}
	return out
}

// imported: a group of the file is one commit, of everything from its beginning up to
// the last one that the commit holds. What the ledger has by then changes nothing; what
// fails, and what depends on that, is left out.
func (f *follower) imported(at *place, seen *TraceCommit) bool {
	if !at.File.Written || f.m.full(&at.State, 1) {
		return false
	}
	contents, c, held := f.m.play(&at.State, at.log()), site(at.log()), Set(0)
	missing, right := seen.Applied, true
	f.m.inOrder(&at.State, at.File.Transactions, func(x Tx) {
		if missing == 0 || !right {
			return
		}
		for y := Tx(0); y < firstCancel; y++ {
			if held.has(y) && f.m.dependsOn(x, y) {
				held |= one(x)
				return
			}
		}
		c.LastSeq = max(c.LastSeq, at.Seqs[x])
		switch f.m.applyOne(&at.State, x, &contents, &c) {
		case failed:
			held |= one(x)
		case appliedNow:
			right = missing.has(x)
			missing &^= one(x)
		}
	})
	// The group goes on to what it has found or could not apply.
	if c.LastSeq < seen.LastSeq && seen.LastSeq <= f.m.newest(&at.State, at.File.Transactions) {
		c.LastSeq = seen.LastSeq
	}
	if !right || missing != 0 || c != seen.Commit {
		return false
	}
	at.State.commit(c)
	return true
}

// newest is the highest seq of a set.
func (m *Model) newest(s *State, set Set) (seq uint8) {
	m.inOrder(s, set, func(x Tx) { seq = max(seq, s.Seqs[x]) })
	return seq
}

// expected: one of the commits still to come is of this epoch.
func (f *follower) expected(at *place, epoch uint8) bool {
	for _, c := range f.trace.Commits[at.commits:] {
		if c.Epoch == epoch && !c.Failover && !c.Import {
			return true
		}
	}
	return false
}

// abandon: the process of a connection is gone, or has given it up. What it has
// sent may still arrive, and it did if a commit to come is its.
func (f *follower) abandon(at place, i int, then func(at place)) {
	p := at.Processors[i]
	at.Processors[i] = Processor{}
	inFlight := p.Stage == claiming || p.sending()
	if inFlight && p.Timeline == at.Primary.Timeline && f.expected(&at, p.Epoch) {
		late := Late{Kind: lateClaim, Epoch: p.Epoch}
		if p.Stage != claiming {
			late = Late{Kind: lateFlush, Epoch: p.Epoch, Previous: p.Previous, Flush: p.Flush}
		}
		for k := range at.Late {
			if at.Late[k].Kind == lateNothing || !f.expected(&at, at.Late[k].Epoch) {
				at.Late[k] = late
				then(at)
				return
			}
		}
	}
	then(at)
}

func (f *follower) beginEpoch(at place, e *Event) {
	begin := func(at place, i int) {
		if f.m.beginEpoch(&at.State, Action{X: uint8(i)}) {
			at.Processors[i].Load = e.After.Load
			f.keep(at, e)
		}
	}
	for i := range at.Processors {
		if at.Processors[i].Stage == unconnected {
			begin(at, i)
			return
		}
	}
	for i := range at.Processors {
		f.abandon(at, i, func(at place) { begin(at, i) })
	}
}

// processors calls then for each that an event can be of.
func (f *follower) processors(at place, e *Event, then func(at place, i int)) {
	for i := range at.Processors {
		if p := &at.Processors[i]; p.Stage != unconnected && p.Epoch == e.Epoch && p.Load == e.Load {
			then(at, i)
		}
	}
}

func (f *follower) raiseEpoch(at place, e *Event) {
	f.processors(at, e, func(at place, i int) {
		p := &at.Processors[i]
		if p.Stage == claiming {
			p.Stage, p.ClaimEpoch = claimRefused, e.After.Epoch
			f.m.raiseEpoch(&at.State, Action{X: uint8(i)})
			f.keep(at, e)
		}
	})
}

func (f *follower) connected(at place, e *Event) {
	f.processors(at, e, func(at place, i int) {
		f.claimed(at, i, func(at place) {
			p := &at.Processors[i]
			if p.ClaimBatch != max(e.Batch, f.trace.Begin.Batch) || p.ClaimSeq != e.LastSeq {
				return
			}
			if contents := f.m.play(&at.State, at.log()); e.Set&^(contents.Applied|contents.Discarded) != 0 {
				return
			}
			p.Found = e.Set
			if f.m.connected(&at.State, Action{X: uint8(i), Y: e.After.Batch}) {
				f.keep(at, e)
			}
		})
	})
}

// claimed lets commits happen until the processor's claim has.
func (f *follower) claimed(at place, i int, then func(at place)) {
	switch at.Processors[i].Stage {
	case claimed:
		then(at)
	case claiming:
		for _, later := range f.commit(at) {
			f.claimed(later, i, then)
		}
	}
}

// heard lets commits happen until the first n groups of the flush are committed and
// their answers have arrived; those of the others may still come.
func (f *follower) heard(at place, i int, n uint8, then func(at place)) {
	p := &at.Processors[i]
	if p.Stage != flushing {
		return
	}
	if p.Flush.Delivered >= n {
		for _, y := range []uint8{n, n | waits} {
			if later := at; f.m.hear(&later.State, Action{X: uint8(i), Y: y}) {
				then(later)
			}
		}
		return
	}
	for _, later := range f.commit(at) {
		f.heard(later, i, n, then)
	}
}

// free calls then when the processor can choose: at once, or after a flush of which
// there was nothing to settle and nothing failed.
func (f *follower) free(at place, i int, then func(at place)) {
	p := &at.Processors[i]
	switch p.Stage {
	case ready:
		then(at)
	case flushing:
		f.heard(at, i, p.Flush.groups(), func(at place) {
			if p := &at.Processors[i]; p.Settled == [maxGroups]Set{} && p.Failed == 0 && f.m.settle(&at.State, Action{X: uint8(i)}) && at.Processors[i].Stage == ready {
				then(at)
			}
		})
	}
}

func (f *Flush) groups() (n uint8) {
	for _, g := range f.Groups {
		if g != 0 {
			n++
		}
	}
	return n
}

// choices calls then for everything that the processor may choose now.
func (f *follower) choices(at place, i int, then func(at place)) {
	f.free(at, i, func(at place) {
		for n := uint8(1); n <= maxTx; n++ {
			for first := uint8(1); first <= n; first++ {
				chosen := at
				if f.m.choose(&chosen.State, uint8(i), n, first) {
					then(chosen)
				}
			}
		}
	})
}

// chosenBefore calls then as it is, and with what processors may have chosen before
// the list or the switch changed under them.
func (f *follower) chosenBefore(at place, then func(at place)) {
	then(at)
	for i := range at.Processors {
		f.choices(at, i, then)
	}
}

func (f *follower) block(at place, e *Event) {
	f.processors(at, e, func(at place, i int) {
		block := func(at place) {
			p := &at.Processors[i]
			if p.Stage != blocking || p.Blocked != e.Set {
				return
			}
			for x := Tx(0); x < firstCancel; x++ {
				if b := e.Blockers[x]; e.Set.has(x) && (b == 0 || !f.m.dependsOn(x, b-1)) {
					return
				}
			}
			p.BlockedBy = e.Blockers // which one of several is named is not promised
			if f.m.block(&at.State, Action{X: uint8(i)}) {
				f.keep(at, e)
			}
		}
		block(at)
		f.choices(at, i, block)
	})
}

func (f *follower) raiseBatch(at place, e *Event) {
	f.processors(at, e, func(at place, i int) {
		raise := func(at place) {
			p := &at.Processors[i]
			if p.Stage == picked && p.Flush.groups() == e.Groups && f.m.raiseBatch(&at.State, Action{X: uint8(i)}) {
				f.keep(at, e)
			}
		}
		raise(at)
		f.choices(at, i, raise)
	})
}

func (f *follower) settle(at place, e *Event) {
	f.processors(at, e, func(at place, i int) {
		p := &at.Processors[i]
		if p.Stage == answered {
			f.settled(at, i, e)
		}
		for n := uint8(1); n <= p.Flush.groups(); n++ {
			f.heard(at, i, n, func(at place) { f.settled(at, i, e) })
		}
	})
}

// settled: exactly what is known is settled, each with the number of its group.
func (f *follower) settled(at place, i int, e *Event) {
	p := &at.Processors[i]
	whole, targets := Set(0), Set(0)
	for g, set := range p.Settled {
		decided := f.m.decided(&at.State, set)
		for x := Tx(0); x < maxTx; x++ {
			if (set | decided).has(x) && e.Numbers[x] != p.Numbers[g] {
				return
			}
		}
		whole, targets = whole|set, targets|decided
	}
	if whole|targets != e.Set || p.Discards&whole|targets != e.Discarded || !f.m.settle(&at.State, Action{X: uint8(i)}) {
		return
	}
	f.keep(at, e)
}

// decided are the dead letters that transactions of a set are about; they are settled
// with them.
func (m *Model) decided(s *State, set Set) (targets Set) {
	for x := Tx(0); x < maxTx; x++ {
		if !set.has(x) {
			continue
		}
		if x >= firstCancel {
			targets |= m.decidedBy(s, x)
		} else if target, ok := m.corrected(x); ok {
			targets |= one(target)
		}
	}
	return targets
}

func (f *follower) fail(at place, e *Event) {
	failed := func(at place, i int) {
		if p := &at.Processors[i]; p.Stage == failing && p.Failed == e.Set && f.m.fail(&at.State, Action{X: uint8(i)}) {
			f.keep(at, e)
		}
	}
	f.processors(at, e, func(at place, i int) {
		unsettled := func(at place) {
			if p := &at.Processors[i]; p.Settled == [maxGroups]Set{} && f.m.settle(&at.State, Action{X: uint8(i)}) {
				failed(at, i)
			}
		}
		failed(at, i)
		if at.Processors[i].Stage == answered {
			unsettled(at)
		}
		for n := uint8(1); n <= at.Processors[i].Flush.groups(); n++ {
			f.heard(at, i, n, unsettled)
		}
	})
}
