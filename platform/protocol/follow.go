package protocol

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// place is one state that the model may be in at some point of a trace, with how
// many of the primary's commits have happened by then. Read says how far the read
// under way has come.
type place struct {
	State
	commits uint8
	read    uint8
}

// How far a read of a trace has come.
const (
	readNothing uint8 = iota
	readWantsView
	readWantsSnapshot
	readDone
)

// follower holds a trace against the model. What a trace does not show (a message
// that arrives, a commit, a replay, a process that dies, a look of a tracker) happens
// in the model when what is seen next needs it: as late as possible, which excludes
// nothing, since none of these take away what may be seen.
type follower struct {
	m     *Model
	trace *Trace
	read  *TraceRead
	next  map[place]struct{}
}

// tooMany bounds the states that a trace may leave open at once.
const tooMany = 50_000

// Check says why a trace is not one of the model, nil when it is.
func (t *Trace) Check() error {
	if len(t.Requests) > maxRequests {
		return fmt.Errorf("the trace has %d transactions, more than the model has room for", len(t.Requests))
	}
	m := New(&Scenario{Name: "trace", Requests: t.Requests, Processors: maxApis, Split: true}, Faults{})
	m.following, m.lossy = true, true
	for i := range m.most {
		m.most[i] = 255
	}
	start := place{State: m.newState()}
	start.Redis.Epoch = t.Epoch
	start.Primary.Log[0], start.Primary.N, start.Replica.Replayed = t.Begin, 1, 1
	here := map[place]struct{}{start: {}}
	for i := range t.Events {
		e := &t.Events[i]
		f := follower{m: m, trace: t, next: map[place]struct{}{}}
		f.read = t.readUnderWay(i)
		for at := range here {
			f.event(at, e)
		}
		if len(f.next) == 0 {
			return t.explain(m, i, here)
		}
		if len(f.next) > tooMany {
			return fmt.Errorf("after event %d the trace leaves more than %d states open", i+1, tooMany)
		}
		here = f.next
	}
	for at := range here {
		f := follower{m: m, trace: t, next: map[place]struct{}{}}
		if f.all(at) {
			return nil
		}
	}
	return fmt.Errorf("commits at the primary that nothing explains: %s", t.rest(here))
}

// all: whatever else was committed at the primary can still have happened.
func (f *follower) all(at place) bool {
	if int(at.commits) == len(f.trace.Commits) {
		return true
	}
	for _, then := range f.commit(at) {
		if f.all(then) {
			return true
		}
	}
	return false
}

func (t *Trace) rest(here map[place]struct{}) string {
	most := uint8(0)
	for at := range here {
		most = max(most, at.commits)
	}
	return fmt.Sprintf("%+v", t.Commits[most:])
}

// readUnderWay is the answer of the read that has begun by event i and not ended.
func (t *Trace) readUnderWay(i int) *TraceRead {
	for ; i >= 0; i-- {
		switch t.Events[i].Kind {
		case EventReadBegins, EventReadEnds:
			return t.Events[i].Read
		}
	}
	return nil
}

// explain tells an event that the model does not have, what came before it, and one
// of the states that it was held against.
func (t *Trace) explain(m *Model, i int, here map[place]struct{}) error {
	var b strings.Builder
	fmt.Fprintf(&b, "event %d is none of the model's:", i+1)
	for k := max(0, i-12); k <= i; k++ {
		fmt.Fprintf(&b, "\n  %3d. %s: %s", k+1, t.Events[k].Kind, t.Events[k].Text)
	}
	if m.broken != "" {
		fmt.Fprintf(&b, "\n  it would break a promise: %s", m.broken)
	}
	for at := range here {
		fmt.Fprintf(&b, "\n  before it, one of %d states: %s\n  seen after it:              %s\n  %d of %d commits have happened, the replica shows %d",
			len(here), m.tell(&at.Redis), m.tell(&t.Events[i].After), at.commits, len(t.Commits), at.Replica.Replayed-1)
		break
	}
	return errors.New(b.String())
}

// tell says what Redis holds.
func (m *Model) tell(r *Redis) string {
	names := func(set Set) string {
		var out []string
		for x := Tx(0); x < maxTx; x++ {
			if set.has(x) {
				out = append(out, strconv.Itoa(int(x)+1))
			}
		}
		return "[" + strings.Join(out, " ") + "]"
	}
	return fmt.Sprintf("list %s, dead %s, replicated %s, discarded %s, positions %v, seq %d, epoch %d, batch %d, swept %d, load %d, paused %v",
		names(r.List), names(r.Dead), names(r.Replicated), names(r.Discarded), r.Positions, r.Seq, r.Epoch, r.Batch, r.Swept, r.Load, r.Paused)
}

