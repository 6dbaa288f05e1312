package pending

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// Columns of the size that an execution has.
func benchColumns(n int, status string) (uuid.UUID, json.RawMessage) {
	id := newID()
	return id, json.RawMessage(fmt.Sprintf(`{"id":"%s","obs_unit_id":%d,"azimuth_range_id":null,"pre_scheduled_slot_id":null,"status":"%s","start_time":"%s","end_time":null,`+
		`"mean_azimuth_deg":null,"mean_elevation_deg":null,"pwv_mm":null,"conditions":{},"comment":"","recorded_by":1,"origin_site_id":2,"version":1,`+
		`"created_at":"2026-07-15T01:00:00Z","updated_at":"2026-07-15T01:00:00Z"}`, id, n%50, status, testTime.Add(time.Duration(n)*time.Millisecond).Format(time.RFC3339Nano)))
}

// BenchmarkAccept is the script against its floor, one LPUSH of the same bytes.
func BenchmarkAccept(b *testing.B) {
	s := openStore(b, newRedis(b), func(o *Options) { o.Tables = nightTables })
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprintf("LPUSH/%d", parallel), func(b *testing.B) {
			v := catchUp(b, s)
			id, columns := benchColumns(1, "running")
			h, body, err := encode(request(v, "key", create("executed_obs_unit", id, string(columns))).Transaction)
			must(b, err)
			line := append(h, body...)
			each(b, parallel, func() error { return s.client.LPush(b.Context(), "floor", line).Err() })
		})
		b.Run(fmt.Sprintf("Accept/%d", parallel), func(b *testing.B) {
			b.ReportAllocs()
			var n atomic.Int64
			each(b, parallel, func() error {
				id, columns := benchColumns(int(n.Add(1)), "running")
				a := request(s.Current(), "", create("executed_obs_unit", id, string(columns)))
				_, err := s.Accept(b.Context(), a)
				return err
			})
		})
	}
}

func each(b *testing.B, parallel int, f func() error) {
	b.SetParallelism(parallel)
	if parallel == 1 {
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := f(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkCatchUpIdle(b *testing.B) {
	s := openStore(b, newRedis(b))
	accept(b, s, execution(newID()))
	b.Run("PING", func(b *testing.B) {
		for b.Loop() {
			must(b, s.client.Ping(b.Context()).Err())
		}
	})
	b.Run("CatchUp", func(b *testing.B) {
		for b.Loop() {
			catchUp(b, s)
		}
	})
}

// benchView holds n pending executions; every tenth is finished.
func benchView(n int) View {
	st := newState(nightTables, changeDecoder{})
	for i := range n {
		id, columns := benchColumns(i, "running")
		st.insert(&Tx{Seq: int64(2*i + 1), ID: newID(), State: StateBuffered, Changes: []Change{create("executed_obs_unit", id, string(columns))}})
		if i%10 == 0 {
			st.insert(&Tx{Seq: int64(2*i + 2), ID: newID(), State: StateBuffered, Changes: []Change{update("executed_obs_unit", id, `{"status":"completed"}`)}})
		}
	}
	return st.publish(View{})
}

func BenchmarkPage(b *testing.B) {
	pages := map[string]Page{
		"plain":  {Limit: 51},
		"path":   {Limit: 51, Path: "obs_unit_id", Parent: int64(7)},
		"common": {Limit: 51, Filters: []Filter{{"status", "in", []any{"running"}}}},
		"tenth":  {Limit: 51, Filters: []Filter{{"status", "in", []any{"completed"}}}},
		"never":  {Limit: 51, Filters: []Filter{{"status", "in", []any{"failed"}}}},
	}
	for _, n := range []int{1_000, 100_000} {
		v := benchView(n)
		for name, p := range pages {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					v.page("executed_obs_unit", p, 0)
				}
			})
		}
	}
}

// BenchmarkInsert is what one accepted transaction costs a view that is taken
// after each.
func BenchmarkInsert(b *testing.B) {
	st := newState(nightTables, changeDecoder{})
	last := View{}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id, columns := benchColumns(i, "running")
		st.insert(&Tx{Seq: int64(i + 1), ID: newID(), State: StateBuffered, Changes: []Change{create("executed_obs_unit", id, string(columns))}})
		last = st.publish(last)
	}
}

