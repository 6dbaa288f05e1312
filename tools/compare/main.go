// Command compare measures opsdb beside what somebody might take instead, on one
// stack and in one run: a naive loop of one transaction a round trip, a Redis job
// queue (hibiken/asynq) and a PostgreSQL job queue (riverqueue/river). All of them
// accept over HTTP at the site, durably, and write into the same primary through the
// same line of 250 ms. `make compare` runs it; docs/benchmarks/README.md says how to
// read it.
//
// It is a module of its own: what it compares with is no dependency of the product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// sizes of one run.
type sizes struct {
	rounds, accepts                  int
	drain, drainWide, drainOne, kill int
	patience                         time.Duration // for what a killed worker has left
}

func run(ctx context.Context) (err error) {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		return serve(ctx, os.Args[2])
	}
	opsdb := flag.String("opsdb", "bin/opsdb", "the built `program`")
	write := flag.String("write", "", "write compare.json and compare.md into this `folder`")
	quick := flag.Bool("quick", false, "tiny sizes, to see that everything runs; the figures mean nothing")
	flag.Parse()
	size := sizes{rounds: 4, accepts: 500, drain: 4000, drainWide: 1500, drainOne: 40, kill: 4000, patience: 4 * time.Minute}
	if *quick {
		size = sizes{rounds: 1, accepts: 20, drain: 100, drainWide: 60, drainOne: 4, kill: 400, patience: 4 * time.Second}
	}
	began := time.Now()
	s, err := startStack(ctx, *opsdb)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	c := &comparison{stack: s, size: size, report: report{Measured: began.UTC().Truncate(time.Second), Machine: machine(), Quick: *quick}}
	err = c.all(ctx)
	c.report.TookSeconds = int(time.Since(began).Seconds())
	fmt.Printf("\n%s", c.report.table())
	return errors.Join(err, c.report.write(*write))
}
