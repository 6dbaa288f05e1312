package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Measurement is one figure: the product, mostly against its floor.
type Measurement struct {
	ID   string `json:"id"`
	What string `json:"what"`
	Unit string `json:"unit"`
	// Floor says what it was measured in turns with.
	Floor string `json:"floor,omitempty"`
	// Ours and FloorValue are medians over the rounds, Ratio the median of the rounds'
	// ratios. What was not measured is null, never 0.
	Ours       *float64 `json:"ours"`
	FloorValue *float64 `json:"floor_value"`
	Ratio      *float64 `json:"ratio"`
	Rounds     int      `json:"rounds"`
	// Bar is the bar in words, empty for a figure that only explains; OfBar is the
	// figure as a part of what the bar allows: met up to 1.
	Bar   string   `json:"bar,omitempty"`
	OfBar *float64 `json:"of_bar"`
	Met   *bool    `json:"met"`
	Note  string   `json:"note,omitempty"`
}

// Part is all of one row of the bars, as it was last measured.
type Part struct {
	ID           string        `json:"id"`
	Measured     time.Time     `json:"measured"`
	Machine      string        `json:"machine"`
	Quick        bool          `json:"quick,omitempty"`
	TookSeconds  float64       `json:"took_s"`
	Measurements []Measurement `json:"measurements"`
}

// Report is results.json: the last measurement of every part.
type Report struct {
	Parts []Part `json:"parts"`
}

// compared is a measurement against a floor.
func compared(id, what, unit, floor string, s series) Measurement {
	return Measurement{ID: id, What: what, Unit: unit, Floor: floor, Rounds: len(s.ratios),
		Ours: figure(Median(s.ours)), FloorValue: figure(Median(s.floor)), Ratio: figure(Median(s.ratios))}
}

// measured is a figure without a floor.
func measured(id, what, unit string, v float64) Measurement {
	return Measurement{ID: id, What: what, Unit: unit, Ours: figure(v), Rounds: 1}
}

// figure is a measured number; nil when there is none.
func figure(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	v = round(v)
	return &v
}

// atMost judges a measurement: v may be up to limit.
func (m Measurement) atMost(v, limit float64, bar string) Measurement {
	met := v <= limit
	m.Bar, m.OfBar, m.Met = bar, figure(v/limit), &met
	return m
}

// atLeast judges a measurement: v must reach limit.
func (m Measurement) atLeast(v, limit float64, bar string) Measurement {
	met := v >= limit
	m.Bar, m.OfBar, m.Met = bar, figure(limit/v), &met
	return m
}

func (m Measurement) noted(note string) Measurement {
	m.Note = note
	return m
}

// files of a folder of results.
const (
	resultsJSON = "results.json"
	resultsMD   = "results.md"
	resultsSVG  = "results.svg"
)

// readReport reads what was measured before; nothing when there is none, or when it
// has another form.
func readReport(folder string) (*Report, error) {
	r := &Report{}
	if folder == "" {
		return r, nil
	}
	text, err := os.ReadFile(filepath.Join(folder, resultsJSON))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("reading earlier results: %w", err)
	}
	return r, nil
}

// merge puts a part in the place of its earlier measurement.
func (r *Report) merge(p Part) {
	r.Parts = slices.DeleteFunc(r.Parts, func(old Part) bool { return old.ID == p.ID })
	r.Parts = append(r.Parts, p)
	slices.SortFunc(r.Parts, func(a, b Part) int { return strings.Compare(a.ID, b.ID) })
}

// of are the measurements of some parts.
func (r *Report) of(ids []string) []Measurement {
	var out []Measurement
	for _, p := range r.Parts {
		if slices.Contains(ids, p.ID) {
			out = append(out, p.Measurements...)
		}
	}
	return out
}

func (r *Report) write(folder string) error {
	if folder == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, resultsJSON), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(folder, resultsMD), []byte(r.markdown()), 0o644),
		os.WriteFile(filepath.Join(folder, resultsSVG), []byte(barsChart(r)), 0o644),
	)
}

// markdown is results.md: the bars first, then what explains them.
func (r *Report) markdown() string {
	var b strings.Builder
	b.WriteString("# Results\n\nWritten by `opsdb bench --write docs/benchmarks`. How to read it: [README](README.md). As JSON: [results.json](results.json).\n\n" +
		"![Each figure as a part of what its bar allows](results.svg)\n\n")
	var bars, details []Measurement
	for _, p := range r.Parts {
		for _, m := range p.Measurements {
			if m.Bar != "" {
				bars = append(bars, m)
			} else {
				details = append(details, m)
			}
		}
	}
	b.WriteString(table(bars))
	if len(details) > 0 {
		b.WriteString("\n## What explains them\n\n" + table(details))
	}
	b.WriteString("\n## When and where\n\n| id | measured | machine | took |\n| --- | --- | --- | --- |\n")
	for _, p := range r.Parts {
		machine := p.Machine
		if p.Quick {
			machine += " (quick: the figures mean nothing)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f s |\n", p.ID, p.Measured.Format(time.RFC3339), machine, p.TookSeconds)
	}
	return b.String()
}

// table is measurements for people, in Markdown.
func table(measurements []Measurement) string {
	var b strings.Builder
	b.WriteString("| id | what | ours | floor | ratio | bar | met |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, m := range measurements {
		what := m.What
		if m.Note != "" {
			what += " – " + m.Note
		}
		met := "–"
		switch {
		case m.Met != nil:
			met = map[bool]string{true: "yes", false: "**no**"}[*m.Met]
		case m.Bar != "":
			met = "not measured"
		}
		bar := m.Bar
		if bar == "" {
			bar = "–"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", m.ID, what, shown(m.Ours, m.Unit), shown(m.FloorValue, m.Unit), shown(m.Ratio, ""), bar, met)
	}
	return b.String()
}

func shown(v *float64, unit string) string {
	if v == nil {
		return "–"
	}
	text := fmt.Sprintf("%.2f", *v)
	switch {
	case *v >= 10000:
		text = thousands(int64(*v))
	case *v == 0:
		text = "0"
	case *v >= 100:
		text = fmt.Sprintf("%.0f", *v)
	}
	return strings.TrimSpace(text + " " + unit)
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
