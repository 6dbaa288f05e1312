package pending

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"
)

// TestViewEqualsReload: whatever happens through several processes, the view
// that each of them has followed is what a new process loads, also when things happen
// between the pages of its load.
func TestViewEqualsReload(t *testing.T) {
	t.Parallel()
	r := newRedis(t, "appendfsync no")
	relaxed := func(o *Options) { o.Durability = Relaxed }
	stores := []*Store{openStore(t, r, relaxed), openStore(t, r, relaxed)}
	rapid.Check(t, func(rt *rapid.T) {
		for _, s := range stores {
			must(t, s.client.FlushAll(t.Context()).Err())
			catchUp(t, s)
		}
		var ids []uuid.UUID
		position := int64(100)
		se := session(t, stores[0])
		pick := func() *Store { return rapid.SampledFrom(stores).Draw(rt, "store") }
		row := func() uuid.UUID {
			if len(ids) == 0 {
				ids = append(ids, newID())
			}
			return rapid.SampledFrom(ids).Draw(rt, "row")
		}
		seqs := func(v View, state State) (out []int64) {
			v.Ascend(0, func(x *Tx) bool {
				if x.State == state && rapid.Bool().Draw(rt, "take") {
					out = append(out, x.Seq)
				}
				return true
			})
			return out
		}
		actions := map[string]func(*rapid.T){
			"create": func(*rapid.T) {
				id := newID()
				ids = append(ids, id)
				parent := row()
				tryAccept(t, pick(), execution(id), create("file", newID(), fmt.Sprintf(`{"created_at":"2026-07-15T01:00:%02dZ","execution":"%s","package":null}`, len(ids)%60, id), Key{"execution", parent}))
			},
			"update": func(*rapid.T) {
				c := rapid.SampledFrom([]string{`{"comment":"x"}`, `{"start_time":"2026-07-15T01:00:00Z","unit":7,"status":"done"}`, `{"start_time":"2026-07-15T03:00:00Z","comment":"y"}`}).Draw(rt, "columns")
				tryAccept(t, pick(), update("execution", row(), c))
			},
			"delete": func(*rapid.T) { tryAccept(t, pick(), Change{Table: "execution", ID: row(), Op: OpDelete}) },
			"settle": func(*rapid.T) {
				position++
				s := pick()
				se.store = s
				settle(t, se, position, seqs(catchUp(t, s), rapid.SampledFrom([]State{StateBuffered, StateFailed, StateBlocked}).Draw(rt, "state"))...)
			},
			"fail": func(*rapid.T) { fail(t, se, seqs(catchUp(t, pick()), StateBuffered)...) },
			"block": func(*rapid.T) {
				v := catchUp(t, pick())
				var list []Blocking
				for _, seq := range seqs(v, StateBuffered) {
					if x, _ := v.TxBySeq(seq); len(v.Blockers(x.Changes, seq)) > 0 {
						list = append(list, Blocking{seq, v.Blockers(x.Changes, seq)[0]})
					}
				}
				must(t, se.Block(t.Context(), list))
			},
			"retry": func(*rapid.T) {
				if _, err := pick().Retry(t.Context(), seqs(catchUp(t, pick()), StateFailed)...); err != nil {
					t.Fatal(err)
				}
			},
			"mark": func(*rapid.T) {
				if _, err := pick().MarkReplicated(t.Context(), se.Load, position); err != nil {
					t.Fatal(err)
				}
			},
			"unsweep": func(*rapid.T) {
				if _, err := pick().Unsweep(t.Context(), se.Load, position-2); err != nil {
					t.Fatal(err)
				}
			},
			"expire": func(*rapid.T) {
				if _, err := pick().Expire(t.Context(), time.Now().Add(2*time.Hour)); err != nil {
					t.Fatal(err)
				}
			},
			"connect": func(*rapid.T) {
				s := pick()
				se = session(t, s)
				c, err := se.Connected(t.Context(), Claim{Batch: position - 1, InLedger: seqs(catchUp(t, s), StateFailed)})
				must(t, err)
				position = max(position, c.Batch)
			},
			"another life": func(*rapid.T) {
				must(t, stores[0].client.Del(t.Context(), stores[0].prefix+"load").Err())
				se = session(t, pick())
			},
		}
		names := slices.Sorted(maps.Keys(actions))
		actions[""] = func(rt *rapid.T) {
			whole(t, stores[0])
			meanwhile := rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(rt, "meanwhile")
			client := stores[0].client.Fork("fresh")
			client.AddHook(beforePages(func() {
				if len(meanwhile) > 0 {
					actions[meanwhile[0]](rt)
					meanwhile = meanwhile[1:]
				}
			}))
			fresh, err := Open(t.Context(), client, Options{Site: "observatory", Tables: testTables, Decoder: changeDecoder{}, Durability: Relaxed, loadCount: 3})
			must(t, err)
			want := picture(catchUp(t, fresh))
			must(t, errors.Join(fresh.Close(), client.Close()))
			for i, s := range stores {
				if diff := cmp.Diff(want, picture(catchUp(t, s))); diff != "" {
					rt.Fatalf("process %d differs from a reload:\n%s", i, diff)
				}
			}
		}
		rt.Repeat(actions)
	})
}

// beforePages is called before each page of a load.
type beforePages func()

func (beforePages) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f beforePages) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); len(args) > 1 && args[1] == scripts.loadPage.Hash() {
			f()
		}
		return next(ctx, cmd)
	}
}

func (beforePages) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func tryAccept(t testing.TB, s *Store, changes ...Change) {
	t.Helper()
	if _, err := s.Accept(t.Context(), request(catchUp(t, s), "", changes...)); err != nil {
		t.Fatal(err)
	}
}
