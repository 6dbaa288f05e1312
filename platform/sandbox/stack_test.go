package sandbox

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// start gives a test a stack of its own.
func start(t *testing.T, options Options) (context.Context, *Stack) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	began := time.Now()
	s, err := Start(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started in %v", time.Since(began))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, s
}

func runSQL(ctx context.Context, t *testing.T, p *Postgres, sql string) {
	t.Helper()
	if err := p.Exec(ctx, superuser, sql); err != nil {
		t.Fatal(err)
	}
}

func text(ctx context.Context, t *testing.T, p *Postgres, sql string) string {
	t.Helper()
	value, err := p.Text(ctx, superuser, sql)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestEveryProcessComesBackOnItsDataAfterKill(t *testing.T) {
	ctx, s := start(t, Options{})
	runSQL(ctx, t, s.Primary, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
	if err := s.WaitForReplay(ctx); err != nil {
		t.Fatal(err)
	}
	if answer, err := s.Redis.Command(ctx, "SET", "kept", "1"); err != nil || answer != "+OK" {
		t.Fatalf("SET: %q, %v", answer, err)
	}
	for _, p := range []*Process{s.Primary.Process, s.Replica.Process, s.Redis.Process} {
		before, began := p.Pid(), time.Now()
		if err := p.Crash(ctx); err != nil {
			t.Fatalf("crashing the %s: %v", p.Name, err)
		}
		if after := p.Pid(); after == before || after == 0 {
			t.Errorf("%s: pid %d before, %d after", p.Name, before, after)
		}
		t.Logf("%s answers again after %v", p.Name, time.Since(began))
	}
	runSQL(ctx, t, s.Primary, "INSERT INTO kept VALUES (2)")
	if err := s.WaitForReplay(ctx); err != nil {
		t.Fatal(err)
	}
	if got := text(ctx, t, s.Replica, "SELECT count(*)::text FROM kept"); got != "2" {
		t.Errorf("the replica has %s rows, want 2", got)
	}
	if answer, err := s.Redis.Command(ctx, "EXISTS", "kept"); err != nil || answer != ":1" {
		t.Errorf("EXISTS: %q, %v", answer, err)
	}
}

func TestAClosedStackLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	ctx, s := start(t, Options{Dir: dir})
	servers := s.servers
	// What outlives a killed postmaster must be gone too.
	if err := s.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Primary.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Replica.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, servers} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	for _, p := range []*Postgres{s.Primary, s.Replica} {
		if left := livingIn(p.dir); len(left) > 0 {
			t.Errorf("processes %v of the %s are left", left, p.Name)
		}
	}
}

