package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Report is what a run found and measured.
type Report struct {
	Measured time.Time     `json:"measured"`
	Seed     uint64        `json:"seed"`
	Command  string        `json:"command"`
	Minutes  float64       `json:"minutes"`
	Loaded   time.Duration `json:"-"`
	Took     time.Duration `json:"took_ns"`

	Operations int            `json:"operations"`
	Outcomes   map[string]int `json:"outcomes"`
	Writes     int            `json:"acknowledged_writes"`
	Kills      int            `json:"kills"`
	Faults     map[string]int `json:"faults"`
	// Skipped are the faults that this machine cannot do, with the reason.
	Skipped map[string]string `json:"skipped,omitempty"`
	Rounds  []Round           `json:"rounds"`

	Violations []Violation `json:"violations"`
}

// Round is one time of load and faults, and the healing after it.
type Round struct {
	Number     int `json:"number"`
	Operations int `json:"operations"`
	Kills      int `json:"kills"`
	Faults     int `json:"faults"`
	// Backlog is what waited in the buffer when everything was healed, and
	// EmptyAfter how long it took to drain without a further write.
	Backlog    int           `json:"backlog"`
	EmptyAfter time.Duration `json:"empty_after_ns"`
	Bar        time.Duration `json:"bar_ns"`
}

func (r *Report) add(round Round) {
	r.Rounds = append(r.Rounds, round)
	r.Operations += round.Operations
	r.Kills += round.Kills
}

// count takes the figures that only the whole history has.
func (r *Report) count(h History) {
	r.Outcomes = map[string]int{}
	acked := map[string]bool{}
	for _, call := range h.Calls {
		r.Outcomes[call.Outcome]++
		if isWrite(call.Op) && call.Outcome == OK {
			acked[call.Key] = true
		}
	}
	r.Writes = len(acked)
}

// SlowestToEmpty is the round that came nearest to its bar, or beyond.
func (r *Report) SlowestToEmpty() Round {
	var slowest Round
	for _, round := range r.Rounds {
		if slowest.Bar == 0 || float64(round.EmptyAfter)/float64(round.Bar) > float64(slowest.EmptyAfter)/float64(slowest.Bar) {
			slowest = round
		}
	}
	return slowest
}

// Text is the report for people.
func (r *Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations (%d answered, %d refused, %d without a certain outcome), %d writes acknowledged\n",
		r.Operations, r.Outcomes[OK], r.Outcomes[Refused], r.Outcomes[Unknown], r.Writes)
	fmt.Fprintf(&b, "%d kills; faults:", r.Kills)
	for _, name := range sortedKeys(r.Faults) {
		fmt.Fprintf(&b, " %s %d", name, r.Faults[name])
	}
	b.WriteByte('\n')
	for _, name := range sortedKeys(r.Skipped) {
		fmt.Fprintf(&b, "skipped: %s (%s)\n", name, r.Skipped[name])
	}
	slowest := r.SlowestToEmpty()
	fmt.Fprintf(&b, "buffer empty %.1f s after healing where it came nearest to its bar of %.1f s (%d waited)\n", slowest.EmptyAfter.Seconds(), slowest.Bar.Seconds(), slowest.Backlog)
	if len(r.Violations) == 0 {
		b.WriteString("0 violations\n")
		return b.String()
	}
	promises := map[string]bool{}
	for _, v := range r.Violations {
		promises[v.Promise] = true
	}
	fmt.Fprintf(&b, "VIOLATED: %s\n", strings.Join(sortedKeys(promises), "; "))
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "  %s\n", v)
	}
	fmt.Fprintf(&b, "seed %d; again: %s\n", r.Seed, r.Command)
	return b.String()
}

// runsKept is how many runs the page of results has.
const runsKept = 6

// Write adds a run to chaos.json in a folder, and writes chaos.md anew.
func Write(dir string, r Report) error {
	file := filepath.Join(dir, "chaos.json")
	var runs []Report
	content, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(content, &runs)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	runs = append(runs, r)
	runs = runs[max(0, len(runs)-runsKept):]
	text, err := json.MarshalIndent(runs, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(file, append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "chaos.md"), []byte(Page(runs)), 0o644),
	)
}

// Page is the page of results, in Markdown.
func Page(runs []Report) string {
	var b strings.Builder
	b.WriteString("# Kills, faults and promises\n\nWritten by `opsdb chaos --write docs/benchmarks`; `make chaos CHAOS=\"--minutes 30\"` makes such a run.\n" +
		"What is done and what is checked: [the fault harness](../guarantees.md#the-fault-harness).\n\n" +
		"| date | seed | minutes | operations | writes acknowledged | faults | kills | violations | slowest to empty after healing (bar) |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	operations, kills, violations := 0, 0, 0
	for _, r := range runs {
		slowest, faults := r.SlowestToEmpty(), 0
		for _, n := range r.Faults {
			faults += n
		}
		fmt.Fprintf(&b, "| %s | %d | %.0f | %d | %d | %d | %d | %d | %.1f s of %d transactions (%.1f s) |\n", r.Measured.Format(time.DateOnly), r.Seed, r.Minutes,
			r.Operations, r.Writes, faults, r.Kills, len(r.Violations), slowest.EmptyAfter.Seconds(), slowest.Backlog, slowest.Bar.Seconds())
		operations, kills, violations = operations+r.Operations, kills+r.Kills, violations+len(r.Violations)
	}
	fmt.Fprintf(&b, "\nTogether: %d operations, %d kills, %d violations.\n", operations, kills, violations)
	return b.String()
}
