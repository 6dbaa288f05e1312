package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// ErrEndsAtOnce says that a program does not stay up: its last words follow.
var ErrEndsAtOnce = errors.New("ends as soon as it is started")

// Process is one supervised program of a stack: when it dies it is started
// again at once, on the same data.
type Process struct {
	// Name says what it is, as in the ready file's pids.
	Name string

	spec    processSpec
	log     *slog.Logger
	changed func()

	mu       sync.Mutex
	current  *child
	pid      int
	starts   int
	wanted   bool
	frozen   bool
	news     chan struct{} // closed and replaced when pid or wanted changes
	loopDone chan struct{}
}

// processSpec is what differs from program to program.
type processSpec struct {
	command func() Command
	// prepare makes a start possible after a death: nil or quick.
	prepare func()
	// ready asks the program once whether it answers.
	ready func(context.Context) error
	// pause is between two questions of ready; zero is 5 ms.
	pause time.Duration
	// stop is the signal for an orderly end.
	stop syscall.Signal
	// family are further processes that a freeze must stop too.
	family func() []int
}

func newProcess(name string, spec processSpec, log *slog.Logger, changed func()) *Process {
	return &Process{Name: name, spec: spec, log: log, changed: changed, news: make(chan struct{})}
}

// Pid is the process's id; 0 while it is not running.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Starts counts how often it has been started.
func (p *Process) Starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// Start runs it and waits until it answers. From then on it is started again
// whenever it dies, until Stop.
func (p *Process) Start(ctx context.Context) error {
	p.mu.Lock()
	if p.wanted {
		p.mu.Unlock()
		return p.WaitReady(ctx)
	}
	p.wanted = true
	p.mu.Unlock()
	// The first start fails loudly: there is nothing yet to keep alive.
	running, err := p.launch()
	if err != nil {
		p.mu.Lock()
		p.wanted = false
		p.mu.Unlock()
		return err
	}
	p.mu.Lock()
	p.loopDone = make(chan struct{})
	p.mu.Unlock()
	go p.watch(running)
	if err := p.waitReady(ctx, p.Starts()+3); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

func (p *Process) launch() (*child, error) {
	if p.spec.prepare != nil {
		p.spec.prepare()
	}
	running, err := p.spec.command().start()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.current, p.pid, p.frozen = running, running.cmd.Process.Pid, false
	p.starts++
	p.announce()
	p.mu.Unlock()
	p.changed()
	return running, nil
}

// announce wakes who waits for a new pid; the caller holds mu.
func (p *Process) announce() {
	close(p.news)
	p.news = make(chan struct{})
}

// watch starts the program again when it has died. One that dies young again
// and again is tried more slowly, up to once a second, and never given up.
func (p *Process) watch(running *child) {
	defer close(p.loopDone)
	pause := time.Duration(0)
	for {
		started := time.Now()
		if running != nil {
			<-running.done
		}
		p.mu.Lock()
		p.pid, p.current = 0, nil
		wanted, news := p.wanted, p.news
		p.mu.Unlock()
		if !wanted {
			return
		}
		if running != nil {
			p.log.Info("process ended, starting it again", "process", p.Name, "end", running.cmd.ProcessState.String())
		}
		if time.Since(started) > 2*time.Second {
			pause = 0
		}
		if pause > 0 {
			select {
			case <-time.After(pause):
			case <-news:
			}
			if !p.isWanted() {
				return
			}
		}
		pause = min(time.Second, 2*pause+25*time.Millisecond)
		var err error
		if running, err = p.launch(); err != nil {
			p.log.Error("process does not start", "process", p.Name, "error", err)
		}
		// Stop may have come while it was being started, and seen no pid.
		if running != nil && !p.isWanted() {
			killQuietly(running.cmd.Process.Pid, syscall.SIGKILL)
		}
	}
}

func (p *Process) isWanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted
}

// WaitReady waits until the program answers.
func (p *Process) WaitReady(ctx context.Context) error { return p.waitReady(ctx, 0) }

// waitReady gives up when the program has been started more than mostStarts
// times in all (0: never).
func (p *Process) waitReady(ctx context.Context, mostStarts int) error {
	var last error
	pause := cmp.Or(p.spec.pause, 5*time.Millisecond)
	for {
		if mostStarts > 0 && p.Starts() > mostStarts {
			return fmt.Errorf("%s %w: %s", p.Name, ErrEndsAtOnce, p.lastWords())
		}
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := errors.New("not running")
		if p.Pid() != 0 {
			err = p.spec.ready(attempt)
		}
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; its last words: %s", p.Name, errors.Join(ctx.Err(), last), p.lastWords())
		case <-time.After(pause):
		}
	}
}

// lastWords is the end of the program's output: the file may be gone when the
// error is read.
func (p *Process) lastWords() string {
	content, err := os.ReadFile(p.spec.command().Log)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(content[max(0, len(content)-4096):]), 12)
}

// Signal sends a signal to the process itself.
func (p *Process) Signal(sig syscall.Signal) error {
	pid := p.Pid()
	if pid == 0 {
		return fmt.Errorf("%s is not running", p.Name)
	}
	return syscall.Kill(pid, sig)
}

// Crash kills the process (SIGKILL) and waits until its successor runs and
// answers.
func (p *Process) Crash(ctx context.Context) error {
	before := p.Starts()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	for {
		p.mu.Lock()
		starts, news := p.starts, p.news
		p.mu.Unlock()
		if starts > before {
			return p.WaitReady(ctx)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to be started again: %w", p.Name, ctx.Err())
		}
	}
}

// Freeze stops the process, and those it has made, where they are (SIGSTOP).
func (p *Process) Freeze() error { return p.signalFamily(syscall.SIGSTOP, true) }

// Thaw lets a frozen process go on (SIGCONT).
func (p *Process) Thaw() error { return p.signalFamily(syscall.SIGCONT, false) }

func (p *Process) signalFamily(sig syscall.Signal, frozen bool) error {
	if err := p.Signal(sig); err != nil {
		return err
	}
	p.mu.Lock()
	p.frozen = frozen
	p.mu.Unlock()
	if p.spec.family != nil {
		for _, pid := range p.spec.family() {
			killQuietly(pid, sig)
		}
	}
	return nil
}

// Stop ends the process in an orderly way and leaves it ended until Start.
// When ctx ends first it is killed.
func (p *Process) Stop(ctx context.Context) error { return p.end(ctx, p.spec.stop) }

// Kill ends the process with SIGKILL and leaves it ended until Start.
func (p *Process) Kill() error { return p.end(context.Background(), syscall.SIGKILL) }

func (p *Process) end(ctx context.Context, sig syscall.Signal) error {
	p.mu.Lock()
	if !p.wanted {
		p.mu.Unlock()
		return nil
	}
	p.wanted = false
	pid, frozen, done := p.pid, p.frozen, p.loopDone
	p.announce()
	p.mu.Unlock()
	if pid != 0 {
		if frozen && sig != syscall.SIGKILL {
			// A stopped process does not see the signal that ends it.
			if err := p.Thaw(); err != nil {
				p.log.Debug("thawing before the end", "process", p.Name, "error", err)
			}
		}
		killQuietly(pid, sig)
	}
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("%s did not end in time and was killed", p.Name)
		if pid := p.Pid(); pid != 0 {
			killQuietly(pid, syscall.SIGKILL)
		}
		<-done
	}
	if p.spec.prepare != nil {
		// Whatever outlived the process is not to outlive the stack.
		p.spec.prepare()
	}
	p.changed()
	return err
}
