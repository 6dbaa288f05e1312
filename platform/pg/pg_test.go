package pg_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func open(t *testing.T, pool *pgxpool.Pool, err error) *pgxpool.Pool {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func setting(t *testing.T, pool *pgxpool.Pool, name string) string {
	t.Helper()
	var value string
	if err := pool.QueryRow(sandboxtest.Context(t), "SELECT current_setting($1)", name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestPoolsSetWhatTheirUseNeeds(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	ctx := sandboxtest.Context(t)
	writer, err := pg.OpenWriter(ctx, pair.MainRoleURL, pg.Options{ApplicationName: "opsdb-direct"})
	writer = open(t, writer, err)
	reader, err := pg.OpenReader(ctx, pair.ReaderURL, pg.Options{ApplicationName: "opsdb-read", Params: map[string]string{"statement_timeout": "7s"}})
	reader = open(t, reader, err)

	for _, tc := range []struct {
		pool        *pgxpool.Pool
		name, value string
	}{
		{writer, "lock_timeout", "3s"},
		{writer, "default_transaction_read_only", "off"},
		{writer, "application_name", "opsdb-direct"},
		{reader, "plan_cache_mode", "force_custom_plan"},
		{reader, "default_transaction_read_only", "on"},
		{reader, "application_name", "opsdb-read"},
		{reader, "statement_timeout", "7s"},
		{reader, "TimeZone", "UTC"},
	} {
		if got := setting(t, tc.pool, tc.name); got != tc.value {
			t.Errorf("%s = %q, want %q", tc.name, got, tc.value)
		}
	}
}

// TestReaderFindsTheServerThatTakesWrites: the URL of a main site with several
// servers asks for a connection that can write, and the pool's never can.
func TestReaderFindsTheServerThatTakesWrites(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	ctx := sandboxtest.Context(t)
	at, err := url.Parse(pair.MainURL)
	if err != nil {
		t.Fatal(err)
	}
	replica, err := url.Parse(pair.ReplicaURL)
	if err != nil {
		t.Fatal(err)
	}
	// The replica first, so that it has to be passed over.
	at.Host = replica.Host + "," + at.Host
	at.RawQuery = "sslmode=disable&target_session_attrs=read-write"
	pool, err := pg.OpenReader(ctx, at.String(), pg.Options{ApplicationName: "opsdb-read"})
	pool = open(t, pool, err)
	if setting(t, pool, "default_transaction_read_only") != "on" {
		t.Error("the pool may write")
	}
	var recovers bool
	if err := pool.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&recovers); err != nil || recovers {
		t.Errorf("connected to a server in recovery: %v, %v", recovers, err)
	}
}

func TestOpeningAnUnreachableServerIsNoError(t *testing.T) {
	t.Parallel()
	pool, err := pg.OpenReader(t.Context(), "postgres://nobody:geheim@"+closedPort(t)+"/opsdb", pg.Options{})
	pool = open(t, pool, err)

	found := pg.Check(sandboxtest.Context(t), pool, pg.Expectation{Primary: true})

	if found.Answered() || found.Err() != nil {
		t.Errorf("an unreachable server gave a wrong answer: %v", found)
	}
}

func TestABadURLDoesNotShowItsPassword(t *testing.T) {
	t.Parallel()
	_, err := pg.OpenReader(t.Context(), "postgres://nobody:geheim@host:port/opsdb", pg.Options{})
	if err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("error %v: want one without the password", err)
	}
}

func TestCodecs(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	ctx := sandboxtest.Context(t)
	pool, err := pg.OpenReader(ctx, pair.MainURL, pg.Options{})
	pool = open(t, pool, err)
	conn, err := pg.Connect(ctx, pair.LinkURL, "opsdb", pg.ProcessorParams())
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Abandon(conn)

	id, other := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	at := time.Date(2026, 7, 15, 11, 20, 0, 123456000, time.UTC)
	type values struct {
		ID       uuid.UUID
		Null     *uuid.UUID
		Set      *uuid.UUID
		IDs      []uuid.UUID
		At       time.Time
		NullTime *time.Time
	}
	want := values{ID: id, Set: &other, IDs: []uuid.UUID{id, other}, At: at}
	for name, db := range map[string]pg.Querier{"pool": pool, "connection": conn} {
		var got values
		var none *uuid.UUID
		var noTime *time.Time
		err := db.QueryRow(ctx, "SELECT $1::uuid, $2::uuid, $3::uuid, $4::uuid[], $5::timestamptz, $6::timestamptz", id, none, &other, want.IDs, at, noTime).
			Scan(&got.ID, &got.Null, &got.Set, &got.IDs, &got.At, &got.NullTime)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.At.Location() != time.UTC {
			t.Errorf("%s: time in %v, want UTC", name, got.At.Location())
		}
	}

	type status string
	var got []status
	sent := []status{"running", "completed"}
	if err := pool.QueryRow(ctx, "SELECT $1::execution_status[]", sent).Scan(&got); err != nil {
		t.Fatalf("enum array: %v", err)
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("enum array (-want +got):\n%s", diff)
	}
	var untyped []any
	if err := pool.QueryRow(ctx, "SELECT ARRAY[$1::uuid]", id).Scan(&untyped); err != nil || len(untyped) != 1 || untyped[0] != id {
		t.Errorf("untyped uuid = %v (%v), want %v", untyped, err, id)
	}
}

func TestProcessorConnectionHasItsLimits(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	ctx := sandboxtest.Context(t)
	conn, err := pg.Connect(ctx, pair.ProcessorURL, "opsdb-processor:observatory", pg.ProcessorParams())
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Abandon(conn)
	for name, want := range map[string]string{
		"tcp_user_timeout": "15000", "tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3",
		"client_connection_check_interval": "2s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "15s",
		"synchronous_commit": "on", "application_name": "opsdb-processor:observatory", "TimeZone": "UTC",
	} {
		var got string
		if err := conn.QueryRow(ctx, "SHOW "+name).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q (%v), want %q", name, got, err, want)
		}
	}
}

