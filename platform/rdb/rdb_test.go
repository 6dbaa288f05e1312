package rdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func connect(t *testing.T) *Client {
	t.Helper()
	c, err := Open(Options{URL: sandboxtest.New(t).RedisURL, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestDurabilityOfASafeServer(t *testing.T) {
	t.Parallel()
	d, err := connect(t).Durability(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !d.Safe() || d.Unknown != "" || len(d.Server.RunID) != 40 || d.Server.Version == "" || !d.Server.AOF {
		t.Errorf("%+v", d)
	}
}

func TestOpenRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {URL: "http://x"}, {URL: "redis://user:geheim@%zz"}, {URL: "redis://user:geheim@host/notanumber"}} {
		c, err := Open(o)
		if err == nil {
			t.Errorf("%+v was opened: %v", o, c)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	c, err := Open(Options{URL: "rediss://example.org:6380/2"})
	if err != nil {
		t.Fatal(err)
	}
	if o := c.Client.Options(); o.TLSConfig == nil || o.DB != 2 || o.Addr != "example.org:6380" {
		t.Errorf("%+v", o)
	}
}

func TestOnConnectRunsBeforeEverything(t *testing.T) {
	t.Parallel()
	c := connect(t)
	var ran atomic.Int32
	c.OnConnect(func(ctx context.Context, conn *redis.Conn) error {
		ran.Add(1)
		return conn.Set(ctx, "first", "1", 0).Err()
	})
	if v, err := c.Get(t.Context(), "first").Result(); v != "1" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	f := c.Fork("follower")
	defer f.Close()
	if err := f.Ping(t.Context()).Err(); err != nil || ran.Load() != 2 {
		t.Errorf("%v, ran %d times", err, ran.Load())
	}
	refused := errors.New("refused")
	c.OnConnect(func(context.Context, *redis.Conn) error { return refused })
	g := c.Fork("refused")
	defer g.Close()
	if err := g.Ping(t.Context()).Err(); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

func TestUnreachableIsNoWrongAnswer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // takes connections and never answers
	for name, address := range map[string]string{"nobody listens": "127.0.0.1:1", "nobody answers": l.Addr().String()} {
		c, err := Open(Options{Addr: address, Timeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		_, err = c.Durability(t.Context())
		if !Unreachable(err) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	wrong := connect(t).Do(t.Context(), "NOSUCHCOMMAND").Err()
	if wrong == nil || Unreachable(wrong) || Full(wrong) || Unreachable(redis.Nil) || Unreachable(nil) {
		t.Errorf("a wrong answer counts as none: %v", wrong)
	}
	if !Full(fmt.Errorf("storing: %w", replyError("OOM command not allowed"))) || !Full(replyError("MISCONF Errors writing to the AOF file")) {
		t.Error("a full server is not recognised")
	}
}

type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

func TestParseInfo(t *testing.T) {
	t.Parallel()
	got := parseInfo("# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nloading:1\r\naof_enabled:1\r\naof_last_write_status:err\r\nused_memory:12\r\nmaxmemory:x\r\nodd\r\n")
	want := Server{RunID: "abc", Version: "7.0.15", Loading: true, AOF: true, LastWriteFailed: true, UsedMemory: 12}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add("run_id:abc\r\n:\r\nmaxmemory:-1")
	f.Fuzz(func(t *testing.T, s string) { parseInfo(s) })
}

// TestDurabilityWithoutConfig: managed servers do not permit CONFIG GET.
func TestDurabilityWithoutConfig(t *testing.T) {
	t.Parallel()
	c := connect(t)
	name := fmt.Sprintf("limited%d", time.Now().UnixNano())
	if err := c.Do(t.Context(), "ACL", "SETUSER", name, "on", ">x", "~*", "+@all", "-config").Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Do(context.Background(), "ACL", "DELUSER", name).Err(); err != nil {
			t.Error(err)
		}
	})
	o := *c.opts
	o.Username, o.Password = name, "x"
	limited := open(&o)
	defer limited.Close()
	d, err := limited.Durability(t.Context())
	if err != nil || !d.Safe() || !strings.Contains(d.Unknown, "CONFIG GET is not permitted") {
		t.Errorf("%+v, %v", d, err)
	}
}
