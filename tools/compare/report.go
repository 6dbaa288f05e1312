package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is compare.json.
type report struct {
	Measured    time.Time `json:"measured"`
	Machine     string    `json:"machine"`
	Quick       bool      `json:"quick,omitempty"`
	TookSeconds int       `json:"took_s"`
	Rows        []row     `json:"rows"`
}

// row is what was measured of one contender: medians over the rounds, sums of what
// is counted.
type row struct {
	Name       string   `json:"name"`
	AcceptP50  *float64 `json:"accept_p50_ms"`
	AcceptP99  *float64 `json:"accept_p99_ms"`
	DrainRate  *float64 `json:"drain_per_s"`
	Drained    int      `json:"drained"`
	OutOfOrder int      `json:"out_of_order"`
	Killed     *killed  `json:"killed"`
}

// killed is what a kill -9 in the middle of draining did.
type killed struct {
	Accepted   int     `json:"accepted"`
	AllThere   bool    `json:"all_there"`
	Seconds    float64 `json:"seconds"`
	Missing    int     `json:"missing"`
	Doubled    int     `json:"doubled"`
	OutOfOrder int     `json:"out_of_order"`
}

func machine() string {
	return fmt.Sprintf("%d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// median of values, nil of none.
func median(values []float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	m := (sorted[(n-1)/2] + sorted[n/2]) / 2
	return &m
}

// percentile of durations in milliseconds.
func percentile(took []time.Duration, p float64) float64 {
	sorted := slices.SortedFunc(slices.Values(took), cmp.Compare[time.Duration])
	rank := max(1, int(math.Ceil(p*float64(len(sorted)))))
	return float64(sorted[rank-1].Nanoseconds()) / 1e6
}

func (r *report) table() string {
	var b strings.Builder
	b.WriteString("| | accept p50 | accept p99 | drained over 250 ms | came after a later one | after kill -9: missing | doubled | all there after |\n" +
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	number := func(v *float64, unit string) string {
		if v == nil {
			return "not measured"
		}
		if *v >= 100 {
			return fmt.Sprintf("%.0f %s", *v, unit)
		}
		return fmt.Sprintf("%.2f %s", *v, unit)
	}
	for _, row := range r.Rows {
		missing, doubled, after := "–", "–", "–"
		if k := row.Killed; k != nil {
			missing, doubled = fmt.Sprintf("%d of %d", k.Missing, k.Accepted), fmt.Sprint(k.Doubled)
			after = fmt.Sprintf("%.1f s", k.Seconds)
			if !k.AllThere {
				after = fmt.Sprintf("not within %.0f s", k.Seconds)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %d of %d | %s | %s | %s |\n", row.Name, number(row.AcceptP50, "ms"), number(row.AcceptP99, "ms"),
			number(row.DrainRate, "/s"), row.OutOfOrder, row.Drained, missing, doubled, after)
	}
	return b.String()
}

func (r *report) write(folder string) error {
	if folder == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	quick := ""
	if r.Quick {
		quick = "A quick run: the figures mean nothing.\n\n"
	}
	page := fmt.Sprintf("# Comparison\n\nWritten by `make compare` on %s (%s) in %d s. What is compared, and how to read it: [README](README.md#comparison).\n\n%s%s",
		r.Measured.Format(time.DateOnly), r.Machine, r.TookSeconds, quick, r.table())
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "compare.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(folder, "compare.md"), []byte(page), 0o644),
	)
}
