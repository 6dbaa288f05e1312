package chaos

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// Kinds that need more than a stack.
const (
	diskFull  = "disk-full"
	powerCut  = "power-cut"
	failover  = "failover"
	clockJump = "clock-jump"
)

func anAPI(f *faults, d draw) *sandbox.Process      { return f.api(d.Which) }
func theRedis(f *faults, _ draw) *sandbox.Process   { return f.Stack.Redis.Process }
func thePrimary(f *faults, _ draw) *sandbox.Process { return f.Stack.Primary.Process }
func theReplica(f *faults, _ draw) *sandbox.Process { return f.Stack.Replica.Process }

// allKinds are the faults there are.
var allKinds = []kind{
	{name: "kill-api", kill: true, weight: 12, begin: killed(anAPI)},
	{name: "kill-redis", kill: true, weight: 8, begin: killed(theRedis)},
	{name: "kill-primary", kill: true, weight: 6, begin: killed(thePrimary)},
	{name: "kill-replica", kill: true, weight: 6, begin: killed(theReplica)},
	{name: "restart-api", weight: 3, begin: restartAPI},
	{name: "freeze-api", weight: 4, lasts: 6 * time.Second, begin: frozen(anAPI)},
	{name: "freeze-redis", weight: 3, lasts: 4 * time.Second, begin: frozen(theRedis)},
	{name: "freeze-primary", weight: 3, lasts: 6 * time.Second, begin: frozen(thePrimary)},
	{name: "freeze-replica", weight: 3, lasts: 6 * time.Second, begin: frozen(theReplica)},
	{name: "link-down", weight: 4, lasts: 8 * time.Second, begin: linkDown},
	{name: "link-blackhole", weight: 4, lasts: 8 * time.Second, begin: linkBlackhole},
	{name: "link-slow", weight: 2, lasts: 8 * time.Second, begin: linkSlow},
	{name: "link-narrow", weight: 2, lasts: 8 * time.Second, begin: linkNarrow},
	{name: "link-reset", weight: 4, begin: linkReset},
	{name: "link-half-open", weight: 3, lasts: 10 * time.Second, begin: linkHalfOpen},
	{name: "link-hold", weight: 3, lasts: 10 * time.Second, begin: linkHold},
	{name: "link-cut-after", weight: 4, lasts: 4 * time.Second, begin: linkCutAfter},
	{name: "link-cut-one-way", weight: 6, lasts: 4 * time.Second, begin: linkCutOneWay},
	{name: "replay-paused", weight: 4, lasts: 8 * time.Second, begin: replayPaused},
	{name: "redis-full", weight: 3, lasts: 5 * time.Second, begin: redisFull},
	{name: diskFull, weight: 2, lasts: 4 * time.Second, begin: diskIsFull},
	{name: powerCut, kill: true, weight: 3, begin: powerIsCut},
	{name: failover, kill: true, weight: 2, lasts: 2 * time.Second, begin: failsOver},
	{name: "replica-rebuilt", weight: 1, begin: replicaRebuilt},
	{name: "replica-back", weight: 2, lasts: 6 * time.Second, begin: replicaBack},
	{name: clockJump, weight: 4, lasts: 10 * time.Second, begin: clockJumps},
	{name: "file-carried", weight: 2, begin: fileIsCarried},
}

// restartAPI ends a process as an upgrade does; its supervisor starts it again.
func restartAPI(_ context.Context, f *faults, d draw) (undo, error) {
	return nil, f.api(d.Which).Signal(syscall.SIGTERM)
}

// named picks one line of the link or, as often as each, both.
func named(which int) []string {
	return [][]string{{sandbox.DatabaseLine}, {sandbox.ReplicationLine}, {sandbox.DatabaseLine, sandbox.ReplicationLine}}[which%3]
}

// lines are the lines named so, to both servers of the main site.
func (f *faults) lines(which int) []*sandbox.Line {
	var found []*sandbox.Line
	for _, name := range named(which) {
		if name == sandbox.DatabaseLine {
			found = append(found, f.Stack.Link.Database, f.Stack.Link.Second.Database)
		} else {
			found = append(found, f.Stack.Link.Replication, f.Stack.Link.Second.Replication)
		}
	}
	return found
}

// change sets a switch of some lines and returns how to set it back.
func (f *faults) change(d draw, there, back sandbox.Change) (undo, error) {
	return func(context.Context) error { return f.Stack.Link.Apply(back, named(d.Which)...) }, f.Stack.Link.Apply(there, named(d.Which)...)
}

