package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// RedisDatabases is how many numbered databases a stack's Redis has.
const RedisDatabases = 256

// Redis is the observatory's Redis, configured as the buffer demands: every
// write is on disk before it is answered.
type Redis struct {
	*Process
	// Port is where it listens on loopback.
	Port int
	// Dir holds its append-only file.
	Dir string

	password string
}

// URL is the redis:// URL of database 0, with the password.
func (r *Redis) URL() string { return r.DatabaseURL(0) }

// DatabaseURL is the redis:// URL of database n, below RedisDatabases. It names the
// user: given a password alone, redis-cli 7.0 sends an empty user name, and is refused.
func (r *Redis) DatabaseURL(n int) string {
	return fmt.Sprintf("redis://default:%s@127.0.0.1:%d/%d", r.password, r.Port, n)
}

// Flush empties database n.
func (r *Redis) Flush(ctx context.Context, n int) error {
	_, err := r.send(ctx, fmt.Sprintf("SELECT %d", n), "FLUSHDB")
	return err
}

func (s *Stack) newRedis(port int) *Redis {
	r := &Redis{Port: port, Dir: filepath.Join(s.servers, "redis"), password: s.secrets.Redis}
	r.Process = newProcess("redis", processSpec{
		command: func() Command {
			return Command{
				Path: s.binaries.Redis, Args: []string{filepath.Join(s.servers, "redis.conf")},
				Dir: r.Dir, Log: s.logFile("redis"), owner: s.owner, deathSignal: syscall.SIGKILL,
			}
		},
		ready: r.ready, stop: syscall.SIGTERM,
	}, s.log, s.changed)
	return r
}

// configureRedis writes the configuration; maxmemory 0 is no limit.
func (s *Stack) configureRedis() error {
	r := s.Redis
	lines := []string{
		"bind 127.0.0.1",
		fmt.Sprintf("port %d", r.Port),
		"requirepass " + r.password,
		fmt.Sprintf("dir \"%s\"", r.Dir),
		"daemonize no",
		"save \"\"",
		"appendonly yes",
		"appendfsync always",
		"no-appendfsync-on-rewrite no",
		"maxmemory-policy noeviction",
		fmt.Sprintf("databases %d", RedisDatabases),
		"logfile \"\"",
	}
	return s.owner.writeFile(filepath.Join(s.servers, "redis.conf"), strings.Join(lines, "\n")+"\n")
}

// ready asks once whether Redis answers and has loaded its data. It speaks the
// few bytes of the protocol itself: the client library belongs to the packages
// of the buffer and the cache.
func (r *Redis) ready(ctx context.Context) error {
	answer, err := r.send(ctx, "PING")
	if err != nil {
		return err
	}
	if answer != "+PONG" {
		return fmt.Errorf("redis answers %q", answer)
	}
	return nil
}

// Command sends one command of words without spaces and returns the first line of its
// answer as the protocol writes it ("+OK", ":3", "-ERR …").
func (r *Redis) Command(ctx context.Context, words ...string) (string, error) {
	return r.send(ctx, strings.Join(words, " "))
}

// send sends command lines and returns the first line of the last answer.
func (r *Redis) send(ctx context.Context, lines ...string) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", r.Port))
	if err != nil {
		return "", err
	}
	defer closeQuietly(conn)
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(5 * time.Second)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\n%s\r\n", r.password, strings.Join(lines, "\r\n")); err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	answer := ""
	for range 1 + len(lines) {
		if answer, err = in.ReadString('\n'); err != nil {
			return "", err
		}
		answer = strings.TrimRight(answer, "\r\n")
		if strings.HasPrefix(answer, "-") {
			return answer, fmt.Errorf("redis: %s", answer[1:])
		}
	}
	return answer, nil
}
