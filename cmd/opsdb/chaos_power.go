package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/cmd/opsdb/internal/chaos"
	"github.com/opsdb/opsdb/platform/sandbox"
)

// newChaosPowerCommand returns `opsdb chaos power`, which measures bar R2.
func newChaosPowerCommand() *cobra.Command {
	var points, clients int
	var seed uint64
	var write string
	cmd := &cobra.Command{
		Use:   "power",
		Short: "Cut the power of Redis at random points, and count what was lost",
		Long: `Cut the power of Redis at random points while clients write, and count the
acknowledged writes that are unknown afterwards: with appendfsync always, where
there must be none, and with everysec, where there must be some, or the cut would
prove nothing.

Redis has a file system of its own, in a file that stands for its disk. At a cut
Redis is killed and goes on with what that file holds: what only the kernel had is
gone. That takes root.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if points < 1 || clients < 1 || clients > 50 {
				return errors.New("--points must be at least 1, --clients between 1 and 50")
			}
			for seed == 0 {
				seed = rand.Uint64() >> 32
			}
			return runChaosPower(cmd.Context(), chaos.PowerOptions{Seed: seed, Points: points, Clients: clients}, write, cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&points, "points", 200, "how often to cut, with each policy")
	cmd.Flags().IntVar(&clients, "clients", 6, "clients that write")
	cmd.Flags().Uint64Var(&seed, "seed", 0, "repeat the moments of an earlier run (default: others each time)")
	cmd.Flags().StringVar(&write, "write", "", "also write power.json and power.md into this `folder`")
	return cmd
}

func runChaosPower(ctx context.Context, options chaos.PowerOptions, write string, out io.Writer) error {
	if _, err := sandbox.Ensure(ctx, out); err != nil {
		return err
	}
	var reports []chaos.PowerReport
	for _, policy := range []string{"always", "everysec"} {
		report, err := cutPower(ctx, policy, options, out)
		if err != nil {
			return fmt.Errorf("%w (seed %d)", err, options.Seed)
		}
		reports = append(reports, report)
	}
	if _, err := fmt.Fprintf(out, "\n%s\nseed %d\n", chaos.PowerTable(reports), options.Seed); err != nil {
		return err
	}
	if write != "" {
		if err := chaos.WritePower(write, reports); err != nil {
			return err
		}
	}
	// Without a loss with everysec the cuts were none.
	if reports[0].Lost > 0 || reports[1].Lost == 0 {
		return exitError{1}
	}
	return nil
}

// cutPower has a stack of its own: what everysec has lost must not count for always.
func cutPower(ctx context.Context, policy string, options chaos.PowerOptions, out io.Writer) (report chaos.PowerReport, err error) {
	d := &demo{
		options: demoOptions{noNight: true, observatoryAPIs: 2, rtt: roundTrip(chaosRTT), relaxed: policy != "always"},
		out:     out, log: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx); err != nil {
		return report, err
	}
	options.Say = d.say
	return chaos.CutPower(ctx, d.chaosSystem(), policy, options)
}
