package tracetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/protocol"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

// mark begins the ECHO by which a test tells the recorder something: Redis gives it
// its place among the scripts.
const mark = "opsdb-trace "

// told is what a test tells.
type told struct {
	N    int       `json:"n"`
	Kind string    `json:"kind"`
	ID   uuid.UUID `json:"id,omitzero"`
	Read *answer   `json:"read,omitempty"`
	Seqs []int64   `json:"seqs,omitempty"`
}

// answer is one read: the transactions of its view, its snapshot, and its rows.
type answer struct {
	Pending []int64              `json:"pending"`
	Swept   int64                `json:"swept"`
	Batch   int64                `json:"batch"`
	Bodies  map[uuid.UUID]string `json:"bodies"`
}

// raw is one event before its numbers are mapped.
type raw struct {
	kind  string
	text  string
	args  []string // of a script
	told  *told
	tx    int // of what was accepted, in its order; -1
	after *shadow
	// before is what `load` and the dead letters were before.
	before *shadow
}

// Recorder records one test.
type Recorder struct {
	t      testing.TB
	sites  *txntest.Sites
	direct string // Redis past any line of the test
	db     string
	prefix string
	client *redis.Client

	mu      sync.Mutex
	monitor *monitor
	done    chan struct{}
	echoes  int
	seen    map[int]chan struct{}
	shadow  *shadow
	copy    *shadow
	kept    map[string]string
	open    *raw
	events  []*raw
	txs     []transaction
	err     error

	primary primary
	epoch   int64 // in Redis when the recording began
}

// transaction is what was accepted.
type transaction struct {
	x       protocol.Tx
	id      uuid.UUID
	seq     int64
	steps   []pending.Step
	discard bool
	targets []protocol.Tx // discarded by it
}

