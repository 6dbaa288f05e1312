package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	superuser       = "postgres"
	replicationRole = "opsdb_observatory_replication"
	replicationSlot = site
)

// Postgres is one of the stack's database servers.
type Postgres struct {
	*Process
	// Port is where it listens on loopback.
	Port int

	dir      string
	password string
}

// URL is a libpq URI of the server's superuser for a database, past the link.
func (p *Postgres) URL(database string) string { return p.url(database, superuser, p.password, p.Port) }

func (p *Postgres) url(database, role, password string, port int) string {
	return postgresURL(database, role, password, port)
}

// postgresURL is a libpq URI; of several servers it means the one that takes writes.
func postgresURL(database, role, password string, ports ...int) string {
	u := url.URL{Scheme: "postgresql", Path: "/" + database, User: url.UserPassword(role, password), RawQuery: "sslmode=disable"}
	hosts := make([]string, len(ports))
	for i, port := range ports {
		hosts[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	u.Host = strings.Join(hosts, ",")
	if len(hosts) > 1 {
		u.RawQuery += "&target_session_attrs=read-write"
	}
	return u.String()
}

// Exec runs SQL statements (several are separated by semicolons) as superuser.
func (p *Postgres) Exec(ctx context.Context, database, sql string) error {
	return p.do(ctx, database, func(conn *pgx.Conn) error {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("running %.60q at the %s: %w", sql, p.Name, err)
		}
		return nil
	})
}

// Text runs a query that answers one text value, as superuser.
func (p *Postgres) Text(ctx context.Context, database, sql string, args ...any) (string, error) {
	var value string
	err := p.do(ctx, database, func(conn *pgx.Conn) error {
		if err := conn.QueryRow(ctx, sql, args...).Scan(&value); err != nil {
			return fmt.Errorf("asking the %s %.60q: %w", p.Name, sql, err)
		}
		return nil
	})
	return value, err
}

func (p *Postgres) do(ctx context.Context, database string, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		return err
	}
	defer closeConn(conn)
	return fn(conn)
}

// closeConn ends a connection politely, but not for long.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := conn.Close(ctx); err != nil {
		return // The server is gone, and the connection with it.
	}
}

// Promote makes a replica a primary.
func (p *Postgres) Promote(ctx context.Context) error {
	return p.Exec(ctx, superuser, "SELECT pg_promote(true)")
}

// PauseReplay lets a replica receive but not replay; it returns once replay
// stands still.
func (p *Postgres) PauseReplay(ctx context.Context) error {
	if err := p.Exec(ctx, superuser, "SELECT pg_wal_replay_pause()"); err != nil {
		return err
	}
	return poll(ctx, 2*time.Millisecond, func() (bool, error) {
		state, err := p.Text(ctx, superuser, "SELECT pg_get_wal_replay_pause_state()")
		return state == "paused", err
	})
}

// ResumeReplay lets a replica replay again.
func (p *Postgres) ResumeReplay(ctx context.Context) error {
	return p.Exec(ctx, superuser, "SELECT pg_wal_replay_resume()")
}

// poll calls done until it says so, fails or ctx ends.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

func (s *Stack) newPostgres(name, folder string, port int) *Postgres {
	p := &Postgres{Port: port, dir: filepath.Join(s.servers, folder), password: s.secrets.Postgres}
	command := func() Command {
		return Command{
			Path: filepath.Join(s.binaries.Postgres, "postgres"), Args: []string{"-D", p.dir},
			Dir: s.servers, Log: s.logFile(name), owner: s.owner,
			// The immediate shutdown: it takes the children along.
			deathSignal: syscall.SIGQUIT,
		}
	}
	stop := syscall.SIGINT // fast shutdown
	if !s.options.Keep {
		stop = syscall.SIGQUIT // nobody will read this data again
	}
	p.Process = newProcess(name, processSpec{
		command: command, prepare: p.clear, ready: p.ready, stop: stop,
		family: func() []int { return livingIn(p.dir) },
	}, s.log, s.changed)
	return p
}

