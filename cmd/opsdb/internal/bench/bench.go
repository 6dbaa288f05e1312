// Package bench measures the product against floors: the simplest programs that
// could do the same physical work, run in turns with it on the same servers. What
// each figure means, and how to read it, is in docs/benchmarks/README.md.
//
// Nothing here is a test: a figure that misses its bar is printed, and fails
// nothing.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// Target is the running stack that is measured: servers, schema, seed data and the
// main site's API server. Sites are made as they are needed.
type Target struct {
	Stack    *sandbox.Stack
	Database string
	MainURL  string
	// Admin and Service are tokens; Service is that of a service user, which writes.
	Admin, Service string
}

// Options say what to measure.
type Options struct {
	// Only names the parts to measure (P1, P5); empty is all.
	Only []string
	// Rounds is how often floor and product take turns, after one round to warm up.
	Rounds int
	// Quick makes everything small: it shows that the suite runs, its figures mean
	// nothing.
	Quick bool
	// Growth measures the growth curves instead of the bars.
	Growth bool
	// Folder is where results are merged into; empty writes nothing.
	Folder string
	// Profiles is the folder that gets the servers' profiles of P1, P2 and P4 to P8; empty
	// takes none. They are asked for at sockets in SocketFolder.
	Profiles, SocketFolder string
	// Machine describes where it is measured.
	Machine string
	Out     io.Writer
}

// part is one row of the bars.
type part struct {
	id  string
	run func(context.Context, *bench) ([]Measurement, error)
}

var parts = []part{
	{"P1", measureAccept},
	{"P2", measureThroughput},
	{"P3", measureDrain},
	{"P4", measureReplicated},
	{"P5", measurePages},
	{"P6", measureMillion},
	{"P7", measureDirect},
	{"P8", measureBulk},
	{"P9", measureCached},
}

// Parts are the names that Options.Only takes.
func Parts() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.id)
	}
	return names
}

// roundTrip is the length of the line, that of the bars.
func (b *bench) roundTrip() time.Duration {
	if b.Quick {
		return 20 * time.Millisecond
	}
	return 250 * time.Millisecond
}

// bench is one run.
type bench struct {
	Target
	Options
	primary *pgx.Conn
	sites   int // made so far
	// From the seed data: an obs unit, a module of its instrument, the main site's id
	// and a user, for rows that are written past the product.
	unit, module, mainSite, user int64
}

// Run measures and writes. What cannot be measured is reported at the end and does
// not keep the rest from being measured; each part is written when it is done.
func Run(ctx context.Context, target Target, options Options) (err error) {
	b := &bench{Target: target, Options: options}
	if b.primary, err = pgx.Connect(ctx, target.Stack.Primary.URL(target.Database)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.primary.Close(context.WithoutCancel(ctx))) }()
	err = b.primary.QueryRow(ctx, `SELECT u.id, m.id, (SELECT id FROM site WHERE is_main), (SELECT id FROM app_user WHERE username = 'admin')
FROM obs_unit u JOIN instrument_module m ON m.instrument_id = u.instrument_id ORDER BY u.id, m.id LIMIT 1`).Scan(&b.unit, &b.module, &b.mainSite, &b.user)
	if err != nil {
		return fmt.Errorf("reading the seed data: %w", err)
	}
	b.Stack.Link.SetRTT(b.roundTrip())
	if options.Growth {
		return b.growth(ctx)
	}
	report, err := readReport(options.Folder)
	if err != nil {
		return err
	}
	var missing error
	var ran []string
	for _, p := range parts {
		if len(options.Only) > 0 && !slices.Contains(options.Only, p.id) {
			continue
		}
		b.say("%s …", p.id)
		began := time.Now()
		measured, err := p.run(ctx, b)
		// The line is as the next part expects it, whatever became of this one.
		b.Stack.Link.SetRTT(b.roundTrip())
		missing = errors.Join(missing, b.Stack.Link.Up())
		if err != nil {
			missing = errors.Join(missing, fmt.Errorf("measuring %s: %w", p.id, err))
			b.say("%s could not be measured: %v", p.id, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		took := time.Since(began)
		b.say("%s took %.0f s\n\n%s", p.id, took.Seconds(), table(measured))
		ran = append(ran, p.id)
		report.merge(Part{ID: p.id, Measured: time.Now().UTC().Truncate(time.Second), Machine: options.Machine, Quick: options.Quick,
			TookSeconds: round(took.Seconds()), Measurements: measured})
		if err := report.write(options.Folder); err != nil {
			return errors.Join(missing, err)
		}
	}
	b.say("All of this run (%s):\n\n%s", strings.Join(ran, ", "), table(report.of(ran)))
	return missing
}

// say prints one line for people.
func (b *bench) say(format string, args ...any) {
	if _, err := fmt.Fprintf(b.Out, format+"\n", args...); err != nil {
		return // Nobody reads on: the measuring goes on all the same.
	}
}

// step does one thing that takes a while and says how long it took.
func (b *bench) step(what string, do func() error) error {
	began := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.say("  %-64s %6.1f s", what, time.Since(began).Seconds())
	return nil
}

// size is n, or the small number of a quick run.
func (b *bench) size(n, quick int) int {
	if b.Quick {
		return quick
	}
	return n
}

// inTurns runs floor and product one after the other, once to warm both up and then
// once a round.
func (b *bench) inTurns(floor, ours func(warm bool) error) error {
	for round := range b.Rounds + 1 {
		for _, run := range []func(bool) error{floor, ours} {
			if err := run(round == 0); err != nil {
				return err
			}
		}
	}
	return nil
}