// Record begins to record what the site of s does, before anything was written there.
// redisURL leads to its Redis past any line of the test.
func Record(t testing.TB, s *txntest.Sites, redisURL string) *Recorder {
	t.Helper()
	u, err := url.Parse(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	r := &Recorder{
		t: t, sites: s, direct: redisURL, db: strings.TrimPrefix(u.Path, "/"), prefix: "site:" + s.Site + ":",
		client: redis.NewClient(options), seen: map[int]chan struct{}{}, shadow: newShadow(),
	}
	if r.db == "" {
		r.db = "0"
	}
	t.Cleanup(func() {
		r.detach()
		if err := r.client.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx := sandboxtest.Context(t)
	r.attach()
	for key, to := range map[string]*int64{"seq": &r.shadow.seq, "epoch": &r.shadow.epoch, "batch": &r.shadow.batch} {
		if n, err := r.client.Get(ctx, r.prefix+key).Int64(); err == nil {
			*to = n
		} else if err != redis.Nil {
			t.Fatal(err)
		}
	}
	if r.shadow.load, err = r.client.Get(ctx, r.prefix+"load").Result(); err != nil {
		t.Fatal(err)
	}
	r.epoch = r.shadow.epoch
	if r.shadow.seq != 0 || r.shadow.batch != 0 {
		t.Fatal("something happened at the site before the recording began")
	}
	r.primary.begin(t, s)
	return r
}

// attach begins to listen.
func (r *Recorder) attach() {
	r.t.Helper()
	var err error
	sandboxtest.Eventually(r.t, 30*time.Second, "Redis to tell what it does", func() bool {
		r.monitor, err = openMonitor(r.direct)
		return err == nil
	})
	r.done = make(chan struct{})
	go func(m *monitor, done chan struct{}) {
		defer close(done)
		for {
			c, err := m.next()
			if err != nil {
				return // the server or the recorder has ended it
			}
			if c.db == r.db {
				r.take(c)
			}
		}
	}(r.monitor, r.done)
}

func (r *Recorder) detach() {
	if r.monitor == nil {
		return
	}
	if err := r.monitor.conn.Close(); err != nil {
		r.t.Log("ending MONITOR:", err)
	}
	<-r.done
	r.monitor = nil
}

// take sorts one command: a script begins, has an effect, or is over.
func (r *Recorder) take(c command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.lua {
		if r.open != nil {
			r.shadow.do(r.prefix, c.args, r.added)
		}
		return
	}
	r.close()
	switch name := strings.ToUpper(c.args[0]); {
	case (name == "EVALSHA" || name == "EVAL") && len(c.args) > 3 && c.args[3] == r.prefix:
		hash := c.args[1]
		if name == "EVAL" {
			hash = redis.NewScript(hash).Hash()
		}
		if script := pending.ScriptName(hash); script != "" {
			r.open = &raw{kind: script, args: c.args[4:], before: r.shadow.clone(), tx: -1}
		}
	case name == "ECHO" && strings.HasPrefix(c.args[1], mark):
		var m told
		if err := json.Unmarshal([]byte(strings.TrimPrefix(c.args[1], mark)), &m); err != nil {
			r.err = fmt.Errorf("reading a mark: %w", err)
			return
		}
		r.marked(&m)
	}
}

// close ends the script that is open.
func (r *Recorder) close() {
	if r.open == nil {
		return
	}
	e := r.open
	r.open = nil
	e.after = r.shadow.clone()
	e.text = strings.Join(short(e.args), " ")
	r.events = append(r.events, e)
}

func short(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = strings.ToValidUTF8(a[:min(len(a), 40)], "?")
	}
	return out
}

// marked is called when the mark's turn has come.
func (r *Recorder) marked(m *told) {
	switch m.Kind {
	case "redis copied":
		r.copy = r.shadow.clone()
	case "redis restored":
		r.shadow = r.copy.clone()
	case "redis emptied":
		r.shadow = newShadow()
	}
	if m.Kind != "" {
		r.events = append(r.events, &raw{kind: m.Kind, told: m, tx: -1, after: r.shadow.clone(), before: r.shadow.clone()})
	}
	if c, ok := r.seen[m.N]; ok {
		close(c)
	}
}

// added is called by the shadow for a new transaction.
func (r *Recorder) added(seq int64, head, body string) uint8 {
	var h struct {
		ID uuid.UUID `json:"id"`
	}
	var b struct {
		Steps    []pending.Step `json:"steps"`
		Discards []int64        `json:"discards"`
		Place    int64          `json:"place"`
	}
	if err := json.Unmarshal([]byte("{"+head+"}"), &h); err != nil {
		r.err = err
	}
	if err := json.Unmarshal([]byte("{"+body+"}"), &b); err != nil {
		r.err = err
	}
	tx := transaction{id: h.ID, seq: seq, steps: b.Steps, discard: len(b.Discards) > 0 && b.Place == 0}
	for _, target := range b.Discards {
		tx.targets = append(tx.targets, r.shadow.entries[target])
	}
	same := 0
	for _, other := range r.txs {
		if other.discard == tx.discard {
			same++
		}
	}
	if tx.x = protocol.Tx(same); tx.discard {
		tx.x = protocol.TxOfDiscard(same)
		if same == protocol.MaxDiscards {
			r.err = errors.New("the trace has more discards than the model has room for")
		}
	}
	r.txs = append(r.txs, tx)
	r.open.tx = len(r.txs) - 1
	return tx.x
}

// tell gives a mark its place, and returns when it was recorded.
func (r *Recorder) tell(m told) {
	r.t.Helper()
	r.mu.Lock()
	r.echoes++
	m.N = r.echoes
	seen := make(chan struct{})
	r.seen[m.N] = seen
	r.mu.Unlock()
	text, err := json.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx := sandboxtest.Context(r.t)
	if err := r.client.Echo(ctx, mark+string(text)).Err(); err != nil {
		r.t.Fatalf("telling the recorder %s: %v", m.Kind, err)
	}
	select {
	case <-seen:
	case <-ctx.Done():
		r.t.Fatalf("the recorder never saw %s", m.Kind)
	}
}

// Answered tells that a client has the answer to a transaction.
func (r *Recorder) Answered(id uuid.UUID) { r.t.Helper(); r.tell(told{Kind: "answered", ID: id}) }

// CauseRemoved tells that main has removed what made the poison fail.
func (r *Recorder) CauseRemoved() { r.t.Helper(); r.tell(told{Kind: "cause removed"}) }

// Exported tells that a file was written with these transactions, by seq.
func (r *Recorder) Exported(seqs []int64) {
	r.t.Helper()
	r.tell(told{Kind: "file exported", Seqs: seqs})
}

// notes is one merged read of all notes.
const notes = `SELECT r.id, r.body FROM (
	(SELECT t.* FROM note t WHERE t.id <> ALL ($1::uuid[]))
	UNION ALL
	(SELECT p.* FROM note_pending($2::jsonb) p)) r`

// Read reads all notes, as a list would, and records the answer.
func (r *Recorder) Read(reader *pending.Reader) {
	r.t.Helper()
	r.tell(told{Kind: "read begins"})
	var got answer
	err := reader.Read(sandboxtest.Context(r.t), func(ctx context.Context, s *pending.Snapshot) error {
		got = answer{Swept: s.View.Swept, Batch: s.Batch, Bodies: map[uuid.UUID]string{}}
		s.View.Ascend(0, func(tx *pending.Tx) bool {
			if tx.State != pending.StateDiscarded && tx.State != pending.StateReplicated {
				got.Pending = append(got.Pending, tx.Seq)
			}
			return true
		})
		overlay := s.All("note", pending.Page{})
		rows, err := s.DB.Query(ctx, notes, overlay.Replaced, overlay.Pending)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id uuid.UUID
			var body string
			if err := rows.Scan(&id, &body); err != nil {
				return err
			}
			if _, double := got.Bodies[id]; double {
				r.t.Errorf("note %s is shown twice", id)
			}
			got.Bodies[id] = body
		}
		return rows.Err()
	})
	if err != nil {
		r.t.Fatalf("reading: %v", err)
	}
	r.tell(told{Kind: "read ends", Read: &got})
}
