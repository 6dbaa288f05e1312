package rdb

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is what INFO says of a server.
type Server struct {
	// RunID is another after every start of the server.
	RunID   string
	Version string
	// Loading is set while it still reads its data from disk.
	Loading bool
	// AOF is set when it writes an append-only file.
	AOF bool
	// LastWriteFailed is set when the last write of that file did not succeed;
	// the server then refuses writes.
	LastWriteFailed bool
	// UsedMemory and MaxMemory are bytes; MaxMemory is 0 without a limit.
	UsedMemory, MaxMemory int64
}

// NoRoom reports whether the server takes no write until it has more memory or disk.
func (s Server) NoRoom() bool {
	return s.LastWriteFailed || s.MaxMemory > 0 && s.UsedMemory >= s.MaxMemory
}

// Server asks the server for INFO.
func (c *Client) Server(ctx context.Context) (Server, error) {
	text, err := c.Info(ctx, "server", "persistence", "memory").Result()
	if err != nil {
		return Server{}, fmt.Errorf("asking Redis for INFO: %w", err)
	}
	return parseInfo(text), nil
}

// parseInfo reads the answer of INFO. Unknown lines and numbers that cannot be
// read are left out: servers differ in what they tell.
func parseInfo(text string) Server {
	field := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			field[name] = strings.TrimSpace(value)
		}
	}
	number := func(name string) int64 {
		n, err := strconv.ParseInt(field[name], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return Server{
		RunID:           field["run_id"],
		Version:         field["redis_version"],
		Loading:         field["loading"] == "1",
		AOF:             field["aof_enabled"] == "1",
		LastWriteFailed: field["aof_last_write_status"] == "err",
		UsedMemory:      number("used_memory"),
		MaxMemory:       number("maxmemory"),
	}
}

// Durability says whether a server keeps every write it has answered.
type Durability struct {
	Server Server
	// Findings name each setting under which an acknowledged write can be lost,
	// and the value it must have.
	Findings []string
	// Unknown says which settings could not be read, and why; empty when all
	// could.
	Unknown string
}

// Safe reports whether nothing that could be read is wrong.
func (d Durability) Safe() bool { return len(d.Findings) == 0 }

// Error describes the findings in one line.
func (d Durability) Error() string {
	return "Redis can lose acknowledged writes: " + strings.Join(d.Findings, "; ")
}

// durable are the settings of a server that never loses an acknowledged write:
// each write is on disk before it is answered, also while the file is being
// rewritten, and nothing is evicted.
var durable = [...]struct{ name, value string }{
	{"appendonly", "yes"},
	{"appendfsync", "always"},
	{"no-appendfsync-on-rewrite", "no"},
	{"maxmemory-policy", "noeviction"},
}

// Durability reads the settings that decide whether the server may hold
// acknowledged writes. An error means that it could not be asked (see
// Unreachable); a server that does not permit CONFIG GET is judged by INFO, and
// Unknown says so.
func (c *Client) Durability(ctx context.Context) (Durability, error) {
	server, err := c.Server(ctx)
	if err != nil {
		return Durability{}, err
	}
	d := Durability{Server: server}
	got, err := c.settings(ctx)
	if err != nil {
		if Unreachable(err) {
			return Durability{}, fmt.Errorf("reading the settings of Redis: %w", err)
		}
		d.Unknown = fmt.Sprintf("appendfsync and others: CONFIG GET is not permitted (%v)", err)
		if !server.AOF {
			d.Findings = append(d.Findings, "appendonly must be yes")
		}
		return d, nil
	}
	for _, s := range durable {
		switch v, ok := got[s.name]; {
		case !ok:
			d.Unknown = strings.TrimPrefix(d.Unknown+", "+s.name+" is not told", ", ")
		case v != s.value:
			d.Findings = append(d.Findings, fmt.Sprintf("%s must be %s, is %s", s.name, s.value, v))
		}
	}
	return d, nil
}

func (c *Client) settings(ctx context.Context) (map[string]string, error) {
	got := map[string]string{}
	answers := make([]*redis.MapStringStringCmd, len(durable))
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, s := range durable {
			answers[i] = p.ConfigGet(ctx, s.name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, a := range answers {
		for k, v := range a.Val() {
			got[k] = v
		}
	}
	return got, nil
}

// SlowestFsync is the longest fsync of the append-only file that the server
// remembers, 0 when it knows none: its latency monitor (latency-monitor-threshold)
// is off, or all were faster.
func (c *Client) SlowestFsync(ctx context.Context) (time.Duration, error) {
	events, err := c.Do(ctx, "latency", "latest").Slice()
	if err != nil {
		return 0, fmt.Errorf("asking Redis for its latest latencies: %w", err)
	}
	return slowestFsync(events), nil
}

// slowestFsync reads the answer of LATENCY LATEST: name, time, latest and longest
// in milliseconds of each event.
func slowestFsync(events []any) time.Duration {
	for _, e := range events {
		fields, _ := e.([]any)
		if len(fields) < 4 || fields[0] != "aof-fsync-always" {
			continue
		}
		longest, _ := fields[3].(int64)
		return time.Duration(longest) * time.Millisecond
	}
	return 0
}
