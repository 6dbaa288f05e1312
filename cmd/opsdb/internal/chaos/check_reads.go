package chaos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// observation is what one read showed of one row.
type observation struct {
	call  *Call
	found bool
	SeenRow
}

// progress is how far a row had come by what readers of a site were shown. It
// never goes back.
type progress struct {
	exists   *Call
	status   string // one that ends it
	ended    *Call
	comment  int
	changed  *Call
	files    map[string]*Call
	packages map[string]*Call
	done     map[string]*Call // packages shown as completed
}

// reads: every read shows what was answered before it began, nothing that nobody
// had asked for, and never less than an earlier one of the same site.
func (c *checker) reads() {
	byRow := map[string][]observation{}
	for i := range c.history.Calls {
		call := &c.history.Calls[i]
		switch {
		case call.Op == OpRead && call.Status == 404:
			byRow[call.Row] = append(byRow[call.Row], observation{call: call, SeenRow: SeenRow{Name: call.Row}})
		case call.Op == OpRead && call.Saw != nil:
			for _, seen := range call.Saw.Rows {
				seen.Whole = seen.Whole && call.Overlay == ""
				byRow[seen.Name] = append(byRow[seen.Name], observation{call, true, seen})
			}
		case call.Op == OpList && call.Saw != nil:
			c.list(call, byRow)
		}
	}
	for _, name := range sortedKeys(byRow) {
		r := c.rows[name]
		if r == nil || r.start == nil {
			c.report(Phantom, fmt.Sprintf("an execution %q was shown that nobody started", name), byRow[name][0].call.Line)
			continue
		}
		if c.forgiven(r.start) {
			continue
		}
		for _, site := range []string{SiteMain, SiteObservatory} {
			c.rowReads(r, site, byRow[name])
		}
	}
}

// list checks a page as a whole, and adds what it says of each row.
func (c *checker) list(call *Call, byRow map[string][]observation) {
	w, shown := call.Window, map[string]bool{}
	for _, seen := range call.Saw.Rows {
		if shown[seen.Name] {
			c.report(Doubled, fmt.Sprintf("a list shows %s twice", seen.Name), call.Line)
		}
		shown[seen.Name] = true
		if w.Status != "" && seen.Status != w.Status {
			c.report(Phantom, fmt.Sprintf("a list of %s executions shows %s, which is %s", w.Status, seen.Name, seen.Status), call.Line)
		}
		byRow[seen.Name] = append(byRow[seen.Name], observation{call, true, seen})
	}
	if call.Overlay != "" || call.Saw.More {
		return
	}
	if call.Saw.Total != nil && *call.Saw.Total != len(call.Saw.Rows) {
		c.report(Doubled, fmt.Sprintf("a list shows %d rows and counts %d", len(call.Saw.Rows), *call.Saw.Total), call.Line)
	}
	for n := w.From; n < w.Until; n++ {
		name := fmt.Sprintf("%s-%d", w.Client, n)
		r := c.rows[name]
		if shown[name] || r == nil || r.start == nil || r.contested {
			continue
		}
		if w.Status == "" {
			byRow[name] = append(byRow[name], observation{call: call, SeenRow: SeenRow{Name: name}})
			continue
		}
		if !c.due(r.start, call) {
			continue
		}
		switch w.Status {
		case "running":
			if !slices.ContainsFunc(r.finishes, func(e *effect) bool { return e.Start <= call.End }) {
				c.report(OwnWrites, fmt.Sprintf("%s runs, and a list of running executions misses it", name), append(linesOf(r.start), call.Line)...)
			}
		default:
			for _, e := range r.finishes {
				if e.Value == w.Status && c.due(e, call) {
					c.report(OwnWrites, fmt.Sprintf("%s was finished as %s, and a list of those misses it", name, w.Status), append(linesOf(e), call.Line)...)
				}
			}
		}
	}
}

// due tells that a read must show a write: it was answered at this site before
// the read began, or at main with a commit that the read waited for.
func (c *checker) due(e *effect, read *Call) bool {
	if e.acked > read.Start || c.forgiven(e) || e.state == "discarded" {
		return false
	}
	return e.Site == read.Site || e.Site == SiteMain && read.MinLSN != "" && !after(e.answer.LSN, read.MinLSN)
}

