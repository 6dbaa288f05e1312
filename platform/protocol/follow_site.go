package protocol

// What is seen of a site: accepting, dead letters, the tracker, another Redis.

func (f *follower) accept(at place, e *Event) {
	at.Calls[e.Tx] = Call{Stage: valid, View: View{LastSeq: e.Seen, Load: e.Load, Dead: e.Set}}
	if !f.m.accept(&at.State, Action{X: e.Tx}) || at.Calls[e.Tx].Stage != accepted {
		return
	}
	at.Calls[e.Tx] = Call{Stage: over}
	f.keep(at, e)
}

func (f *follower) answered(at place, e *Event) {
	at.Clients.Answers[e.Tx] = by(e.Tx)
	f.add(at)
}

// retry is of dead letters named, or of all.
func (f *follower) retry(at place, e *Event) {
	f.chosenBefore(at, func(at place) {
		wanted := e.Set & at.Redis.Dead &^ at.Redis.Discarded
		for x := Tx(0); x < firstCancel; x++ {
			if wanted.has(x) && at.Redis.Dead.has(x) {
				f.m.requeue(&at.State, x)
			}
		}
		at.Watch.Retried = true
		f.keep(at, e)
	})
}

// discard is of a transaction that discards a dead letter, or takes its place.
func (f *follower) discard(at place, e *Event) {
	f.chosenBefore(at, func(at place) {
		decide := f.m.discard
		if e.Tx < firstCancel {
			decide = f.m.replace
			if target, ok := f.m.corrected(e.Tx); !ok || target != e.Target {
				return
			}
		}
		if decide(&at.State, Action{X: e.Target}) {
			f.keep(at, e)
		}
	})
}

func (f *follower) pause(at place, e *Event) {
	f.chosenBefore(at, func(at place) {
		at.Redis.Paused = e.After.Paused
		f.keep(at, e)
	})
}

// mark may be of fewer than the number has reached: a process marks what its own
// view knows.
func (f *follower) mark(at place, e *Event) {
	f.show(at, e.Batch, false, func(at place) {
		r := &at.Redis
		if e.Load != r.Load {
			return
		}
		gone := e.Set & f.m.reached(r, e.Batch) &^ r.Replicated
		r.Replicated |= gone
		for x := range r.Positions {
			if gone.has(Tx(x)) {
				r.Swept = max(r.Swept, r.Positions[x])
			}
		}
		f.keep(at, e)
	})
}

func (f *follower) unsweep(at place, e *Event) {
	f.show(at, e.Batch, true, func(at place) {
		at.Trackers[0] = Tracker{Looking: true, Batch: e.Batch, Swept: at.Redis.Swept, Load: e.Load}
		if f.m.unsweep(&at.State, Action{}) {
			f.keep(at, e)
		}
	})
}

// expire is of what is gone afterwards, one after the other.
func (f *follower) expire(at place, e *Event) {
	if e.Load != at.Redis.Load {
		return
	}
	for gone := at.Redis.Transactions &^ e.After.Transactions; gone != 0; {
		before := gone
		for x := Tx(0); x < maxTx; x++ {
			if gone.has(x) && f.m.expire(&at.State, Action{X: x}) {
				gone &^= one(x)
			}
		}
		if gone == before {
			return
		}
	}
	f.keep(at, e)
}

func (f *follower) putBack(at place, e *Event) {
	if f.m.putBack(&at.State, Action{}) {
		f.keep(at, e)
	}
}

func (f *follower) restarted(at place, _ *Event) {
	at.Run++
	f.add(at)
}

func (f *follower) copied(at place, _ *Event) {
	at.HasCopy = 0
	f.m.copyRedis(&at.State, Action{})
	f.add(at)
}

// restored: as a restart, with the copy.
func (f *follower) restored(at place, e *Event) {
	if f.m.restore(&at.State, Action{}) {
		f.keep(at, e)
	}
}

func (f *follower) emptied(at place, _ *Event) {
	if f.m.empty(&at.State, Action{}) {
		f.add(at)
	}
}

// mended: main may have worked off before what a processor has sent.
func (f *follower) mended(at place, _ *Event) {
	mended := func(at place) {
		at.Mended = true
		f.add(at)
	}
	mended(at)
	for i := range at.Processors {
		for n := uint8(1); n <= at.Processors[i].Flush.groups(); n++ {
			f.heard(at, i, n, mended)
		}
	}
}

// exported: the file holds exactly what the model would put into it.
func (f *follower) exported(at place, e *Event) {
	at.File = File{}
	if f.m.export(&at.State, Action{}) && at.File.Transactions == e.Set {
		f.add(at)
	}
}

// show calls then with places in which the replica shows a number of the site.
// Exact: it does so now; otherwise a look from before will do.
func (f *follower) show(at place, batch uint8, exact bool, then func(at place)) {
	want := max(batch, f.trace.Begin.Batch)
	shown := site(at.shown()).Batch
	if shown == want {
		then(at)
	}
	if shown > want && !exact {
		for _, c := range at.shown() {
			if c.Batch == want {
				then(at)
				break
			}
		}
	}
	if shown < want {
		f.forward(at, want, then)
	}
	if at.Replica.Timeline != at.Primary.Timeline {
		f.m.rewind(&at.State, Action{})
		f.show(at, batch, exact, then)
	} else if f.failoverIsNext(at) {
		for _, later := range f.commit(at) {
			f.show(later, batch, exact, then)
		}
	}
}

// failoverIsNext: the next commit at the primary is a failover. It need not be
// waited for: the replica may show that it has happened.
func (f *follower) failoverIsNext(at place) bool {
	return int(at.commits) < len(f.trace.Commits) && f.trace.Commits[at.commits].Failover
}

// forward lets the replica replay up to the first commit with the number, which may
// have to happen first.
func (f *follower) forward(at place, want uint8, then func(at place)) {
	r := &at.Replica
	log := at.log()
	if r.Timeline != at.Primary.Timeline {
		log = r.Old[:r.N]
	}
	for n := int(r.Replayed); n < len(log); n++ {
		if log[n].Batch == want {
			r.Replayed = uint8(n + 1)
			then(at)
			return
		}
	}
	if r.Timeline == at.Primary.Timeline && !f.failoverIsNext(at) {
		for _, later := range f.commit(at) {
			f.forward(later, want, then)
		}
	}
}
