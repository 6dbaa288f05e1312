package pending

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// follow brings one entry of `changes` into the state; false when it is about
// something that the view cannot know, so that everything must be loaded anew.
func (s *state) follow(m message) bool {
	field := m.field
	switch field("e") {
	case "applied":
		position, err := strconv.ParseInt(field("p"), 10, 64)
		if err != nil {
			return false
		}
		lsn, now := field("l"), time.Now().UnixMicro()
		return s.each(field("s"), func(seq int64) bool {
			return s.change(seq, func(t *Tx) {
				t.State, t.Position, t.LSN, t.appliedAt, t.Dead = StateApplied, position, lsn, now, nil
			})
		})
	case "queued":
		return s.each(field("s"), func(seq int64) bool {
			return s.change(seq, func(t *Tx) { t.State, t.Position, t.LSN, t.Dead = StateBuffered, 0, "", nil })
		})
	case "failed", "blocked":
		return s.died(field)
	case "replicated":
		return s.each(field("s"), func(seq int64) bool { s.drop(seq); return true })
	case "discarded":
		return s.discarded(field)
	case "paused":
		return true // the counters of the same exchange say it
	}
	return false // "reload", and what a newer build may add
}

// discarded is told of twice: by the accept script, with the seq of the discard,
// and by the settle script, with the position of its commit.
func (s *state) discarded(field func(string) string) bool {
	by, position := number(field("b")), number(field("p"))
	return s.each(field("s"), func(seq int64) bool {
		return s.discard(seq, func(t *Tx) {
			t.Position, t.LSN = position, field("l")
			if by != 0 {
				t.DiscardedBy = by
			}
		})
	})
}

func (s *state) died(field func(string) string) bool {
	if field("e") == "failed" {
		seq, err := strconv.ParseInt(field("s"), 10, 64)
		attempts, err2 := strconv.Atoi(field("n"))
		if err != nil || err2 != nil {
			return false
		}
		d, ok := deadLetter(field("d"))
		return ok && s.change(seq, func(t *Tx) { t.State, t.Dead, t.Attempts, t.Position, t.LSN = StateFailed, d, attempts, 0, "" })
	}
	for pair := range strings.SplitSeq(field("s"), ",") {
		seq, rest, ok := cut(pair)
		by, err := strconv.ParseInt(rest, 10, 64)
		if !ok || err != nil || !s.change(seq, func(t *Tx) { t.State, t.Dead, t.Position, t.LSN = StateBlocked, &DeadLetter{BlockedBy: by}, 0, "" }) {
			return false
		}
	}
	return true
}

// each calls f with every seq of a comma list; false as soon as f says so.
func (s *state) each(list string, f func(seq int64) bool) bool {
	for text := range strings.SplitSeq(list, ",") {
		seq, err := strconv.ParseInt(text, 10, 64)
		if err != nil || !f(seq) {
			return false
		}
	}
	return true
}

// deadLetter reads a value of `dead_letters`:
// "<blocked by>|<next try, unix time in microseconds>|<problem>".
func deadLetter(value string) (*DeadLetter, bool) {
	by, rest, ok := strings.Cut(value, "|")
	next, problem, ok2 := strings.Cut(rest, "|")
	if !ok || !ok2 {
		return nil, false
	}
	d := &DeadLetter{}
	var err error
	if d.BlockedBy, err = strconv.ParseInt(by, 10, 64); err != nil {
		return nil, false
	}
	micros, err := strconv.ParseInt(next, 10, 64)
	if err != nil {
		return nil, false
	}
	if micros != 0 {
		d.NextTry = time.UnixMicro(micros).UTC()
	}
	if problem != "" {
		d.Problem = json.RawMessage(problem)
	}
	return d, true
}

// loaded are the sets of one moment, by seq.
type loaded struct {
	left      map[int64]bool // replicated: not in the view
	applied   map[int64]int64
	lsn       map[int64]string // by position
	discarded map[int64]int64  // by which discard
	dead      map[int64]*DeadLetter
	attempts  map[int64]int
}

