package pending

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/tidwall/btree"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// night is a site at work: one writer, a processor, a tracker, two API
// processes, a primary and the replica that they read.
type night struct {
	primary *pgxpool.Pool
	replica *pgxpool.Pool
	stores  []*Store
	readers []*Reader

	mu     sync.Mutex
	states []*btree.Map[string, truth] // after each transaction
	acked  atomic.Int64                // transactions acknowledged
	seed   uint64
}

// truth is what a row must look like.
type truth struct {
	id      uuid.UUID
	table   string
	columns map[string]any
}

var nightTables = []Table{
	{Name: "executed_obs_unit", Time: "start_time", Paths: []string{"obs_unit_id", "status"}, Fixed: []string{"obs_unit_id"}},
	{Name: "raw_data_file", Time: "created_at", Paths: []string{"executed_obs_unit_id", "raw_data_package_id"}, Fixed: []string{"executed_obs_unit_id"}},
}

var nightStart = time.Date(2026, 7, 15, 0, 0, 0, 0, time.UTC)

func newNight(t *testing.T) *night {
	pair := sandboxtest.New(t)
	pair.Exec(t, `DO $$ DECLARE c record; BEGIN
		FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE contype = 'f' AND conrelid IN ('executed_obs_unit'::regclass, 'raw_data_file'::regclass) LOOP
			EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
		END LOOP; END $$;
		INSERT INTO site_status (site) VALUES ('observatory') ON CONFLICT DO NOTHING`)
	pair.WaitForReplay(t)
	n := &night{primary: pair.Primary(t), replica: pair.Replica(t), states: []*btree.Map[string, truth]{{}}, seed: uint64(time.Now().UnixNano())}
	r := newRedis(t, "appendfsync no")
	for range 2 {
		s := openStore(t, r, func(o *Options) { o.Tables, o.Durability = nightTables, Relaxed })
		n.stores = append(n.stores, s)
		n.readers = append(n.readers, NewReader(n.replica, s, "observatory", Limits{Read: 30 * time.Second, Behind: 30 * time.Second}))
	}
	return n
}

func key(table string, id uuid.UUID) string { return table + " " + id.String() }

