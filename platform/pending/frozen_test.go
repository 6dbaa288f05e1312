package pending

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/problem"
)

// pid is the server's own, not that of the shell around it.
func (r *redisServer) pid(t testing.TB) int {
	t.Helper()
	info, err := r.client(t).Info(t.Context(), "server").Result()
	must(t, err)
	_, text, _ := strings.Cut(info, "process_id:")
	text, _, _ = strings.Cut(text, "\r\n")
	return int(number(text))
}

func signal(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Errorf("signalling Redis: %v", err)
	}
}

// TestFrozenRedisIsRefusedAtOnce: one request waits for its limit, the others
// not at all, and nobody has to do anything when Redis goes on.
func TestFrozenRedisIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	s := openStore(t, r)
	accept(t, s, execution(newID()))
	v := catchUp(t, s)
	pid := r.pid(t)
	signal(t, pid, syscall.SIGSTOP)
	t.Cleanup(func() { signal(t, pid, syscall.SIGCONT) })

	began := time.Now()
	if _, err := s.CatchUp(t.Context()); !errors.Is(err, problem.PendingUnavailable) {
		t.Fatalf("the first read of a frozen Redis: %v", err)
	}
	if took := time.Since(began); took < time.Second || took > 3500*time.Millisecond {
		t.Errorf("the first read waited %v: Redis was not frozen, or it waited twice", took)
	}
	began = time.Now()
	for range 20 {
		if _, err := s.CatchUp(t.Context()); !errors.Is(err, problem.PendingUnavailable) {
			t.Errorf("a read: %v", err)
		}
		if _, err := s.Accept(t.Context(), request(v, "", execution(newID()))); !errors.Is(err, problem.PendingUnavailable) {
			t.Errorf("a write: %v", err)
		}
		if _, err := s.Existing(t.Context(), "user:ana", "key"); !errors.Is(err, problem.PendingUnavailable) {
			t.Errorf("a key: %v", err)
		}
		if _, err := s.Credential(t.Context(), "hash"); !errors.Is(err, problem.PendingUnavailable) {
			t.Errorf("a credential: %v", err)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("80 later requests waited %v", took)
	}
	if s.Status().Reachable {
		t.Error("Redis counts as reachable")
	}

	signal(t, pid, syscall.SIGCONT)
	eventuallyWithin(t, 3*time.Second, "Redis counts as reachable again, without a request", func() bool { return s.Status().Reachable })
	accept(t, s, execution(newID()))
}

// TestUnbufferedReadsDoNotWaitForAFrozenRedis: not even the first one.
func TestUnbufferedReadsDoNotWaitForAFrozenRedis(t *testing.T) {
	t.Parallel()
	r := newRedis(t)
	s := openStore(t, r)
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none")
	must(t, err)
	defer pool.Close()
	reader := NewReader(pool, s, "observatory", Limits{})
	pid := r.pid(t)
	signal(t, pid, syscall.SIGSTOP)
	t.Cleanup(func() { signal(t, pid, syscall.SIGCONT) })
	began := time.Now()
	view, without, err := reader.catchUp(WithoutBuffer(t.Context()))
	if err != nil || without || view.Load != s.Current().Load {
		t.Errorf("%v, without %v", err, without)
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("it waited %v", took)
	}
}