// TestAbandonIsImmediate: the peer takes nothing, so that a polite close would wait.
func TestAbandonIsImmediate(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	ctx := sandboxtest.Context(t)
	conn, err := pg.Connect(ctx, pair.MainURL, "opsdb-abandon", nil)
	if err != nil {
		t.Fatal(err)
	}
	pid := conn.PgConn().PID()
	waiting, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(waiting, "SELECT pg_sleep(60)")
		done <- err
	}()
	admin := pair.Primary(t)
	sandboxtest.Eventually(t, 10*time.Second, "the statement to run", func() bool {
		var running bool
		err := admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')", pid).Scan(&running)
		return err == nil && running
	})
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the cancellation", err)
	}

	started := time.Now()
	pg.Abandon(conn)

	if took := time.Since(started); took > 500*time.Millisecond {
		t.Errorf("took %v", took)
	}
	if !conn.IsClosed() {
		t.Error("the connection is still open")
	}
	select {
	case <-conn.PgConn().CleanupDone():
	case <-time.After(3 * time.Second):
		t.Error("pgx still closes the connection in the background")
	}
	pg.Abandon(conn) // twice is harmless
}

// needs is a little of what an API server needs.
var needs = []pg.Privilege{
	{Table: "executed_obs_unit", Verbs: "SELECT, INSERT, UPDATE"},
	{Table: "applied_transaction", Verbs: "SELECT, INSERT, UPDATE (changes)"},
	{Table: "observing_program", Verbs: "DELETE"},
}

