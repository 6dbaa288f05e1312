package pending

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// world is a database and the transactions of a site, small enough that rows are
// touched again and again.
type world struct {
	start map[uuid.UUID]map[string]any // rows from before the first transaction
	txs   []*Transaction
	full  []Change // per transaction, with immutable columns
	view  []Change // per transaction, as the view gets it
}

// The one table of the world; see testTables "file".
const worldTable = "file"

func id(n int) uuid.UUID {
	// Ids whose order has nothing to do with their number.
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(fmt.Sprint(n)))
}

func at(n int) string { return time.Unix(1_784_000_000+int64(n), 0).UTC().Format(time.RFC3339Nano) }

func randomRow(t *rapid.T, n int) map[string]any {
	row := map[string]any{
		"id": id(n).String(), "created_at": at(rapid.IntRange(0, 5).Draw(t, "time")), "execution": rapid.SampledFrom([]string{"A", "B"}).Draw(t, "execution"),
		"package": nil, "kind": rapid.SampledFrom([]string{"fits", "g3"}).Draw(t, "kind"),
		"size": float64(rapid.IntRange(0, 5).Draw(t, "size")), "comment": rapid.SampledFrom([]string{"", "Dust", "düst", "x\"y"}).Draw(t, "comment"),
	}
	if rapid.Bool().Draw(t, "packed") {
		row["package"] = rapid.SampledFrom([]string{"P", "Q"}).Draw(t, "package")
	}
	if rapid.Bool().Draw(t, "no size") {
		row["size"] = nil
	}
	return row
}

func columnsOf(row map[string]any) json.RawMessage {
	b, err := json.Marshal(row)
	if err != nil {
		panic(err)
	}
	return b
}

func randomWorld(t *rapid.T) *world {
	w := &world{start: map[uuid.UUID]map[string]any{}}
	rows := rapid.IntRange(1, 12).Draw(t, "rows")
	exists := map[int]map[string]any{}
	for n := range rows {
		if rapid.Bool().Draw(t, "stored") {
			exists[n] = randomRow(t, n)
			w.start[id(n)] = exists[n]
		}
	}
	for seq := int64(1); seq <= int64(rapid.IntRange(0, 14).Draw(t, "transactions")); seq++ {
		n := rapid.IntRange(0, rows-1).Draw(t, "row")
		tx := &Transaction{Seq: seq, ID: newID()}
		var full, view Change
		switch {
		case exists[n] == nil:
			exists[n] = randomRow(t, n)
			full = create(worldTable, id(n), string(columnsOf(exists[n])))
			view = full
			// A row that was there once can only come again with a client's id.
			if rapid.Bool().Draw(t, "client") || w.start[id(n)] != nil || slices.ContainsFunc(w.full, func(c Change) bool { return c.ID == id(n) }) {
				tx.ClientIDs = []uuid.UUID{id(n)}
			}
		case rapid.IntRange(0, 4).Draw(t, "delete") == 0:
			full = Change{Table: worldTable, ID: id(n), Op: OpDelete}
			if rapid.Bool().Draw(t, "placed") {
				full.Columns = columnsOf(map[string]any{"created_at": exists[n]["created_at"], "execution": exists[n]["execution"]})
			}
			view = full
			exists[n] = nil
		default:
			fresh := randomRow(t, n)
			set := map[string]any{}
			for _, c := range []string{"package", "kind", "size", "comment"} {
				if rapid.Bool().Draw(t, "set "+c) {
					set[c] = fresh[c]
				}
			}
			full = update(worldTable, id(n), string(columnsOf(set)))
			exists[n] = maps.Clone(exists[n])
			maps.Copy(exists[n], set)
			if rapid.IntRange(0, 3).Draw(t, "placed") > 0 { // else accepted while the replica was unreadable
				set["created_at"], set["execution"] = exists[n]["created_at"], exists[n]["execution"]
			}
			view = update(worldTable, id(n), string(columnsOf(set)))
		}
		w.txs, w.full, w.view = append(w.txs, tx), append(w.full, full), append(w.view, view)
	}
	return w
}

// replayed is the database after the first n transactions.
func (w *world) replayed(n int) map[uuid.UUID]map[string]any {
	rows := maps.Clone(w.start)
	for _, c := range w.full[:n] {
		layOver(rows, c)
	}
	return rows
}

func layOver(rows map[uuid.UUID]map[string]any, c Change) {
	switch c.Op {
	case OpDelete:
		delete(rows, c.ID)
	case OpCreate:
		rows[c.ID] = decoded(c.Columns)
	case OpUpdate:
		row := maps.Clone(rows[c.ID])
		maps.Copy(row, decoded(c.Columns))
		rows[c.ID] = row
	}
}

func decoded(b json.RawMessage) map[string]any {
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		panic(err)
	}
	return m
}