func TestAKeptStackStartsAgainWithItsData(t *testing.T) {
	dir := t.TempDir()
	ctx, s := start(t, Options{Dir: dir, Keep: true})
	runSQL(ctx, t, s.Primary, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, s = start(t, Options{Dir: dir})
	if s.Fresh {
		t.Error("the stack is new, not the one that was kept")
	}
	if err := s.WaitForReplay(ctx); err != nil {
		t.Fatal(err)
	}
	if got := text(ctx, t, s.Replica, "SELECT count(*)::text FROM kept"); got != "1" {
		t.Errorf("the replica has %s rows, want 1", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left in a folder that was there before: %v, %v", entries, err)
	}
}

func TestAFolderWithOtherThingsIsRefusedUntouched(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Start(t.Context(), Options{Dir: dir}); err == nil {
		t.Fatal("it was used", s.Close())
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder now has %v, %v", entries, err)
	}
}

func TestReplayPausesAndResumes(t *testing.T) {
	ctx, s := start(t, Options{})
	runSQL(ctx, t, s.Primary, "CREATE TABLE seen (n int)")
	if err := s.WaitForReplay(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Replica.PauseReplay(ctx); err != nil {
		t.Fatal(err)
	}
	runSQL(ctx, t, s.Primary, "INSERT INTO seen VALUES (1)")
	if got := text(ctx, t, s.Replica, "SELECT count(*)::text FROM seen"); got != "0" {
		t.Errorf("a paused replica shows %s rows", got)
	}
	if err := s.Replica.ResumeReplay(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitForReplay(ctx); err != nil {
		t.Fatal(err)
	}
	if got := text(ctx, t, s.Replica, "SELECT count(*)::text FROM seen"); got != "1" {
		t.Errorf("after resuming it shows %s rows, want 1", got)
	}
}

func TestReplicationStopsWithItsLineAndCatchesUp(t *testing.T) {
	ctx, s := start(t, Options{})
	down := false
	if err := s.Link.Apply(Change{Up: &down}, ReplicationLine); err != nil {
		t.Fatal(err)
	}
	runSQL(ctx, t, s.Primary, "CREATE TABLE late (n int)")
	if got := text(ctx, t, s.Replica, "SELECT (to_regclass('late') IS NULL)::text"); got != "true" {
		t.Error("the replica has what was written behind a cut line")
	}
	if err := s.Link.Up(); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitForReplay(ctx); err != nil {
		t.Fatal(err)
	}
	if got := text(ctx, t, s.Replica, "SELECT (to_regclass('late') IS NOT NULL)::text"); got != "true" {
		t.Error("the replica did not catch up")
	}
}

func TestAProgramIsSupervisedAndItsPidsAreTold(t *testing.T) {
	told := make(chan struct{}, 100)
	ctx, s := start(t, Options{Changed: func() { told <- struct{}{} }})
	file := filepath.Join(s.Dir, "answers")
	s.Remember(file)
	p, err := s.Run(ctx, "program", Command{Path: "/bin/sh", Args: []string{"-c", "echo $$ > answers; exec sleep 1000"}},
		func(context.Context) error {
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			var pid int
			return json.Unmarshal(content, &pid)
		})
	if err != nil {
		t.Fatal(err)
	}
	for len(told) > 0 {
		<-told
	}
	before := p.Pid()
	if err := p.Crash(ctx); err != nil {
		t.Fatal(err)
	}
	if p.Pid() == before {
		t.Error("the program was not started again")
	}
	select {
	case <-told:
	case <-ctx.Done():
		t.Error("nobody was told about the new pid")
	}
}

func TestAFolderThatTheServersCannotReachWorks(t *testing.T) {
	// As root, the servers run as another user, who cannot pass this one.
	private := filepath.Join(t.TempDir(), "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(private, "stack")
	_, s := start(t, Options{Dir: dir})
	servers := s.servers
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, servers} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
}

func TestAbandonedFoldersAreSweptAndOthersAreNot(t *testing.T) {
	parent := t.TempDir()
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]struct{ lock, locked, old, stays bool }{
		"opsdb-run-killed":             {lock: true, old: true},
		"opsdb-run-killed-early":       {old: true},
		"opsdb-run-in-use":             {lock: true, locked: true, old: true, stays: true},
		"opsdb-run-new":                {stays: true},
		"opsdb-run-about-to-be-locked": {lock: true, stays: true},
		"opsdb-kept":                   {lock: true, old: true, stays: true},
	}
	for name, kind := range kinds {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o711); err != nil {
			t.Fatal(err)
		}
		if kind.lock {
			lock, err := os.Create(filepath.Join(dir, lockFile))
			if err != nil {
				t.Fatal(err)
			}
			defer closeQuietly(lock)
			if kind.locked {
				if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
					t.Fatal(err)
				}
			}
		}
		if kind.old {
			then := time.Now().Add(-2 * begins)
			if err := os.Chtimes(dir, then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	sweep(parent)
	for name, kind := range kinds {
		if _, err := os.Stat(filepath.Join(parent, name)); (err == nil) != kind.stays {
			t.Errorf("%s is there: %v, want %v", name, err == nil, kind.stays)
		}
	}
}
