package bench

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// A million writes through HTTP would take minutes that measure nothing. The buffer
// is filled with copies of one write that the product itself has accepted: the same
// keys and bytes, other ids, times and idempotency keys. What then drains them,
// folds them and shows them is the product.

// stored is what an accepted write left in the site's Redis, cut where the copies
// differ.
type stored struct {
	site *site
	line pattern // in the list
	// entry are the names and values of the stream's entry.
	entry  []pattern
	actor  string
	digest string // of the request, as the idempotency hash keeps it
	seq    int64
	guard  bool // the row's id is a guard
	// What stands in the original where a copy has something else.
	was mutable
}

// mutable is what differs between copies.
type mutable struct {
	seq, tx, row, key, time, accepted string
	parent                            string // of a file: its execution
}

func (m mutable) texts() []string {
	return []string{m.seq, m.tx, m.row, m.key, m.time, m.accepted, m.parent}
}

// pattern is a text with holes: literal text and, between, indices into
// mutable.texts.
type pattern struct {
	literals []string
	holes    []int
}

// cutUp finds the texts that change; an empty one is not looked for. With seq the
// text begins with it, else no number is taken for it.
func cutUp(text string, was mutable, seq bool) pattern {
	var p pattern
	olds := was.texts()
	if !seq {
		olds[0] = ""
	} else {
		olds[0] = `"seq":` + was.seq + `,`
	}
	for {
		at, hole := len(text), -1
		for i, old := range olds {
			if old == "" {
				continue
			}
			if found := strings.Index(text, old); found >= 0 && found < at {
				at, hole = found, i
			}
		}
		p.literals = append(p.literals, text[:at])
		if hole < 0 {
			return p
		}
		p.holes = append(p.holes, hole)
		text = text[at+len(olds[hole]):]
	}
}

func (p pattern) with(m mutable) string {
	texts := m.texts()
	texts[0] = `"seq":` + m.seq + `,`
	var b strings.Builder
	b.Grow(2048)
	for i, literal := range p.literals {
		b.WriteString(literal)
		if i < len(p.holes) {
			b.WriteString(texts[p.holes[i]])
		}
	}
	return b.String()
}

// capture sends a write and reads what it left. answer must name the row's id, and
// was the texts of the request that the copies shall change.
func (s *site) capture(ctx context.Context, method, path string, body map[string]any, was mutable) (*stored, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	was.key = newKey()
	r := request{method: method, path: path, token: s.Service, keyed: true, body: text}
	request := []byte(strings.Replace(string(r.text(s.url)), keyMark, was.key, 1))
	w, err := dial(ctx, s.url)
	if err != nil {
		return nil, err
	}
	status, err := w.exchange(request)
	if err = errors.Join(err, w.close()); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if status > 299 {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, status, w.body.Bytes())
	}
	var answer struct {
		ID   string
		Sync struct {
			Transaction string `json:"transaction_id"`
		}
	}
	if err := json.Unmarshal(w.body.Bytes(), &answer); err != nil {
		return nil, err
	}
	if was.row == "" {
		was.row = answer.ID
	}
	was.tx = answer.Sync.Transaction
	return s.read(ctx, was)
}

// read reads the newest transaction of the site.
func (s *site) read(ctx context.Context, was mutable) (*stored, error) {
	line, err := s.redis.LIndex(ctx, s.key("transaction_buffer"), 0).Result()
	if err != nil {
		return nil, err
	}
	var head struct {
		Seq      int64  `json:"seq"`
		Accepted string `json:"accepted_at"`
	}
	if err := json.Unmarshal([]byte(line), &head); err != nil {
		return nil, err
	}
	was.seq, was.accepted = fmt.Sprint(head.Seq), head.Accepted
	out := &stored{site: s, line: cutUp(line, was, true), seq: head.Seq, was: was}
	answer, err := s.redis.Do(ctx, "XRANGE", s.key("transactions"), was.seq+"-0", was.seq+"-0").Slice()
	if err != nil {
		return nil, err
	}
	if len(answer) != 1 {
		return nil, fmt.Errorf("transaction %d has no entry in the stream", head.Seq)
	}
	fields, err := redis.NewCmdResult(answer[0].([]any)[1], nil).StringSlice()
	if err != nil {
		return nil, err
	}
	for _, text := range fields {
		out.entry = append(out.entry, cutUp(text, was, false))
		if _, after, ok := strings.Cut(text, `"actor":"`); ok {
			out.actor, _, _ = strings.Cut(after, `"`)
		}
	}
	kept, err := s.redis.HGet(ctx, s.key("idempotency"), out.field(was.key)).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the idempotency of a write: %w", err)
	}
	_, out.digest, _ = strings.Cut(kept, ":")
	out.guard, err = s.redis.HExists(ctx, s.key("guard"), was.row).Result()
	return out, err
}