// ready asks once whether the server answers queries.
func (p *Postgres) ready(ctx context.Context) error {
	return p.do(ctx, superuser, func(conn *pgx.Conn) error { return conn.Ping(ctx) })
}

// clear removes what a killed postmaster leaves: children that have not
// noticed yet (they would write to the data of the next one), its lock file
// and its shared memory. Nobody else can use the data: the stack has its lock.
func (p *Postgres) clear() {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		left := livingIn(p.dir)
		if len(left) == 0 {
			break
		}
		for _, pid := range left {
			killQuietly(pid, syscall.SIGKILL)
		}
	}
	file := filepath.Join(p.dir, "postmaster.pid")
	content, err := os.ReadFile(file)
	if err != nil {
		return
	}
	// Line 7 holds key and id of the shared memory.
	if lines := strings.Split(string(content), "\n"); len(lines) > 6 {
		if fields := strings.Fields(lines[6]); len(fields) == 2 {
			if id, err := strconv.Atoi(fields[1]); err == nil {
				removeSharedMemory(id)
			}
		}
	}
	if err := os.Remove(file); err != nil {
		return // postgres judges the file itself.
	}
}

// settings are the same for all servers, so that each can take another's part;
// what differs comes last.
func (s *Stack) settings(p *Postgres) string {
	lines := []string{
		"listen_addresses = '127.0.0.1'",
		"unix_socket_directories = ''",
		fmt.Sprintf("port = %d", p.Port),
		"max_connections = 300",
		"shared_buffers = 64MB",
		"dynamic_shared_memory_type = mmap", // leaves nothing in /dev/shm when killed
		"wal_level = replica",
		"max_wal_senders = 10",
		"max_replication_slots = 10",
		"hot_standby = on",
		"hot_standby_feedback = on",
		"wal_receiver_status_interval = 1s",
		"wal_receiver_timeout = 20s",
		"wal_sender_timeout = 20s",
		"wal_retrieve_retry_interval = 200ms", // back at once after a cut
		"wal_log_hints = on",                  // lets pg_rewind work
		"synchronous_commit = on",
		"log_timezone = 'UTC'",
		"timezone = 'UTC'",
		"log_line_prefix = '%m [%p] %a %u@%d '",
		"log_checkpoints = off",
		"jit = off",
		"password_encryption = scram-sha-256",
	}
	if !s.options.Durable {
		// Survives the death of any process, not of the machine.
		lines = append(lines, "fsync = off", "full_page_writes = on", "max_wal_size = 256MB")
	}
	if s.pair != nil {
		// A server that has been away, and pg_rewind, need some of the past.
		lines = append(lines, "wal_keep_size = 256MB")
	}
	switch p {
	case s.Replica:
		lines = append(lines,
			fmt.Sprintf("primary_conninfo = '%s'", s.conninfo(site, s.Link.lines(ReplicationLine))),
			fmt.Sprintf("primary_slot_name = '%s'", replicationSlot))
	case s.Standby:
		lines = append(lines, fmt.Sprintf("primary_conninfo = '%s'", s.conninfo(p.Name, []*Line{s.pair.stream[s.Primary]})))
	}
	return strings.Join(lines, "\n") + "\n"
}

const settingsFile = "sandbox.conf"

func (s *Stack) configure(p *Postgres) error {
	return s.owner.writeFile(filepath.Join(p.dir, settingsFile), s.settings(p))
}

// createPrimary makes and starts a new primary.
func (s *Stack) createPrimary(ctx context.Context) error {
	p := s.Primary
	if err := s.owner.mkdir(p.dir); err != nil {
		return err
	}
	passwordFile := filepath.Join(s.servers, "superuser")
	if err := s.owner.writeFile(passwordFile, s.secrets.Postgres+"\n"); err != nil {
		return err
	}
	initdb := Command{
		Path: filepath.Join(s.binaries.Postgres, "initdb"),
		Args: []string{"-D", p.dir, "--username=" + superuser, "--pwfile=" + passwordFile, "--auth=scram-sha-256",
			"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions", "--data-checksums"},
		Dir: s.servers, owner: s.owner,
	}
	err := initdb.run(ctx)
	if err := errors.Join(err, os.Remove(passwordFile)); err != nil {
		return err
	}
	conf, err := os.OpenFile(filepath.Join(p.dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conf, "\ninclude '%s'\n", settingsFile)
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}
	if err := s.configure(p); err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	// The password is ours: letters and digits.
	err = p.Exec(ctx, superuser, fmt.Sprintf("CREATE ROLE %s LOGIN REPLICATION PASSWORD '%s'", replicationRole, s.secrets.Replication))
	if err != nil {
		return err
	}
	return p.makeSlot(ctx)
}