// after compares two positions `<timeline>:<X/Y>`; true when it cannot.
func after(a, b string) bool {
	x, okA := position(a)
	y, okB := position(b)
	return !okA || !okB || x.timeline != y.timeline || x.lsn > y.lsn
}

type place struct {
	timeline string
	lsn      uint64
}

func position(text string) (place, bool) {
	timeline, lsn, _ := strings.Cut(text, ":")
	high, low, ok := strings.Cut(lsn, "/")
	h, errH := strconv.ParseUint(high, 16, 32)
	l, errL := strconv.ParseUint(low, 16, 32)
	return place{timeline, h<<32 | l}, ok && errH == nil && errL == nil
}

// rowReads checks the reads of one row at one site.
func (c *checker) rowReads(r *row, site string, all []observation) {
	var here []observation
	for _, o := range all {
		if o.call.Site == site {
			here = append(here, o)
		}
	}
	ended := slices.Clone(here)
	slices.SortFunc(here, func(a, b observation) int { return int(a.call.Start - b.call.Start) })
	slices.SortFunc(ended, func(a, b observation) int { return int(a.call.End - b.call.End) })
	// A promotion takes back what main has shown, until the sites send it again.
	lost := c.lost
	if site != SiteMain {
		lost = nil
	}
	seen := newProgress()
	for _, o := range here {
		for len(lost) > 0 && lost[0].At <= o.call.End {
			for len(ended) > 0 && ended[0].call.Start < lost[0].At {
				ended = ended[1:]
			}
			seen, lost = newProgress(), lost[1:]
		}
		for len(ended) > 0 && ended[0].call.End < o.call.Start {
			seen.add(r, ended[0])
			ended = ended[1:]
		}
		c.observe(r, o, seen)
	}
}

func newProgress() *progress {
	return &progress{comment: -1, files: map[string]*Call{}, packages: map[string]*Call{}, done: map[string]*Call{}}
}

// add takes a read that is over into account.
func (p *progress) add(r *row, o observation) {
	if !o.found {
		return
	}
	p.exists = o.call
	if o.Status != "running" {
		p.status, p.ended = o.Status, o.call
	}
	if rank, known := r.rank[o.Comment]; known && rank > p.comment {
		p.comment, p.changed = rank, o.call
	}
	for _, id := range o.Files {
		p.files[id] = o.call
	}
	for id, status := range o.Packages {
		p.packages[id] = o.call
		if status == "completed" {
			p.done[id] = o.call
		}
	}
}

// observe holds one read against the writes, and against what was shown before.
func (c *checker) observe(r *row, o observation, seen *progress) {
	// What others at main do to a row is not in the history, and a row of main
	// goes back at the observatory when its replica does.
	if r.contested {
		return
	}
	goesBack := r.start.Site == SiteMain && o.call.Site == SiteObservatory
	less := func(before *Call) bool {
		return before != nil && !(goesBack && after(before.LSN, o.call.LSN))
	}
	line := o.call.Line
	if !o.found {
		switch {
		case c.due(r.start, o.call):
			c.report(OwnWrites, fmt.Sprintf("%s was started at %s, and a later read there does not find it", r.name, r.start.Site), append(linesOf(r.start), line)...)
		case less(seen.exists):
			c.report(Monotonic, fmt.Sprintf("%s was shown at %s, and a later read there does not find it", r.name, o.call.Site), seen.exists.Line, line)
		}
		return
	}
	if r.start.Start > o.call.End {
		c.report(Phantom, fmt.Sprintf("%s was shown before it was started", r.name), r.start.Line, line)
	}
	c.observeStatus(r, o, seen, less)
	c.observeComment(r, o, seen, less)
	if o.Whole {
		c.observeParts(r, o, seen, less)
	}
}

