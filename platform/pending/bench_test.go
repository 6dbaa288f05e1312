package pending

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
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
