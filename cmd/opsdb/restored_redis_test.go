package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// TestRedisRestoredFromAnOldFile: the site's Redis goes on with what it held a while
// ago, alone, together with a failover of main to a standby that misses the site's
// last commits, or empty, as on a machine that was built anew. The alarm says so;
// what main has stays and is applied once; what the old file holds and the new primary
// lacks is sent again; what was lost is known as lost, and the key of the client that
// repeats it makes it once.
func TestRedisRestoredFromAnOldFile(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole product")
	}
	program := buildProgram(t)
	for name, c := range map[string]struct{ failOver, knowsNothing, emptied bool }{
		"alone": {}, "emptied": {emptied: true}, "with a failover of main": {failOver: true},
		"with a failover to a standby that knows nothing since": {failOver: true, knowsNothing: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRestoring(t, program, c.failOver)
			sent := map[string]written{}

			// Both have these.
			s.write(sent, "safe", 20, "replicated")
			// The old file holds these as buffered; main gets them afterwards.
			s.must(s.stack.Link.Apply(sandbox.Change{Up: &no}, sandbox.DatabaseLine))
			s.write(sent, "kept", 300, "buffered")
			old := s.snapshot()
			if c.knowsNothing {
				s.must(s.stack.HoldStandby())
			}
			narrow, wide := 400.0, 0.0
			s.must(s.stack.Link.Apply(sandbox.Change{Up: &yes, BandwidthKbps: &narrow}, sandbox.DatabaseLine))
			if c.failOver && !c.knowsNothing {
				s.eventually("some of them at the standby", func() bool { return s.rows(s.stack.Standby, "kept-%") > 0 })
				s.must(s.stack.HoldStandby())
			}
			s.must(s.stack.Link.Apply(sandbox.Change{BandwidthKbps: &wide}, sandbox.DatabaseLine))
			s.eventually("all of them at main and at the site", func() bool {
				return s.rows(s.stack.Primary, "kept-%") == 300 && s.rows(s.stack.Replica, "kept-%") == 300
			})
			if c.failOver {
				if n := s.rows(s.stack.Standby, "kept-%"); n == 300 || (n == 0) != c.knowsNothing {
					t.Fatalf("the standby has %d of 300: it must miss the last ones, or know nothing", n)
				}
			}
			// The old file has never heard of these; main has them (the standby has not).
			s.write(sent, "applied", 20, "replicated")
			// Nobody but the lost file has these.
			s.must(s.stack.Link.Apply(sandbox.Change{Up: &no}, sandbox.DatabaseLine))
			s.write(sent, "lost", 20, "buffered")

			s.must(s.stack.Redis.Kill())
			if c.emptied {
				old = ""
			}
			s.putBack(old)
			if c.failOver {
				s.must(s.stack.FailOver(s.ctx))
			}
			s.must(s.stack.Redis.Start(s.ctx))
			s.must(s.stack.Link.Apply(sandbox.Change{Up: &yes}))

			s.eventually("the alarm in /health", func() bool {
				var health struct{ Reasons []string }
				return s.client.get(s.ctx, "/health", &health) == nil && strings.Contains(strings.Join(health.Reasons, "\n"), "acknowledged writes may be missing")
			})
			if got := value(t, figures(t, s.client.base, s.tokens.Admin), "opsdb_buffer_alarm"); got != 1 {
				t.Errorf("opsdb_buffer_alarm is %v", got)
			}
			// Redis tells the alarm to everyone before the processor that raised it has written its line.
			s.eventually("the alarm in the log", func() bool {
				log, err := os.ReadFile(filepath.Join(s.stack.Dir, "log", "api_observatory_1.log"))
				return err == nil && strings.Contains(string(log), `"level":"ERROR","msg":"the primary or the replica has seen commits`)
			})
			if c.failOver {
				// It has replayed what the new primary never had.
				s.must(s.stack.RebuildReplica(s.ctx))
			}
			s.eventually("everything that Redis holds at main", func() bool {
				size, err := s.bufferSize(s.ctx)
				return err == nil && size == 0 && s.rows(s.stack.Primary, "kept-%") >= 300
			})

			// What is lost is known as lost; what is not, is what it was.
			gone := func(comment string) bool {
				return strings.HasPrefix(comment, "lost-") || c.failOver && strings.HasPrefix(comment, "applied-")
			}
			for comment, w := range sent {
				if strings.HasPrefix(comment, "kept-") && !strings.HasSuffix(comment, "0") {
					continue // a tenth of them is enough
				}
				s.eventually("what became of "+comment, func() bool {
					var tx struct{ State string }
					err := s.client.get(s.ctx, "/transactions/"+w.tx, &tx)
					var refused *refusal
					if gone(comment) {
						return errors.As(err, &refused) && refused.status == http.StatusNotFound
					}
					return err == nil && tx.State == "replicated"
				})
			}
			// The clients repeat what they are not sure of.
			for comment, w := range sent {
				if !strings.HasPrefix(comment, "lost-") && !strings.HasPrefix(comment, "applied-") {
					continue
				}
				again := s.send(comment, "")
				if again.id != w.id && !gone(comment) {
					t.Errorf("%s is made again: %v after %v", comment, again, w)
				}
				sent[comment] = again
			}
			s.eventually("everything at both sites", func() bool {
				size, err := s.bufferSize(s.ctx)
				return err == nil && size == 0 && s.rows(s.stack.Replica, "%-%") >= len(sent)
			})
			for site, server := range map[string]*sandbox.Postgres{"main": s.stack.Primary, "the replica": s.stack.Replica} {
				got := executionsByComment(t, server.URL(demoDatabase), "%-%", "running")
				for comment, w := range sent {
					if ids := got[comment]; len(ids) != 1 || ids[0] != w.id {
						t.Errorf("%s: %s was answered with %s, and is there as %v", site, comment, w.id, ids)
					}
				}
			}
		})
	}
}

