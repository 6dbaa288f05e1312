package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/cmd/opsdb/internal/bench"
	"github.com/opsdb/opsdb/platform/sandbox"
)

// poisonResult is bar R6 for one number of poisons.
type poisonResult struct {
	Poisons int `json:"poisons"`
	Among   int `json:"among"`
	Rounds  int `json:"rounds"`
	// Seconds until the buffer is empty, medians; Ratio is the median of the rounds'
	// ratios.
	Seconds float64 `json:"seconds"`
	Without float64 `json:"seconds_without"`
	Ratio   float64 `json:"ratio"`
	// Blocked are the dependants that were blocked with their reason, Retried what
	// one call put back once main was mended, and was applied; Discarded what was
	// not applied any more.
	Blocked   int `json:"blocked"`
	Retried   int `json:"retried"`
	Discarded int `json:"discarded"`
}

// newChaosPoisonsCommand returns `opsdb chaos poisons`, which measures bar R6.
func newChaosPoisonsCommand() *cobra.Command {
	var rounds int
	var write string
	cmd := &cobra.Command{
		Use:   "poisons",
		Short: "Drain transactions with and without poisons among them, and settle the poisons",
		Long: `Drain 1,000 transactions through the link with and without 1 or 20 among them that
main refuses, in turns, and compare. Each poison has a dependant, which must be
blocked and say by what; one call must put all back once main is mended; one that
was discarded must never be applied.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rounds < 1 || rounds > 100 {
				return errors.New("--rounds must be between 1 and 100")
			}
			return runChaosPoisons(cmd.Context(), rounds, write, cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&rounds, "rounds", 5, "rounds with and without poisons in turns")
	cmd.Flags().StringVar(&write, "write", "", "also write poisons.json and poisons.md into this `folder`")
	return cmd
}

func runChaosPoisons(ctx context.Context, rounds int, write string, out io.Writer) (err error) {
	if _, err := sandbox.Ensure(ctx, out); err != nil {
		return err
	}
	d := &demo{
		options: demoOptions{noNight: true, observatoryAPIs: 1, rtt: roundTrip(250 * time.Millisecond)},
		out:     out, log: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx); err != nil {
		return err
	}
	p := &poisoner{demo: d, api: apiClient{base: d.url(1), token: d.tokens.Admin}}
	var results []poisonResult
	for _, poisons := range []int{1, 20} {
		result, err := p.measure(ctx, poisons, rounds)
		if err != nil {
			return fmt.Errorf("%d poisons: %w", poisons, err)
		}
		results = append(results, result)
	}
	table := poisonTable(results)
	d.say("\n%s", table)
	if write == "" {
		return nil
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	page := fmt.Sprintf("# Poisons\n\nWritten by `opsdb chaos poisons --write docs/benchmarks` on %s: how long 1,000 transactions take through a line of 250 ms "+
		"with and without some among them that main refuses, in turns, and what becomes of these.\n\n%s", time.Now().UTC().Format(time.DateOnly), table)
	return errors.Join(
		os.WriteFile(filepath.Join(write, "poisons.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(write, "poisons.md"), []byte(page), 0o644),
	)
}

func poisonTable(results []poisonResult) string {
	var b strings.Builder
	b.WriteString("| poisons | with | without | ratio | bar R6 | dependants blocked with reason | retried by one call and applied | discarded and not applied |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		met := map[bool]string{true: "met", false: "missed"}[r.Ratio <= 1.1]
		fmt.Fprintf(&b, "| %d among %d | %.2f s | %.2f s | %.2f | ≤ 1.10: %s | %d | %d | %d |\n", r.Poisons, r.Among, r.Seconds, r.Without, r.Ratio, met, r.Blocked, r.Retried, r.Discarded)
	}
	return b.String()
}

// poisonAmong is how many transactions each drain has, poisons and dependants among them:
// one flush, with or without them.
const poisonAmong = 1000

// poisoner fills and drains the buffer with poisons of its own.
type poisoner struct {
	*demo
	api apiClient
}

// poison is an execution of an obs unit that is deleted at main, and a comment on it.
type poison struct{ start, dependant string } // transactions

func (p *poisoner) measure(ctx context.Context, poisons, rounds int) (poisonResult, error) {
	result := poisonResult{Poisons: poisons, Among: poisonAmong, Rounds: rounds}
	var with, without, ratios []float64
	// The first round warms up.
	for round := range rounds + 1 {
		clean, err := p.drain(ctx, 0, &result)
		if err != nil {
			return result, err
		}
		dirty, err := p.drain(ctx, poisons, &result)
		if err != nil {
			return result, err
		}
		if round > 0 {
			with, without, ratios = append(with, dirty), append(without, clean), append(ratios, dirty/clean)
		}
	}
	result.Seconds, result.Without, result.Ratio = bench.Median(with), bench.Median(without), bench.Median(ratios)
	return result, nil
}

// drain fills the paused buffer, lets it go, and measures until it is empty.
func (p *poisoner) drain(ctx context.Context, poisons int, result *poisonResult) (float64, error) {
	if err := p.operator(ctx, "/buffer/pause", nil); err != nil {
		return 0, err
	}
	made, unit, err := p.fill(ctx, poisons)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := p.operator(ctx, "/buffer/resume", nil); err != nil {
		return 0, err
	}
	if err := p.bufferIsEmpty(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began).Seconds()
	if poisons == 0 {
		return took, nil
	}
	return took, p.settle(ctx, made, unit, result)
}

// fill buffers poisonAmong transactions: starts from eight clients, and poisons with
// their dependants spread among them. The obs unit of the poisons is deleted at main
// afterwards.
func (p *poisoner) fill(ctx context.Context, poisons int) ([]poison, int64, error) {
	var good, bad int64
	err := withPrimary(ctx, p.stack.Primary.URL(demoDatabase), func(conn *pgx.Conn) error {
		if err := conn.QueryRow(ctx, "SELECT min(id) FROM obs_unit").Scan(&good); err != nil {
			return err
		}
		return conn.QueryRow(ctx, `INSERT INTO obs_unit (name, observing_program_id, source_id, obs_mode_id, instrument_id)
			SELECT 'poison ' || gen_random_uuid(), observing_program_id, source_id, obs_mode_id, instrument_id FROM obs_unit WHERE id = $1 RETURNING id`, good).Scan(&bad)
	})
	if err != nil {
		return nil, 0, err
	}
	if err := p.stack.WaitForReplay(ctx); err != nil {
		return nil, 0, err
	}
	var made []poison
	fine := poisonAmong - 2*poisons
	for range poisons {
		one, err := p.poison(ctx, bad)
		if err != nil {
			return nil, 0, err
		}
		made = append(made, one)
		if err := p.starts(ctx, fine/poisons, good); err != nil {
			return nil, 0, err
		}
	}
	if err := p.starts(ctx, fine-fine/max(1, poisons)*poisons, good); err != nil {
		return nil, 0, err
	}
	return made, bad, p.sql(ctx, "DELETE FROM obs_unit WHERE id = $1", bad)
}

func (p *poisoner) starts(ctx context.Context, n int, unit int64) error {
	const clients = 8
	failed := make([]error, clients)
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := c; i < n && failed[c] == nil; i += clients {
				_, failed[c] = p.api.send(ctx, http.MethodPost, "/executed_obs_units/start", map[string]any{"obs_unit_id": unit}, nil)
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

func (p *poisoner) poison(ctx context.Context, unit int64) (poison, error) {
	var execution struct {
		ID string `json:"id"`
	}
	start, err := p.api.send(ctx, http.MethodPost, "/executed_obs_units/start", map[string]any{"obs_unit_id": unit}, &execution)
	if err != nil {
		return poison{}, err
	}
	dependant, err := p.api.send(ctx, http.MethodPatch, "/executed_obs_units/"+execution.ID, map[string]any{"comment": "depends"}, nil)
	return poison{start.Get("X-Transaction-Id"), dependant.Get("X-Transaction-Id")}, err
}

// settle checks the dead letters and decides on them: the last one and its
// dependant are discarded, the others go through once the unit is back.
func (p *poisoner) settle(ctx context.Context, made []poison, unit int64, result *poisonResult) error {
	for _, one := range made {
		if err := p.expect(ctx, one.start, "", "failed"); err != nil {
			return err
		}
		if err := p.expect(ctx, one.dependant, one.start, "blocked"); err != nil {
			return err
		}
		result.Blocked++
	}
	gone := made[len(made)-1]
	for _, tx := range []string{gone.start, gone.dependant} {
		if err := p.operator(ctx, "/buffer/transactions/"+tx+"/discard", map[string]any{"reason": "its obs unit is gone"}); err != nil {
			return err
		}
	}
	err := p.sql(ctx, `INSERT INTO obs_unit (id, name, observing_program_id, source_id, obs_mode_id, instrument_id)
		OVERRIDING SYSTEM VALUE SELECT $1, 'mended ' || gen_random_uuid(), observing_program_id, source_id, obs_mode_id, instrument_id FROM obs_unit LIMIT 1`, unit)
	if err != nil {
		return err
	}
	if err := p.operator(ctx, "/buffer/retry", nil); err != nil {
		return err
	}
	for _, one := range made[:len(made)-1] {
		for _, tx := range []string{one.start, one.dependant} {
			if err := p.expect(ctx, tx, "", "applied", "replicated"); err != nil {
				return err
			}
			result.Retried++
		}
	}
	for _, tx := range []string{gone.start, gone.dependant} {
		if err := p.expect(ctx, tx, "", "discarded"); err != nil {
			return err
		}
		result.Discarded++
	}
	return p.bufferIsEmpty(ctx)
}

// expect waits until a transaction is in one of some states, blocked by another if
// one is named.
func (p *poisoner) expect(ctx context.Context, tx, by string, states ...string) error {
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var now struct {
			State     string  `json:"state"`
			BlockedBy *string `json:"blocked_by"`
		}
		err := p.api.get(limited, "/transactions/"+tx, &now)
		if err == nil && slices.Contains(states, now.State) && (by == "" || now.BlockedBy != nil && *now.BlockedBy == by) {
			return nil
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("transaction %s is %s after a minute, and should be %v (%w)", tx, now.State, states, errors.Join(err, limited.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *poisoner) operator(ctx context.Context, path string, body any) error {
	_, err := p.api.send(ctx, http.MethodPost, path, body, nil)
	return err
}

func (p *poisoner) sql(ctx context.Context, statement string, args ...any) error {
	return withPrimary(ctx, p.stack.Primary.URL(demoDatabase), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statement, args...)
		return err
	})
}