func linkDown(_ context.Context, f *faults, d draw) (undo, error) {
	up, down := true, false
	return f.change(d, sandbox.Change{Up: &down}, sandbox.Change{Up: &up})
}

func linkBlackhole(_ context.Context, f *faults, d draw) (undo, error) {
	on, off := true, false
	return f.change(d, sandbox.Change{Blackhole: &on}, sandbox.Change{Blackhole: &off})
}

func linkSlow(_ context.Context, f *faults, d draw) (undo, error) {
	slow, usual := 300+2700*d.Much, float64(f.RTT)/float64(time.Millisecond)
	return f.change(d, sandbox.Change{RTTMillis: &slow}, sandbox.Change{RTTMillis: &usual})
}

func linkNarrow(_ context.Context, f *faults, d draw) (undo, error) {
	narrow, wide := 64+448*d.Much, float64(0)
	return f.change(d, sandbox.Change{BandwidthKbps: &narrow}, sandbox.Change{BandwidthKbps: &wide})
}

func linkReset(_ context.Context, f *faults, d draw) (undo, error) {
	for _, l := range f.lines(d.Which) {
		l.Reset()
	}
	return nil, nil
}

// linkHalfOpen lets the connections vanish for one end only.
func linkHalfOpen(_ context.Context, f *faults, d draw) (undo, error) {
	end := sandbox.Direction(d.Which / 3 % 2)
	var drops []func()
	for _, l := range f.lines(d.Which) {
		drops = append(drops, l.HalfOpen(end))
	}
	return all(drops), nil
}

// linkHold keeps back what is under way: it arrives when nobody expects it.
func linkHold(_ context.Context, f *faults, d draw) (undo, error) {
	var releases []func()
	for _, l := range f.lines(d.Which) {
		releases = append(releases, l.Hold())
	}
	return all(releases), nil
}

func all(fns []func()) undo {
	return func(context.Context) error {
		for _, fn := range fns {
			fn()
		}
		return nil
	}
}

func linkCutAfter(_ context.Context, f *faults, d draw) (undo, error) {
	bytes, up, none := 1+int64(20_000*d.Much*d.Much), true, int64(0)
	return f.change(d, sandbox.Change{CutAfterBytes: &bytes}, sandbox.Change{Up: &up, CutAfterBytes: &none})
}

// linkCutOneWay cuts the database line in the midst of a flush or its answer.
func linkCutOneWay(_ context.Context, f *faults, d draw) (undo, error) {
	for _, line := range []*sandbox.Line{f.Stack.Link.Database, f.Stack.Link.Second.Database} {
		line.CutAfter(sandbox.Direction(d.Which%2), 1+int64(6_000*d.Much*d.Much))
	}
	up, none := true, int64(0)
	return func(context.Context) error {
		return f.Stack.Link.Apply(sandbox.Change{Up: &up, CutAfterBytes: &none}, sandbox.DatabaseLine)
	}, nil
}

func replayPaused(ctx context.Context, f *faults, _ draw) (undo, error) {
	limited, cancel := context.WithTimeout(ctx, 5*time.Second) // it may be frozen
	defer cancel()
	return func(ctx context.Context) error { return f.Stack.Replica.ResumeReplay(ctx) }, f.Stack.Replica.PauseReplay(limited)
}

// redisFull leaves Redis no memory for anything new.
func redisFull(ctx context.Context, f *faults, _ draw) (undo, error) {
	_, err := f.Stack.Redis.Command(ctx, "CONFIG", "SET", "maxmemory", "1000000")
	return func(ctx context.Context) error {
		_, err := f.Stack.Redis.Command(ctx, "CONFIG", "SET", "maxmemory", "0")
		return err
	}, err
}

func diskIsFull(_ context.Context, f *faults, _ draw) (undo, error) {
	return func(context.Context) error { return f.disk.free() }, f.disk.fill()
}

// powerIsCut kills Redis and leaves it what its disk holds: not what the kernel
// had not written yet.
func powerIsCut(ctx context.Context, f *faults, _ draw) (undo, error) {
	return nil, f.disk.cutPower(ctx)
}

// replicaRebuilt throws the replica away and copies the primary again.
func replicaRebuilt(ctx context.Context, f *faults, _ draw) (undo, error) {
	f.replica.Lock()
	defer f.replica.Unlock()
	f.broken = true
	if err := f.Stack.RebuildReplica(ctx); err != nil {
		return nil, err
	}
	f.broken = false
	return nil, nil
}

