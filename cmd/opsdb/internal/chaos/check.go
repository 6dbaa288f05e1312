package chaos

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Promises that a violation can be of.
const (
	Lost        = "nothing lost"
	Doubled     = "nothing doubled"
	Ordered     = "order of each row"
	OwnWrites   = "read your writes"
	Monotonic   = "monotonic reads"
	Phantom     = "nothing that nobody wrote"
	Told        = "what became of a write can be asked"
	SameAnswer  = "a repeated request gets the first answer"
	Reasoned    = "no dead letter without a reason"
	Live        = "the buffer empties by itself"
	Decided     = "what an operator decides is done"
	Equal       = "both sites are equal in the end"
	NoInternals = "no internal error"
)

// Violation is a promise found broken, with the lines of the history that show it.
type Violation struct {
	Promise string `json:"promise"`
	What    string `json:"what"`
	Lines   []int  `json:"lines,omitempty"`
}

// String says it in one line.
func (v Violation) String() string {
	if len(v.Lines) == 0 {
		return v.Promise + ": " + v.What
	}
	lines := make([]string, len(v.Lines))
	for i, n := range v.Lines {
		lines[i] = fmt.Sprint(n)
	}
	return fmt.Sprintf("%s: %s (lines %s of the history)", v.Promise, v.What, strings.Join(lines, ", "))
}

// never is a moment after every other.
const never = math.MaxInt64

// effect is one write of the history, all its attempts together.
type effect struct {
	Call          // the first attempt
	acked  int64  // when the first success came; never
	answer Call   // that success
	last   string // outcome of the last attempt
	tx     string
	seq    int64
	xid    int64
	state  string // applied, discarded, dead, or ""
	dead   string
}

// checker holds a history in the shapes that its questions need.
type checker struct {
	history History
	effects map[string]*effect // by key
	order   []*effect
	rows    map[string]*row
	found   []Violation
	lost    []Mark
}

// row is what the history says of one execution.
type row struct {
	name      string
	start     *effect
	finishes  []*effect
	comments  []*effect // start and patches, in the order that must hold
	files     []*effect
	packages  []*effect
	finals    []*effect
	contested bool               // no order of its writes is known: others wrote too, or one was done again
	rank      map[string]int     // of a comment in comments
	byComment map[string]*effect // the same
	fileOf    map[string]*effect
	packageOf map[string]*effect
}

// most violations reported: the first ones explain the others.
const mostReported = 20

// Check says which promises a history breaks; none is what it should say.
func Check(h History) []Violation {
	c := &checker{history: h, effects: map[string]*effect{}, rows: map[string]*row{}}
	c.found = append(c.found, h.Wedged...)
	for _, m := range h.Marks {
		if m.Since > 0 {
			c.lost = append(c.lost, m)
		}
	}
	c.collect()
	c.ledger()
	c.acknowledged()
	c.effectsAtMain()
	c.orderOfRows()
	c.answers()
	c.decisions()
	c.reads()
	for _, what := range h.State.Differs {
		c.report(Equal, what)
	}
	if len(c.found) > mostReported {
		c.found = c.found[:mostReported]
	}
	return c.found
}

func (c *checker) report(promise, what string, lines ...int) {
	slices.Sort(lines)
	c.found = append(c.found, Violation{Promise: promise, What: what, Lines: slices.Compact(lines)})
}

// isWrite tells the operations that change an execution or its parts.
func isWrite(op string) bool {
	switch op {
	case OpStart, OpFinish, OpPatch, OpFiles, OpPackage, OpFinalize:
		return true
	}
	return false
}

// collect puts the attempts of each key together, and the writes of each row.
func (c *checker) collect() {
	for _, call := range c.history.Calls {
		if !isWrite(call.Op) {
			continue
		}
		e := c.effects[call.Key]
		if e == nil {
			e = &effect{Call: call, acked: never}
			c.effects[call.Key] = e
			c.order = append(c.order, e)
			c.row(call.Row).add(e)
		}
		e.Start = min(e.Start, call.Start)
		e.Contested = e.Contested || call.Contested
		if call.Outcome == OK && call.End < e.acked {
			e.acked, e.answer, e.tx = call.End, call, call.Tx
		}
		e.last = call.Outcome
	}
	for _, call := range c.history.Calls {
		if call.Op == OpSQL || isWrite(call.Op) && (call.Contested || c.doneAgain(call)) {
			c.row(call.Row).contested = true
		}
	}
	for _, r := range c.rows {
		for _, e := range r.files {
			for _, id := range e.answer.IDs {
				r.fileOf[id] = e
			}
		}
		for _, e := range r.packages {
			for _, id := range e.answer.IDs {
				r.packageOf[id] = e
			}
		}
	}
}

