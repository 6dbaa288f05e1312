package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// demoOptions are the flags of `opsdb demo`.
type demoOptions struct {
	noNight         bool
	readyFile       string
	observatoryAPIs int
	portBase        int
	dir             string
	keep            bool
	rtt             roundTrip
	standby         bool     // no flag: opsdb chaos has one, to fail over to
	program         string   // no flag: a test runs the API servers of the program that it has built; "" is this one
	relaxed         bool     // no flag: opsdb chaos power has a Redis that may lose writes
	serve           []string // no flag: the arguments of API servers that opsdb bench profiles; nil: the usual ones
	env             []string // of API servers, beside their own
}

// newDemoCommand returns `opsdb demo`, which runs both sites on this machine
// and plays an observing night through a link that is cut.
func newDemoCommand() *cobra.Command {
	options := demoOptions{rtt: roundTrip(250 * time.Millisecond)}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run two sites and the long link between them on this machine",
		Long: `Run two sites on this machine: a PostgreSQL primary "cologne", its streaming
replica and a Redis for "observatory", a simulated long link with a switch, and
the API servers of both. Real data is seeded, and an observing night is played
through a cut link. Then everything stays up, with addresses and tokens to try,
until Ctrl-C, which leaves nothing behind.

What is missing of PostgreSQL and Redis is installed with the system's package
manager, or named in one line. Every process is supervised: one that dies is
started again on the same data.

The ports from --port-base on: the API of cologne, the APIs of observatory,
primary, replica, Redis, the link's two lines (database, replication), and its
control interface.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), options, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&options.noNight, "no-night", false, "do not play the night: seeded data, an empty buffer")
	flags.StringVar(&options.readyFile, "ready-file", "", "write addresses, tokens and pids to this JSON `file` once everything answers")
	flags.IntVar(&options.observatoryAPIs, "observatory-apis", 1, "how many API servers the observatory runs on its one buffer")
	flags.IntVar(&options.portBase, "port-base", 0, "take the ports from here on (default: free ones)")
	flags.StringVar(&options.dir, "dir", "", "keep the data in this `folder`, which need not exist (default: a temporary one)")
	flags.BoolVar(&options.keep, "keep", false, "leave the data when the demo ends; the same --dir goes on with it")
	flags.Var(&options.rtt, "rtt", "round trip time of the link, as a duration or in milliseconds")
	return cmd
}

// roundTrip is a flag that takes "250ms" and "250" alike.
type roundTrip time.Duration

// String implements pflag.Value.
func (r *roundTrip) String() string { return time.Duration(*r).String() }

// Type implements pflag.Value.
func (r *roundTrip) Type() string { return "duration" }

// Set implements pflag.Value.
func (r *roundTrip) Set(text string) error {
	d, err := time.ParseDuration(text)
	if ms, numErr := strconv.ParseFloat(text, 64); numErr == nil {
		d, err = time.Duration(ms*float64(time.Millisecond)), nil
	}
	if err != nil {
		return err
	}
	if d < 0 || d > time.Hour {
		return errors.New("must be between 0 and an hour")
	}
	*r = roundTrip(d)
	return nil
}

func (o demoOptions) check() error {
	if o.observatoryAPIs < 1 || o.observatoryAPIs > 16 {
		return errors.New("--observatory-apis must be between 1 and 16")
	}
	if o.portBase != 0 && (o.portBase < 1024 || o.portBase > 65000) {
		return errors.New("--port-base must be between 1024 and 65000")
	}
	if o.readyFile != "" {
		if info, err := os.Stat(filepath.Dir(o.readyFile)); err != nil || !info.IsDir() {
			return fmt.Errorf("the folder of --ready-file %s does not exist", o.readyFile)
		}
	}
	return nil
}

// runDemo runs the demo until ctx ends, which is its orderly end.
func runDemo(ctx context.Context, options demoOptions, out io.Writer) (err error) {
	if err := options.check(); err != nil {
		return err
	}
	// Until the end is complete: a terminal and a supervisor may both send the
	// interrupt, and the second must not cut the cleaning up short.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if _, err := sandbox.Ensure(ctx, out); err != nil {
		return err
	}
	d := &demo{options: options, out: out, log: slog.New(slog.NewTextHandler(out, nil))}
	defer func() {
		if d.stack != nil {
			d.say("Ending every process …")
		}
		closeErr := d.close()
		if err == nil && closeErr == nil {
			d.say("Nothing is left running%s.", map[bool]string{true: "; the data stays in " + d.dir(), false: " and no file is left"}[options.keep])
		}
		// The interrupt is how a demo ends, at whatever moment it comes.
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = nil
		}
		err = errors.Join(err, closeErr)
	}()
	if err := d.start(ctx); err != nil {
		return err
	}
	if !options.noNight {
		if err := d.night(ctx); err != nil {
			return fmt.Errorf("the night: %w", err)
		}
	}
	d.printAddresses()
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.standIn.failed:
		return err
	}
}

// say prints one line for people.
func (d *demo) say(format string, args ...any) {
	d.outMu.Lock()
	defer d.outMu.Unlock()
	if _, err := fmt.Fprintf(d.out, format+"\n", args...); err != nil {
		return // Nobody reads on: the demo runs all the same.
	}
}
