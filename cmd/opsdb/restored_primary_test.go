package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// TestPrimaryRestoredFromABackup: main goes on with an older state of itself, on a timeline of its own, as after a recovery
// from an archive, or on the one that it was on. The site sends again what that lacks, under the same ids, and every read
// there shows it meanwhile.
func TestPrimaryRestoredFromABackup(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole product")
	}
	program := buildProgram(t)
	for name, recovery := range map[string]bool{"with a timeline of its own": true, "on the same timeline": false} {
		t.Run(name, func(t *testing.T) {
			s := newRestoring(t, program, false)
			sent := map[string]written{}
			s.write(sent, "before", 20, "replicated")
			backup := s.backUpPrimary()
			s.write(sent, "after", 40, "replicated")
			s.must(s.stack.Link.Apply(sandbox.Change{Up: &no}, sandbox.DatabaseLine))
			s.write(sent, "waiting", 10, "buffered")

			s.must(s.stack.Primary.Kill())
			s.restorePrimary(backup, recovery)
			s.must(s.stack.Primary.Start(s.ctx))
			if n := s.rows(s.stack.Primary, "%-%"); n != 20 {
				t.Fatalf("the restored primary has %d executions, want the 20 of before the backup", n)
			}
			reads, end := make(chan int), make(chan struct{})
			go func() { reads <- s.readAll(len(sent), end) }()
			s.must(s.stack.Link.Apply(sandbox.Change{Up: &yes}))
			s.eventually("all of it at main", func() bool { return s.rows(s.stack.Primary, "%-%") == len(sent) })
			// The replica has replayed what the restored primary never had.
			s.must(s.stack.RebuildReplica(s.ctx))
			s.eventually("all of it replicated", func() bool {
				size, err := s.bufferSize(s.ctx)
				return err == nil && size == 0 && s.rows(s.stack.Replica, "%-%") == len(sent)
			})
			close(end)
			if n := <-reads; n < 3 {
				t.Errorf("%d reads were answered meanwhile: they show nothing", n)
			}
			for comment, w := range sent {
				s.eventually("what became of "+comment, func() bool {
					var tx struct{ State string }
					return s.client.get(s.ctx, "/transactions/"+w.tx, &tx) == nil && tx.State == "replicated"
				})
			}
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

// readAll reads all executions at the site until end, and returns how many reads were answered. Each shows every one; while
// the replica is away or behind, none does without saying so.
func (s *restoring) readAll(want int, end chan struct{}) (answered int) {
	for {
		select {
		case <-end:
			return answered
		case <-time.After(50 * time.Millisecond):
		}
		var page struct {
			Items []struct{ Comment string }
		}
		headers, err := s.client.send(s.ctx, http.MethodGet, "/executed_obs_units?status=running&limit=500", nil, &page)
		if refused := (*refusal)(nil); errors.As(err, &refused) && refused.status == 503 {
			continue
		}
		if err != nil {
			s.t.Errorf("reading: %v", err)
			return answered
		}
		if headers.Get("X-Overlay") != "" {
			continue // the replica is away, and the answer says that it has what is pending alone
		}
		answered++
		shown, kinds := 0, map[string]int{}
		for _, item := range page.Items {
			if kind, _, numbered := strings.Cut(item.Comment, "-"); numbered && strings.Contains("before after waiting", kind) {
				shown++
				kinds[kind]++
			}
		}
		if shown != want {
			s.t.Errorf("a read shows %v, and there are %d", kinds, want)
			return answered
		}
	}
}

// primaryDir is where the primary keeps its data.
func (s *restoring) primaryDir() string {
	dir, err := s.stack.Primary.Text(s.ctx, demoDatabase, "SELECT current_setting('data_directory')")
	s.must(err)
	return dir
}

// backUpPrimary copies the data of the primary while it stands still, and returns where to.
func (s *restoring) backUpPrimary() string {
	s.t.Helper()
	dir := s.primaryDir()
	s.must(s.stack.Primary.Stop(s.ctx))
	if out, err := exec.Command("cp", "-a", dir, dir+".backup").CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	s.must(s.stack.Primary.Start(s.ctx))
	return dir + ".backup"
}

// restorePrimary gives the primary, which is not running, the data of a backup; with a recovery as from an archive that has
// nothing newer.
func (s *restoring) restorePrimary(backup string, recovery bool) {
	s.t.Helper()
	dir := strings.TrimSuffix(backup, ".backup")
	s.must(os.RemoveAll(dir))
	s.must(os.Rename(backup, dir))
	if !recovery {
		return
	}
	settings := filepath.Join(dir, "postgresql.auto.conf")
	text, err := os.ReadFile(settings)
	s.must(err)
	s.must(os.WriteFile(settings, append(text, "\nrestore_command = 'false'\n"...), 0o600))
	signal := filepath.Join(dir, "recovery.signal")
	s.must(os.WriteFile(signal, nil, 0o600))
	if out, err := exec.Command("chown", "--reference", filepath.Join(dir, "PG_VERSION"), settings, signal).CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
}