// doneAgain tells that a repeat was carried out anew, since a promotion had lost what
// the first attempt did. Any other repeat with another answer is told by answers.
func (c *checker) doneAgain(call Call) bool {
	e := c.effects[call.Key]
	return call.Outcome == OK && call.Tx != e.answer.Tx && c.forgiven(e)
}

func (c *checker) row(name string) *row {
	r := c.rows[name]
	if r == nil {
		r = &row{name: name, rank: map[string]int{}, byComment: map[string]*effect{}, fileOf: map[string]*effect{}, packageOf: map[string]*effect{}}
		c.rows[name] = r
	}
	return r
}

func (r *row) add(e *effect) {
	switch e.Op {
	case OpStart:
		r.start = e
		r.comments = append(r.comments, e)
		r.byComment[e.Value] = e
	case OpPatch:
		r.comments = append(r.comments, e)
		r.byComment[e.Value] = e
	case OpFinish:
		r.finishes = append(r.finishes, e)
	case OpFiles:
		r.files = append(r.files, e)
	case OpPackage:
		r.packages = append(r.packages, e)
	case OpFinalize:
		r.finals = append(r.finals, e)
	}
}

// ledger joins the ledger and the dead letters to the writes.
func (c *checker) ledger() {
	byTx := map[string]*effect{}
	for _, e := range c.order {
		if e.tx != "" {
			byTx[e.tx] = e
		}
	}
	byKey := map[string]Entry{}
	for _, entry := range c.history.State.Ledger {
		e := c.effects[entry.Key]
		if first, twice := byKey[entry.Key]; twice {
			c.report(Doubled, fmt.Sprintf("key %s is in the ledger as %s and as %s", entry.Key, first.ID, entry.ID), linesOf(e)...)
		}
		byKey[entry.Key] = entry
		switch {
		case e == nil:
			c.report(Phantom, fmt.Sprintf("the ledger has a transaction %s with the key %s, which nobody sent", entry.ID, entry.Key))
			continue
		case e.acked == never && e.last == Refused && entry.Outcome == "applied":
			c.report(Phantom, fmt.Sprintf("key %s was refused (%s), and applied as %s", entry.Key, e.Problem, entry.ID), e.Line)
		case e.tx != "" && e.tx != entry.ID && !c.forgiven(e):
			c.report(Doubled, fmt.Sprintf("key %s was answered as transaction %s and applied as %s", entry.Key, e.tx, entry.ID), linesOf(e)...)
		}
		e.state, e.seq, e.xid = entry.Outcome, entry.Seq, entry.XID
		if e.tx == "" {
			e.tx = entry.ID
		}
	}
	for _, d := range c.history.State.Dead {
		if e := byTx[d.ID]; e != nil && e.state == "" {
			e.state, e.dead = "dead", d.State+": "+d.Problem
		}
	}
	for _, r := range c.rows {
		// By the number it was accepted under; main gives none, there a row has
		// one writer, whose next write begins after the last was answered.
		slices.SortStableFunc(r.comments, func(a, b *effect) int {
			if a.seq != 0 && b.seq != 0 {
				return int(a.seq - b.seq)
			}
			return int(a.Start - b.Start)
		})
		for i, e := range r.comments {
			r.rank[e.Value] = i
		}
	}
}

func linesOf(e *effect) []int {
	if e == nil {
		return nil
	}
	if e.acked == never {
		return []int{e.Line}
	}
	return []int{e.Line, e.answer.Line}
}

// forgiven tells that main acknowledged a write itself, before a promotion that
// may have lost it: no other site had it.
func (c *checker) forgiven(e *effect) bool {
	if e.Site != SiteMain {
		return false
	}
	for _, m := range c.lost {
		if e.Start < m.At && e.acked >= m.Since {
			return true
		}
	}
	return false
}

// acknowledged: what was answered with 2xx is in the ledger, or a dead letter that
// has a reason; and nothing is left without an answer.
func (c *checker) acknowledged() {
	for _, e := range c.order {
		switch {
		case e.acked == never && e.last == Unknown:
			c.report(Live, fmt.Sprintf("%s %s of %s never got an answer, not even after healing: %s", e.Op, e.Key, e.Row, e.Problem), e.Line)
		case e.acked == never || e.state == "applied" || e.state == "discarded":
		case e.state == "dead":
			if !c.row(e.Row).contested {
				c.report(Reasoned, fmt.Sprintf("%s %s of %s is a dead letter, though nobody else touched its rows: %s", e.Op, e.Key, e.Row, e.dead), linesOf(e)...)
			}
		case !c.forgiven(e):
			c.report(Lost, fmt.Sprintf("%s %s of %s was answered with %d as transaction %s, and is neither in the ledger nor a dead letter", e.Op, e.Key, e.Row, e.answer.Status, e.tx), linesOf(e)...)
		}
	}
}

