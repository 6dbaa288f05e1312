package tracetest

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/protocol"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// unknownLoad is a `load` that the site never had.
const unknownLoad = 254

// Trace ends the recording and returns what was recorded, in the model's terms.
func (r *Recorder) Trace() *protocol.Trace {
	r.t.Helper()
	r.tell(told{}) // everything before it has been seen then
	r.detach()
	r.primary.read(r.t, r.sites)
	if r.err != nil {
		r.t.Fatal(r.err)
	}
	b := builder{r: r, loads: map[string]uint8{}, rows: map[uuid.UUID]uint8{}, ids: map[uuid.UUID]protocol.Tx{}}
	return b.build()
}

// builder maps what was recorded to the small numbers of the model.
type builder struct {
	r       *Recorder
	numbers []int64 // of commits, rising
	loads   map[string]uint8
	rows    map[uuid.UUID]uint8
	ids     map[uuid.UUID]protocol.Tx
	trace   protocol.Trace
}

func (b *builder) build() *protocol.Trace {
	for _, tx := range b.r.txs {
		b.ids[tx.id] = tx.x
		if !tx.discard {
			b.trace.Requests = append(b.trace.Requests, b.request(tx))
		}
	}
	b.collect()
	begun := b.r.primary.begun
	b.trace.Epoch = uint8(b.r.epoch)
	b.trace.Begin = protocol.Commit{Epoch: uint8(begun.epoch), Batch: max(1, b.number(begun.batch)), LastSeq: uint8(begun.lastSeq)}
	for _, e := range b.r.events {
		if event, ok := b.event(e); ok {
			b.trace.Events = append(b.trace.Events, event)
		}
	}
	for _, e := range b.r.primary.all {
		c := protocol.TraceCommit{Failover: e.failover, Import: e.imported, Keep: uint8(e.keep)}
		if !e.failover {
			c.Commit = protocol.Commit{
				Epoch: uint8(e.epoch), Batch: max(1, b.number(e.batch)), LastSeq: uint8(e.lastSeq),
				Applied: b.set(e.applied), Discarded: b.set(e.discarded),
			}
		}
		b.trace.Commits = append(b.trace.Commits, c)
	}
	return &b.trace
}

// request says what a transaction of notes does to rows.
func (b *builder) request(tx transaction) protocol.Request {
	out := protocol.Request{Name: fmt.Sprintf("transaction %d", tx.seq)}
	for _, step := range tx.steps {
		switch step.Kind {
		case "notes.write/1":
			var w txntest.Write
			b.decode(step, &w)
			out.Steps = append(out.Steps, protocol.Step{Row: b.row(w.ID), Kind: protocol.Create})
			if w.ParentID != nil {
				out.References = append(out.References, b.row(*w.ParentID))
			}
			out.Poison = out.Poison || w.Body == "poison"
		case "notes.edit/1":
			var e txntest.Edit
			b.decode(step, &e)
			out.Steps = append(out.Steps, protocol.Step{Row: b.row(e.ID), Kind: protocol.Update, Columns: 3})
			out.Poison = out.Poison || e.Body == "poison"
		case "buffer.replace/1":
			out.Corrects = int(tx.targets[len(tx.targets)-1]) + 1
		default:
			b.r.t.Fatalf("a step that traces do not know: %s", step.Kind)
		}
	}
	return out
}

func (b *builder) decode(step pending.Step, to any) {
	if err := json.Unmarshal(step.Data, to); err != nil {
		b.r.t.Fatal(err)
	}
}

func (b *builder) row(id uuid.UUID) uint8 {
	n, ok := b.rows[id]
	if !ok {
		n = uint8(len(b.rows))
		b.rows[id] = n
	}
	return n
}

// collect finds all numbers of commits and all loads.
func (b *builder) collect() {
	add := func(n int64) {
		if n > 0 {
			b.numbers = append(b.numbers, n)
		}
	}
	add(b.r.primary.begun.batch)
	for _, e := range b.r.primary.all {
		add(e.batch)
	}
	for _, e := range b.r.events {
		for _, s := range []*shadow{e.before, e.after} {
			add(s.batch)
			add(s.swept)
			for _, n := range s.applied {
				add(n)
			}
			if _, known := b.loads[s.load]; !known && s.load != "" {
				b.loads[s.load] = uint8(len(b.loads))
			}
		}
		switch e.kind {
		case "connected":
			add(number(e.args[2]))
		case "mark", "unsweep":
			add(number(e.args[1]))
		}
		if e.told != nil && e.told.Read != nil {
			add(e.told.Read.Batch)
			add(e.told.Read.Swept)
		}
	}
	slices.Sort(b.numbers)
	b.numbers = slices.Compact(b.numbers)
	if len(b.numbers) > 240 {
		b.r.t.Fatalf("the trace has %d numbers of commits, too many for the model", len(b.numbers))
	}
}