// replicaBack keeps a copy of the replica, and puts it in the place of the replica
// some time later: it shows less than it did.
func replicaBack(ctx context.Context, f *faults, _ draw) (undo, error) {
	f.replica.Lock()
	defer f.replica.Unlock()
	replica := f.Stack.Replica
	limited, cancel := context.WithTimeout(ctx, 5*time.Second) // it may be frozen
	defer cancel()
	dir, err := replica.Text(limited, "postgres", "SELECT current_setting('data_directory')")
	if err != nil {
		return nil, err
	}
	if err := replica.Kill(); err != nil {
		return nil, err
	}
	copied := command(ctx, "cp", "-a", dir, dir+".old")
	started := replica.Start(ctx)
	if copied != nil || started != nil {
		return nil, errors.Join(copied, started, command(ctx, "rm", "-rf", dir+".old"))
	}
	return func(ctx context.Context) error {
		f.replica.Lock()
		defer f.replica.Unlock()
		if err := replica.Kill(); err != nil {
			return err
		}
		f.broken = true
		if err := errors.Join(command(ctx, "rm", "-rf", dir), command(ctx, "mv", dir+".old", dir)); err != nil {
			return err
		}
		f.broken = false
		return replica.Start(ctx)
	}, nil
}

// failsOver loses the primary to a standby that misses the last commits, of which
// the site's replica may have replayed some.
func failsOver(ctx context.Context, f *faults, d draw) (undo, error) {
	s := f.Stack
	if f.fallen {
		return nil, errors.New("there is no standby yet")
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	since := f.recorder.now()
	if err := s.WaitForStandby(limited); err != nil {
		return nil, err
	}
	if err := s.HoldStandby(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		err := s.FailOver(ctx)
		f.recorder.event(Mark{What: "a standby that misses the last commits is the primary now", Since: since})
		if err != nil {
			return err
		}
		f.fallen = true
		if err := s.Rejoin(ctx); err != nil {
			return err
		}
		f.fallen = false
		follows, err := s.ReplicaCanFollow(ctx)
		if err != nil || follows {
			return err
		}
		f.replica.Lock()
		defer f.replica.Unlock()
		if d.Which%2 == 0 {
			return s.RewindReplica(ctx)
		}
		f.broken = true
		err = s.RebuildReplica(ctx)
		f.broken = err != nil
		return err
	}, nil
}

// farthestJump keeps what two clocks that are wrong both ways differ by below
// HISTORY_RETENTION: what one says was replicated so long ago, the other forgets, and
// nothing could be sent again after a failover.
const farthestJump = 25 * time.Minute

// clockJumps sets the clock of one API process forward or back.
func clockJumps(_ context.Context, f *faults, d draw) (undo, error) {
	api := f.apis()[d.Which/2%len(f.apis())]
	jump := math.Exp(d.Much * math.Log(farthestJump.Seconds())) // as often by seconds as by minutes
	if d.Which%2 == 0 {
		jump = -jump
	}
	return func(context.Context) error { return api.setClock(0) }, api.setClock(int64(jump))
}

// setClock lets an API process' clock go by so many seconds more than the machine's.
func (a API) setClock(seconds int64) error {
	if a.Clock == "" {
		return nil
	}
	next := a.Clock + ".next"
	if err := os.WriteFile(next, strconv.AppendInt(nil, seconds, 10), 0o600); err != nil {
		return err
	}
	return os.Rename(next, a.Clock)
}

// fileIsCarried exports what the site keeps while the link is down, and imports it at
// main, where the site finds it when the link is back.
func fileIsCarried(ctx context.Context, f *faults, d draw) (_ undo, err error) {
	up, down := true, false
	if err := f.Stack.Link.Apply(sandbox.Change{Up: &down}, sandbox.DatabaseLine); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Stack.Link.Apply(sandbox.Change{Up: &up}, sandbox.DatabaseLine)) }()
	time.Sleep(time.Duration(d.Much * float64(3*time.Second)))
	file := filepath.Join(f.Stack.Dir, fmt.Sprintf("carried_%d", f.carried.Add(1)))
	defer func() { err = errors.Join(err, os.RemoveAll(file)) }()
	if err := f.Export(ctx, file); err != nil {
		return nil, err
	}
	return nil, f.Import(ctx, file)
}

func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
