package chaos

import (
	"bytes"
	"strings"
	"testing"
)

// good is a short history in which everything is as promised: an execution of the
// observatory with a file, a package, two comments and an end.
func good() History {
	at := int64(0)
	var h History
	call := func(c Call) Call {
		at += 10
		c.Line, c.Start, c.End = len(h.Calls)+1, at, at+5
		if c.Site == "" {
			c.Site = SiteObservatory
		}
		c.Client = "o1"
		if c.Outcome == "" {
			c.Outcome, c.Status = OK, 200
		}
		h.Calls = append(h.Calls, c)
		return c
	}
	seq := int64(0)
	write := func(op, value string, ids ...string) {
		seq++
		key := op + "-" + value
		if op == OpStart || op == OpPatch {
			key = value
		}
		call(Call{Op: op, Row: "o1-0", Key: key, Value: value, IDs: ids, Tx: "tx-" + key})
		h.State.Ledger = append(h.State.Ledger, Entry{ID: "tx-" + key, Site: "observatory", Seq: seq, Outcome: "applied", Key: key, XID: seq})
	}
	read := func(site string, rows ...SeenRow) {
		call(Call{Op: OpRead, Row: "o1-0", Site: site, Saw: &Seen{Rows: rows}})
	}
	list := func(status string, rows ...SeenRow) {
		total := len(rows)
		call(Call{Op: OpList, Window: &Window{Client: "o1", From: 0, Until: 1, Status: status}, Saw: &Seen{Rows: rows, Total: &total}})
	}
	row := SeenRow{Name: "o1-0", ID: "x", Status: "running", Comment: "c1"}
	whole := func() SeenRow { w := row; w.Whole = true; return w }
	write(OpStart, "c1", "x")
	read(SiteObservatory, whole())
	list("running", row)
	write(OpFiles, "", "f1", "f2")
	row.Files = []string{"f1", "f2"}
	read(SiteObservatory, whole())
	write(OpPackage, "p", "p1")
	row.Packages = map[string]string{"p1": "pending"}
	read(SiteObservatory, whole())
	write(OpPatch, "c2")
	row.Comment = "c2"
	read(SiteObservatory, whole())
	write(OpFinalize, "p1")
	row.Packages = map[string]string{"p1": "completed"}
	read(SiteObservatory, whole())
	write(OpFinish, "completed")
	row.Status = "completed"
	read(SiteObservatory, whole())
	read(SiteMain, whole())
	list("", row)
	list("completed", row)
	list("running")
	call(Call{Op: OpTell, Key: "c1", Tx: "tx-c1"})
	h.State.Rows = []SeenRow{row}
	h.State.Files = map[string]string{"f1": "a", "f2": "b"}
	return h
}

func TestAGoodHistoryHasNoViolation(t *testing.T) {
	corrected := good()
	replaced(&corrected)
	for _, h := range []History{good(), corrected} {
		for _, v := range Check(h) {
			t.Error(v)
		}
	}
}

// find is the n-th call of an operation.
func find(h History, op string, n int) *Call {
	for i := range h.Calls {
		if h.Calls[i].Op == op {
			if n == 0 {
				return &h.Calls[i]
			}
			n--
		}
	}
	panic("the history has no such call")
}

func saw(h History, op string, n int) *SeenRow { return &find(h, op, n).Saw.Rows[0] }

// replaced lets an operator put another start in the place of the first.
func replaced(h *History) {
	h.State.Ledger[0].Outcome = "discarded"
	h.Calls = append(h.Calls, Call{Line: 99, Op: OpOperator, Row: "o1-0", Key: "c1", Value: "replace", Outcome: OK, Status: 202})
}