// viewAfter is the view that has dropped the first n transactions.
func (w *world) viewAfter(n int) View {
	st := newState(testTables, changeDecoder{})
	for i := n; i < len(w.txs); i++ {
		st.insert(&Tx{Seq: w.txs[i].Seq, ID: w.txs[i].ID, State: StateBuffered, Changes: []Change{w.view[i]}, clientIDs: w.txs[i].ClientIDs})
	}
	st.LastSeq = int64(len(w.txs))
	return st.publish(View{})
}

func randomPage(t *rapid.T) Page {
	p := Page{Limit: rapid.IntRange(1, 6).Draw(t, "limit"), Undecided: rapid.IntRange(0, 3).Draw(t, "undecided") == 0}
	switch rapid.IntRange(0, 3).Draw(t, "path") {
	case 1:
		p.Path, p.Parent = "execution", rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "parent")
	case 2:
		p.Path, p.Parent = "package", rapid.SampledFrom([]any{"P", "Q", nil}).Draw(t, "parent")
	}
	all := []Filter{
		{"execution", "in", []any{"A"}}, {"kind", "in", []any{"fits"}}, {"kind", "in", []any{"fits", "other"}}, {"size", "min", []any{2.0}}, {"size", "max", []any{int64(3)}},
		{"size", "in", []any{int64(1), int64(2)}}, {"package", "has", []any{true}}, {"package", "has", []any{false}}, {"package", "in", []any{"P", "Q"}},
		{"comment", "contains", []any{"ust"}}, {"comment", "contains", []any{"DUST"}}, {"created_at", "from", []any{time.Unix(1_784_000_002, 0)}},
		{"created_at", "to", []any{time.Unix(1_784_000_004, 0)}},
	}
	p.Filters = rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 2, func(f Filter) string { return fmt.Sprint(f) }).Draw(t, "filters")
	if rapid.Bool().Draw(t, "later page") {
		p.After = &Cursor{time.Unix(1_784_000_000+int64(rapid.IntRange(0, 5).Draw(t, "after")), 0), id(rapid.IntRange(0, 11).Draw(t, "after id"))}
	}
	return p
}

// matches is what SQL decides.
func matches(row map[string]any, p Page) bool {
	filters := p.Filters
	if p.Path != "" {
		filters = append(slices.Clip(filters), parentFilter(p))
	}
	if p.Undecided && len(row["comment"].(string))%2 == 1 { // some condition that Go does not know
		return false
	}
	for _, f := range filters {
		v := row[f.Column]
		ok := v != nil
		switch f.Op {
		case "has":
			ok = f.Values[0] == (v != nil)
		case "in":
			ok = ok && slices.ContainsFunc(f.Values, func(w any) bool { return fmt.Sprint(w) == fmt.Sprint(v) })
		case "min", "max":
			limit, isFloat := f.Values[0].(float64)
			if !isFloat {
				limit = float64(f.Values[0].(int64))
			}
			ok = ok && (f.Op == "min" && v.(float64) >= limit || f.Op == "max" && v.(float64) <= limit)
		case "contains":
			ok = ok && strings.Contains(strings.ToLower(v.(string)), strings.ToLower(f.Values[0].(string)))
		case "from":
			ok = ok && !timeOf(row).Before(f.Values[0].(time.Time))
		case "to":
			ok = ok && timeOf(row).Before(f.Values[0].(time.Time))
		}
		if !ok {
			return false
		}
	}
	return true
}

func timeOf(row map[string]any) time.Time {
	t, err := time.Parse(time.RFC3339Nano, row["created_at"].(string))
	if err != nil {
		panic(err)
	}
	return t
}

func place(row map[string]any) Cursor {
	return Cursor{timeOf(row), uuid.MustParse(row["id"].(string))}
}

func older(a, b Cursor) bool {
	if !a.Time.Equal(b.Time) {
		return a.Time.Before(b.Time)
	}
	return compareID(a.ID, b.ID) < 0
}

// query is the merged statement over the stored rows.
func query(stored map[uuid.UUID]map[string]any, p Page, o Overlay) []string {
	var rows []map[string]any
	for i, row := range stored {
		if !slices.Contains(o.Replaced, i) {
			rows = append(rows, row)
		}
	}
	var pending []traveller
	if err := json.Unmarshal(o.Pending, &pending); err != nil {
		panic(err)
	}
	for _, t := range pending {
		base, ok := stored[t.ID]
		if !ok && !t.Create {
			continue
		}
		row := maps.Clone(base)
		if row == nil {
			row = map[string]any{}
		}
		maps.Copy(row, decoded(t.Columns))
		rows = append(rows, row)
	}
	return list(rows, p, o.Bound)
}