// write accepts one random transaction through one of the processes.
func (n *night) write(ctx context.Context, rng *rand.Rand) error {
	s := n.stores[rng.IntN(len(n.stores))]
	view, err := s.CatchUp(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	state := n.states[len(n.states)-1].Copy()
	n.mu.Unlock()
	changes := randomChanges(rng, state)
	n.mu.Lock()
	n.states = append(n.states, state)
	n.mu.Unlock()
	a := request(view, "", changes...)
	for _, c := range changes {
		if c.Op == OpCreate && rng.IntN(4) == 0 {
			a.Transaction.ClientIDs = append(a.Transaction.ClientIDs, c.ID)
		}
	}
	got, err := s.Accept(ctx, a)
	if err != nil || got.Seq == 0 {
		return fmt.Errorf("accepting: %+v, %w", got, err)
	}
	n.acked.Add(1)
	return nil
}

func randomChanges(rng *rand.Rand, state *btree.Map[string, truth]) []Change {
	var executions, files []truth
	state.Scan(func(_ string, r truth) bool {
		if r.table == "executed_obs_unit" {
			executions = append(executions, r)
		} else {
			files = append(files, r)
		}
		return true
	})
	moment := nightStart.Add(time.Duration(rng.IntN(50)) * time.Second).Format(time.RFC3339Nano)
	set := func(c Change) []Change {
		old, _ := state.Get(key(c.Table, c.ID))
		r := truth{c.ID, c.Table, map[string]any{}}
		for k, v := range old.columns {
			r.columns[k] = v
		}
		for k, v := range decoded(c.Columns) {
			r.columns[k] = v
		}
		state.Set(key(c.Table, c.ID), r)
		return []Change{c}
	}
	switch k := rng.IntN(10); {
	case len(executions) == 0 || k < 3:
		id := newID()
		return set(create("executed_obs_unit", id, string(columnsOf(map[string]any{
			"id": id, "obs_unit_id": rng.IntN(3), "azimuth_range_id": nil, "pre_scheduled_slot_id": nil, "status": "running", "start_time": moment, "end_time": nil,
			"mean_azimuth_deg": nil, "mean_elevation_deg": nil, "pwv_mm": rng.IntN(4), "conditions": map[string]any{}, "comment": "", "recorded_by": nil, "origin_site_id": 1,
			"version": 1, "created_at": moment, "updated_at": moment,
		}))))
	case k < 6:
		r := executions[rng.IntN(len(executions))]
		return set(update(r.table, r.id, string(columnsOf(map[string]any{
			"status": "completed", "end_time": "2026-07-16T00:00:00Z", "comment": fmt.Sprint(rng.IntN(1000)), "start_time": r.columns["start_time"], "obs_unit_id": r.columns["obs_unit_id"],
		}))))
	case len(files) == 0 || k < 8:
		var all []Change
		parent := executions[rng.IntN(len(executions))]
		for range 1 + rng.IntN(3) {
			id := newID()
			all = append(all, set(create("raw_data_file", id, string(columnsOf(map[string]any{
				"id": id, "executed_obs_unit_id": parent.id, "instrument_module_id": 1, "raw_data_package_id": nil, "name": "f", "relative_path": id.String(), "file_type": "fits",
				"size_bytes": rng.IntN(4), "checksum_algorithm": "xxh64", "checksum": "0", "start_time": nil, "end_time": nil, "created_at": moment, "updated_at": moment,
			})), Key{"executed_obs_unit", parent.id}))...)
		}
		return all
	default:
		r := files[rng.IntN(len(files))]
		return set(update(r.table, r.id, string(columnsOf(map[string]any{
			"raw_data_package_id": packages[rng.IntN(len(packages))], "created_at": r.columns["created_at"], "executed_obs_unit_id": r.columns["executed_obs_unit_id"],
		}))))
	}
}

var packages = []uuid.UUID{uuid.MustParse("00000000-0000-7000-8000-00000000000a"), uuid.MustParse("00000000-0000-7000-8000-00000000000b")}

// drain is the processor: a few transactions a commit, with stalls before and
// after it.
func (n *night) drain(ctx context.Context, rng *rand.Rand) error {
	s := n.stores[0]
	se, err := s.BeginEpoch(ctx)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		stall(ctx, rng)
		view, err := s.CatchUp(ctx)
		if err != nil {
			return err
		}
		list := slices.Collect(view.Buffered())
		list = list[:min(len(list), 1+rng.IntN(8))]
		if len(list) == 0 {
			continue
		}
		position, err := se.RaiseBatch(ctx, 1)
		if err != nil {
			return err
		}
		if err := n.commit(ctx, list, position); err != nil {
			return err
		}
		stall(ctx, rng)
		var settled []Settled
		for _, x := range list {
			settled = append(settled, Settled{x.Seq, position, "0/1", StateApplied})
		}
		if err := se.Settle(ctx, settled); err != nil {
			return err
		}
	}
	return nil
}

func (n *night) commit(ctx context.Context, list []*Tx, position int64) error {
	return pgx.BeginFunc(ctx, n.primary, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		for _, x := range list {
			for _, c := range x.Changes {
				switch {
				case c.Op == OpCreate:
					batch.Queue(fmt.Sprintf(`INSERT INTO %s SELECT * FROM jsonb_populate_record(NULL::%[1]s, $1)`, c.Table), c.Columns)
				case c.Table == "raw_data_file":
					batch.Queue(`UPDATE raw_data_file SET raw_data_package_id = ($2::jsonb->>'raw_data_package_id')::uuid WHERE id = $1`, c.ID, c.Columns)
				default:
					batch.Queue(`UPDATE executed_obs_unit t SET status = r.status, end_time = r.end_time, comment = r.comment
						FROM jsonb_populate_record(NULL::executed_obs_unit, $2) r WHERE t.id = $1`, c.ID, c.Columns)
				}
			}
		}
		batch.Queue(`UPDATE site_status SET batch = $1, last_seq = greatest(last_seq, $2) WHERE site = 'observatory'`, position, list[len(list)-1].Seq)
		return tx.SendBatch(ctx, batch).Close()
	})
}

// track is the tracker, now here and now there.
func (n *night) track(ctx context.Context, rng *rand.Rand) error {
	for ctx.Err() == nil {
		stall(ctx, rng)
		s := n.stores[rng.IntN(len(n.stores))]
		view, err := s.CatchUp(ctx)
		if err != nil {
			return err
		}
		var batch int64
		if err := n.replica.QueryRow(ctx, `SELECT batch FROM site_status WHERE site = 'observatory'`).Scan(&batch); err != nil {
			return err
		}
		if _, err := s.MarkReplicated(ctx, view.Load, batch); err != nil {
			return err
		}
	}
	return nil
}

