package buffer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

func TestReasonsOfHealthSayWhatIsKnown(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	now := time.Now()
	m := make1(t, s, func(c *Config) { c.Clock = func() time.Time { return now } })
	reasons := func() string { return fmt.Sprint(m.examine(t.Context()).Reasons) }
	check := func(when, part string, want bool) {
		t.Helper()
		if got := reasons(); strings.Contains(got, part) != want {
			t.Errorf("%s: %s; says %q: want %v", when, got, part, want)
		}
	}
	txntest.Note(t, s.Buffered, "x", nil)
	m.state.connected(now)
	check("at once", "more than a minute", false)
	now = now.Add(61 * time.Second)
	check("after a minute", "more than a minute", true)
	m.state.failed(errors.New("connection refused"))
	check("with the link cut", "more than a minute", false)
	check("with the link cut", "the primary cannot be reached", true)

	m.state.failed(fmt.Errorf("flushing: %w", &pgconn.PgError{Code: "57P01", Message: "terminating connection"}))
	check("when the primary ended it", "the primary cannot be reached", false)
	check("when the primary ended it", "a flush failed", true)
	if h := m.examine(t.Context()); h.Database != connected || h.Status != degraded {
		t.Errorf("%+v", h)
	}
	m.state.connected(now)
	m.state.failed(problem.PendingUnavailable.New("Redis is away"))
	check("when Redis is away", "the primary cannot be reached", false)

	session, err := s.Store.BeginEpoch(t.Context())
	must(t, err)
	number, err := session.RaiseBatch(t.Context(), 1)
	must(t, err)
	must(t, session.Settle(t.Context(), []pending.Settled{{Seq: 1, Position: number, Outcome: pending.StateApplied}}))
	check("before a claim", "had lost commits", false)
	_, err = session.Connected(t.Context(), pending.Claim{Batch: number - 1})
	must(t, err)
	check("after a lost tail", "had lost commits", true)
	check("after a lost tail", "may be missing", false)
	_, err = session.Connected(t.Context(), pending.Claim{Batch: 1 << 52})
	must(t, err)
	check("after a claim that Redis has never sent", "may be missing", true)
}

// TestHealthSaysThatRedisHasNoRoom: at once after a refusal, and, when nobody writes, by what Redis says of itself.
func TestHealthSaysThatRedisHasNoRoom(t *testing.T) {
	t.Parallel()
	s := txntest.NewPrivate(t, sandbox.Options{})
	m := make1(t, s)
	limit := func(bytes string) {
		t.Helper()
		if _, err := s.Stack.Redis.Command(sandboxtest.Context(t), "CONFIG", "SET", "maxmemory", bytes); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, want string) {
		t.Helper()
		if h := m.examine(t.Context()); h.Status != want {
			t.Errorf("%s: %s %q, want %s", when, h.Status, h.Reasons, want)
		}
	}
	write := func() error {
		_, err := s.Buffered.Write(sandboxtest.Context(t), txntest.Request("write-note"), func(_ context.Context, tx *txn.Builder) error {
			tx.Add(txntest.NewWrite(tx, "x", nil))
			return nil
		})
		return err
	}
	m.state.connected(time.Now())
	limit("100000")
	if err := write(); !errors.Is(err, problem.BufferFull) {
		t.Fatalf("with no room: %v, want buffer-full", err)
	}
	check("after a refusal", unhealthy)
	limit("0")
	must(t, write())
	check("when there is room again", degraded) // the replica is not looked at here

	limit("100000")
	m.lookAtRedis(sandboxtest.Context(t))
	check("when nobody has been refused", unhealthy)
	limit("0")
	m.lookAtRedis(sandboxtest.Context(t))
	check("looked at again", degraded)
}

func TestHealthAnswersInTimeWhenAServerHangs(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	line, url := txntest.Line(t, s.MainRoleURL)
	pool, err := pg.OpenWriter(t.Context(), url, pg.Options{ApplicationName: "opsdb-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	m := mainSite(t, s)
	m.config.Primary = pool
	at := serve(t, m)
	at.call("", "GET", "/health", 200)
	txntest.Blackhole(t, line)
	began := time.Now()
	answer := httptest.NewRecorder()
	at.handler.ServeHTTP(answer, httptest.NewRequest("GET", "/health", nil))
	if took := time.Since(began); answer.Code != 503 || took > 1500*time.Millisecond {
		t.Errorf("%d after %s, want 503 within about a second", answer.Code, took)
	}
	if h := answer.Header(); h.Get("Retry-After") == "" || !strings.HasPrefix(h.Get("Content-Type"), "application/json") {
		t.Errorf("%v", h)
	}
	txntest.Up(t, line)
}

func TestAPositionThatIsNotKnownIsNull(t *testing.T) {
	if known(0) != nil || *known(lsn.LSN(16)) != "0/10" {
		t.Error("0/0 is no position")
	}
}

func TestMainBuffersNothingAndSaysWhereItIs(t *testing.T) {
	t.Parallel()
	s := txntest.New(t)
	m := mainSite(t, s)
	m.config.URL = "https://main.example"
	at := serve(t, m)
	d := at.call("ada", "GET", "/api/site/info", 200)["details"].(map[string]any)
	if len(d["buffered_operations"].([]any)) != 0 || d["url"] != "https://main.example" {
		t.Errorf("%v", d)
	}
	m.config.URL = ""
	if d = at.call("ada", "GET", "/api/site/info", 200)["details"].(map[string]any); d["url"] != nil {
		t.Errorf("%v", d)
	}
}

// TestLastErrorDoesNotSayWhereThePrimaryIs: who may read the buffer need not know as whom, and where, the site writes.
func TestLastErrorDoesNotSayWhereThePrimaryIs(t *testing.T) {
	_, err := pgx.Connect(t.Context(), "postgres://opsdb_observatory@127.0.0.1:1/secret?connect_timeout=5")
	if err == nil {
		t.Fatal("there is a server on port 1")
	}
	_, dialled := net.Dial("tcp", "127.0.0.1:1")
	for _, err := range []error{fmt.Errorf("connecting to the primary: %w", err), dialled} {
		if text := errorShown(err); strings.Contains(text, "127.0.0.1") || strings.Contains(text, "opsdb_observatory") {
			t.Errorf("%q", text)
		}
	}
	if text := errorShown(txn.ErrSiteMissing); text != txn.ErrSiteMissing.Error() {
		t.Errorf("%q", text)
	}
}