func (c *checker) observeStatus(r *row, o observation, seen *progress, less func(*Call) bool) {
	line := o.call.Line
	if o.Status != "running" {
		if !slices.ContainsFunc(r.finishes, func(e *effect) bool {
			return e.Value == o.Status && e.Start <= o.call.End && !(e.acked == never && e.last == Refused)
		}) {
			c.report(Phantom, fmt.Sprintf("%s was shown as %s, which nobody had asked for", r.name, o.Status), line)
		}
		return
	}
	for _, e := range r.finishes {
		if c.due(e, o.call) {
			c.report(OwnWrites, fmt.Sprintf("%s was finished as %s, and a later read at %s shows it running", r.name, e.Value, o.call.Site), append(linesOf(e), line)...)
			return
		}
	}
	if less(seen.ended) {
		c.report(Monotonic, fmt.Sprintf("%s was shown as %s at %s, and runs again in a later read", r.name, seen.status, o.call.Site), seen.ended.Line, line)
	}
}

func (c *checker) observeComment(r *row, o observation, seen *progress, less func(*Call) bool) {
	line := o.call.Line
	e := r.byComment[o.Comment]
	if e == nil || e.Start > o.call.End || e.acked == never && e.last == Refused {
		c.report(Phantom, fmt.Sprintf("%s was shown with the comment %q, which nobody had written", r.name, o.Comment), line)
		return
	}
	rank := r.rank[o.Comment]
	for _, later := range r.comments[rank+1:] {
		if c.due(later, o.call) {
			c.report(OwnWrites, fmt.Sprintf("%s had got the comment %s, and a later read at %s shows the older %s", r.name, later.Value, o.call.Site, o.Comment), append(linesOf(later), line)...)
			return
		}
	}
	if rank < seen.comment && less(seen.changed) {
		c.report(Monotonic, fmt.Sprintf("%s was shown at %s with the comment %s, and later with the older %s", r.name, o.call.Site, r.comments[seen.comment].Value, o.Comment), seen.changed.Line, line)
	}
}

func (c *checker) observeParts(r *row, o observation, seen *progress, less func(*Call) bool) {
	line, files := o.call.Line, set(o.Files)
	if len(files) != len(o.Files) {
		c.report(Doubled, fmt.Sprintf("%s was shown with the same file twice", r.name), line)
	}
	for _, e := range r.files {
		for _, id := range e.answer.IDs {
			if !files[id] && c.due(e, o.call) {
				c.report(OwnWrites, fmt.Sprintf("file %s of %s was registered, and a later read at %s does not show it", id, r.name, o.call.Site), append(linesOf(e), line)...)
				break
			}
		}
	}
	for _, id := range sortedKeys(seen.files) {
		if !files[id] && less(seen.files[id]) {
			c.report(Monotonic, fmt.Sprintf("file %s of %s was shown at %s, and is missing in a later read", id, r.name, o.call.Site), seen.files[id].Line, line)
		}
	}
	for _, e := range r.packages {
		for _, id := range e.answer.IDs {
			if _, there := o.Packages[id]; !there && c.due(e, o.call) {
				c.report(OwnWrites, fmt.Sprintf("package %s of %s was opened, and a later read at %s does not show it", id, r.name, o.call.Site), append(linesOf(e), line)...)
			}
		}
	}
	for _, e := range r.finals {
		if status, there := o.Packages[e.Value]; there && status != "completed" && c.due(e, o.call) {
			c.report(OwnWrites, fmt.Sprintf("package %s of %s was finalized, and a later read at %s shows it as %s", e.Value, r.name, o.call.Site, status), append(linesOf(e), line)...)
		}
	}
	for _, id := range sortedKeys(seen.packages) {
		if _, there := o.Packages[id]; !there && less(seen.packages[id]) {
			c.report(Monotonic, fmt.Sprintf("package %s of %s was shown at %s, and is missing in a later read", id, r.name, o.call.Site), seen.packages[id].Line, line)
		}
	}
	for _, id := range sortedKeys(seen.done) {
		if status, there := o.Packages[id]; there && status != "completed" && less(seen.done[id]) {
			c.report(Monotonic, fmt.Sprintf("package %s of %s was shown as completed at %s, and later as %s", id, r.name, o.call.Site, status), seen.done[id].Line, line)
		}
	}
}
