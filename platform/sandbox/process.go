package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// Command is a program to run: what os/exec needs, and where its output goes.
type Command struct {
	// Path and Args are the program and its arguments (without the program's name).
	Path string
	Args []string
	// Env is the whole environment; nil is an almost empty one.
	Env []string
	// Dir is the working directory; empty is the stack's.
	Dir string
	// Log is the file that standard output and error are appended to.
	Log string

	owner       owner
	deathSignal syscall.Signal
}

// child is a running program.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and is reaped
	err  error         // of Wait; to read after done
}

// environment is that of a program unless its Command says otherwise.
func environment() []string { return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"} }

func (c Command) prepare() *exec.Cmd {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = c.Env
	if cmd.Env == nil {
		cmd.Env = environment()
	}
	cmd.SysProcAttr = childAttributes(c.deathSignal)
	if c.owner.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.owner.uid, Gid: c.owner.gid}
	}
	return cmd
}

// start runs the program. Its goroutine keeps the operating system's thread to
// itself until the program has ended: the death signal follows the thread that
// started it, and a thread that the runtime ends would take the program along.
func (c Command) start() (*child, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := c.prepare()
	cmd.Stdout, cmd.Stderr = log, log
	running := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		closeQuietly(log)
		started <- err
		if err != nil {
			return
		}
		running.err = cmd.Wait()
		close(running.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	return running, nil
}

// run runs the program to its end; its output is part of the error.
func (c Command) run(ctx context.Context) error {
	cmd := c.prepare()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ctx.Err(); err != nil {
		return err
	}
	result := make(chan error, 1)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			result <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", c.Path, err)
	}
	select {
	case err := <-result:
		if err != nil {
			return fmt.Errorf("%s: %w: %s", c.Path, err, strings.TrimSpace(out.String()))
		}
		return nil
	case <-ctx.Done():
		// The group: initdb has a postgres of its own.
		killQuietly(-cmd.Process.Pid, syscall.SIGKILL)
		<-result
		return ctx.Err()
	}
}

// killQuietly signals a process that may be gone already.
func killQuietly(pid int, sig syscall.Signal) {
	if err := syscall.Kill(pid, sig); err != nil {
		return
	}
}