// rowsOf reads steps whose data are the columns of a created execution.
type rowsOf struct{}

func (rowsOf) Changes(_ string, data json.RawMessage) ([]Change, error) {
	var row struct {
		ID uuid.UUID `json:"id"`
	}
	if err := json.Unmarshal(data, &row); err != nil {
		return nil, err
	}
	return []Change{create("executed_obs_unit", row.ID, string(data))}, nil
}

// BenchmarkReload is what a cold start reads: 100,000 buffered starts of executions, alone
// and after 1,000,000 transactions that have replicated and are not forgotten yet.
func BenchmarkReload(b *testing.B) {
	for name, replicated := range map[string]int{"alone": 0, "after a million replicated": 1_000_000} {
		b.Run(name, func(b *testing.B) { benchReload(b, replicated) })
	}
}

func benchReload(b *testing.B, replicated int) {
	const n = 100_000
	s := openStore(b, newRedis(b, "appendfsync no"), func(o *Options) {
		o.Tables, o.Decoder, o.Durability = nightTables, rowsOf{}, Relaxed
	})
	for first := 0; first < replicated; first += 10_000 {
		must(b, s.client.Eval(b.Context(), `for i = ARGV[1] + 1, ARGV[1] + 10000 do
			local seq = string.format('%.0f', i)
			redis.call('XADD', KEYS[1] .. 'transactions', seq .. '-0', 'h', string.rep('h', 300), 'b', string.rep('b', 500))
			redis.call('ZADD', KEYS[1] .. 'applied', 1700000000000000 + i, seq)
			redis.call('ZADD', KEYS[1] .. 'replicated', 1700000000000 + i, seq)
		end
		return 1`, []string{s.prefix}, first).Err())
	}
	for first := replicated; first < replicated+n; first += 1000 {
		_, err := s.client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
			for i := first; i < first+1000; i++ {
				h, body := benchStart(b, i)
				p.XAdd(b.Context(), &redis.XAddArgs{Stream: s.prefix + "transactions", ID: fmt.Sprintf("%d-0", i+1), Values: []any{"h", h, "b", body}})
			}
			p.Set(b.Context(), s.prefix+"seq", first+1000, 0)
			return nil
		})
		must(b, err)
	}
	for b.Loop() {
		if loaded, err := s.reload(b.Context()); err != nil || !loaded {
			b.Fatalf("loaded: %v, %v", loaded, err)
		}
	}
	b.StopTimer()
	if got := s.Current().Counts().Buffered; got != n {
		b.Fatalf("%d of %d were loaded", got, n)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/n/float64(b.N), "µs/tx")
}

// benchStart is a buffered start of an execution as it is stored.
func benchStart(b *testing.B, n int) (head, body []byte) {
	b.Helper()
	user := int64(7)
	_, columns := benchColumns(n, "running")
	key := newID().String()
	head, body, err := encode(&Transaction{
		ID: newID(), Operation: "start-executed-obs-unit", Rows: 1, AcceptedAt: testTime, Site: "observatory", Actor: "token:17", UserID: &user,
		IdempotencyKey: &key, RequestDigest: make([]byte, 32), Steps: []Step{{"executed_obs_unit.start/1", columns}},
	})
	must(b, err)
	return head, body
}

// held keeps what BenchmarkMemoryOfPending has built in the heap, for -memprofile.
var held any

// BenchmarkMemoryOfPending tells what one pending start of an execution takes in a
// process: its stored text and all that is made of it. Run it once (-benchtime 1x).
func BenchmarkMemoryOfPending(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		held = nil
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		st, text := newState(nightTables, rowsOf{}), 0
		for i := range n {
			h, body := benchStart(b, i)
			text += len(h) + len(body)
			st.insert(st.read(int64(i+1), bytes.Clone(h), bytes.Clone(body)))
		}
		held = []any{st, st.publish(View{})}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "heap-B/tx")
		b.ReportMetric(float64(text)/n, "text-B/tx")
	}
}
