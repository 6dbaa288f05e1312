package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// pairPorts is how many ports a second server at the main site takes.
const pairPorts = 5

// mainPair is what belongs to a main site with two servers.
type mainPair struct {
	// stream is, by server, the line inside the main site on which the other one
	// streams from it.
	stream map[*Postgres]*Line
	// link are, by server, the lines of the long link that lead to it.
	link map[*Postgres][]*Line
}

func (m *mainPair) close() {
	for _, line := range m.stream {
		line.Close()
	}
}

// preparePair names the main site's servers and opens the lines to them.
func (s *Stack) preparePair(ports []int) error {
	a, b := s.Primary, s.newPostgres("cologne-b", "cologne-b", ports[0])
	s.Standby = b
	if err := s.Link.AddSecond(fmt.Sprintf("127.0.0.1:%d", b.Port), ports[1], ports[2]); err != nil {
		return err
	}
	s.pair = &mainPair{stream: map[*Postgres]*Line{}, link: map[*Postgres][]*Line{
		a: {s.Link.Database, s.Link.Replication},
		b: {s.Link.Second.Database, s.Link.Second.Replication},
	}}
	for i, p := range []*Postgres{a, b} {
		line, err := NewLine("standby", fmt.Sprintf("127.0.0.1:%d", p.Port), ports[3+i])
		if err != nil {
			return err
		}
		s.pair.stream[p] = line
	}
	return nil
}

// mainURL is a libpq URI for the main site's server that takes writes: through
// the lines given, or past the link.
func (s *Stack) mainURL(database, role, password string, lines []*Line) string {
	var ports []int
	for _, line := range lines {
		ports = append(ports, line.Port())
	}
	if len(lines) == 0 {
		ports = append(ports, s.Primary.Port)
		if s.Standby != nil {
			ports = append(ports, s.Standby.Port)
		}
	}
	return postgresURL(database, role, password, ports...)
}

func (s *Stack) createStandby(ctx context.Context) error {
	if err := s.copyPrimary(ctx, s.Standby); err != nil {
		return err
	}
	return s.Standby.makeSlot(ctx)
}

// HoldStandby cuts the line on which the standby streams: what is committed from
// now on is missing there, and lost by a failover.
func (s *Stack) HoldStandby() error {
	down := false
	return s.pair.stream[s.Primary].Apply(Change{Up: &down})
}

// ReleaseStandby lets a held standby catch up.
func (s *Stack) ReleaseStandby() error {
	up := true
	return s.pair.stream[s.Primary].Apply(Change{Up: &up})
}

// WaitForStandby waits until the standby has everything that the primary has
// written by now.
func (s *Stack) WaitForStandby(ctx context.Context) error {
	lsn, err := s.Primary.Text(ctx, superuser, "SELECT pg_current_wal_insert_lsn()::text")
	if err != nil {
		return err
	}
	return poll(ctx, 2*time.Millisecond, func() (bool, error) {
		reached, err := s.Standby.Text(ctx, superuser, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)::text", lsn)
		return reached == "true", err
	})
}

// FailOver loses the primary and promotes the standby, as a cluster manager does:
// the old primary is dead and its host with it (connections are refused), and it
// stays so until Rejoin makes it a standby. Primary and Standby change places. It
// returns when the new primary takes writes; the observatory's replica finds it by
// itself, if its own history allows.
func (s *Stack) FailOver(ctx context.Context) error {
	old := s.Primary
	if err := old.Kill(); err != nil {
		return err
	}
	for _, line := range append(s.pair.link[old], s.pair.stream[old]) {
		if err := line.HostGone(true); err != nil {
			return err
		}
	}
	if err := s.Standby.Promote(ctx); err != nil {
		return err
	}
	s.Primary, s.Standby = s.Standby, old
	return nil
}

// Rejoin makes the server that FailOver left dead the standby of the new primary:
// rewound to where their histories part, or copied anew when that is not possible.
func (s *Stack) Rejoin(ctx context.Context) error {
	old := s.Standby
	// The line may still be held from when this was the primary's, and the server is
	// of no use before it has streamed.
	up := true
	if err := s.pair.stream[s.Primary].Apply(Change{Up: &up}); err != nil {
		return err
	}
	// What the old primary was the only one to have is gone with this.
	if err := s.rewind(ctx, old); err != nil {
		s.log.Info("a server could not be rewound and is copied", "process", old.Name, "error", err)
		if err := os.RemoveAll(old.dir); err != nil {
			return err
		}
		if err := s.copyPrimary(ctx, old); err != nil {
			return err
		}
	}
	if err := old.makeSlot(ctx); err != nil {
		return err
	}
	var failed []error
	for _, line := range append(s.pair.link[old], s.pair.stream[old]) {
		failed = append(failed, line.HostGone(false))
	}
	return errors.Join(failed...)
}

