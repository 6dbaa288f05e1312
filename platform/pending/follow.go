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
func (s *state) follow(values map[string]any) bool {
	field := func(name string) string {
		v, _ := values[name].(string)
		return v
	}
	switch field("e") {
	case "applied":
		position, err := strconv.ParseInt(field("p"), 10, 64)
		if err != nil {
			return false
		}
		lsn := field("l")
		return s.each(field("s"), func(seq int64) bool {
			return s.change(seq, func(t *Tx) { t.State, t.Position, t.LSN, t.Dead = StateApplied, position, lsn, nil })
		})
	case "queued":
		return s.each(field("s"), func(seq int64) bool {
			return s.change(seq, func(t *Tx) { t.State, t.Position, t.LSN, t.Dead = StateBuffered, 0, "", nil })
		})
	case "failed", "blocked":
		return s.died(field)
	case "replicated", "discarded":
		return s.each(field("s"), func(seq int64) bool { s.drop(seq); return true })
	case "paused":
		return true // the counters of the same exchange say it
	}
	return false // "reload", and what a newer build may add
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
	left     map[int64]bool // replicated or discarded: not in the view
	applied  map[int64]int64
	lsn      map[int64]string // by position
	dead     map[int64]*DeadLetter
	attempts map[int64]int
}

// settle gives a transaction read from the stream its state.
func (l *loaded) settle(t *Tx) {
	t.Attempts = l.attempts[t.Seq]
	if position, ok := l.applied[t.Seq]; ok {
		t.State, t.Position, t.LSN = StateApplied, position, l.lsn[position]
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
	var counters *redis.SliceCmd
	var applied *redis.ZSliceCmd
	var replicated, discarded *redis.StringSliceCmd
	var dead, attempts *redis.MapStringStringCmd
	var changes *redis.XMessageSliceCmd
	if _, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		counters = p.MGet(ctx, s.prefix+"load", s.prefix+"seq", s.prefix+"change", s.prefix+"swept", s.prefix+"paused")
		applied = p.ZRangeWithScores(ctx, s.prefix+"applied", 0, -1)
		replicated = p.ZRange(ctx, s.prefix+"replicated", 0, -1)
		dead = p.HGetAll(ctx, s.prefix+"dead_letters")
		discarded = p.HKeys(ctx, s.prefix+"discarded")
		attempts = p.HGetAll(ctx, s.prefix+"attempts")
		// Only the newest changes still say at which LSN a group was flushed.
		changes = p.XRevRangeN(ctx, s.prefix+"changes", "+", "-", changeCount)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("loading the states of pending transactions: %w", err)
	}
	c := counters.Val()
	st.Load, _ = c[0].(string)
	st.LastSeq, st.LastChange, st.Swept, st.Paused = number(c[1]), number(c[2]), number(c[3]), c[4] != nil
	l := &loaded{left: map[int64]bool{}, applied: map[int64]int64{}, lsn: map[int64]string{}, dead: map[int64]*DeadLetter{}, attempts: map[int64]int{}}
	for _, z := range applied.Val() {
		l.applied[number(z.Member)] = int64(z.Score)
	}
	for _, seq := range replicated.Val() {
		l.left[number(seq)] = true
	}
	for _, seq := range discarded.Val() {
		l.left[number(seq)] = true
	}
	for seq, value := range dead.Val() {
		d, ok := deadLetter(value)
		if !ok {
			return nil, fmt.Errorf("loading the states of pending transactions: dead letter %s is %q", seq, value)
		}
		l.dead[number(seq)] = d
	}
	for seq, value := range attempts.Val() {
		count, _, _ := strings.Cut(value, "|")
		l.attempts[number(seq)] = int(number(count))
	}
	for _, m := range changes.Val() {
		if m.Values["e"] == "applied" {
			lsn, _ := m.Values["l"].(string)
			l.lsn[number(m.Values["p"])] = lsn
		}
	}
	return l, nil
}
