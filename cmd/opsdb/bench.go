package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// measurement is one figure: the product against its floor, measured in turns in
// the same run.
type measurement struct {
	ID    string `json:"id"`
	What  string `json:"what"`
	Unit  string `json:"unit"`
	Floor string `json:"floor"`
	// Ours and FloorValue are medians over the rounds, Ratio the median of the rounds'
	// ratios: absolute figures of a shared machine say little.
	Ours       float64 `json:"ours"`
	FloorValue float64 `json:"floor_value"`
	Ratio      float64 `json:"ratio"`
	Rounds     int     `json:"rounds"`
	Bar        string  `json:"bar"`
	Met        bool    `json:"met"`
}

// report is one run of the benchmarks.
type report struct {
	Measured     time.Time     `json:"measured"`
	Machine      string        `json:"machine"`
	Measurements []measurement `json:"measurements"`
}

// benchOptions are the flags of `opsdb bench`.
type benchOptions struct {
	rounds int
	write  string
}

// newBenchCommand returns `opsdb bench`, which measures the product against the
// simplest programs that do the same physical work.
func newBenchCommand() *cobra.Command {
	options := benchOptions{}
	cmd := &cobra.Command{
		Use:   "bench [p1] [p3]",
		Short: "Measure this program against its floors on a local stack",
		Long: `Measure this program against its floors: the simplest programs that do the same
physical work, run in turns with it on the same stack (see docs/benchmarks).
Without names, everything is measured. It takes a few minutes.`,
		ValidArgs: []string{"p1", "p3"},
		Args:      cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if options.rounds < 1 || options.rounds > 100 {
				return errors.New("--rounds must be between 1 and 100")
			}
			return runBench(cmd.Context(), options, args, cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&options.rounds, "rounds", 5, "rounds of floor and product in turns")
	cmd.Flags().StringVar(&options.write, "write", "", "also write results.json and results.md into this `folder`")
	cmd.AddCommand(newBenchFloorCommand())
	return cmd
}

func runBench(ctx context.Context, options benchOptions, names []string, out io.Writer) (err error) {
	if _, err := sandbox.Ensure(ctx, out); err != nil {
		return err
	}
	d := &demo{
		options: demoOptions{noNight: true, observatoryAPIs: 1, rtt: roundTrip(250 * time.Millisecond)},
		out:     out, log: slog.New(slog.NewTextHandler(out, nil)),
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx); err != nil {
		return err
	}
	r := report{Measured: time.Now().UTC().Truncate(time.Second), Machine: fmt.Sprintf("%d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())}
	for _, bench := range []struct {
		name string
		run  func(context.Context, *demo, int) ([]measurement, error)
	}{{"p1", benchAccept}, {"p3", benchDrain}} {
		if len(names) > 0 && !slices.Contains(names, bench.name) {
			continue
		}
		d.say("measuring %s …", strings.ToUpper(bench.name))
		measured, err := bench.run(ctx, d, options.rounds)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", bench.name, err)
		}
		r.Measurements = append(r.Measurements, measured...)
	}
	table := r.table()
	d.say("\n%s", table)
	if options.write == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(options.write, "results.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(options.write, "results.md"), []byte(r.markdown(table)), 0o644),
	)
}

// table is the report for people, in Markdown.
func (r report) table() string {
	var b strings.Builder
	b.WriteString("| id | what | ours | floor | ratio | bar | met |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, m := range r.Measurements {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", m.ID, m.What, figure(m.Ours, m.Unit), figure(m.FloorValue, m.Unit),
			figure(m.Ratio, ""), m.Bar, map[bool]string{true: "yes", false: "no"}[m.Met])
	}
	return b.String()
}

func (r report) markdown(table string) string {
	return fmt.Sprintf("# Results\n\nWritten by `opsdb bench --write docs/benchmarks` on %s (%s). How to read it: [README](README.md).\n\n%s",
		r.Measured.Format(time.DateOnly), r.Machine, table)
}

func figure(v float64, unit string) string {
	if v == 0 {
		return "–"
	}
	switch {
	case v >= 100:
		return strings.TrimSpace(fmt.Sprintf("%.0f %s", v, unit))
	default:
		return strings.TrimSpace(fmt.Sprintf("%.2f %s", v, unit))
	}
}

// series collects the rounds of one figure.
type series struct{ ours, floor, ratios []float64 }

func (s *series) add(ours, floor float64) {
	s.ours, s.floor, s.ratios = append(s.ours, ours), append(s.floor, floor), append(s.ratios, ours/floor)
}

// median of values, which are not empty.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// percentile of durations, in milliseconds; p is between 0 and 1.
func percentile(took []time.Duration, p float64) float64 {
	sorted := slices.Sorted(slices.Values(took))
	return float64(sorted[min(len(sorted)-1, int(p*float64(len(sorted))))].Microseconds()) / 1000
}
