package pending

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/rdb"
)

// redisServer is a real Redis of one test, which may kill it.
type redisServer struct {
	dir   string
	conf  string
	cmd   *exec.Cmd
	input io.Closer
}

func newRedis(t testing.TB, extra ...string) *redisServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "opsdb-redis-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	r := &redisServer{dir: dir, conf: filepath.Join(dir, "redis.conf")}
	lines := []string{
		"port 0", "unixsocket " + r.socket(), "dir " + dir, "save \"\"", "appendonly yes", "appendfsync always",
		"no-appendfsync-on-rewrite no", "maxmemory-policy noeviction", "logfile " + filepath.Join(dir, "log"),
	}
	if err := os.WriteFile(r.conf, []byte(strings.Join(append(lines, extra...), "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.kill(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r.start(t)
	return r
}

func (r *redisServer) socket() string { return filepath.Join(r.dir, "s") }

func (r *redisServer) start(t testing.TB) {
	t.Helper()
	// The shell ends Redis when its input closes: also when the test is killed.
	r.cmd = exec.Command("sh", "-c", `redis-server "$0" </dev/null & read -r _; kill -9 $!; wait`, r.conf)
	input, err := r.cmd.StdinPipe()
	must(t, err)
	must(t, r.cmd.Start())
	r.input = input
	probe := redis.NewClient(&redis.Options{Network: "unix", Addr: r.socket(), MaxRetries: -1})
	defer probe.Close()
	eventually(t, "Redis answers", func() bool { return probe.Ping(t.Context()).Err() == nil })
}

// kill is kill -9.
func (r *redisServer) kill(t testing.TB) {
	t.Helper()
	if r.cmd == nil {
		return
	}
	if err := r.input.Close(); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	r.cmd = nil
}

func (r *redisServer) client(t testing.TB) *rdb.Client {
	t.Helper()
	c, err := rdb.Open(rdb.Options{URL: "unix://" + r.socket()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	eventuallyWithin(t, 10*time.Second, what, done)
}

func eventuallyWithin(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %s", what)
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("gave up waiting: %s", what)
		}
	}
}

// testTables are like the product's: executions with a fixed parent, files with
// a fixed and a moving one.
var testTables = []Table{
	{Name: "execution", Time: "start_time", Paths: []string{"unit"}, Fixed: []string{"unit"}},
	{Name: "file", Time: "created_at", Paths: []string{"execution", "package"}, Fixed: []string{"execution"}},
}

// changeDecoder reads steps whose data are changes.
type changeDecoder struct{}

func (changeDecoder) Changes(kind string, data json.RawMessage) ([]Change, error) {
	if kind != "change/1" {
		return nil, fmt.Errorf("%w: %s", ErrUnknownKind, kind)
	}
	var c Change
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	return []Change{c}, nil
}

func openStore(t testing.TB, r *redisServer, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{Site: "observatory", Tables: testTables, Decoder: changeDecoder{}}
	for _, f := range change {
		f(&o)
	}
	s, err := Open(t.Context(), r.client(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

var testTime = time.Date(2026, 7, 15, 0, 0, 0, 0, time.UTC)

// request builds the Accept of a transaction with these changes on a view.
func request(v View, key string, changes ...Change) Accept {
	tx := &Transaction{
		ID: uuid.Must(uuid.NewV7()), Operation: "start-executed-obs-unit", Rows: len(changes), AcceptedAt: testTime, Site: "observatory",
		Actor: "user:ana", RequestDigest: []byte{1, 2, 3},
	}
	if key != "" {
		tx.IdempotencyKey = &key
	}
	for _, c := range changes {
		data, err := json.Marshal(c)
		if err != nil {
			panic(err)
		}
		tx.Steps = append(tx.Steps, Step{"change/1", data})
	}
	return Accept{Transaction: tx, Changes: changes, View: v}
}

func create(table string, id uuid.UUID, columns string, references ...Key) Change {
	return Change{Table: table, ID: id, Op: OpCreate, Columns: json.RawMessage(columns), References: references}
}

func update(table string, id uuid.UUID, columns string) Change {
	return Change{Table: table, ID: id, Op: OpUpdate, Columns: json.RawMessage(columns)}
}

func execution(id uuid.UUID) Change {
	return create("execution", id, `{"id":"`+id.String()+`","unit":7,"status":"running","start_time":"2026-07-15T01:00:00Z","comment":""}`)
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// accept stores a transaction and demands that it was stored.
func accept(t testing.TB, s *Store, changes ...Change) *Tx {
	t.Helper()
	v := catchUp(t, s)
	a, err := s.Accept(t.Context(), request(v, "", changes...))
	if err != nil || a.Seq == 0 {
		t.Fatalf("accepting: %+v, %v", a, err)
	}
	x, ok := s.Current().TxBySeq(a.Seq)
	if !ok {
		t.Fatalf("the view lacks transaction %d, which was accepted here", a.Seq)
	}
	return x
}

func catchUp(t testing.TB, s *Store) View {
	t.Helper()
	v, err := s.CatchUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func session(t testing.TB, s *Store) Session {
	t.Helper()
	se, err := s.BeginEpoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return se
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settle settles seqs with one position.
func settle(t testing.TB, se Session, position int64, seqs ...int64) {
	t.Helper()
	var list []Settled
	for _, seq := range seqs {
		list = append(list, Settled{Seq: seq, Position: position, LSN: "0/1", Outcome: StateApplied})
	}
	must(t, se.Settle(t.Context(), list))
}

func fail(t testing.TB, se Session, seqs ...int64) {
	t.Helper()
	for _, seq := range seqs {
		must(t, se.Fail(t.Context(), []Failure{{Seq: seq, Problem: json.RawMessage(`{"type":"/problems/test"}`), At: testTime}}))
	}
}

// dump is everything under the site's prefix, to compare.
func dump(t testing.TB, s *Store) map[string]string {
	t.Helper()
	ctx := context.Background()
	out := map[string]string{}
	keys, err := s.client.Keys(ctx, s.prefix+"*").Result()
	must(t, err)
	for _, k := range keys {
		typ, err := s.client.Type(ctx, k).Result()
		must(t, err)
		var v any
		switch typ {
		case "string":
			v, err = s.client.Get(ctx, k).Result()
		case "list":
			v, err = s.client.LRange(ctx, k, 0, -1).Result()
		case "hash":
			v, err = s.client.HGetAll(ctx, k).Result()
		case "zset":
			v, err = s.client.ZRangeWithScores(ctx, k, 0, -1).Result()
		case "stream":
			v, err = s.client.XRange(ctx, k, "-", "+").Result()
		}
		must(t, err)
		b, err := json.Marshal(v)
		must(t, err)
		out[strings.TrimPrefix(k, s.prefix)] = typ + " " + string(b)
	}
	return out
}

// buffered lists the seqs of the buffer, oldest first.
func buffered(t testing.TB, s *Store) []int64 {
	t.Helper()
	lines, err := s.client.LRange(context.Background(), s.prefix+"transaction_buffer", 0, -1).Result()
	must(t, err)
	var out []int64
	for _, l := range slices.Backward(lines) {
		var v struct{ Seq int64 }
		must(t, json.Unmarshal([]byte(l), &v))
		out = append(out, v.Seq)
	}
	return out
}

// picture is everything that a view says, to compare.
func picture(v View) map[string]any {
	out := map[string]any{"last": v.LastSeq, "change": v.LastChange, "swept": v.Swept, "paused": v.Paused}
	v.Ascend(0, func(x *Tx) bool {
		d := ""
		if x.Dead != nil {
			d = fmt.Sprintf("%d %v %s", x.Dead.BlockedBy, x.Dead.NextTry, x.Dead.Problem)
		}
		out[fmt.Sprint("tx ", x.Seq)] = fmt.Sprint(x.ID, x.Operation, x.Actor, x.Rows, x.AcceptedAt, x.State, x.Position, x.LSN, d, x.Attempts, len(x.Changes), x.Unknown)
		return true
	})
	c := v.Counts()
	out["counts"] = fmt.Sprint(c.Buffered, c.Applied, c.Failed, c.Blocked, c.OldestAccepted, c.RowsByTable)
	for name, i := range v.index {
		r := v.tables[i]
		r.byID.Scan(func(x *row) bool {
			w := v.row(x)
			var newest int64
			if w.Newest != nil {
				newest = w.Newest.Seq
			}
			out[name+" "+x.id.String()] = fmt.Sprint(x.shown, w.Create, w.ClientID, w.Deleted, string(w.Columns), newest, w.CreateSeq, x.time, fmt.Sprintf("%s %b %b", x.values, x.loose, x.changed), len(x.images))
			return true
		})
		list := func(where string, items []*row) {
			ids := []string{}
			for _, x := range items {
				ids = append(ids, x.id.String())
			}
			out[name+" "+where] = ids
		}
		list("time", r.byTime.Items())
		list("nowhere", r.nowhere.Items())
		for _, p := range r.paths {
			list("path "+p.column, p.byValue.Items())
			list("loose "+p.column, p.loose.Items())
			list("changed "+p.column, p.changed.Items())
		}
	}
	return out
}

// zEarly lets a transaction have replicated long ago.
func zEarly(seq int64) redis.Z { return redis.Z{Score: 1, Member: seq} }

// hang listens, accepts and never answers, until the test ends.
func hang(t testing.TB) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var held []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, c)
		}
	}()
	t.Cleanup(func() {
		must(t, l.Close())
		<-done
		for _, c := range held {
			must(t, c.Close())
		}
	})
	return l.Addr().String()
}
