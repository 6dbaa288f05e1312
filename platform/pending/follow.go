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

// standing is what Redis says of one transaction beside its entry.
type standing struct {
	position    any // in `applied`
	discardedBy any
	dead        any
	attempts    any
}

// settle gives a transaction read from the stream its state. lsn are the log positions
// of the newest commits.
func (l standing) settle(t *Tx, lsn map[int64]string) error {
	attempts, _ := l.attempts.(string)
	count, _, _ := strings.Cut(attempts, "|")
	t.Attempts = int(number(count))
	t.Position = number(l.position)
	t.LSN = lsn[t.Position]
	switch {
	case l.discardedBy != nil:
		t.State, t.DiscardedBy = StateDiscarded, number(l.discardedBy)
	case l.position != nil:
		t.State = StateApplied
	case l.dead != nil:
		value, _ := l.dead.(string)
		d, ok := deadLetter(value)
		if !ok {
			return fmt.Errorf("loading the states of pending transactions: dead letter %d is %q", t.Seq, value)
		}
		t.Dead, t.State = d, StateFailed
		if d.BlockedBy != 0 {
			t.State = StateBlocked
		}
	}
	return nil
}

// loadCounters begins a load: the counters of one moment, and the log positions of the
// newest commits.
func (s *Store) loadCounters(ctx context.Context, st *state) (lsn map[int64]string, err error) {
	reply, err := scripts.load.Run(ctx, s.client, []string{s.prefix}, changeCount).Slice()
	if err != nil {
		return nil, fmt.Errorf("loading the counters of the buffer: %w", err)
	}
	a := answer{list: reply}
	c := a.next()
	st.Load, _ = c.at(0).(string)
	st.LastSeq, st.LastChange, st.Paused = number(c.at(1)), number(c.at(2)), c.at(3) != nil
	st.Missing, st.LostTail = moment(c.at(4)), moment(c.at(5))
	lsn = map[int64]string{}
	for _, m := range a.messages() {
		if e := m.field("e"); e == "applied" || e == "discarded" && m.field("p") != "" {
			lsn[number(m.field("p"))] = m.field("l")
		}
	}
	return lsn, nil
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
