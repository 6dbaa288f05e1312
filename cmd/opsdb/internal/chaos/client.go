package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// patience is how long a client waits for an answer before it calls it unknown.
const patience = 8 * time.Second

// execution is what a client knows of an execution that it has begun.
type execution struct {
	client string
	n      int
	name   string
	id     string
	site   string

	running    bool
	files      int
	unpackaged int
	open       []string // packages to be finalized
	contested  bool
}

// client makes one request after the other, each chosen by its own numbers.
type client struct {
	name  string
	site  string
	world *world
	apis  []API
	http  *http.Client
	rng   *rand.Rand

	sabotaged bool // somebody at main changes its rows

	keys  int
	began int // executions
	own   []*execution
	lsn   string // of its last commit at main
	acked []acked
	// asking is the write that has had no answer when a round ended.
	asking *write
}

// acked is an answered write, to be repeated some time.
type acked struct {
	write write
	tx    string
}

// write is a write with what it takes to repeat it.
type write struct {
	op, method, path, key string
	body                  []byte
	row                   *execution
	value                 string
	headers               []string
	// done takes what a success means for the client's own picture.
	done func(answer)
}

// answer is what a success said.
type answer struct {
	ID  string   `json:"id"`
	IDs []string `json:"ids"`
}

func newClient(w *world, name, site string, apis []API, seed uint64) *client {
	number := uint64(0)
	for _, b := range []byte(name) {
		number = number*131 + uint64(b)
	}
	return &client{
		name: name, site: site, world: w, apis: apis, rng: rand.New(rand.NewPCG(seed, number)),
		// Several requests to a process that was killed fail at once, and none
		// is repeated by itself: each is a line of the history.
		http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Second}},
	}
}

// send makes one request to a process and notes it. out receives a success.
func (c *client) send(ctx context.Context, note Call, process int, method, path, token string, body []byte, out any, headers ...string) Call {
	note.Client, note.Site, note.Process = c.name, c.site, process
	note.Start = c.world.recorder.now()
	note.Outcome = Unknown
	response, text, err := c.exchange(ctx, c.apis[process].URL+path, method, token, body, headers)
	note.End = c.world.recorder.now()
	if err != nil {
		note.Problem = err.Error()
		return note
	}
	note.Status = response.StatusCode
	note.Tx = response.Header.Get("X-Transaction-Id")
	note.Replayed = response.Header.Get("Idempotency-Replayed") == "true"
	note.Overlay = response.Header.Get("X-Overlay")
	note.LSN = response.Header.Get("X-Commit-LSN") + response.Header.Get("X-Replay-LSN")
	switch {
	case note.Status < 300:
		note.Outcome = OK
		if out != nil {
			if err := json.Unmarshal(text, out); err != nil {
				note.Outcome, note.Problem = Unknown, fmt.Sprintf("unreadable answer: %v", err)
			}
		}
	case note.Status < 500 && note.Status != http.StatusTooManyRequests && note.Status != http.StatusRequestTimeout:
		note.Outcome = Refused
		note.Problem = problemOf(text)
	default:
		note.Problem = problemOf(text)
	}
	return note
}

func (c *client) exchange(ctx context.Context, url, method, token string, body []byte, headers []string) (*http.Response, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(response.Body)
	return response, text, errors.Join(err, response.Body.Close())
}

// problemOf is the code of a problem, with its detail for people.
func problemOf(text []byte) string {
	var p struct {
		Type   string `json:"type"`
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Sprintf("%.200q", text)
	}
	code := p.Type
	if len(code) > len("/problems/") {
		code = code[len("/problems/"):]
	}
	return fmt.Sprintf("%s: %.200s", code, p.Detail)
}

func (c *client) key() string {
	c.keys++
	return fmt.Sprintf("%s-k%d", c.name, c.keys)
}

// do sends a write until it is answered, with one key, at any process of the
// site. What has no answer when the time is up is kept, to be asked again.
func (c *client) do(ctx context.Context, w *write) {
	c.asking = w
	for pause := 20 * time.Millisecond; ; pause = min(time.Second, 2*pause) {
		call := c.try(ctx, w)
		if call.Outcome != Unknown {
			c.asking = nil
			return
		}
		select {
		case <-time.After(pause + time.Duration(c.rng.IntN(20))*time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// try sends a write once.
func (c *client) try(ctx context.Context, w *write) Call {
	note := Call{Op: w.op, Key: w.key, Value: w.value}
	if w.row != nil {
		note.Row, note.Contested = w.row.name, w.row.contested
	}
	var got answer
	// A round that ends does not cut requests: the client would not know.
	call := c.send(context.WithoutCancel(ctx), note, c.rng.IntN(len(c.apis)), w.method, w.path, c.world.ServiceToken, w.body, &got,
		append([]string{"Idempotency-Key", w.key}, w.headers...)...)
	if call.Outcome == OK {
		call.IDs = got.IDs
		if got.ID != "" {
			call.IDs = []string{got.ID}
		}
		if c.site == SiteMain && call.LSN != "" {
			c.lsn = call.LSN
		}
		w.done(got)
		again := *w
		again.done = func(answer) {}
		c.acked = append(c.acked, acked{write: again, tx: call.Tx})
	}
	c.world.recorder.call(call)
	return call
}

// read makes one read; nobody repeats it.
func (c *client) read(ctx context.Context, note Call, path string, headers []string, saw func() *Seen, out any) {
	note.Op = cmpOr(note.Op, OpRead)
	apis := c.apis
	if note.MinLSN != "" {
		headers = append(headers, "X-Min-LSN", note.MinLSN)
	}
	call := c.send(context.WithoutCancel(ctx), note, c.rng.IntN(len(apis)), http.MethodGet, path, c.world.ServiceToken, nil, out, headers...)
	if call.Outcome == OK {
		call.Saw = saw()
	}
	c.world.recorder.call(call)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