// TestEachKindOfViolationIsFound doctors the good history in one place at a time.
func TestEachKindOfViolationIsFound(t *testing.T) {
	for _, test := range []struct {
		name, promise, what string
		doctor              func(h *History)
	}{
		{"a write is not in the ledger", Lost, "neither in the ledger", func(h *History) { h.State.Ledger = h.State.Ledger[1:] }},
		{"a row is not at main", Lost, "is not at main", func(h *History) { h.State.Rows = nil }},
		{"a finish had no effect", Lost, "should be completed", func(h *History) { h.State.Rows[0].Status = "running" }},
		{"a file is not at main", Lost, "file f1", func(h *History) { h.State.Rows[0].Files = []string{"f2"} }},
		{"a package is not at main", Lost, "package p1", func(h *History) { h.State.Rows[0].Packages = nil }},
		{"a package is not completed", Lost, "was finalized", func(h *History) { h.State.Rows[0].Packages = map[string]string{"p1": "pending"} }},
		{"a key is in the ledger twice", Doubled, "is in the ledger as", func(h *History) {
			h.State.Ledger = append(h.State.Ledger, Entry{ID: "other", Outcome: "applied", Key: "c1"})
		}},
		{"a row is there twice", Doubled, "is there twice", func(h *History) { h.State.Rows = append(h.State.Rows, h.State.Rows[0]) }},
		{"a path is there twice", Doubled, "file a is there twice", func(h *History) { h.State.Files["f3"] = "a" }},
		{"a list shows a row twice", Doubled, "twice", func(h *History) {
			seen := find(*h, OpList, 1).Saw
			seen.Rows = append(seen.Rows, seen.Rows[0])
		}},
		{"a count differs from its list", Doubled, "counts", func(h *History) { *find(*h, OpList, 1).Saw.Total = 2 }},
		{"the older comment wins", Ordered, "was accepted last", func(h *History) { h.State.Rows[0].Comment = "c1" }},
		{"numbers do not rise", Ordered, "higher number", func(h *History) { h.State.Ledger[0].Seq = 9 }},
		{"main wrote in another order", Ordered, "earlier", func(h *History) { h.State.Ledger[0].XID = 9 }},
		{"a row is missing after its start", OwnWrites, "does not find it", func(h *History) {
			c := find(*h, OpRead, 0)
			c.Saw, c.Status, c.Outcome = nil, 404, Refused
		}},
		{"a list misses a row", OwnWrites, "does not find it", func(h *History) {
			none := 0
			find(*h, OpList, 1).Saw = &Seen{Total: &none}
		}},
		{"a list of running ones misses one", OwnWrites, "of running executions misses it", func(h *History) {
			none := 0
			find(*h, OpList, 0).Saw = &Seen{Total: &none}
		}},
		{"a list of finished ones misses one", OwnWrites, "a list of those misses it", func(h *History) {
			none := 0
			find(*h, OpList, 2).Saw = &Seen{Total: &none}
		}},
		{"a read misses a file", OwnWrites, "file f2", func(h *History) { saw(*h, OpRead, 1).Files = []string{"f1"} }},
		{"a read misses a package", OwnWrites, "package p1", func(h *History) { saw(*h, OpRead, 2).Packages = nil }},
		{"a read shows an open package", OwnWrites, "shows it as pending", func(h *History) { saw(*h, OpRead, 4).Packages = map[string]string{"p1": "pending"} }},
		{"a read shows the older comment", OwnWrites, "shows the older", func(h *History) { saw(*h, OpRead, 3).Comment = "c1" }},
		{"a read shows it running", OwnWrites, "shows it running", func(h *History) { saw(*h, OpRead, 5).Status = "running" }},
		{"main shows a row and then not", Monotonic, "does not find it", func(h *History) {
			h.Calls = append(h.Calls, Call{Line: 99, Op: OpRead, Row: "o1-0", Site: SiteMain, Start: 1000, End: 1001, Status: 404, Outcome: Refused})
		}},
		{"main shows it running again", Monotonic, "runs again", later(func(row *SeenRow) { row.Status = "running" })},
		{"main shows the older comment again", Monotonic, "with the older", later(func(row *SeenRow) { row.Comment = "c1" })},
		{"main shows fewer files", Monotonic, "file f1", later(func(row *SeenRow) { row.Files = []string{"f2"} })},
		{"main shows no package", Monotonic, "package p1", later(func(row *SeenRow) { row.Packages = nil })},
		{"main shows the package open again", Monotonic, "later as pending", later(func(row *SeenRow) { row.Packages = map[string]string{"p1": "pending"} })},
		{"a read shows what nobody wrote", Phantom, "nobody had written", func(h *History) { saw(*h, OpRead, 3).Comment = "zzz" }},
		{"a read shows an end that nobody asked for", Phantom, "nobody had asked for", func(h *History) { saw(*h, OpRead, 5).Status = "failed" }},
		{"a list shows another status", Phantom, "which is running", func(h *History) { saw(*h, OpList, 2).Status = "running" }},
		{"main has a file that no answer named", Phantom, "no answer named", func(h *History) { h.State.Rows[0].Files = []string{"f1", "f2", "f3"} }},
		{"main has a row that nobody started", Phantom, "nobody started", func(h *History) { h.State.Rows = append(h.State.Rows, SeenRow{Name: "o9-9"}) }},
		{"the ledger has what nobody sent", Phantom, "nobody sent", func(h *History) { h.State.Ledger = append(h.State.Ledger, Entry{ID: "other", Key: "zzz"}) }},
		{"a refusal was applied", Phantom, "was refused", func(h *History) {
			c := find(*h, OpPatch, 0)
			c.Outcome, c.Status = Refused, 409
		}},
		{"a repeated request makes another row", SameAnswer, "when repeated", func(h *History) {
			again := *find(*h, OpStart, 0)
			again.Line, again.Start, again.End, again.IDs = 99, 1000, 1001, []string{"y"}
			h.Calls = append(h.Calls, again)
		}},
		{"a repeated request is refused", SameAnswer, "refused when repeated", func(h *History) {
			again := *find(*h, OpFinish, 0)
			again.Line, again.Start, again.End, again.Outcome, again.Status = 99, 1000, 1001, Refused, 409
			h.Calls = append(h.Calls, again)
		}},
		{"a write is unknown afterwards", Told, "is unknown", func(h *History) { find(*h, OpTell, 0).Status = 404 }},
		{"a dead letter without a reason", Reasoned, "nobody else touched", func(h *History) {
			h.State.Ledger = h.State.Ledger[:5]
			h.State.Dead = []Dead{{ID: "tx-finish-completed", State: "failed", Problem: "whatever"}}
		}},
		{"a retried one is not applied", Decided, "is not applied", func(h *History) {
			h.State.Ledger = h.State.Ledger[:5]
			h.State.Dead = []Dead{{ID: "tx-finish-completed", State: "failed"}}
			h.Calls = append(h.Calls, Call{Line: 99, Op: OpOperator, Key: "finish-completed", Value: "retry", Outcome: OK, Status: 202})
		}},
		{"a discarded one is applied", Decided, "main shows it", func(h *History) {
			h.State.Ledger[5].Outcome = "discarded"
			h.Calls = append(h.Calls, Call{Line: 99, Op: OpOperator, Key: "finish-completed", Value: "discard", Outcome: OK, Status: 202})
		}},
		{"a discarded one is still there", Decided, "still a dead letter", func(h *History) {
			h.State.Ledger = h.State.Ledger[:5]
			h.State.Dead = []Dead{{ID: "tx-finish-completed", State: "failed"}}
			h.Calls = append(h.Calls, Call{Line: 99, Op: OpOperator, Key: "finish-completed", Value: "discard", Outcome: OK, Status: 202})
		}},
		{"a corrected one is missing", Decided, "main has 0 such executions", func(h *History) {
			replaced(h)
			h.State.Rows = nil
		}},
		{"a corrected one is there twice", Decided, "main has 2 such executions", func(h *History) {
			replaced(h)
			h.State.Rows = append(h.State.Rows, h.State.Rows[0])
		}},
		{"a corrected one has another id", Decided, "instead of [x]", func(h *History) {
			replaced(h)
			h.State.Rows[0].ID = "y"
		}},
		{"what waited for a corrected one is not there", Decided, "that waited for it", func(h *History) {
			replaced(h)
			h.State.Rows[0].Comment = "c1"
		}},
		{"a corrected one is still there", Decided, "still a dead letter", func(h *History) {
			replaced(h)
			h.State.Ledger = h.State.Ledger[1:]
			h.State.Dead = []Dead{{ID: "tx-c1", State: "failed"}}
		}},
		{"an internal error", NoInternals, "500", func(h *History) { find(*h, OpTell, 0).Status = 500 }},
		{"a write without an answer", Live, "never got an answer", func(h *History) {
			h.Calls = append(h.Calls, Call{Line: 99, Op: OpPatch, Row: "o1-0", Key: "c3", Value: "c3", Site: SiteObservatory, Start: 1000, End: 1001, Outcome: Unknown})
		}},
		{"the buffer does not empty", Live, "still wait", func(h *History) { h.Wedged = []Violation{{Promise: Live, What: "3 still wait"}} }},
		{"the replica differs", Equal, "differs", func(h *History) { h.State.Differs = []string{"raw_data_file f1 differs"} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := good()
			test.doctor(&h)
			found := Check(h)
			for _, v := range found {
				if v.Promise == test.promise && strings.Contains(v.What, test.what) {
					return
				}
			}
			t.Errorf("want a violation of %q that says %q, got %v", test.promise, test.what, found)
		})
	}
}