// makeSlot keeps the log for the observatory's replica from here on. A standby
// has one too, or it could not go on with the replica after its promotion.
func (p *Postgres) makeSlot(ctx context.Context) error {
	return p.Exec(ctx, superuser, fmt.Sprintf(
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '%[1]s'; SELECT pg_create_physical_replication_slot('%[1]s', true)",
		replicationSlot))
}

// conninfo is how a server streams, from the one of several that takes writes.
func (s *Stack) conninfo(name string, lines []*Line) string {
	hosts, ports := make([]string, len(lines)), make([]string, len(lines))
	for i, line := range lines {
		hosts[i], ports[i] = "127.0.0.1", strconv.Itoa(line.Port())
	}
	info := fmt.Sprintf("host=%s port=%s user=%s password=%s application_name=%s sslmode=disable",
		strings.Join(hosts, ","), strings.Join(ports, ","), replicationRole, s.secrets.Replication, name)
	if len(lines) > 1 {
		info += " target_session_attrs=read-write"
	}
	return info
}

// createReplica copies the primary and starts the copy as its replica, which
// streams through the link.
func (s *Stack) createReplica(ctx context.Context) error {
	return s.copyPrimary(ctx, s.Replica)
}

// copyPrimary makes p's data a copy of the primary's and starts it as its replica.
func (s *Stack) copyPrimary(ctx context.Context, p *Postgres) error {
	if err := s.owner.mkdir(p.dir); err != nil {
		return err
	}
	backup := Command{
		Path: filepath.Join(s.binaries.Postgres, "pg_basebackup"),
		Args: []string{"-D", p.dir, "-X", "stream", "-c", "fast", "--no-sync", "--no-manifest",
			// Past the link: only the streaming is to feel the distance.
			"-d", fmt.Sprintf("host=127.0.0.1 port=%d user=%s sslmode=disable", s.Primary.Port, replicationRole)},
		// Not in the arguments, which everybody on the machine sees.
		Env: append(environment(), "PGPASSWORD="+s.secrets.Replication),
		Dir: s.servers, owner: s.owner,
	}
	if err := backup.run(ctx); err != nil {
		return err
	}
	return s.startAsReplica(ctx, p)
}

func (s *Stack) startAsReplica(ctx context.Context, p *Postgres) error {
	if err := s.owner.writeFile(filepath.Join(p.dir, "standby.signal"), ""); err != nil {
		return err
	}
	if err := s.configure(p); err != nil {
		return err
	}
	return p.Start(ctx)
}

// RebuildReplica throws the replica's data away and copies the primary again.
func (s *Stack) RebuildReplica(ctx context.Context) error {
	if err := s.Replica.Kill(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.Replica.dir); err != nil {
		return err
	}
	return s.createReplica(ctx)
}

// WaitForReplay waits until the replica has replayed everything that the
// primary has written by now.
func (s *Stack) WaitForReplay(ctx context.Context) error {
	if s.pair != nil {
		// Positions of different timelines cannot be compared.
		if err := s.waitForFollowing(ctx); err != nil {
			return err
		}
	}
	lsn, err := s.Primary.Text(ctx, superuser, "SELECT pg_current_wal_insert_lsn()::text")
	if err != nil {
		return err
	}
	return s.Replica.do(ctx, superuser, func(conn *pgx.Conn) error {
		return poll(ctx, time.Millisecond, func() (bool, error) {
			var reached bool
			err := conn.QueryRow(ctx, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, true)", lsn).Scan(&reached)
			return reached, err
		})
	})
}
