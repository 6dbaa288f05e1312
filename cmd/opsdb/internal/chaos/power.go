package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// powerDiskBytes is room for what is written before one cut, and again while the
// append-only file is rewritten. Nothing leaves the buffer meanwhile.
const powerDiskBytes = 8 << 20

// PowerOptions say how often the power is to fail.
type PowerOptions struct {
	Seed    uint64
	Points  int
	Clients int
	Say     func(format string, args ...any)
}

// PowerReport is what power cuts did to acknowledged writes (bar R2).
type PowerReport struct {
	Seed    uint64 `json:"seed"`
	Policy  string `json:"appendfsync"`
	Points  int    `json:"points"`
	Clients int    `json:"clients"`
	// Acknowledged are the writes answered with 2xx, Lost those of them that the
	// site does not know any more, LossyPoints the cuts that lost some.
	Acknowledged int `json:"acknowledged"`
	Lost         int `json:"lost"`
	LossyPoints  int `json:"lossy_points"`
	// Most is the largest loss of one cut.
	Most int `json:"most"`
	// Damaged says that the last cut left a file that Redis refuses to load, which ended
	// the run: without an fsync in between the disk may have later parts of it and not
	// earlier ones.
	Damaged bool `json:"damaged,omitempty"`
}

// CutPower cuts the power of Redis at random points while clients write, with one
// policy of its append-only file ("always", "everysec"). The link is down, so that
// what Redis loses is nowhere else. After each cut the site must know every
// transaction that it has acknowledged.
func CutPower(ctx context.Context, system System, policy string, options PowerOptions) (report PowerReport, err error) {
	r := &run{System: system, options: Options{Seed: options.Seed, Clients: options.Clients}, recorder: newRecorder(discard{})}
	report = PowerReport{Seed: options.Seed, Policy: policy, Points: options.Points, Clients: options.Clients}
	disk, err := newDisk(ctx, system.Stack, 64<<20+int64(options.Points)*powerDiskBytes)
	if err != nil {
		return report, fmt.Errorf("cutting power: %w", err)
	}
	defer func() { err = errors.Join(err, disk.close()) }()
	world, err := r.newWorld(ctx)
	if err != nil {
		return report, err
	}
	world.clients = world.clients[:options.Clients]
	system.Stack.Link.Down()
	rng := rand.New(rand.NewPCG(options.Seed, 2))
	for point := range options.Points {
		// A restarted Redis has the policy of its file again.
		if _, err := system.Stack.Redis.Command(ctx, "CONFIG", "SET", "appendfsync", policy); err != nil {
			return report, err
		}
		acked := world.writeUntil(ctx, time.Duration(200+rng.IntN(1500))*time.Millisecond, func() error { return disk.cutPower(ctx) })
		if policy != "always" && errors.Is(acked.err, sandbox.ErrEndsAtOnce) {
			report.Points, report.Damaged = point+1, true
			return report, nil
		}
		if acked.err != nil {
			return report, fmt.Errorf("cut %d: %w", point+1, acked.err)
		}
		lost, err := world.unknown(ctx, acked.txs)
		if err != nil {
			return report, fmt.Errorf("after cut %d: %w", point+1, err)
		}
		report.Acknowledged += len(acked.txs)
		report.Lost += len(lost)
		report.Most = max(report.Most, len(lost))
		if len(lost) > 0 {
			report.LossyPoints++
		}
		if (point+1)%20 == 0 || policy == "always" && len(lost) > 0 {
			options.Say("  %s, cut %d: %d acknowledged so far, %d lost", policy, point+1, report.Acknowledged, report.Lost)
		}
	}
	return report, nil
}

// discard takes a history that nobody reads.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// written are the transactions that were answered before a cut.
type written struct {
	txs []string
	err error
}

// writeUntil lets every client start executions, cuts after a while, and returns
// what was answered.
func (w *world) writeUntil(ctx context.Context, after time.Duration, cut func() error) written {
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		end  atomic.Bool
		done written
	)
	for _, c := range w.clients {
		all.Go(func() {
			for !end.Load() {
				tx := c.startOnce(ctx)
				if tx == "" {
					return // the cut, or what came of it
				}
				mu.Lock()
				done.txs = append(done.txs, tx)
				mu.Unlock()
			}
		})
	}
	time.Sleep(after)
	err := cut()
	end.Store(true)
	all.Wait()
	done.err = err
	return done
}

// startOnce starts an execution and returns its transaction, "" without an answer.
func (c *client) startOnce(ctx context.Context) string {
	key := c.key()
	c.began++
	body := encode(map[string]any{
		"obs_unit_id": c.world.unit, "start_time": startOf(c.name, c.began), "comment": key, "conditions": map[string]any{"chaos": key},
	})
	call := c.send(ctx, Call{Op: OpStart}, c.rng.IntN(len(c.apis)), http.MethodPost, "/executed_obs_units/start", c.world.ServiceToken, body, nil, "Idempotency-Key", key)
	if call.Outcome != OK {
		return ""
	}
	return call.Tx
}

// unknown are the transactions that the site does not know, once it answers again.
func (w *world) unknown(ctx context.Context, txs []string) ([]string, error) {
	var lost []string
	asking := w.clients[0]
	for _, tx := range txs {
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		for {
			call := asking.send(limited, Call{Op: OpTell}, 0, http.MethodGet, "/transactions/"+tx, w.ServiceToken, nil, &json.RawMessage{})
			if call.Status == http.StatusNotFound {
				lost = append(lost, tx)
			}
			if call.Outcome != Unknown {
				break
			}
			if limited.Err() != nil {
				cancel()
				return lost, fmt.Errorf("the site does not answer any more: %s", call.Problem)
			}
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
	}
	return lost, nil
}

// PowerTable is the results of power cuts, in Markdown.
func PowerTable(reports []PowerReport) string {
	var b strings.Builder
	b.WriteString("| appendfsync | cuts | acknowledged | lost | cuts that lost some | most in one cut | bar R2 |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range reports {
		bar := "0 lost: " + map[bool]string{true: "met", false: "missed"}[r.Lost == 0]
		if r.Policy != "always" {
			bar = "must show loss: " + map[bool]string{true: "does", false: "does not"}[r.Lost > 0]
		}
		if r.Damaged {
			bar += "; the last cut left a file that Redis refuses to load, which ended the run"
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %s |\n", r.Policy, r.Points, r.Acknowledged, r.Lost, r.LossyPoints, r.Most, bar)
	}
	return b.String()
}

// WritePower writes power.json and power.md into a folder.
func WritePower(dir string, reports []PowerReport) error {
	text, err := json.MarshalIndent(reports, "", "  ")
	if err != nil {
		return err
	}
	page := fmt.Sprintf("# Power cuts\n\nWritten by `opsdb chaos power --points %d --clients %d --write docs/benchmarks` on %s: the power of Redis fails at random moments while "+
		"clients write; it goes on with what its disk holds ([how](../guarantees.md#the-fault-harness)).\n\n%s",
		reports[0].Points, reports[0].Clients, time.Now().UTC().Format(time.DateOnly), PowerTable(reports))
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "power.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "power.md"), []byte(page), 0o644),
	)
}