// later adds a read at main, where only what was shown there before counts.
func later(change func(row *SeenRow)) func(*History) {
	return func(h *History) {
		row := *saw(*h, OpRead, 6)
		change(&row)
		h.Calls = append(h.Calls, Call{Line: 99, Op: OpRead, Row: "o1-0", Site: SiteMain, Start: 1000, End: 1001, Status: 200, Outcome: OK, Saw: &Seen{Rows: []SeenRow{row}}})
	}
}

func TestAPageThatGoesOnProvesNothingMissing(t *testing.T) {
	h := good()
	seen := find(h, OpList, 1).Saw
	seen.Rows, seen.More = nil, true
	for _, v := range Check(h) {
		t.Error(v)
	}
}

// TestARepeatOfWhatAPromotionLostIsANewAttempt: main had answered with f1 and f2, a standby
// without them took over, and the repeat of the request was answered with f3.
func TestARepeatOfWhatAPromotionLostIsANewAttempt(t *testing.T) {
	for _, lost := range []bool{true, false} {
		h := good()
		for i := range h.Calls {
			h.Calls[i].Site, h.Calls[i].Saw = SiteMain, nil
		}
		first := *find(h, OpFiles, 0)
		repeat := first
		repeat.Line, repeat.Start, repeat.End, repeat.IDs, repeat.Tx = 99, 1000, 1001, []string{"f3"}, "tx-again"
		h.Calls = append(h.Calls, repeat)
		for i, entry := range h.State.Ledger {
			if entry.ID == first.Tx {
				h.State.Ledger[i].ID = repeat.Tx
			}
		}
		h.State.Rows[0].Files = []string{"f3"}
		h.State.Files = map[string]string{"f3": "a"}
		if lost {
			h.Marks = append(h.Marks, Mark{At: first.End + 1, Since: first.Start, What: "promotion"})
		}
		if found := Check(h); lost != (len(found) == 0) {
			t.Errorf("lost %v: %v", lost, found)
		}
	}
}