// number is the rank of a commit's number, from 2 on; 0 is none.
func (b *builder) number(n int64) uint8 {
	if n <= 0 {
		return 0
	}
	i, ok := slices.BinarySearch(b.numbers, n)
	if !ok {
		return 255
	}
	return uint8(i + 2)
}

func (b *builder) load(text string) uint8 {
	if n, ok := b.loads[text]; ok {
		return n
	}
	return unknownLoad
}

func (b *builder) set(ids []uuid.UUID) (out protocol.Set) {
	for _, id := range ids {
		x, ok := b.ids[id]
		if !ok {
			b.r.t.Fatalf("the primary has %s, which was never accepted", id)
		}
		out |= 1 << x
	}
	return out
}

// redis is a shadow in the model's terms.
func (b *builder) redis(s *shadow) (out protocol.Redis) {
	for seq, x := range s.entries {
		bit := protocol.Set(1) << x
		out.Transactions |= bit
		if slices.Contains(s.list, seq) {
			out.List |= bit
		}
		if by, dead := s.dead[seq]; dead {
			out.Dead |= bit
			if by != 0 {
				out.BlockedBy[x] = s.entries[by] + 1
			}
		}
		if s.replicated[seq] {
			out.Replicated |= bit
		}
		if s.discarded[seq] {
			out.Discarded |= bit
		}
		out.Positions[x] = b.number(s.applied[seq])
	}
	if !slices.IsSortedFunc(s.list, func(a, b int64) int { return int(b - a) }) {
		out.List = 0xffff // an order that the model never has
	}
	out.Seq, out.Epoch, out.Batch, out.Swept = uint8(s.seq), uint8(s.epoch), b.number(s.batch), b.number(s.swept)
	out.Load, out.Paused = b.load(s.load), s.paused
	return out
}

// event is one event in the model's terms; false for what the model does not have.
func (b *builder) event(e *raw) (out protocol.Event, ok bool) {
	out = protocol.Event{Kind: protocol.EventKind(e.kind), Text: e.text, After: b.redis(e.after)}
	if e.told != nil {
		return b.told(e, out)
	}
	a := arguments{b: b, e: e, rest: e.args}
	switch out.Kind {
	case protocol.EventAccept:
		if e.tx < 0 {
			return out, false // nothing was stored
		}
		out.Tx, out.Load, out.Seen = b.r.txs[e.tx].x, a.load(), a.small()
		a.rest = a.rest[5:] // capacity, idempotency field, digest, head, body
		sets, looks := number(a.next()), number(a.next())
		for a.rest = a.rest[sets+looks:]; len(a.rest) > 0; {
			out.Set |= 1 << a.tx() // the dead letters that its view knew
		}
	case protocol.EventDiscard:
		if e.tx < 0 {
			return out, false
		}
		tx := b.r.txs[e.tx]
		out.Tx, out.Target = tx.x, tx.targets[len(tx.targets)-1] // the others were its own targets
	case protocol.EventBeginEpoch:
		if e.before.epoch == e.after.epoch {
			return out, false
		}
	case protocol.EventPutBack:
		if e.before.load == e.after.load {
			return out, false // another process was first
		}
	case protocol.EventRaiseEpoch:
		out.Epoch, out.Load = a.small(), a.load()
	case protocol.EventConnected:
		out.Epoch, out.Load, out.Batch, out.LastSeq = a.small(), a.load(), a.number(), a.small()
		a.rest = a.rest[2:] // the time, what the replica has shown
		for len(a.rest) > 0 {
			out.Set |= 1 << a.tx()
		}
	case protocol.EventRaiseBatch:
		out.Epoch, out.Load, out.Groups = a.small(), a.load(), a.small()
	case protocol.EventBlock:
		out.Epoch, out.Load = a.small(), a.load()
		for len(a.rest) > 0 {
			x := a.tx()
			out.Set |= 1 << x
			out.Blockers[x] = a.tx() + 1
		}
	case protocol.EventSettle:
		out.Epoch, out.Load = a.small(), a.load()
		for len(a.rest) > 0 {
			a.settled(&out)
		}
	case protocol.EventFail:
		out.Epoch, out.Load = a.small(), a.load()
		for len(a.rest) > 0 {
			out.Set |= 1 << a.tx()
			a.rest = a.rest[3:] // next try, problem, attempt
		}
	case protocol.EventRetry:
		for len(a.rest) > 0 {
			out.Set |= 1 << a.tx()
		}
		if len(e.args) == 0 {
			out.Set = b.redis(e.before).Dead
		}
	case protocol.EventMark:
		out.Load, out.Batch = a.load(), a.number()
		a.next() // the time
		for len(a.rest) > 0 {
			out.Set |= 1 << a.tx()
		}
	case protocol.EventUnsweep:
		out.Load, out.Batch = a.load(), a.number()
	case protocol.EventExpire:
		if len(e.before.entries) == len(e.after.entries) {
			return out, false // nothing had replicated long enough
		}
		out.Load = a.load()
	case protocol.EventPause:
	default:
		return out, false // reads, the lease, what is no part of the protocol
	}
	return out, true
}