var no, yes = false, true

// written is what a client was answered.
type written struct{ id, tx string }

// restoring is a demo whose Redis can be put back.
type restoring struct {
	*demo
	t      *testing.T
	ctx    context.Context
	client apiClient
	unit   int64
}

func newRestoring(t *testing.T, program string, standby bool) *restoring {
	t.Helper()
	d := &demo{
		options: demoOptions{noNight: true, observatoryAPIs: 1, rtt: roundTrip(20 * time.Millisecond), standby: standby, program: program},
		out:     t.Output(), log: observetest.Logger(t),
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	if err := d.start(ctx); err != nil {
		t.Fatal(err)
	}
	s := &restoring{demo: d, t: t, ctx: ctx, client: apiClient{base: d.url(1), token: d.tokens.Admin}}
	s.unit = anyObsUnit(t, s.client)
	return s
}

func (s *restoring) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *restoring) eventually(what string, done func() bool) {
	s.t.Helper()
	sandboxtest.Eventually(s.t, 2*time.Minute, what, done)
}

// write starts n executions, each with a key that is its comment, and demands the
// state that the last one reaches.
func (s *restoring) write(sent map[string]written, kind string, n int, state string) {
	s.t.Helper()
	for i := range n {
		comment, want := fmt.Sprintf("%s-%d", kind, i), ""
		if i == n-1 {
			want = state
		}
		sent[comment] = s.send(comment, want)
	}
}

// send starts one execution; with a state it waits for that.
func (s *restoring) send(comment, state string) written {
	s.t.Helper()
	headers := []string{"Idempotency-Key", comment}
	if state == "replicated" {
		headers = append(headers, "Prefer", "wait=60")
	}
	var made struct {
		ID   string
		Sync struct{ State string }
	}
	answer, err := s.client.send(s.ctx, http.MethodPost, "/executed_obs_units/start", map[string]any{"obs_unit_id": s.unit, "comment": comment}, &made, headers...)
	if err != nil {
		s.t.Fatal(err)
	}
	if state != "" && made.Sync.State != state {
		s.t.Fatalf("%s is %s, want %s", comment, made.Sync.State, state)
	}
	return written{made.ID, answer.Get("X-Transaction-Id")}
}

// rows counts the executions of a server whose comment is like a pattern.
func (s *restoring) rows(server *sandbox.Postgres, pattern string) int {
	text, err := server.Text(s.ctx, demoDatabase, "SELECT count(*)::text FROM executed_obs_unit WHERE comment LIKE $1 AND status = 'running'", pattern)
	if err != nil {
		return -1 // it is being started
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// redisDir is where Redis keeps its files.
func (s *restoring) redisDir() string {
	servers, err := filepath.EvalSymlinks(filepath.Join(s.stack.Dir, "servers"))
	s.must(err)
	return filepath.Join(servers, "redis")
}

// snapshot copies Redis' files as a backup does, and returns where to.
func (s *restoring) snapshot() string {
	s.t.Helper()
	backup := s.redisDir() + ".backup"
	if out, err := exec.Command("cp", "-a", s.redisDir(), backup).CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	return backup
}

// putBack gives Redis, which is not running, the files of a backup; none without.
func (s *restoring) putBack(backup string) {
	s.t.Helper()
	if backup != "" {
		s.must(os.RemoveAll(s.redisDir()))
		s.must(os.Rename(backup, s.redisDir()))
		return
	}
	files, err := filepath.Glob(filepath.Join(s.redisDir(), "*"))
	s.must(err)
	for _, file := range files {
		s.must(os.RemoveAll(file))
	}
}