// TestReadsThatOverlapProveNothing: what is written while a read is under way may
// be in it or not.
func TestReadsThatOverlapProveNothing(t *testing.T) {
	h := good()
	finish := find(h, OpFinish, 0)
	for _, status := range []string{"running", "completed"} {
		row := *saw(h, OpRead, 4)
		row.Status = status
		h.Calls = append(h.Calls, Call{Line: 99, Op: OpRead, Row: "o1-0", Site: SiteObservatory, Start: finish.Start + 1, End: finish.End - 1, Status: 200, Outcome: OK, Saw: &Seen{Rows: []SeenRow{row}}})
		for _, v := range Check(h) {
			t.Errorf("%s: %s", status, v)
		}
		h.Calls = h.Calls[:len(h.Calls)-1]
	}
}

// TestMainsRowsMayGoBackWithTheReplica: a replica that has replayed less shows
// less of what main wrote itself; one that has replayed more must not.
func TestMainsRowsMayGoBackWithTheReplica(t *testing.T) {
	for _, test := range []struct {
		lsn  string
		want int
	}{{"1:0/90", 0}, {"1:0/110", 1}} {
		h := History{Calls: []Call{
			{Line: 1, Op: OpStart, Site: SiteMain, Row: "m1-0", Key: "k", Value: "k", Start: 1, End: 2, Outcome: OK, Status: 201, Tx: "t", LSN: "1:0/80"},
			{Line: 2, Op: OpRead, Site: SiteObservatory, Row: "m1-0", Start: 3, End: 4, Outcome: OK, Status: 200, LSN: "1:0/100", Saw: &Seen{Rows: []SeenRow{{Name: "m1-0", Status: "running", Comment: "k"}}}},
			{Line: 3, Op: OpRead, Site: SiteObservatory, Row: "m1-0", Start: 5, End: 6, Outcome: Refused, Status: 404, LSN: test.lsn},
		}}
		h.State.Ledger = []Entry{{ID: "t", Site: "cologne", Outcome: "applied", Key: "k"}}
		h.State.Rows = []SeenRow{{Name: "m1-0", Status: "running", Comment: "k"}}
		if found := Check(h); len(found) != test.want {
			t.Errorf("with %s: want %d violations, got %v", test.lsn, test.want, found)
		}
	}
}

func TestAHistoryIsReadAsItWasWritten(t *testing.T) {
	var file bytes.Buffer
	r := newRecorder(&file)
	for _, c := range good().Calls {
		r.call(c)
	}
	r.mark("healed")
	r.state(good().State)
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	h, err := ReadHistory(&file)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Calls) != len(good().Calls) || len(h.Marks) != 1 {
		t.Fatalf("read %d calls and %d marks", len(h.Calls), len(h.Marks))
	}
	for _, v := range Check(h) {
		t.Error(v)
	}
}