// settle gives a transaction read from the stream its state.
func (l *loaded) settle(t *Tx) {
	t.Attempts = l.attempts[t.Seq]
	position, applied := l.applied[t.Seq]
	t.Position, t.LSN = position, l.lsn[position]
	if by, ok := l.discarded[t.Seq]; ok {
		t.State, t.DiscardedBy = StateDiscarded, by
		return
	}
	if applied {
		t.State = StateApplied
		return
	}
	if d, ok := l.dead[t.Seq]; ok {
		t.Dead, t.State = d, StateFailed
		if d.BlockedBy != 0 {
			t.State = StateBlocked
		}
	}
}

// loadSets reads counters and sets in one moment.
func (s *Store) loadSets(ctx context.Context, st *state) (*loaded, error) {
	reply, err := scripts.load.Run(ctx, s.client, []string{s.prefix}, changeCount).Slice()
	if err != nil {
		return nil, fmt.Errorf("loading the states of pending transactions: %w", err)
	}
	a := answer{list: reply}
	c := a.next()
	st.Load, _ = c.at(0).(string)
	st.LastSeq, st.LastChange, st.Swept, st.Paused = number(c.at(1)), number(c.at(2)), number(c.at(3)), c.at(4) != nil
	st.Missing, st.LostTail = moment(c.at(5)), moment(c.at(6))
	l := &loaded{left: map[int64]bool{}, applied: map[int64]int64{}, lsn: map[int64]string{}, discarded: map[int64]int64{}, dead: map[int64]*DeadLetter{}, attempts: map[int64]int{}}
	for i, applied := 0, a.next(); i < len(applied.list); i += 2 {
		l.applied[number(applied.at(i))] = number(applied.at(i + 1))
	}
	for _, seq := range a.next().list {
		l.left[number(seq)] = true
	}
	for i, discarded := 0, a.next(); i < len(discarded.list); i += 2 {
		l.discarded[number(discarded.at(i))] = number(discarded.at(i + 1))
	}
	for i, dead := 0, a.next(); i < len(dead.list); i += 2 {
		value, _ := dead.at(i + 1).(string)
		d, ok := deadLetter(value)
		if !ok {
			return nil, fmt.Errorf("loading the states of pending transactions: dead letter %v is %q", dead.at(i), value)
		}
		l.dead[number(dead.at(i))] = d
	}
	for i, attempts := 0, a.next(); i < len(attempts.list); i += 2 {
		value, _ := attempts.at(i + 1).(string)
		count, _, _ := strings.Cut(value, "|")
		l.attempts[number(attempts.at(i))] = int(number(count))
	}
	for _, m := range a.messages() {
		if e := m.field("e"); e == "applied" || e == "discarded" && m.field("p") != "" {
			l.lsn[number(m.field("p"))] = m.field("l")
		}
	}
	return l, nil
}

// answer walks the nested lists that a script answers.
type answer struct {
	list []any
	done int
}

func (a *answer) at(i int) any {
	if i < len(a.list) {
		return a.list[i]
	}
	return nil
}

func (a *answer) next() *answer {
	v, _ := a.at(a.done).([]any)
	a.done++
	return &answer{list: v}
}

// message is one entry of a stream: its id, and names and values in turn.
type message struct {
	id     string
	fields []any
}

func (m message) field(name string) string {
	for i := 0; i+1 < len(m.fields); i += 2 {
		if m.fields[i] == name {
			v, _ := m.fields[i+1].(string)
			return v
		}
	}
	return ""
}

func (a *answer) messages() []message {
	list := a.next().list
	if len(list) == 0 {
		return nil
	}
	out := make([]message, len(list))
	for i, v := range list {
		pair, _ := v.([]any)
		if len(pair) == 2 {
			out[i].id, _ = pair[0].(string)
			out[i].fields, _ = pair[1].([]any)
		}
	}
	return out
}

func messageOf(m redis.XMessage) message {
	out := message{id: m.ID}
	for name, v := range m.Values {
		out.fields = append(out.fields, name, v)
	}
	return out
}
