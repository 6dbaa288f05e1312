package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Outcomes of a call.
const (
	OK      = "ok"
	Refused = "refused" // a 4xx: nothing was done
	Unknown = "unknown" // no answer, or a 5xx: it may have been done
)

// Operations of a call.
const (
	OpStart    = "start"
	OpFinish   = "finish"
	OpPatch    = "patch"
	OpFiles    = "files"
	OpPackage  = "package"
	OpFinalize = "finalize"
	OpRead     = "read"
	OpList     = "list"
	OpTell     = "transaction"
	OpOperator = "operator"
	OpSQL      = "sql"
)

// Call is one request of a client and what came back: a line of the history.
// Times are microseconds since the run began.
type Call struct {
	Line    int    `json:"line"`
	Client  string `json:"client"`
	Site    string `json:"site"`
	Process int    `json:"process"`
	Op      string `json:"op"`
	Start   int64  `json:"start"`
	End     int64  `json:"end"`
	Outcome string `json:"outcome"`
	Status  int    `json:"status,omitempty"`
	Problem string `json:"problem,omitempty"`

	// Row is the execution concerned, by the name that its conditions carry.
	Row string `json:"row,omitempty"`
	// Of writes: the Idempotency-Key, the value written (a comment or a status),
	// what the answer named.
	Key      string   `json:"key,omitempty"`
	Value    string   `json:"value,omitempty"`
	IDs      []string `json:"ids,omitempty"`
	Tx       string   `json:"tx,omitempty"`
	Replayed bool     `json:"replayed,omitempty"`
	LSN      string   `json:"lsn,omitempty"` // of the commit, or what a read had replayed
	// Contested tells that others at main may change the row meanwhile, so that
	// the write may become a dead letter.
	Contested bool `json:"contested,omitempty"`

	// Of reads. Overlay tells that the answer is marked as made of pending rows
	// alone: what it does not show, it does not deny.
	MinLSN  string  `json:"min_lsn,omitempty"`
	Overlay string  `json:"overlay,omitempty"`
	Window  *Window `json:"window,omitempty"`
	Saw     *Seen   `json:"saw,omitempty"`
}

// Window is what a list was asked for: rows From to Until (not included) of one
// client, perhaps of one status only.
type Window struct {
	Client string `json:"client"`
	From   int    `json:"from"`
	Until  int    `json:"until"`
	Status string `json:"status,omitempty"`
}

// Seen is what a read showed: one row with its parts, or the rows of a list.
type Seen struct {
	Rows  []SeenRow `json:"rows"`
	Total *int      `json:"total,omitempty"`
	// More says that a list goes on after this page, which may end early.
	More bool `json:"more,omitempty"`
}

// SeenRow is an execution as it was shown, or as it is at main in the end.
type SeenRow struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Status  string `json:"status"`
	Comment string `json:"comment"`
	// Parts are null in a list.
	Files    []string          `json:"files,omitempty"`
	Packages map[string]string `json:"packages,omitempty"`
	Whole    bool              `json:"whole,omitempty"`
}

// Entry is a transaction in the ledger.
type Entry struct {
	ID      string `json:"id"`
	Site    string `json:"site"`
	Seq     int64  `json:"seq"`
	Outcome string `json:"outcome"`
	Key     string `json:"key"`
	// XID is the subtransaction that wrote it (xmin): main gives the numbers out in the order
	// of writing. A time would be that of BEGIN, and whoever imports a file while the site's
	// processor drains may begin first and wait for what that commits.
	XID int64 `json:"xid"`
}

// Dead is a dead letter that waits for an operator.
type Dead struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Problem string `json:"problem"`
}

// State is what there is once everything is healed and drained.
type State struct {
	Rows    []SeenRow         `json:"rows"`
	Ledger  []Entry           `json:"ledger"`
	Dead    []Dead            `json:"dead"`
	Files   map[string]string `json:"files"` // id to path
	Differs []string          `json:"differs,omitempty"`
}

// Mark is an event of the run: a fault begins or ends, a round is over.
type Mark struct {
	Line int    `json:"line"`
	At   int64  `json:"at"`
	What string `json:"what"`
	// Since is set by the promotion of a standby: what main itself acknowledged
	// from then on may be gone, for nobody else had it.
	Since int64 `json:"since,omitempty"`
}

// History is everything that a check needs.
type History struct {
	Calls []Call
	Marks []Mark
	State State
	// Wedged are the healings after which the buffer did not empty.
	Wedged []Violation
}

// line is how one line of the file is told from another.
type line struct {
	Call   *Call      `json:"call,omitempty"`
	Mark   *Mark      `json:"mark,omitempty"`
	State  *State     `json:"state,omitempty"`
	Wedged *Violation `json:"wedged,omitempty"`
}

// recorder writes the history while it happens.
type recorder struct {
	began time.Time

	mu    sync.Mutex
	out   *bufio.Writer
	lines int
	kept  History
	err   error
}

func newRecorder(out io.Writer) *recorder {
	return &recorder{began: time.Now(), out: bufio.NewWriter(out)}
}

// now is the time since the run began; it never goes back.
func (r *recorder) now() int64 { return time.Since(r.began).Microseconds() }

func (r *recorder) call(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines++
	c.Line = r.lines
	r.kept.Calls = append(r.kept.Calls, c)
	r.write(line{Call: &c})
}

func (r *recorder) mark(what string) { r.event(Mark{What: what}) }

func (r *recorder) event(m Mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines++
	m.Line, m.At = r.lines, r.now()
	r.kept.Marks = append(r.kept.Marks, m)
	r.write(line{Mark: &m})
}

func (r *recorder) wedged(v Violation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines++
	r.kept.Wedged = append(r.kept.Wedged, v)
	r.write(line{Wedged: &v})
}

// state notes what there is. Only the last one is written, by flush: each holds
// all that came before.
func (r *recorder) state(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept.State = s
}

func (r *recorder) write(l line) {
	text, err := json.Marshal(l)
	if err == nil {
		_, err = r.out.Write(append(text, '\n'))
	}
	r.err = errors.Join(r.err, err)
}

func (r *recorder) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.kept.Calls)
}

// history is a copy that no later line changes.
func (r *recorder) history() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.kept
	h.Calls = h.Calls[:len(h.Calls):len(h.Calls)]
	h.Marks = h.Marks[:len(h.Marks):len(h.Marks)]
	return h
}

func (r *recorder) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines++
	r.write(line{State: &r.kept.State})
	return errors.Join(r.err, r.out.Flush())
}

// ReadHistory reads a history file, to check it again.
func ReadHistory(in io.Reader) (History, error) {
	var h History
	decoder := json.NewDecoder(bufio.NewReader(in))
	for n := 1; ; n++ {
		var l line
		switch err := decoder.Decode(&l); {
		case errors.Is(err, io.EOF):
			return h, nil
		case err != nil:
			return h, fmt.Errorf("line %d of the history: %w", n, err)
		case l.Call != nil:
			h.Calls = append(h.Calls, *l.Call)
		case l.Mark != nil:
			h.Marks = append(h.Marks, *l.Mark)
		case l.Wedged != nil:
			h.Wedged = append(h.Wedged, *l.Wedged)
		case l.State != nil:
			h.State = *l.State
		}
	}
}