// effectsAtMain: the rows at main are what the writes say, each once.
func (c *checker) effectsAtMain() {
	state := c.history.State
	at := map[string]SeenRow{}
	for _, seen := range state.Rows {
		r := c.rows[seen.Name]
		switch first, twice := at[seen.Name]; {
		case twice:
			c.report(Doubled, fmt.Sprintf("%s is there twice, as %s and as %s", seen.Name, first.ID, seen.ID), linesOf(r.start)...)
		case r == nil || r.start == nil:
			c.report(Phantom, fmt.Sprintf("main has an execution %s (%s) that nobody started", seen.ID, seen.Name))
		default:
			at[seen.Name] = seen
		}
	}
	paths := map[string]string{}
	for _, id := range sortedKeys(state.Files) {
		path := state.Files[id]
		if other, twice := paths[path]; twice {
			c.report(Doubled, fmt.Sprintf("file %s is there twice, as %s and as %s", path, other, id))
		}
		paths[path] = id
	}
	for _, name := range sortedKeys(c.rows) {
		r := c.rows[name]
		if r.start == nil || r.contested || r.start.state != "applied" || c.forgiven(r.start) {
			continue
		}
		seen, there := at[name]
		if !there {
			c.report(Lost, fmt.Sprintf("%s was applied, and is not at main", name), linesOf(r.start)...)
			continue
		}
		c.rowAtMain(r, seen)
	}
}

func (c *checker) rowAtMain(r *row, seen SeenRow) {
	status := "running"
	var by *effect
	for _, e := range r.finishes {
		if e.state != "applied" {
			continue
		}
		if by != nil {
			c.report(Doubled, fmt.Sprintf("%s was finished twice", r.name), append(linesOf(by), linesOf(e)...)...)
		}
		status, by = e.Value, e
	}
	if seen.Status != status && !(by != nil && c.forgiven(by)) {
		c.report(Lost, fmt.Sprintf("%s is %s at main in the end, and should be %s", r.name, seen.Status, status), append(linesOf(r.start), linesOf(by)...)...)
	}
	var last *effect
	for _, e := range r.comments {
		if e.state == "applied" {
			last = e
		}
	}
	if last != nil && seen.Comment != last.Value && !c.forgiven(last) {
		lines := linesOf(last)
		if e := r.byComment[seen.Comment]; e != nil {
			lines = append(lines, linesOf(e)...)
		}
		c.report(Ordered, fmt.Sprintf("%s has the comment %s at main in the end, though %s was accepted last", r.name, seen.Comment, last.Value), lines...)
	}
	files := set(seen.Files)
	for _, e := range r.files {
		for _, id := range e.answer.IDs {
			if e.state == "applied" && !files[id] && !c.forgiven(e) {
				c.report(Lost, fmt.Sprintf("file %s of %s is not at main", id, r.name), linesOf(e)...)
			}
		}
	}
	for _, id := range seen.Files {
		if r.fileOf[id] == nil {
			c.report(Phantom, fmt.Sprintf("%s has a file %s at main that no answer named", r.name, id))
		}
	}
	for _, e := range r.packages {
		for _, id := range e.answer.IDs {
			if _, there := seen.Packages[id]; e.state == "applied" && !there && !c.forgiven(e) {
				c.report(Lost, fmt.Sprintf("package %s of %s is not at main", id, r.name), linesOf(e)...)
			}
		}
	}
	for _, e := range r.finals {
		if e.state == "applied" && seen.Packages[e.Value] != "completed" && !c.forgiven(e) {
			c.report(Lost, fmt.Sprintf("package %s of %s was finalized and is %q at main", e.Value, r.name, seen.Packages[e.Value]), linesOf(e)...)
		}
	}
}

// orderOfRows: numbers rise as writes were answered, and main wrote those of one
// row in that order.
func (c *checker) orderOfRows() {
	var numbered []*effect
	byRow := map[string][]*effect{}
	for _, e := range c.order {
		if e.Site == SiteObservatory && e.seq != 0 {
			numbered = append(numbered, e)
		}
	}
	slices.SortFunc(numbered, func(a, b *effect) int { return int(a.seq - b.seq) })
	var latest *effect // the one that began last of those with a lower number
	for _, e := range numbered {
		if latest != nil && e.acked < latest.Start {
			c.report(Ordered, fmt.Sprintf("%s was answered before %s was sent, and has the higher number (%d, %d)", e.Key, latest.Key, e.seq, latest.seq), append(linesOf(e), linesOf(latest)...)...)
		}
		if latest == nil || e.Start > latest.Start {
			latest = e
		}
		if e.state == "applied" {
			byRow[e.Row] = append(byRow[e.Row], e)
		}
	}
	for _, name := range sortedKeys(byRow) {
		if c.rows[name].contested {
			continue
		}
		for i, e := range byRow[name] {
			if i > 0 && e.xid < byRow[name][i-1].xid {
				before := byRow[name][i-1]
				c.report(Ordered, fmt.Sprintf("%s was accepted after %s (%d, %d), and main wrote it earlier (in subtransactions %d, %d)", e.Key, before.Key, e.seq, before.seq, e.xid, before.xid), append(linesOf(e), linesOf(before)...)...)
			}
		}
	}
}

