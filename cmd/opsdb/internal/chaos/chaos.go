// Package chaos puts both sites of a running stack under load and faults, and
// proves from a written history that every promise of docs/guarantees.md held:
// what was acknowledged is there once and in order, no reader of a site saw it
// missing or going back, and once everything is healed the buffer empties
// without a further write.
//
// Everything random comes from one seed: which faults, when and for how long,
// and what each client does next. What the clients are answered is not in the
// seed, so a run repeats the schedule and not every byte.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// System is the stack that a run acts upon. It belongs to the run alone: the run
// kills, freezes and fills everything in it.
type System struct {
	Stack    *sandbox.Stack
	Database string
	// Site is the short name of the secondary site, part of its Redis keys.
	Site string
	// RTT is the link's round trip while no fault changes it.
	RTT time.Duration
	// Main and Observatory are the API servers with their addresses.
	Main        API
	Observatory []API
	// AdminToken manages the buffer; ServiceToken reads and writes.
	AdminToken, ServiceToken string
	// Export writes what the site keeps into a file, and Import applies one at main;
	// that main refuses some of it is no error.
	Export, Import func(ctx context.Context, file string) error
}

// API is one API server process of a site.
type API struct {
	URL     string
	Process *sandbox.Process
	// Clock is the file with the seconds by which its clock is ahead; empty when it
	// cannot be moved.
	Clock string
}

// The two sites, as the history names them.
const (
	SiteMain        = "main"
	SiteObservatory = "observatory"
)

// Options say how long and how hard a run is to be.
type Options struct {
	Seed uint64
	// Length is how long load and faults last, healing and checking left out.
	Length time.Duration
	// Round is the time between two healings.
	Round time.Duration
	// Gap is the mean time between the beginnings of two faults.
	Gap time.Duration
	// Clients are those of the observatory; main has a third of them.
	Clients int
	// Faults are the kinds to use; empty is all that this machine can do.
	Faults []string
	// Wedged is how long after healing the buffer may still hold something
	// before that is a violation: far above the bar, which is only reported,
	// since the machine may be busy.
	Wedged time.Duration
	// Evidence keeps what explains a history: called when a promise was broken or the
	// run cannot go on, with everything still there.
	Evidence func() error
	// History receives the history, one JSON object a line.
	History io.Writer
	Log     *slog.Logger
	// Say prints a line for people.
	Say func(format string, args ...any)
}

// run is one run.
type run struct {
	System
	options  Options
	recorder *recorder
	world    *world
	faults   *faults
	report   Report
}

// Run runs load and faults in rounds, each followed by healing, measuring and
// checking, until the length is reached or a promise is found broken. An error
// means that the run itself could not go on.
func Run(ctx context.Context, system System, options Options) (_ Report, err error) {
	r := &run{System: system, options: options, recorder: newRecorder(options.History)}
	r.report = Report{Seed: options.Seed, Minutes: options.Length.Minutes(), Faults: map[string]int{}, Skipped: map[string]string{}}
	// What was noted so far is worth most when the run ends early.
	defer func() { err = errors.Join(err, r.recorder.flush()) }()
	if r.faults, err = newFaults(ctx, r); err != nil {
		return r.report, err
	}
	defer func() { err = errors.Join(err, r.faults.close()) }()
	// While Redis still has its disk.
	defer func() {
		if err != nil || len(r.report.Violations) > 0 {
			err = errors.Join(err, options.Evidence())
		}
	}()
	if r.world, err = r.newWorld(ctx); err != nil {
		return r.report, err
	}
	began := time.Now()
	for round := 1; r.report.Loaded < options.Length; round++ {
		length := min(options.Round, options.Length-r.report.Loaded)
		last := r.report.Loaded+length >= options.Length
		result, err := r.round(ctx, round, length, last)
		if err != nil {
			return r.report, fmt.Errorf("round %d: %w", round, err)
		}
		r.report.Loaded += length
		r.report.add(result)
		options.Say("  round %2d: %6d operations, %3d faults, %3d kills; %4d waited when healed, empty after %.1f s (bar %.1f s)",
			round, result.Operations, result.Faults, result.Kills, result.Backlog, result.EmptyAfter.Seconds(), result.Bar.Seconds())
		if len(r.report.Violations) > 0 {
			break
		}
	}
	r.report.Took = time.Since(began)
	r.report.Faults = r.faults.counted()
	r.report.count(r.recorder.history())
	return r.report, nil
}

// round is one time of load and faults, and what must hold after it.
func (r *run) round(ctx context.Context, number int, length time.Duration, last bool) (Round, error) {
	result := Round{Number: number}
	before, kills, faultsBefore := r.recorder.len(), r.faults.kills.Load(), r.faults.done.Load()
	r.recorder.mark(fmt.Sprintf("round %d begins", number))

	loaded, stop := context.WithTimeout(ctx, length)
	defer stop()
	var end atomic.Bool
	clients := r.world.work(loaded, &end)
	r.faults.play(loaded, number, length)
	end.Store(true)
	clients.Wait()
	if ctx.Err() != nil {
		return result, ctx.Err()
	}
	result.Kills = int(r.faults.kills.Load() - kills)
	result.Faults = int(r.faults.done.Load() - faultsBefore)

	if err := r.faults.heal(ctx); err != nil {
		return result, fmt.Errorf("healing: %w", err)
	}
	r.recorder.mark("healed")
	if err := r.liveness(ctx, &result); err != nil {
		return result, err
	}
	// Only now: whoever has no answer yet asks again, which is a new write.
	if err := r.world.settle(ctx, last); err != nil {
		return result, err
	}
	state, err := r.state(ctx)
	if err != nil {
		return result, err
	}
	result.Operations = r.recorder.len() - before
	r.recorder.state(state)
	history := r.recorder.history()
	history.State = state
	r.report.Violations = append(r.report.Violations, Check(history)...)
	return result, nil
}
