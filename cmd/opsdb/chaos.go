package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/cmd/opsdb/internal/chaos"
	"github.com/opsdb/opsdb/platform/sandbox"
)

// chaosOptions are the flags of `opsdb chaos`.
type chaosOptions struct {
	minutes float64
	seed    uint64
	round   time.Duration
	gap     time.Duration
	clients int
	faults  []string
	history string
	json    bool
	write   string
}

// newChaosCommand returns `opsdb chaos`, which puts a stack of its own under load
// and faults, and checks from a history that every promise held.
func newChaosCommand() *cobra.Command {
	options := chaosOptions{}
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Put a stack of its own under load and faults, and check every promise",
		Long: `Put a stack of its own under load and faults, and check every promise of
docs/guarantees.md from the history of what clients sent and were answered.

Two sites run on this machine, two API servers at the observatory. Clients of
both sites write and read, while processes are killed, frozen and restarted, the
link is cut, held and slowed, and memory, disk and power of Redis fail. In rounds,
everything is healed; then the buffer must empty without a further write, and
what is there must be what was acknowledged: once, in order, never missing or
going back for any reader of the site.

The seed decides which faults come when and what the clients do. The exit code is
1 when a promise was broken; the lines named are those of the history file, which
opsdb chaos check reads again. Beside it the servers' logs and Redis' append-only
file are kept then.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runChaos(cmd.Context(), options, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.Float64Var(&options.minutes, "minutes", 1, "how long load and faults last; healing and checking come on top")
	flags.Uint64Var(&options.seed, "seed", 0, "repeat the schedule of an earlier run (default: another one each time)")
	flags.DurationVar(&options.round, "round", 40*time.Second, "time between two healings")
	flags.DurationVar(&options.gap, "gap", time.Second, "mean time between the beginnings of two faults")
	flags.IntVar(&options.clients, "clients", 6, "clients at the observatory; main has a third of them")
	flags.StringSliceVar(&options.faults, "faults", nil, "use these faults only, separated by commas: "+strings.Join(chaos.Kinds(), ", "))
	flags.StringVar(&options.history, "history", "", "keep the history in this `file` (default: a temporary one, kept when a promise was broken)")
	flags.BoolVar(&options.json, "json", false, "print the report as JSON")
	flags.StringVar(&options.write, "write", "", "also add the run to chaos.json and chaos.md in this `folder`")
	cmd.AddCommand(newChaosCheckCommand(), newChaosPowerCommand(), newChaosPoisonsCommand())
	return cmd
}

// newChaosCheckCommand returns `opsdb chaos check`.
func newChaosCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a history again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			history, err := chaos.ReadHistory(file)
			if err := errors.Join(err, file.Close()); err != nil {
				return err
			}
			violations := chaos.Check(history)
			for _, v := range violations {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), v); err != nil {
					return err
				}
			}
			if len(violations) > 0 {
				return exitError{1}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d operations, 0 violations\n", len(history.Calls))
			return err
		},
	}
}

func (o chaosOptions) check() error {
	switch {
	case o.minutes <= 0 || o.minutes > 24*60:
		return errors.New("--minutes must be above 0 and at most a day")
	case o.round < time.Second || o.gap < 10*time.Millisecond:
		return errors.New("--round must be at least 1s, and --gap at least 10ms")
	case o.clients < 1 || o.clients > 50:
		return errors.New("--clients must be between 1 and 50")
	}
	return nil
}

// again is the command that repeats a run's schedule.
func (o chaosOptions) again() string {
	flags := fmt.Sprintf("--minutes %v --seed %d --round %s --gap %s --clients %d", o.minutes, o.seed, o.round, o.gap, o.clients)
	if len(o.faults) > 0 {
		flags += " --faults " + strings.Join(o.faults, ",")
	}
	if movableClock != "" {
		return fmt.Sprintf("make chaos CHAOS=%q", flags) // a program without that fault draws another schedule
	}
	return "opsdb chaos " + flags
}

func runChaos(ctx context.Context, options chaosOptions, out, errOut io.Writer) (err error) {
	if err := options.check(); err != nil {
		return err
	}
	if _, err := sandbox.Ensure(ctx, errOut); err != nil {
		return err
	}
	for options.seed == 0 {
		options.seed = rand.Uint64() >> 32
	}
	history, err := options.create()
	if err != nil {
		return err
	}
	keep := options.history != ""
	defer func() {
		err = errors.Join(err, history.Close())
		if !keep {
			err = errors.Join(err, os.Remove(history.Name()))
		}
	}()
	// Progress is for people; with --json, standard output is for programs.
	progress := out
	if options.json {
		progress = errOut
	}
	d := &demo{
		options: demoOptions{noNight: true, observatoryAPIs: 2, rtt: roundTrip(chaosRTT), standby: true},
		out:     progress, log: slog.New(slog.NewTextHandler(progress, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx); err != nil {
		return err
	}
	d.say("\nseed %d, history in %s\n", options.seed, history.Name())
	report, err := chaos.Run(ctx, d.chaosSystem(), chaos.Options{
		Seed: options.seed, Length: time.Duration(options.minutes * float64(time.Minute)), Round: options.round, Gap: options.gap,
		Clients: options.clients, Faults: options.faults, Wedged: time.Minute, History: history, Log: d.log, Say: d.say,
		Evidence: func() error { return d.keepEvidence(history.Name() + ".evidence") },
	})
	report.Command = options.again()
	broken := len(report.Violations) > 0
	keep = keep || err != nil || broken
	if err != nil {
		return fmt.Errorf("%w\nthe history so far is in %s; again: %s", err, history.Name(), report.Command)
	}
	if err := options.show(report, out, d); err != nil {
		return err
	}
	if broken {
		return exitError{1}
	}
	return nil
}

// opsdb runs a command of this program as one would on the machine of a server. Its
// exit code 1 says that something was refused, and is no error.
func (d *demo) opsdb(ctx context.Context, server int, args ...string) error {
	program, err := d.program()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = d.apiEnv(server)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 && bytes.Contains(out, []byte(" refused, ")) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opsdb %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// keepEvidence copies what goes with the stack and explains a history: what the
// servers said, and all that Redis was told.
func (d *demo) keepEvidence(dir string) error {
	d.say("the servers' logs and Redis' append-only file are in %s\n", dir)
	return errors.Join(
		os.CopyFS(filepath.Join(dir, "log"), os.DirFS(filepath.Join(d.stack.Dir, "log"))),
		os.CopyFS(filepath.Join(dir, "redis"), os.DirFS(d.stack.Redis.Dir)),
	)
}

// chaosRTT is shorter than the demo's line: more happens in the same time.
const chaosRTT = 60 * time.Millisecond

func (o chaosOptions) create() (*os.File, error) {
	if o.history == "" {
		return os.CreateTemp("", "opsdb-chaos-*.jsonl")
	}
	return os.Create(o.history)
}

// show prints the report, and adds it to those that are kept.
func (o chaosOptions) show(report chaos.Report, out io.Writer, d *demo) error {
	report.Measured = time.Now().UTC().Truncate(time.Second)
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return err
		}
	} else {
		d.say("\n%s", report.Text())
	}
	if o.write == "" {
		return nil
	}
	return chaos.Write(o.write, report)
}

// movableClock is "yes" in a program that tools/clock has built: its API servers take
// what they add to the machine's clock from a file.
var movableClock string

// clockFile is that file of an API server.
func (d *demo) clockFile(server int) string {
	return filepath.Join(d.stack.Dir, fmt.Sprintf("clock_%d", server))
}

// chaosSystem is what a run may do harm to.
func (d *demo) chaosSystem() chaos.System {
	system := chaos.System{
		Stack: d.stack, Database: demoDatabase, Site: observatorySite, RTT: time.Duration(d.options.rtt),
		AdminToken: d.tokens.Admin, ServiceToken: d.tokens.Service,
		Export: func(ctx context.Context, file string) error { return d.opsdb(ctx, 1, "buffer", "export", file) },
		Import: func(ctx context.Context, file string) error { return d.opsdb(ctx, 0, "buffer", "import", file) },
	}
	for i, process := range d.apis {
		api := chaos.API{URL: d.url(i), Process: process}
		if movableClock != "" {
			api.Clock = d.clockFile(i)
			d.stack.Remember(api.Clock)
		}
		if i == 0 {
			system.Main = api
		} else {
			system.Observatory = append(system.Observatory, api)
		}
	}
	return system
}