func failing(found pg.Findings) []string {
	var names []string
	for _, f := range found {
		if !f.OK {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	return names
}

func TestCheck(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	ctx := sandboxtest.Context(t)
	var version int64
	if err := pair.Primary(t).QueryRow(ctx, "SELECT max(version_id) FROM goose_db_version").Scan(&version); err != nil {
		t.Fatal(err)
	}
	pair.WaitForReplay(t)

	for name, tc := range map[string]struct {
		url     string
		params  map[string]string
		want    pg.Expectation
		failing []string
		fatal   bool
	}{
		"main's primary":               {url: pair.MainRoleURL, want: pg.Expectation{Primary: true, SchemaVersion: version, Privileges: needs}},
		"a site's replica":             {url: pair.ReaderURL, want: pg.Expectation{SchemaVersion: version, Privileges: []pg.Privilege{{Table: "executed_obs_unit", Verbs: "SELECT"}}}},
		"a replica for the primary":    {url: pair.ReaderURL, want: pg.Expectation{Primary: true, SchemaVersion: version}, failing: []string{"role", "durability"}, fatal: true},
		"the primary for a replica":    {url: pair.MainRoleURL, want: pg.Expectation{SchemaVersion: version}, failing: []string{"replication", "role"}, fatal: true},
		"old schema at the primary":    {url: pair.MainRoleURL, want: pg.Expectation{Primary: true, SchemaVersion: version + 1}, failing: []string{"schema"}, fatal: true},
		"newer schema at the primary":  {url: pair.MainRoleURL, want: pg.Expectation{Primary: true, SchemaVersion: version - 1}},
		"newer schema at the replica":  {url: pair.ReaderURL, want: pg.Expectation{SchemaVersion: version - 1}},
		"old schema at the replica":    {url: pair.ReaderURL, want: pg.Expectation{SchemaVersion: version + 1}, failing: []string{"schema"}},
		"a role without rights":        {url: pair.ReaderURL, want: pg.Expectation{SchemaVersion: version, Privileges: needs}, failing: []string{"privileges"}, fatal: true},
		"asynchronous commit":          {url: pair.MainRoleURL, params: map[string]string{"synchronous_commit": "off"}, want: pg.Expectation{Primary: true, SchemaVersion: version}, failing: []string{"synchronous_commit"}, fatal: true},
		"a processor sees only itself": {url: pair.ProcessorURL, want: pg.Expectation{Primary: true, SchemaVersion: version}, failing: []string{"statistics"}},
	} {
		t.Run(name, func(t *testing.T) {
			pool, err := pg.OpenReader(ctx, tc.url, pg.Options{Params: tc.params})
			pool = open(t, pool, err)

			found, err := pg.CheckUntilAnswered(ctx, pool, tc.want)

			if err != nil {
				t.Fatal(err)
			}
			// A sandbox may run without fsync: that is not what is tested here.
			got := slices.DeleteFunc(failing(found), func(name string) bool { return name == pg.FindingDurability })
			want := slices.DeleteFunc(slices.Sorted(slices.Values(tc.failing)), func(name string) bool { return name == pg.FindingDurability })
			if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
				t.Errorf("failing (-want +got):\n%s\n%+v", diff, found)
			}
			if fatal := found.Err() != nil; fatal != tc.fatal {
				t.Errorf("fatal = %v, want %v: %+v", fatal, tc.fatal, found)
			}
		})
	}
}

func TestAWrongPasswordIsAWrongAnswer(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	config, err := pgconn.ParseConfig(pair.MainRoleURL)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pg.OpenReader(t.Context(), strings.Replace(pair.MainRoleURL, config.Password, "wrong", 1), pg.Options{})
	pool = open(t, pool, err)

	found := pg.Check(sandboxtest.Context(t), pool, pg.Expectation{Primary: true})

	if diff := cmp.Diff([]string{pg.FindingLogin}, failing(found)); diff != "" || found.Err() == nil {
		t.Errorf("findings %+v, want a fatal one of the login", found)
	}
}

// TestCheckWaitsForAServerThatIsNotThereYet checks before the server listens.
func TestCheckWaitsForAServerThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	config, err := pgconn.ParseConfig(pair.MainRoleURL)
	if err != nil {
		t.Fatal(err)
	}
	address := closedPort(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pg.OpenReader(t.Context(), "host="+host+" port="+port+" user="+config.User+" password="+config.Password+" dbname="+config.Database, pg.Options{})
	pool = open(t, pool, err)
	want := pg.Expectation{Primary: true}
	if found := pg.Check(sandboxtest.Context(t), pool, want); found.Answered() {
		t.Fatalf("a server answers where none should: %+v", found)
	}
	answer := make(chan pg.Findings, 1)
	go func() {
		found, err := pg.CheckUntilAnswered(sandboxtest.Context(t), pool, want)
		if err != nil {
			t.Error(err)
		}
		answer <- found
	}()

	forward(t, address, net.JoinHostPort(config.Host, "")+itoa(config.Port))

	if found := <-answer; found.Err() != nil {
		t.Errorf("%+v", found)
	}
}