// keep adds a place that agrees with what Redis held after the event.
func (f *follower) keep(at place, e *Event) {
	if same(&at.Redis, &e.After) {
		f.add(at)
	}
}

// add adds a place, and what the read under way may have done by now.
func (f *follower) add(at place) {
	if why := f.m.always(&at.State); why != "" {
		return // what was seen does not break a promise; this state would
	}
	f.next[at] = struct{}{}
	f.reading(at)
}

// same compares what the model needs of Redis. A site's first number is 1 in the
// model, where 0 means none; a discarded dead letter is one no more at a real site.
func same(model, seen *Redis) bool {
	number := func(n uint8) uint8 {
		if n == 1 {
			return 0
		}
		return n
	}
	if model.Transactions != seen.Transactions || model.List != seen.List || model.Dead&^model.Discarded != seen.Dead || model.Replicated != seen.Replicated ||
		model.Discarded != seen.Discarded || model.Seq != seen.Seq || model.Epoch != seen.Epoch || model.Load != seen.Load ||
		model.Paused != seen.Paused || number(model.Batch) != number(seen.Batch) || number(model.Swept) != number(seen.Swept) {
		return false
	}
	for x := range model.Positions {
		if number(model.Positions[x]) != number(seen.Positions[x]) || seen.Dead.has(Tx(x)) && model.BlockedBy[x] != seen.BlockedBy[x] {
			return false
		}
	}
	return true
}

// event adds the places that an event can lead to.
func (f *follower) event(at place, e *Event) {
	if handle, ok := told[e.Kind]; ok {
		handle(f, at, e)
		return
	}
	if same(&at.Redis, &e.After) {
		f.add(at) // fenced, repeated, or nothing was to be done
	}
	if handle, ok := scripts[e.Kind]; ok {
		handle(f, at, e)
	}
}

type handler func(f *follower, at place, e *Event)

// scripts may also do nothing; what a test tells has happened.
var (
	scripts = map[EventKind]handler{
		EventAccept:     (*follower).accept,
		EventBeginEpoch: (*follower).beginEpoch,
		EventRaiseEpoch: (*follower).raiseEpoch,
		EventConnected:  (*follower).connected,
		EventBlock:      (*follower).block,
		EventRaiseBatch: (*follower).raiseBatch,
		EventSettle:     (*follower).settle,
		EventFail:       (*follower).fail,
		EventRetry:      (*follower).retry,
		EventDiscard:    (*follower).discard,
		EventPause:      (*follower).pause,
		EventMark:       (*follower).mark,
		EventUnsweep:    (*follower).unsweep,
		EventPutBack:    (*follower).putBack,
		EventExpire:     (*follower).expire,
	}
	told = map[EventKind]handler{
		EventAnswered:    (*follower).answered,
		EventReadBegins:  (*follower).bounds,
		EventReadEnds:    (*follower).bounds,
		EventRestarted:   (*follower).restarted,
		EventCopied:      (*follower).copied,
		EventRestored:    (*follower).restored,
		EventEmptied:     (*follower).emptied,
		EventCauseMended: (*follower).mended,
		EventExported:    (*follower).exported,
	}
)

// bounds begins and ends a read. By its end the view was taken and then the
// snapshot, and the model's answer is the one given.
func (f *follower) bounds(at place, e *Event) {
	if e.Kind == EventReadBegins {
		at.read = readWantsView
		at.Reader = Reader{Acknowledged: f.m.acknowledged(&at.State), Shown: at.Watch.Shown}
		f.add(at)
		return
	}
	if at.read == readDone {
		at.read, at.Reader = readNothing, Reader{}
		f.add(at)
	}
}

// reading adds what the read under way may have done in this place.
func (f *follower) reading(at place) {
	if at.read == readWantsView && f.read != nil && f.m.pendingIn(&at.Redis) == f.read.Pending && (at.Redis.Swept == f.read.Swept || at.Redis.Swept <= 1 && f.read.Swept <= 1) {
		at.read = readWantsSnapshot
		at.Reader.Pending = f.read.Pending
		f.next[at] = struct{}{}
	}
	if at.read != readWantsSnapshot || f.read == nil || f.read.Batch < f.read.Swept {
		return
	}
	f.show(at, f.read.Batch, true, func(then place) {
		log := then.shown()
		answer, stale := f.m.merge(&then.State, then.Reader.Pending, f.m.play(&then.State, log).Rows, site(log).LastSeq)
		f.m.broken = ""
		f.m.checkAnswer(&then.State, answer, then.Reader.Acknowledged&^then.Watch.Forgotten, then.Reader.Shown)
		if stale >= 0 || answer != f.read.Rows || f.m.broken != "" {
			return
		}
		then.read = readDone
		f.next[then] = struct{}{}
	})
}
