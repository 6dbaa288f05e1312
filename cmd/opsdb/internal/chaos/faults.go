package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// kind is one way to do harm.
type kind struct {
	name string
	// kill tells that it is the death of a process, one of bar R1.
	kill bool
	// weight is how often it comes, against the others.
	weight int
	// lasts is the longest time that it lasts; it is drawn up to there.
	lasts time.Duration
	// begin does the harm, by numbers drawn beforehand, and returns how to undo it.
	begin func(ctx context.Context, f *faults, draw draw) (undo, error)
}

// undo takes a fault back. What is done by then need not be.
type undo func(ctx context.Context) error

// draw is what chance gave a fault.
type draw struct {
	Which int     // picks a process, a line, a direction
	Much  float64 // 0 to 1: how much of it
}

// planned is one fault of a round's schedule.
type planned struct {
	at, lasts time.Duration
	kind      kind
	draw      draw
}

// faults does harm to the stack and takes it back.
type faults struct {
	*run
	kinds []kind
	disk  *disk // nil when this machine cannot have one

	kills, done atomic.Int64
	carried     atomic.Int64 // files, for their names
	mu          sync.Mutex
	counts      map[string]int
	// main lets everybody use the main site's servers but for a failover, which
	// exchanges them.
	main   sync.RWMutex
	fallen bool // the old primary waits to be the standby
	// replica guards what takes the replica's data away: one at a time.
	replica sync.Mutex
	broken  bool // the replica has to be rebuilt
}

func newFaults(ctx context.Context, r *run) (*faults, error) {
	f := &faults{run: r, counts: map[string]int{}}
	for _, name := range r.options.Faults {
		if !slices.ContainsFunc(allKinds, func(k kind) bool { return k.name == name }) {
			return nil, fmt.Errorf("there is no fault %q; there are %v", name, Kinds())
		}
	}
	wanted := func(name string) bool { return len(r.options.Faults) == 0 || slices.Contains(r.options.Faults, name) }
	for _, k := range allKinds {
		if wanted(k.name) {
			f.kinds = append(f.kinds, k)
		}
	}
	if wanted(diskFull) || wanted(powerCut) {
		disk, err := newDisk(ctx, r.Stack, redisDiskBytes)
		if err != nil {
			why := "needs a file system of its own for Redis: " + err.Error()
			r.report.Skipped[diskFull], r.report.Skipped[powerCut] = why, why
			f.kinds = slices.DeleteFunc(f.kinds, func(k kind) bool { return k.name == diskFull || k.name == powerCut })
		}
		f.disk = disk
	}
	if wanted(clockJump) && r.Main.Clock == "" {
		r.report.Skipped[clockJump] = "needs a program whose clock can be moved: make chaos builds one"
		f.kinds = slices.DeleteFunc(f.kinds, func(k kind) bool { return k.name == clockJump })
	}
	if len(f.kinds) == 0 {
		return nil, errors.Join(errors.New("none of these faults can be done on this machine"), f.close())
	}
	// A replica that is put back to an older state asks for older WAL.
	for _, p := range []*sandbox.Postgres{r.Stack.Primary, r.Stack.Standby} {
		for _, sql := range []string{"ALTER SYSTEM SET wal_keep_size = '512MB'", "SELECT pg_reload_conf()"} {
			if err := p.Exec(ctx, "postgres", sql); err != nil {
				return nil, errors.Join(err, f.close())
			}
		}
	}
	return f, nil
}

// Kinds are the names of all faults.
func Kinds() []string {
	names := make([]string, len(allKinds))
	for i, k := range allKinds {
		names[i] = k.name
	}
	return names
}

// plan draws a round's schedule: nothing of what happens meanwhile changes it.
func (f *faults) plan(round int, length time.Duration) []planned {
	rng := rand.New(rand.NewPCG(f.options.Seed, uint64(round)))
	weights := 0
	for _, k := range f.kinds {
		weights += k.weight
	}
	var schedule []planned
	for at := time.Duration(0); ; {
		at += time.Duration(rng.ExpFloat64() * float64(f.options.Gap))
		if at >= length {
			return schedule
		}
		n := rng.IntN(weights)
		i := 0
		for ; n >= f.kinds[i].weight; i++ {
			n -= f.kinds[i].weight
		}
		k := f.kinds[i]
		schedule = append(schedule, planned{
			at: at, kind: k, lasts: time.Duration(rng.Float64() * float64(k.lasts)),
			draw: draw{Which: rng.IntN(1 << 16), Much: rng.Float64()},
		})
	}
}