// list filters, sorts and cuts.
func list(rows []map[string]any, p Page, bound *Cursor) []string {
	rows = slices.DeleteFunc(slices.Clone(rows), func(row map[string]any) bool {
		c := place(row)
		return !matches(row, p) || p.After != nil && !older(c, *p.After) || bound != nil && older(c, *bound)
	})
	slices.SortFunc(rows, func(a, b map[string]any) int {
		if older(place(a), place(b)) {
			return 1
		}
		return -1
	})
	if p.Limit > 0 {
		rows = rows[:min(len(rows), p.Limit)]
	}
	out := []string{}
	for _, row := range rows {
		out = append(out, string(columnsOf(row)))
	}
	return out
}

// TestAWindowOfTimeIsNotKeptFromByWhatIsNewer: more pending rows than a walk visits are newer than the window that a
// page asks for. It shows the window, whole.
func TestAWindowOfTimeIsNotKeptFromByWhatIsNewer(t *testing.T) {
	t.Parallel()
	w := &world{start: map[uuid.UUID]map[string]any{}}
	for n := range 60 {
		row := map[string]any{"id": id(n).String(), "created_at": at(n), "execution": "A", "package": nil, "kind": "fits", "size": nil, "comment": ""}
		change := create(worldTable, id(n), string(columnsOf(row)))
		w.txs = append(w.txs, &Transaction{Seq: int64(n + 1), ID: newID()})
		w.full, w.view = append(w.full, change), append(w.view, change)
	}
	p := Page{Limit: 50, Filters: []Filter{
		{"created_at", "from", []any{time.Unix(1_784_000_003, 0)}}, {"created_at", "to", []any{time.Unix(1_784_000_008, 0)}},
	}}
	n := w.viewAfter(0).narrowing(worldTable, p, 60)
	n.bounds = bounds{undecided: 500, replaced: 10, visited: 20}
	o := n.bounded()
	if o.Bound != nil || len(n.travel) != 5 {
		t.Errorf("%d rows travel, and the page ends at %v; want the 5 of the window, and no end", len(n.travel), o.Bound)
	}
}

// TestNarrowingNeverDropsWhatSQLWouldKeep: whatever has replicated and been
// dropped, a narrowed page shows what an all-knowing one shows.
func TestNarrowingNeverDropsWhatSQLWouldKeep(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := randomWorld(rt)
		dropped := rapid.IntRange(0, len(w.txs)).Draw(rt, "dropped")
		seen := rapid.IntRange(dropped, len(w.txs)).Draw(rt, "replayed")
		stored, v := w.replayed(seen), w.viewAfter(dropped)
		truth := slices.Collect(maps.Values(w.replayed(len(w.txs))))
		for range 5 {
			p := randomPage(rt)
			n := v.narrowing(worldTable, p, int64(seen))
			if rapid.Bool().Draw(rt, "small bounds") {
				n.bounds = bounds{undecided: 2, replaced: 3, visited: 4}
			}
			o := n.bounded()
			if diff := cmp.Diff(list(truth, p, o.Bound), query(stored, p, o)); diff != "" {
				rt.Fatalf("page %+v, %d dropped, %d replayed of %d (want, got):\n%s\n%s", p, dropped, seen, len(w.txs), diff, o.Pending)
			}
			if o.Bound != nil && p.After != nil && !older(*o.Bound, *p.After) {
				rt.Fatalf("the bound %v does not get on from %v", o.Bound, p.After)
			}
			whole := p
			whole.After, whole.Limit = nil, 0
			if diff := cmp.Diff(list(truth, whole, nil), query(stored, whole, v.every(worldTable, p, int64(seen), false))); diff != "" {
				rt.Fatalf("everything of %+v (want, got):\n%s", p, diff)
			}
			c := v.every(worldTable, p, int64(seen), true)
			if got, want := len(query(stored, whole, c))+int(c.Counted), len(list(truth, whole, nil)); got != want {
				rt.Fatalf("count of %+v is %d, want %d", p, got, want)
			}
			for _, row := range v.Created(worldTable, whole) {
				if !row.Create || row.Deleted {
					rt.Fatalf("%+v is no pending create", row)
				}
			}
		}
		ids := []uuid.UUID{id(0), id(3), id(7)}
		want := slices.DeleteFunc(slices.Clone(truth), func(row map[string]any) bool { return !slices.Contains(ids, place(row).ID) })
		named := maps.Clone(stored)
		maps.DeleteFunc(named, func(i uuid.UUID, _ map[string]any) bool { return !slices.Contains(ids, i) })
		if diff := cmp.Diff(list(want, Page{}, nil), query(named, Page{}, v.some(worldTable, int64(seen), ids))); diff != "" {
			rt.Fatalf("named rows (want, got):\n%s", diff)
		}
	})
}