func (b *builder) told(e *raw, out protocol.Event) (protocol.Event, bool) {
	switch out.Kind {
	case protocol.EventAnswered:
		out.Tx = b.ids[e.told.ID]
	case protocol.EventExported:
		for _, seq := range e.told.Seqs {
			out.Set |= 1 << e.after.entries[seq]
		}
	case protocol.EventReadBegins:
		out.Read = b.ending(e)
	case protocol.EventReadEnds:
		out.Read = b.answer(e, e.told.Read)
	}
	return out, true
}

// ending is the answer of the read that begins with an event.
func (b *builder) ending(begins *raw) *protocol.TraceRead {
	i := slices.Index(b.r.events, begins)
	for _, e := range b.r.events[i:] {
		if e.told != nil && e.told.Read != nil {
			return b.answer(e, e.told.Read)
		}
	}
	return nil
}

func (b *builder) answer(e *raw, a *answer) *protocol.TraceRead {
	out := &protocol.TraceRead{Swept: b.number(a.Swept), Batch: b.number(a.Batch)}
	for _, seq := range a.Pending {
		x, ok := e.after.entries[seq]
		if !ok {
			b.r.t.Fatalf("a view has transaction %d, which Redis has not", seq)
		}
		out.Pending |= 1 << x
	}
	for id, body := range a.Bodies {
		w := b.wrote(id, body)
		out.Rows[b.row(id)] = protocol.Row{Exists: true, Columns: [2]uint8{w, w}}
	}
	return out
}

// wrote says (+1) which transaction gave a note its body: the traces' bodies are
// unique for each note.
func (b *builder) wrote(id uuid.UUID, body string) uint8 {
	for _, tx := range b.r.txs {
		for _, step := range tx.steps {
			var data struct {
				ID   uuid.UUID `json:"id"`
				Body string    `json:"body"`
			}
			b.decode(step, &data)
			if data.ID == id && data.Body == body {
				return tx.x + 1
			}
		}
	}
	b.r.t.Fatalf("note %s shows %q, which nobody wrote", id, body)
	return 0
}

// arguments are those of a script, read from the left.
type arguments struct {
	b    *builder
	e    *raw
	rest []string
}

func (a *arguments) next() string {
	out := a.rest[0]
	a.rest = a.rest[1:]
	return out
}

func (a *arguments) small() uint8  { return uint8(number(a.next())) }
func (a *arguments) load() uint8   { return a.b.load(a.next()) }
func (a *arguments) number() uint8 { return a.b.number(number(a.next())) }

// tx is the transaction that a seq stands for at that moment.
func (a *arguments) tx() protocol.Tx {
	seq := number(a.next())
	for _, s := range []*shadow{a.e.before, a.e.after} {
		if x, ok := s.entries[seq]; ok {
			return x
		}
	}
	return protocol.Tx(15) // one that a restored Redis has forgotten
}

// settled reads one group: position, LSN, outcome, n, n seqs.
func (a *arguments) settled(out *protocol.Event) {
	position := a.number()
	a.next()
	outcome := a.next()
	for range a.small() {
		x := a.tx()
		out.Set |= 1 << x
		out.Numbers[x] = position
		if outcome != string(pending.StateApplied) {
			out.Discarded |= 1 << x
		}
	}
}