// play does the faults of a round, overlapping as they come, until ctx ends; all
// are undone when it returns, as far as each can undo itself.
func (f *faults) play(ctx context.Context, round int, length time.Duration) {
	began := time.Now()
	var all sync.WaitGroup
	for _, p := range f.plan(round, length) {
		select {
		case <-time.After(time.Until(began.Add(p.at))):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() { f.one(ctx, p) })
	}
	<-ctx.Done()
	all.Wait()
}

// one does a fault, lets it last and undoes it.
func (f *faults) one(ctx context.Context, p planned) {
	takeBack, err := f.begin(ctx, p)
	if err != nil {
		// Its victim is just being started again, or another fault has it.
		f.recorder.mark(fmt.Sprintf("no %s: %v", p.kind.name, err))
		return
	}
	f.recorder.mark(p.kind.name)
	f.done.Add(1)
	if p.kind.kill {
		f.kills.Add(1)
	}
	f.mu.Lock()
	f.counts[p.kind.name]++
	f.mu.Unlock()
	if takeBack == nil {
		return
	}
	select {
	case <-time.After(p.lasts):
	case <-ctx.Done():
	}
	err = f.end(ctx, p.kind, takeBack)
	f.recorder.mark(fmt.Sprintf("end of %s", p.kind.name))
	if err != nil {
		// Healing does it, or fails loudly.
		f.options.Log.Debug("taking back a fault", "fault", p.kind.name, "error", err)
	}
}

// begin does a fault, also when ctx is over meanwhile: half of one helps nobody.
func (f *faults) begin(ctx context.Context, p planned) (undo, error) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	defer f.lock(p.kind)()
	return p.kind.begin(limited, f, p.draw)
}

// end takes a fault back. Only a failover needs the main site's servers for that,
// so nothing else waits for one here: it may be what the failover waits for.
func (f *faults) end(ctx context.Context, k kind, takeBack undo) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if k.name == failover {
		defer f.lock(k)()
	}
	return takeBack(limited)
}

// lock keeps a failover apart from everything that uses the main site's servers.
func (f *faults) lock(k kind) (unlock func()) {
	if k.name == failover {
		f.main.Lock()
		return f.main.Unlock
	}
	f.main.RLock()
	return f.main.RUnlock
}

// heal makes everything whole, whatever the faults have left, and returns when
// every server answers. What does not work at once, on a machine that is busy or
// with a server that is only just going down, is tried again.
func (f *faults) heal(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		once, cancelOnce := context.WithTimeout(limited, 3*time.Minute)
		err := f.healOnce(once)
		cancelOnce()
		if err == nil {
			return nil
		}
		f.recorder.mark(fmt.Sprintf("not healed yet: %v", err))
		select {
		case <-time.After(time.Second):
		case <-limited.Done():
			return err
		}
	}
}

func (f *faults) healOnce(limited context.Context) error {
	s := f.Stack
	up, down, hole, rtt, zero, none := true, false, false, float64(f.RTT)/float64(time.Millisecond), float64(0), int64(0)
	whole := sandbox.Change{Up: &up, Blackhole: &hole, RTTMillis: &rtt, BandwidthKbps: &zero, CutAfterBytes: &none}
	// The way of the processor comes last: what waits then is the backlog.
	err := errors.Join(s.Link.Apply(whole), s.Link.Apply(sandbox.Change{Up: &down}, sandbox.DatabaseLine))
	if err != nil {
		return err
	}
	for _, p := range f.processes() {
		thawQuietly(p)
	}
	for _, api := range f.apis() {
		if err := api.setClock(0); err != nil {
			return err
		}
	}
	if err := f.healMain(limited); err != nil {
		return err
	}
	if err := f.healRedis(limited); err != nil {
		return err
	}
	if err := f.healReplica(limited); err != nil {
		return err
	}
	for _, p := range f.processes() {
		if err := p.Start(limited); err != nil {
			return err
		}
	}
	return s.Link.Apply(sandbox.Change{Up: &up}, sandbox.DatabaseLine)
}

