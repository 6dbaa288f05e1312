package sandbox

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// startPair is a stack with a standby and a table, which all three servers have.
func startPair(t *testing.T) (context.Context, *Stack) {
	t.Helper()
	_, s := start(t, Options{Standby: true})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	runSQL(ctx, t, s.Primary, "CREATE TABLE seen (n int); INSERT INTO seen VALUES (0)")
	settle(ctx, t, s)
	return ctx, s
}

func settle(ctx context.Context, t *testing.T, s *Stack) {
	t.Helper()
	must(t, s.WaitForStandby(ctx))
	must(t, s.WaitForReplay(ctx))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rows(ctx context.Context, t *testing.T, p *Postgres) string {
	t.Helper()
	return text(ctx, t, p, "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM seen")
}

func canFollow(ctx context.Context, t *testing.T, s *Stack, want bool) {
	t.Helper()
	can, err := s.ReplicaCanFollow(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if can != want {
		t.Fatalf("the replica can follow the new primary: %v, want %v", can, want)
	}
}

// write inserts through a URL, as a client would that does not know which server
// takes writes.
func write(ctx context.Context, t *testing.T, url string, n int) {
	t.Helper()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	if _, err := conn.Exec(ctx, "INSERT INTO seen VALUES ($1)", n); err != nil {
		t.Fatal(err)
	}
}

// TestReplicaFollowsTheNewPrimary: the replica had replayed less than the standby
// had, so it goes on over the change of timelines by itself; and the other way
// round the next time, because the old primary is a standby then.
func TestReplicaFollowsTheNewPrimary(t *testing.T) {
	ctx, s := startPair(t)
	first := s.Primary
	down, up := false, true
	for n, want := range []string{"0 1 2", "0 1 2 11 12"} {
		must(t, s.Link.Apply(Change{Up: &down}, ReplicationLine))
		write(ctx, t, s.LinkURL(superuser), 10*n+1)
		must(t, s.WaitForStandby(ctx))
		if strings.Contains(rows(ctx, t, s.Replica), want[len(want)-3:]) {
			t.Fatal("the replica has what was written behind a cut line")
		}
		canFollow(ctx, t, s, true)
		must(t, s.FailOver(ctx))
		must(t, s.Link.Apply(Change{Up: &up}, ReplicationLine))
		canFollow(ctx, t, s, true)
		write(ctx, t, s.LinkURL(superuser), 10*n+2)
		must(t, s.WaitForReplay(ctx))
		if got := rows(ctx, t, s.Replica); got != want {
			t.Errorf("after failover %d the replica has %s, want %s", n+1, got, want)
		}
		must(t, s.Rejoin(ctx))
		settle(ctx, t, s)
		if got := rows(ctx, t, s.Standby); got != want {
			t.Errorf("after failover %d the old primary has %s, want %s", n+1, got, want)
		}
	}
	if s.Primary != first {
		t.Error("after two failovers the first primary is not the primary again")
	}
	if timeline, err := s.Timeline(ctx); err != nil || timeline != 3 {
		t.Errorf("timeline %d, %v, want 3", timeline, err)
	}
}

// TestReplicaThatHasMoreThanTheNewPrimary cannot follow it: it goes on showing
// what was lost until it is rewound, or rebuilt.
func TestReplicaThatHasMoreThanTheNewPrimary(t *testing.T) {
	for name, mend := range map[string]func(*Stack, context.Context) error{
		"rewound": (*Stack).RewindReplica, "rebuilt": (*Stack).RebuildReplica,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, s := startPair(t)
			must(t, s.HoldStandby())
			write(ctx, t, s.PrimaryURL(superuser), 1)
			must(t, s.WaitForReplay(ctx))
			must(t, s.FailOver(ctx))
			write(ctx, t, s.LinkURL(superuser), 2)
			canFollow(ctx, t, s, false)
			must(t, s.Replica.Crash(ctx))
			canFollow(ctx, t, s, false)
			if got := rows(ctx, t, s.Replica); got != "0 1" {
				t.Fatalf("before it is mended the replica has %s, want 0 1", got)
			}
			must(t, mend(s, ctx))
			canFollow(ctx, t, s, true)
			must(t, s.WaitForReplay(ctx))
			if got := rows(ctx, t, s.Replica); got != "0 2" {
				t.Errorf("the mended replica has %s, want 0 2", got)
			}
			// What the dead server was the only one to have is gone when it is back.
			must(t, s.Rejoin(ctx))
			settle(ctx, t, s)
			if got := rows(ctx, t, s.Standby); got != "0 2" {
				t.Errorf("the old primary has %s, want 0 2", got)
			}
		})
	}
}

// TestDeadPrimaryStaysDead: nothing that merely restarts what died brings it back
// as a second primary.
func TestDeadPrimaryStaysDead(t *testing.T) {
	ctx, s := startPair(t)
	must(t, s.FailOver(ctx))
	if pid := s.Standby.Pid(); pid != 0 {
		t.Errorf("the old primary runs as %d", pid)
	}
	must(t, s.Link.Up())
	parsed, err := url.Parse(s.Standby.url(superuser, superuser, s.secrets.Postgres, s.Link.Database.Port()))
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := pgx.Connect(ctx, parsed.String()); err == nil {
		closeConn(conn)
		t.Error("the line to the old primary's host leads somewhere")
	} else if !strings.Contains(err.Error(), "refused") {
		t.Errorf("the old primary's host answers %v, want a refusal", err)
	}
}