// field is the field of an idempotency key (design of the key `idempotency`).
func (s *stored) field(key string) string {
	sum := sha256.Sum256([]byte(s.actor + "\x00" + key))
	return string(sum[:16])
}

// copies adds n copies to the site's buffer, a thousand in one durable write. vary
// sets what else than seq, transaction and key differs in copy i; several stored
// writes take turns, as a start and its finish do.
func copies(ctx context.Context, n int, vary func(i int, m *mutable), writes ...*stored) error {
	s := writes[0].site
	seq, err := s.redis.Get(ctx, s.key("seq")).Int64()
	if err != nil {
		return err
	}
	const atOnce = 1000
	for done := 0; done < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		pipe := s.redis.TxPipeline()
		for ; done < n && pipe.Len() < 4*atOnce; done++ {
			seq++
			w := writes[done%len(writes)]
			m := w.was
			m.seq, m.key = fmt.Sprint(seq), newKey()
			m.tx = newID()
			vary(done/len(writes), &m)
			fields := make([]any, len(w.entry))
			for i, p := range w.entry {
				fields[i] = p.with(m)
			}
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: s.key("transactions"), ID: m.seq + "-0", Values: fields})
			pipe.LPush(ctx, s.key("transaction_buffer"), w.line.with(m))
			pipe.HSet(ctx, s.key("idempotency"), w.field(m.key), m.seq+":"+w.digest)
			if w.guard {
				pipe.HSet(ctx, s.key("guard"), m.row, m.seq)
			}
		}
		pipe.Set(ctx, s.key("seq"), seq, 0)
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// Times of what is pending: after everything that rows.go loads.
var pendingFrom = time.Date(2026, 7, 15, 11, 20, 0, 0, time.UTC)

const (
	startMark  = "2026-07-15T11:20:00.654321Z"
	finishMark = "2026-07-15T11:29:00.654321Z"
)

// startBody is what P1, P2, P3, P6 and P7 send.
func (b *bench) startBody() map[string]any {
	return map[string]any{"obs_unit_id": b.unit, "start_time": startMark, "conditions": map[string]any{"wind_m_s": 4.2}, "comment": "benchmark"}
}

func (b *bench) start() request {
	text, err := json.Marshal(b.startBody())
	if err != nil {
		panic(err) // a map of numbers and texts has a JSON form
	}
	return request{method: http.MethodPost, path: "/executed_obs_units/start", token: b.Service, keyed: true, body: text, want: http.StatusCreated}
}

// started captures a start.
func (s *site) started(ctx context.Context) (*stored, error) {
	return s.capture(ctx, http.MethodPost, "/executed_obs_units/start", s.startBody(), mutable{time: startMark})
}

// fillStarts buffers n starts and waits until the server shows them. The site's
// buffer must be empty and paused.
func (s *site) fillStarts(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	first, err := s.started(ctx)
	if err != nil {
		return err
	}
	if err := copies(ctx, n-1, func(i int, m *mutable) {
		m.row = newID()
		m.time = pendingTime(i)
	}, first); err != nil {
		return err
	}
	return s.shows(ctx, s.url, n)
}

// pendingTime is the start of the i-th pending execution, as the API writes times.
func pendingTime(i int) string {
	return pendingFrom.Add(time.Duration(i)*time.Second).Format("2006-01-02T15:04:05") + ".654321Z"
}
