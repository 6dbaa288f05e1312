package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Curve is how one cost grows with backlog or table size.
type Curve struct {
	Name   string       `json:"name"`
	By     string       `json:"by"`
	Unit   string       `json:"unit"`
	Points [][2]float64 `json:"points"`
}

// Growth is growth.json.
type Growth struct {
	Measured    time.Time `json:"measured"`
	Machine     string    `json:"machine"`
	Quick       bool      `json:"quick,omitempty"`
	TookSeconds float64   `json:"took_s"`
	Curves      []Curve   `json:"curves"`
}

const (
	byBacklog = "pending transactions"
	byTable   = "rows in the table"
)

// add puts a point on a curve.
func (g *Growth) add(name, by, unit string, x int, y float64) {
	point := [2]float64{float64(x), round(y)}
	for i := range g.Curves {
		if c := &g.Curves[i]; c.Name == name && c.By == by {
			c.Points = append(c.Points, point)
			return
		}
	}
	g.Curves = append(g.Curves, Curve{name, by, unit, [][2]float64{point}})
}

// growth measures what accepting, a merged page, catching up and draining cost as
// the backlog and the table grow. What was measured before an error is written.
func (b *bench) growth(ctx context.Context) error {
	began := time.Now()
	g := &Growth{Measured: began.UTC().Truncate(time.Second), Machine: b.Machine, Quick: b.Quick}
	backlogs, tables := []int{0, 1_000, 10_000, 100_000, 1_000_000}, []int{0, 10_000, 100_000, 1_000_000, 10_000_000}
	if b.Quick {
		backlogs, tables = []int{0, 100, 1000}, []int{0, 1000, 2000}
	}
	err := func() error {
		for _, n := range backlogs {
			if err := b.step(fmt.Sprintf("a backlog of %s", thousands(int64(n))), func() error { return b.growBacklog(ctx, g, n) }); err != nil {
				return err
			}
		}
		if err := b.clear(ctx); err != nil {
			return err
		}
		for i, n := range tables {
			if i > 0 {
				if err := b.loadExecutions(ctx, tables[i-1], n); err != nil {
					return err
				}
			}
			if err := b.step(fmt.Sprintf("a table of %s", thousands(int64(n))), func() error { return b.growTable(ctx, g, n) }); err != nil {
				return err
			}
		}
		return b.clear(ctx)
	}()
	g.TookSeconds = round(time.Since(began).Seconds())
	b.say("\n%s", g.table())
	return errors.Join(err, g.write(b.Folder))
}

// growBacklog measures a site with n pending transactions.
func (b *bench) growBacklog(ctx context.Context, g *Growth, n int) (err error) {
	s, err := b.newSite(ctx, "TRANSACTION_BUFFER_SIZE=2000000")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if err := s.pause(ctx); err != nil {
		return err
	}
	if err := s.fillStarts(ctx, n); err != nil {
		return err
	}
	rss, _, err := s.processMemory(ctx)
	if err != nil {
		return err
	}
	if err := s.growSite(ctx, g, byBacklog, n); err != nil {
		return err
	}
	began := time.Now()
	other, err := s.serve(ctx, s.lists)
	if err != nil {
		return err
	}
	cold := time.Since(began)
	caughtUp, err := s.catchUp(ctx, other)
	if err != nil {
		return err
	}
	g.add("catching up with 1,000 writes of another process, then a page", byBacklog, "ms", n, caughtUp)
	g.add("cold start until a page is answered", byBacklog, "s", n, cold.Seconds())
	g.add("resident memory of a process", byBacklog, "MB", n, rss/1e6)
	if n == 0 {
		return nil
	}
	rate, err := s.drainSome(ctx)
	g.add("drain over 250 ms", byBacklog, "tx/s", n, rate)
	return err
}