// rewind takes back what p has and the primary has not, and starts it as the
// primary's replica.
func (s *Stack) rewind(ctx context.Context, p *Postgres) error {
	// pg_rewind reads the timeline from the last checkpoint, which may be of before
	// the promotion.
	if err := s.Primary.Exec(ctx, superuser, "CHECKPOINT"); err != nil {
		return err
	}
	rewind := Command{
		Path: filepath.Join(s.binaries.Postgres, "pg_rewind"),
		Args: []string{"-D", p.dir, "--no-sync", "--source-server=" + s.Primary.URL(superuser)},
		Dir:  s.servers, owner: s.owner,
	}
	if err := rewind.run(ctx); err != nil {
		return err
	}
	return s.startAsReplica(ctx, p)
}

// RewindReplica takes back what the observatory's replica has replayed and the
// primary does not have: afterwards it shows less than it did. It is for a replica
// that cannot follow the primary.
func (s *Stack) RewindReplica(ctx context.Context) error {
	// One that has just been started again may not have replayed all of its own log.
	// pg_rewind would see nothing to take back, and the next start would replay it.
	err := poll(ctx, 5*time.Millisecond, func() (bool, error) {
		can, err := s.ReplicaCanFollow(ctx)
		return !can, err
	})
	if err != nil {
		return err
	}
	// pg_rewind wants a server that was shut down in order.
	if err := s.Replica.end(ctx, syscall.SIGINT); err != nil {
		return err
	}
	return s.rewind(ctx, s.Replica)
}

// ReplicaCanFollow reports whether the observatory's replica can follow the
// primary: it cannot when it has replayed more than the new primary had at its
// promotion, and must then be rewound or rebuilt.
func (s *Stack) ReplicaCanFollow(ctx context.Context) (bool, error) {
	timeline, err := s.Timeline(ctx)
	if err != nil || timeline == 1 {
		return true, err
	}
	// A line of the history is a timeline and where it was left.
	history, err := s.Primary.Text(ctx, superuser,
		`SELECT pg_read_file('pg_wal/' || lpad(upper(to_hex($1::int)), 8, '0') || '.history')`, timeline)
	if err != nil {
		return false, err
	}
	own, at, err := s.Replica.position(ctx)
	if err != nil {
		return false, err
	}
	can, err := s.Replica.Text(ctx, superuser, `
		SELECT coalesce($3::pg_lsn <= min(part[2]::pg_lsn), true)::text
		FROM regexp_matches($1, '(\d+)\t([0-9A-F]+/[0-9A-F]+)', 'g') AS part WHERE part[1]::int >= $2`, history, own, at)
	return can == "true", err
}

// position is the timeline that a server has come to, and how far it has come on
// it. Only the replication protocol tells a standby's timeline: its control data is
// of the last restart point.
func (p *Postgres) position(ctx context.Context) (timeline int, lsn string, err error) {
	conn, err := pgconn.Connect(ctx, p.URL(superuser)+"&replication=true")
	if err != nil {
		return 0, "", err
	}
	results, err := conn.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return 0, "", err
	}
	row := results[0].Rows[0]
	timeline, err = strconv.Atoi(string(row[1]))
	return timeline, string(row[2]), err
}

// Timeline is the primary's.
func (s *Stack) Timeline(ctx context.Context) (int, error) {
	timeline, _, err := s.Primary.position(ctx)
	return timeline, err
}

// waitForFollowing waits until the replica streams the primary's timeline.
func (s *Stack) waitForFollowing(ctx context.Context) error {
	timeline, err := s.Timeline(ctx)
	if err != nil {
		return err
	}
	err = poll(ctx, 5*time.Millisecond, func() (bool, error) {
		follows, err := s.Replica.Text(ctx, superuser,
			"SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming' AND received_tli = $1)::text", timeline)
		return follows == "true", err
	})
	if err != nil {
		return fmt.Errorf("waiting for the replica to stream timeline %d: %w", timeline, err)
	}
	return nil
}