// answers: each key has one answer, no answer is an internal error, and whoever
// asks what became of an answered write is told.
func (c *checker) answers() {
	for _, call := range c.history.Calls {
		if call.Status == 500 {
			c.report(NoInternals, fmt.Sprintf("%s %s was answered with 500: %s", call.Op, call.Key, call.Problem), call.Line)
		}
		if call.Op == OpTell && call.Status == 404 {
			e := c.effects[call.Key]
			if e != nil && !c.forgiven(e) {
				c.report(Told, fmt.Sprintf("transaction %s of %s was answered and is unknown afterwards", call.Tx, call.Key), append(linesOf(e), call.Line)...)
			}
		}
		e := c.effects[call.Key]
		if e == nil || !isWrite(call.Op) || e.acked == never {
			continue
		}
		switch {
		case call.Outcome == OK && (!slices.Equal(call.IDs, e.answer.IDs) || call.Tx != e.answer.Tx) && !c.forgiven(e):
			c.report(SameAnswer, fmt.Sprintf("%s was answered with %v of %s, and with %v of %s when repeated", call.Key, short(e.answer.IDs), e.answer.Tx, short(call.IDs), call.Tx), append(linesOf(e), call.Line)...)
		case call.Outcome == Refused && call.Start > e.acked && !c.forgiven(e) && !c.row(call.Row).contested:
			c.report(SameAnswer, fmt.Sprintf("%s was answered with %d, and refused when repeated: %s", call.Key, e.answer.Status, call.Problem), append(linesOf(e), call.Line)...)
		}
	}
}

// decisions: a dead letter that was mended and retried is applied, one that was
// discarded has no effect, and what takes the place of one is at main under its ids.
func (c *checker) decisions() {
	for _, call := range c.history.Calls {
		if call.Op != OpOperator || call.Outcome != OK {
			continue
		}
		e := c.effects[call.Key]
		switch {
		case e == nil:
		case call.Value == "retry" && e.state != "applied" && len(c.lost) == 0:
			c.report(Decided, fmt.Sprintf("%s of %s was mended at main and retried, and is not applied: %s", e.Key, e.Row, cmpOr(e.dead, e.state)), append(linesOf(e), call.Line)...)
		case call.Value == "discard" && e.state == "discarded":
			for _, seen := range c.history.State.Rows {
				if seen.Name == e.Row && (seen.Comment == e.Value || seen.Status == e.Value) {
					c.report(Decided, fmt.Sprintf("%s of %s was discarded, and main shows it", e.Key, e.Row), append(linesOf(e), call.Line)...)
				}
			}
		case (call.Value == "discard" || call.Value == "replace") && e.state == "dead":
			c.report(Decided, fmt.Sprintf("%s of %s was to be: %s, and is still a dead letter: %s", e.Key, e.Row, call.Value, e.dead), append(linesOf(e), call.Line)...)
		case call.Value == "replace" && e.state == "discarded":
			c.corrected(e, call)
		}
	}
}

// corrected: the execution whose start was put in the place of another one is at main,
// once and under the id that the first was answered with, and what waited has followed.
func (c *checker) corrected(e *effect, decision Call) {
	r, lines := c.row(e.Row), append(linesOf(e), decision.Line)
	var there []SeenRow
	for _, seen := range c.history.State.Rows {
		if seen.Name == e.Row {
			there = append(there, seen)
		}
	}
	switch last := r.comments[len(r.comments)-1]; {
	case len(there) != 1:
		c.report(Decided, fmt.Sprintf("the start %s of %s was corrected, and main has %d such executions", e.Key, e.Row, len(there)), lines...)
	case !slices.Contains(e.answer.IDs, there[0].ID):
		c.report(Decided, fmt.Sprintf("the start %s of %s was corrected, and main has it as %s instead of %v", e.Key, e.Row, there[0].ID, e.answer.IDs), lines...)
	case last.acked != never && there[0].Comment != last.Value:
		c.report(Decided, fmt.Sprintf("the start %s of %s was corrected, and main shows the comment %q instead of %s that waited for it", e.Key, e.Row, there[0].Comment, last.Value), lines...)
	}
}

func short(ids []string) []string { return ids[:min(2, len(ids))] }

func set(items []string) map[string]bool {
	s := make(map[string]bool, len(items))
	for _, item := range items {
		s[item] = true
	}
	return s
}