// growTable measures a site with 1,000 pending transactions on a table of n rows.
func (b *bench) growTable(ctx context.Context, g *Growth, n int) (err error) {
	s, err := b.newSite(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if err := s.pause(ctx); err != nil {
		return err
	}
	if err := s.fillStarts(ctx, b.size(5_000, 100)); err != nil {
		return err
	}
	if err := s.growSite(ctx, g, byTable, n); err != nil {
		return err
	}
	rate, err := s.drainSome(ctx)
	g.add("drain over 250 ms", byTable, "tx/s", n, rate)
	return err
}

// growSite measures accepting and a page at a site.
func (s *site) growSite(ctx context.Context, g *Growth, by string, n int) error {
	requests := s.size(300, 20)
	for _, warm := range []bool{true, false} {
		took, err := latencies(ctx, s.url, s.start(), requests)
		if err != nil {
			return err
		}
		page, err := latencies(ctx, s.url, request{method: http.MethodGet, path: "/executed_obs_units", token: s.Service, want: http.StatusOK}, requests/3)
		if err != nil {
			return err
		}
		filtered, err := latencies(ctx, s.url, request{method: http.MethodGet, path: "/executed_obs_units?status=completed", token: s.Service, want: http.StatusOK}, requests/3)
		if err != nil {
			return err
		}
		if warm {
			continue
		}
		g.add("accepting a write, p50", by, "ms", n, percentile(took, 0.5))
		g.add("merged page of 50, p50", by, "ms", n, percentile(page, 0.5))
		g.add("merged page of 50, a filter that nothing pending matches, p50", by, "ms", n, percentile(filtered, 0.5))
	}
	return nil
}

// catchUp is how long another server of the site takes for a page after a thousand
// writes that it has not seen, in milliseconds.
func (s *site) catchUp(ctx context.Context, other string) (float64, error) {
	var took []float64
	for range s.size(5, 2) {
		first, err := s.started(ctx)
		if err != nil {
			return 0, err
		}
		if err := copies(ctx, s.size(1000, 50), func(_ int, m *mutable) { m.row = newID() }, first); err != nil {
			return 0, err
		}
		one, err := latencies(ctx, other, request{method: http.MethodGet, path: "/executed_obs_units", token: s.Service, want: http.StatusOK}, 1)
		if err != nil {
			return 0, err
		}
		took = append(took, percentile(one, 0.5))
	}
	return Median(took), nil
}

// drainSome lets the buffer drain for 10,000 transactions, or all there are, and
// returns the rate.
func (s *site) drainSome(ctx context.Context) (float64, error) {
	size, err := s.buffered(ctx)
	if err != nil {
		return 0, err
	}
	some := min(size, 10_000)
	began := time.Now()
	if err := s.resume(ctx); err != nil {
		return 0, err
	}
	if err := s.drainedTo(ctx, size-some, 2*time.Minute); err != nil {
		return 0, err
	}
	return float64(some) / time.Since(began).Seconds(), nil
}

// table is the curves for people, in Markdown.
func (g *Growth) table() string {
	var b strings.Builder
	for _, by := range []string{byBacklog, byTable} {
		var sizes []float64
		for _, c := range g.Curves {
			if c.By == by && len(c.Points) > len(sizes) {
				sizes = nil
				for _, p := range c.Points {
					sizes = append(sizes, p[0])
				}
			}
		}
		if sizes == nil {
			continue
		}
		fmt.Fprintf(&b, "| %s |", by)
		for _, x := range sizes {
			fmt.Fprintf(&b, " %s |", thousands(int64(x)))
		}
		b.WriteString("\n| --- |" + strings.Repeat(" ---: |", len(sizes)) + "\n")
		for _, c := range g.Curves {
			if c.By != by {
				continue
			}
			fmt.Fprintf(&b, "| %s |", c.Name)
			for _, x := range sizes {
				text := "–"
				for _, p := range c.Points {
					if p[0] == x {
						text = shown(&p[1], c.Unit)
					}
				}
				fmt.Fprintf(&b, " %s |", text)
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (g *Growth) write(folder string) error {
	if folder == "" {
		return nil
	}
	text, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		return err
	}
	head := fmt.Sprintf("# Growth\n\nWritten by `opsdb bench --growth --write docs/benchmarks` on %s (%s) in %.0f s.\nHow to read it: [README](README.md#growth).\n\n"+
		"![Growth](growth.svg)\n\n", g.Measured.Format(time.DateOnly), g.Machine, g.TookSeconds)
	if g.Quick {
		head += "A quick run: the figures mean nothing.\n\n"
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "growth.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(folder, "growth.md"), []byte(strings.TrimRight(head+g.table(), "\n")+"\n"), 0o644),
		os.WriteFile(filepath.Join(folder, "growth.svg"), []byte(growthChart(g)), 0o644),
	)
}
