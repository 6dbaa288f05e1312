package rdb

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrSilent is the answer for every command between one that got no answer in
// time and the first probe that gets one. It counts as Unreachable.
var ErrSilent = errors.New("the site's Redis did not answer a moment ago")

// probePause spaces the probes of a server that refuses connections; one that
// hangs is probed once per Options.Timeout.
const probePause = 50 * time.Millisecond

// silence is a hook that spares callers the waiting for a server that hangs.
type silence struct {
	silent atomic.Bool

	mu     sync.Mutex
	probe  *Client // nil: nothing is remembered
	back   func(context.Context)
	ctx    context.Context
	cancel context.CancelFunc
	probes sync.WaitGroup
}

// FailFast makes this client remember that the server did not answer: from the
// first command that ran into its time limit, every other one fails at once with
// ErrSilent, until a probe in the background is answered. back is called then.
// The function returned ends it, and any probe under way. A Fork does not
// remember, and is not told.
func (c *Client) FailFast(back func(context.Context)) (stop func() error) {
	s := c.silence
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probe, s.back = c.Fork(c.opts.ClientName+"-probe"), back
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return func() error {
		s.mu.Lock()
		probe := s.probe
		s.probe = nil
		s.mu.Unlock()
		if probe == nil {
			return nil // stopped before
		}
		s.cancel()
		err := probe.Close()
		s.probes.Wait()
		s.silent.Store(false)
		return err
	}
}

// noticed looks at what became of a command, and begins the silence when the
// server, not the caller's own limit, is why it failed. That limit is the
// connection's too, which may notice it a moment before ctx does.
func (s *silence) noticed(ctx context.Context, err error) {
	limit, limited := ctx.Deadline()
	if !timedOut(err) || ctx.Err() != nil || limited && time.Until(limit) < 10*time.Millisecond {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if probe := s.probe; probe != nil && s.silent.CompareAndSwap(false, true) {
		s.probes.Go(func() { s.ask(probe) })
	}
}

// ask probes the server until it answers.
func (s *silence) ask(probe *Client) {
	for probe.Ping(s.ctx).Err() != nil {
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(probePause):
		}
	}
	s.silent.Store(false)
	if s.back != nil {
		s.back(s.ctx)
	}
}

// timedOut reports whether err says that no answer came in time. A pool without
// a free connection says nothing about the server.
func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout() && !errors.Is(err, redis.ErrPoolTimeout)
}

// again reports whether a command is worth one repetition, which hides a
// connection that died while idle. One that ran into its limit is not: the next
// attempt would wait as long.
func again(err error) bool { return Unreachable(err) && !timedOut(err) && !errors.Is(err, ErrSilent) }

// repeatAfter lets a server that is just starting get a little further.
func repeatAfter(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(2 * time.Millisecond):
		return true
	}
}

// DialHook implements redis.Hook.
func (s *silence) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (s *silence) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if s.silent.Load() {
			cmd.SetErr(ErrSilent)
			return ErrSilent
		}
		err := next(ctx, cmd)
		if err != nil && again(err) && repeatAfter(ctx) {
			err = next(ctx, cmd)
		}
		if err != nil {
			s.noticed(ctx, err)
		}
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (s *silence) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if s.silent.Load() {
			for _, cmd := range cmds {
				cmd.SetErr(ErrSilent)
			}
			return ErrSilent
		}
		err := next(ctx, cmds)
		if err != nil && again(err) && repeatAfter(ctx) {
			err = next(ctx, cmds)
		}
		if err != nil {
			s.noticed(ctx, err)
		}
		return err
	}
}
