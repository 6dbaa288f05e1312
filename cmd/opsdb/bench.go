package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/cmd/opsdb/internal/bench"
	"github.com/opsdb/opsdb/platform/sandbox"
)

// newBenchCommand returns `opsdb bench`, which measures the product against the
// simplest programs that do the same physical work.
func newBenchCommand() *cobra.Command {
	options := bench.Options{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this program against its floors on a local stack",
		Long: `Measure this program against its floors: the simplest programs that do the same
physical work, run in turns with it on the same stack (docs/benchmarks/README.md
says how to read the figures). All parts take about a quarter of an hour.

With --write each part is merged into results.json there when it is done, in the
place of its earlier measurement, and results.md and results.svg are drawn anew.`,
		Example: `  opsdb bench --only P1,P3 --rounds 8
  opsdb bench --growth --write docs/benchmarks`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if options.Rounds < 1 || options.Rounds > 100 {
				return errors.New("--rounds must be between 1 and 100")
			}
			for i, name := range options.Only {
				options.Only[i] = strings.ToUpper(name)
				if !slices.Contains(bench.Parts(), options.Only[i]) {
					return fmt.Errorf("--only takes %s, not %q", strings.Join(bench.Parts(), ", "), name)
				}
			}
			return runBench(cmd.Context(), options, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&options.Only, "only", nil, "measure these `parts` alone, such as P1,P5")
	flags.IntVar(&options.Rounds, "rounds", 5, "rounds of floor and product in turns")
	flags.BoolVar(&options.Quick, "quick", false, "tiny sizes, to see that everything runs; the figures mean nothing")
	flags.BoolVar(&options.Growth, "growth", false, "measure how costs grow with backlog and table size instead")
	flags.StringVar(&options.Profiles, "profile", "", "keep CPU and allocation profiles of the servers in P1, P2 and P4 to P8 in this `folder`")
	flags.StringVar(&options.Folder, "write", "", "merge the results into this `folder`")
	cmd.AddCommand(newBenchFloorCommand(), newBenchServeCommand())
	return cmd
}

// newBenchFloorCommand returns a floor that is a server of its own.
func newBenchFloorCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "floor KIND",
		Short:  "Serve a floor (HTTP_ADDR)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(cmd *cobra.Command, args []string) error { return bench.ServeFloor(cmd.Context(), args[0]) },
	}
}

// newBenchServeCommand returns the API server with its profiles beside it.
func newBenchServeCommand() *cobra.Command {
	serve := newServeCommand()
	run := serve.RunE
	serve.Hidden = true
	serve.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, end := context.WithCancel(cmd.Context())
		profiles := make(chan error, 1)
		go func() { profiles <- bench.ServeProfiles(ctx) }()
		err := run(cmd, args)
		end()
		return errors.Join(err, <-profiles)
	}
	return serve
}

// runBench starts the demo's stack with its data on the disk, without a site: the
// measurements make their own.
func runBench(ctx context.Context, options bench.Options, out io.Writer) (err error) {
	if _, err := sandbox.Ensure(ctx, out); err != nil {
		return err
	}
	demoed := demoOptions{noNight: true, rtt: roundTrip(250 * time.Millisecond)}
	if options.Profiles != "" {
		if err := os.MkdirAll(options.Profiles, 0o755); err != nil {
			return err
		}
		// A socket's path must be short, whatever folder the profiles go to.
		if options.SocketFolder, err = os.MkdirTemp("", "opsdb-profiles-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(options.SocketFolder)) }()
		demoed.serve, demoed.env = []string{"bench", "serve"}, options.Sockets()
	}
	d := &demo{options: demoed, out: out, log: slog.New(slog.NewTextHandler(out, nil))}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx); err != nil {
		return err
	}
	options.Out = out
	options.Machine = fmt.Sprintf("%d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return bench.Run(ctx, bench.Target{
		Stack: d.stack, Database: demoDatabase, MainURL: d.url(0), Admin: d.tokens.Admin, Service: d.tokens.Service,
	}, options)
}