// healMain brings both servers of the main site back.
func (f *faults) healMain(ctx context.Context) error {
	s := f.Stack
	if err := s.Primary.Start(ctx); err != nil {
		return err
	}
	if f.fallen {
		if err := s.Rejoin(ctx); err != nil {
			return err
		}
		f.fallen = false
	}
	return errors.Join(s.Standby.Start(ctx), s.ReleaseStandby())
}

func (f *faults) healRedis(ctx context.Context) error {
	if f.disk != nil {
		if err := f.disk.free(); err != nil {
			return err
		}
	}
	if err := f.Stack.Redis.Start(ctx); err != nil {
		return err
	}
	_, err := f.Stack.Redis.Command(ctx, "CONFIG", "SET", "maxmemory", "0")
	return err
}

// healReplica lets the replica replay, and copies the primary anew when what it
// has is no use: it was taken away, or asks for WAL that is gone.
func (f *faults) healReplica(ctx context.Context) error {
	f.replica.Lock()
	defer f.replica.Unlock()
	s := f.Stack
	if !f.broken {
		comesBack, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		err := f.followAgain(comesBack)
		if err == nil {
			return nil
		}
		f.recorder.mark(fmt.Sprintf("the replica does not come back: %v", err))
	}
	f.recorder.mark("the replica is rebuilt")
	if err := s.RebuildReplica(ctx); err != nil {
		return err
	}
	f.broken = false
	return s.WaitForReplay(ctx)
}

// followAgain starts a replica and waits until it shows what main has. One that was
// killed after it had replayed what a new primary lacks does not even start.
func (f *faults) followAgain(ctx context.Context) error {
	s := f.Stack
	if err := s.Replica.Start(ctx); err != nil {
		return err
	}
	follows, err := s.ReplicaCanFollow(ctx)
	if err != nil {
		return fmt.Errorf("asking where the replica is: %w", err)
	}
	if !follows {
		return errors.New("it has what the primary of today never had")
	}
	if err := s.Replica.ResumeReplay(ctx); err != nil {
		return err
	}
	return s.WaitForReplay(ctx)
}

// processes are all of the stack's, in the order in which they need each other.
func (f *faults) processes() []*sandbox.Process {
	all := []*sandbox.Process{f.Stack.Primary.Process, f.Stack.Replica.Process, f.Stack.Redis.Process}
	for _, api := range f.apis() {
		all = append(all, api.Process)
	}
	return all
}

// apis are main's API server and the observatory's.
func (f *faults) apis() []API { return append([]API{f.Main}, f.Observatory...) }

// api picks an API process: main's as often as each of the observatory's.
func (f *faults) api(which int) *sandbox.Process {
	all := f.apis()
	return all[which%len(all)].Process
}

// counted is how often each fault was done.
func (f *faults) counted() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

// close takes the preparations back; Redis ends with them.
func (f *faults) close() error {
	if f.disk == nil {
		return nil
	}
	return f.disk.close()
}

// thawQuietly lets a process go on that may not be there.
func thawQuietly(p *sandbox.Process) {
	if err := p.Thaw(); err != nil {
		return
	}
}

// killed kills a process; its supervisor starts it again.
func killed(pick func(f *faults, d draw) *sandbox.Process) func(context.Context, *faults, draw) (undo, error) {
	return func(_ context.Context, f *faults, d draw) (undo, error) {
		return nil, pick(f, d).Signal(syscall.SIGKILL)
	}
}

// frozen stops a process for a while where it is.
func frozen(pick func(f *faults, d draw) *sandbox.Process) func(context.Context, *faults, draw) (undo, error) {
	return func(_ context.Context, f *faults, d draw) (undo, error) {
		p := pick(f, d)
		return func(context.Context) error { return p.Thaw() }, p.Freeze()
	}
}