func stall(ctx context.Context, rng *rand.Rand) {
	if d := rng.IntN(40); d > 10 {
		d = rng.IntN(3)
		select {
		case <-time.After(time.Duration(d) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// look reads one random page and compares it with every state that it may show.
func (n *night) look(ctx context.Context, rng *rand.Rand) error {
	table, p := randomNightPage(rng)
	first := n.acked.Load()
	var got []string
	var bound *Cursor
	if err := n.readers[rng.IntN(len(n.readers))].Read(ctx, func(ctx context.Context, s *Snapshot) error {
		o := s.Page(table, p)
		bound = o.Bound
		var err error
		got, err = ask(ctx, s.DB, table, p, o)
		return err
	}); err != nil {
		return err
	}
	n.mu.Lock()
	states := n.states[first:]
	n.mu.Unlock()
	var want []string
	for _, state := range states {
		want = expected(state, table, p, bound)
		if slices.Equal(got, want) {
			return nil
		}
	}
	return fmt.Errorf("wrong answer: %s %+v bound %v, states %d to %d\ngot  %s\nwant %s (the newest)", table, p, bound, first, int(first)+len(states)-1, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
}

func randomNightPage(rng *rand.Rand) (string, Page) {
	p := Page{Limit: 1 + rng.IntN(30)}
	if rng.IntN(2) == 0 {
		p.After = &Cursor{nightStart.Add(time.Duration(rng.IntN(50)) * time.Second), uuid.Max}
	}
	if rng.IntN(2) == 0 {
		switch rng.IntN(5) {
		case 0:
			p.Path, p.Parent = "obs_unit_id", int64(rng.IntN(3))
		case 1:
			p.Filters = []Filter{{"status", "in", []any{"running"}}}
		case 2:
			p.Filters = []Filter{{"status", "in", []any{"completed"}}, {"pwv_mm", "min", []any{float64(rng.IntN(4))}}}
		case 3:
			p.Filters = []Filter{{"comment", "contains", []any{fmt.Sprint(rng.IntN(10))}}}
		}
		return "executed_obs_unit", p
	}
	switch rng.IntN(4) {
	case 0:
		p.Path, p.Parent = "raw_data_package_id", packages[rng.IntN(2)]
	case 1:
		p.Path = "raw_data_package_id" // unpackaged
	case 2:
		p.Filters = []Filter{{"size_bytes", "max", []any{int64(rng.IntN(4))}}, {"raw_data_package_id", "has", []any{true}}}
	}
	return "raw_data_file", p
}

// shown are the columns that a page compares.
var shown = map[string][]string{
	"executed_obs_unit": {"status", "comment", "pwv_mm", "obs_unit_id"},
	"raw_data_file":     {"raw_data_package_id", "size_bytes", "executed_obs_unit_id"},
}

// ask is the statement of docs, over both branches.
func ask(ctx context.Context, db DBTX, table string, p Page, o Overlay) ([]string, error) {
	sortKey := map[string]string{"executed_obs_unit": "start_time", "raw_data_file": "created_at"}[table]
	args := []any{o.Pending, o.Replaced}
	arg := func(v any) string { args = append(args, v); return fmt.Sprintf("$%d", len(args)) }
	where := []string{"true"}
	filters := p.Filters
	if p.Path != "" {
		filters = append(slices.Clip(filters), parentFilter(p))
	}
	for _, f := range filters {
		switch f.Op {
		case "in":
			where = append(where, fmt.Sprintf("x.%s::text = %s", f.Column, arg(fmt.Sprint(f.Values[0]))))
		case "min":
			where = append(where, fmt.Sprintf("x.%s >= %s", f.Column, arg(f.Values[0])))
		case "max":
			where = append(where, fmt.Sprintf("x.%s <= %s", f.Column, arg(f.Values[0])))
		case "contains":
			where = append(where, fmt.Sprintf("x.%s ILIKE '%%' || %s || '%%'", f.Column, arg(f.Values[0])))
		case "has":
			where = append(where, fmt.Sprintf("(x.%s IS NOT NULL) = %s", f.Column, arg(f.Values[0])))
		}
	}
	if p.After != nil {
		where = append(where, fmt.Sprintf("(x.%s, x.id) < (%s, %s)", sortKey, arg(p.After.Time), arg(p.After.ID)))
	}
	if o.Bound != nil {
		where = append(where, fmt.Sprintf("(x.%s, x.id) >= (%s, %s)", sortKey, arg(o.Bound.Time), arg(o.Bound.ID)))
	}
	w := strings.Join(where, " AND ")
	rows, err := db.Query(ctx, fmt.Sprintf(`SELECT to_jsonb(r) FROM (
		(SELECT x.* FROM %s x WHERE x.id <> ALL ($2::uuid[]) AND %s ORDER BY x.%s DESC, x.id DESC LIMIT %d)
		UNION ALL SELECT x.* FROM %[1]s_pending($1) x WHERE %[2]s) r ORDER BY r.%[3]s DESC, r.id DESC LIMIT %[4]d`, table, w, sortKey, p.Limit), args...)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[json.RawMessage])
	if err != nil {
		return nil, err
	}
	out := []string{}
	for _, b := range list {
		out = append(out, show(table, decoded(b)))
	}
	return out, nil
}

func show(table string, row map[string]any) string {
	s := fmt.Sprint(row["id"])
	for _, c := range shown[table] {
		s += fmt.Sprintf(" %v", row[c])
	}
	return s
}

func expected(state *btree.Map[string, truth], table string, p Page, bound *Cursor) []string {
	sortKey := map[string]string{"executed_obs_unit": "start_time", "raw_data_file": "created_at"}[table]
	filters := p.Filters
	if p.Path != "" {
		filters = append(slices.Clip(filters), parentFilter(p))
	}
	type placed struct {
		Cursor
		row map[string]any
	}
	var rows []placed
	state.Scan(func(_ string, r truth) bool {
		if r.table != table {
			return true
		}
		moment, err := time.Parse(time.RFC3339Nano, r.columns[sortKey].(string))
		if err != nil {
			panic(err)
		}
		c := Cursor{moment, r.id}
		if p.After != nil && !older(c, *p.After) || bound != nil && older(c, *bound) {
			return true
		}
		for _, f := range filters {
			if !satisfies(r.columns[f.Column], f) {
				return true
			}
		}
		rows = append(rows, placed{c, r.columns})
		return true
	})
	slices.SortFunc(rows, func(a, b placed) int {
		if older(a.Cursor, b.Cursor) {
			return 1
		}
		return -1
	})
	out := []string{}
	for _, r := range rows[:min(len(rows), p.Limit)] {
		out = append(out, show(table, r.row))
	}
	return out
}

func satisfies(v any, f Filter) bool {
	switch f.Op {
	case "has":
		return f.Values[0] == (v != nil)
	case "in":
		return fmt.Sprint(v) == fmt.Sprint(f.Values[0])
	case "min":
		return v.(float64) >= f.Values[0].(float64)
	case "max":
		return v.(float64) <= float64(f.Values[0].(int64))
	case "contains":
		return strings.Contains(v.(string), f.Values[0].(string))
	}
	panic(f.Op)
}

// TestEveryAnswerIsOneMomentOfTheTruth: while transactions are accepted, applied,
// settled and swept at random, each page shows exactly what the site had
// acknowledged when it was asked for, whatever the database has got by then.
// See TestPlantedFaults for what it finds.
func TestEveryAnswerIsOneMomentOfTheTruth(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	t.Logf("seed %d", n.seed)
	limit := 4 * time.Second
	if testing.Short() {
		limit = time.Second
	}
	// Every part works until the time is up and enough was seen.
	until, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := time.Now()
	var wg sync.WaitGroup
	var answers atomic.Int64
	run := func(i uint64, f func(context.Context, *rand.Rand) error) {
		rng := rand.New(rand.NewPCG(n.seed, i))
		wg.Go(func() {
			for until.Err() == nil {
				if err := f(until, rng); err != nil && until.Err() == nil {
					t.Error(err)
					cancel()
				}
			}
		})
	}
	run(1, func(ctx context.Context, rng *rand.Rand) error {
		// Bursts and silence: rows must also be read long after they are written.
		if rng.IntN(30) == 0 {
			select {
			case <-time.After(time.Duration(rng.IntN(60)) * time.Millisecond):
			case <-ctx.Done():
			}
		}
		return n.write(ctx, rng)
	})
	run(2, n.drain)
	run(3, n.track)
	for i := range uint64(4) {
		run(10+i, func(ctx context.Context, rng *rand.Rand) error {
			answers.Add(1)
			return n.look(ctx, rng)
		})
	}
	eventuallyWithin(t, time.Minute, "enough answers over enough transactions", func() bool {
		return until.Err() != nil || time.Since(started) > limit && answers.Load() >= 100 && n.acked.Load() >= 50
	})
	cancel()
	wg.Wait()
	t.Logf("%d answers over %d transactions", answers.Load(), n.acked.Load())
}
