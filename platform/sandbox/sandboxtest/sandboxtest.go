// Package sandboxtest gives tests the two sites of a sandbox: a stack that all
// tests of a package share, with a migrated database and a Redis database for
// each of them, or a stack of their own for those that pause, cut and kill.
//
//	func TestMain(m *testing.M) { sandboxtest.Main(m) }
//
//	func TestStart(t *testing.T) {
//		t.Parallel()
//		pair := sandboxtest.New(t) // or NewPrivate(t, sandbox.Options{RTT: …})
//		main := pair.Primary(t)    // a pool
//		…
//	}
package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/sandbox"
)

// Names of the sites in every database that this package makes.
const (
	MainSite      = "cologne"
	SecondarySite = "observatory"
)

// Pair is what one test sees: both sites with a database of its own.
type Pair struct {
	// Stack runs the servers. When it is shared, a test must not touch its
	// processes or its link.
	Stack *sandbox.Stack
	// Database is the name of the test's database, at both servers.
	Database string
	// MainURL reaches the primary directly, as the main site does.
	MainURL string
	// LinkURL reaches the primary through the link's database line, as the
	// observatory does.
	LinkURL string
	// ReplicaURL reaches the observatory's replica.
	ReplicaURL string
	// MainRoleURL, ProcessorURL and ReaderURL are MainURL, LinkURL and ReplicaURL
	// for the unprivileged roles that the servers use; the others are for the
	// superuser.
	MainRoleURL, ProcessorURL, ReaderURL string
	// RedisURL is a database of the observatory's Redis, empty at first.
	RedisURL string
	// Site is the secondary site's short name, SecondarySite.
	Site string
	// SiteID and MainSiteID are the ids of both sites' rows.
	SiteID, MainSiteID int64
}

// Option changes what New and NewPrivate make.
type Option func(*want)

type want struct {
	seeded bool
}

// Seeded fills the database with the demo data.
func Seeded() Option { return func(w *want) { w.seeded = true } }

// Main is the TestMain of a package: it runs the tests, ends the stack they
// shared, and looks for secrets in all logs.
func Main(m *testing.M) { os.Exit(run(m, false)) }

// MainLeakless is Main, and fails when the tests leave goroutines behind.
func MainLeakless(m *testing.M) { os.Exit(run(m, true)) }

func run(m *testing.M, leakless bool) int {
	code := observetest.Run(m)
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if leakless && code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// New clones a migrated database in the stack that the package's tests share;
// it is dropped when the test ends.
func New(t testing.TB, options ...Option) *Pair {
	t.Helper()
	s, err := shared.get()
	if err != nil {
		t.Fatalf("starting the shared stack: %v", err)
	}
	return s.pair(t, options)
}

// NewPrivate starts a stack for one test alone, which may do to it what it
// likes, and closes it when the test ends.
func NewPrivate(t testing.TB, stack sandbox.Options, options ...Option) *Pair {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The templates are copied through the link: slowness comes afterwards.
	rtt := stack.RTT
	stack.RTT = 0
	s, err := start(ctx, stack)
	if err != nil {
		t.Fatalf("starting a stack: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the stack: %v", err)
		}
	})
	pair := s.private(t, options)
	s.Link.SetRTT(rtt)
	return pair
}

// Context ends with the test, or after a minute: a test that waits for
// something that never comes then says what it waited for.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Eventually polls until done returns true; after limit the test fails with what it waited for.
func Eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still waiting for %s", limit, what)
		}
		<-tick.C
	}
}

// Primary opens a pool of the superuser at the primary, until the test ends.
func (p *Pair) Primary(t testing.TB) *pgxpool.Pool { return Pool(t, p.MainURL) }

// Replica opens a pool of the superuser at the replica, until the test ends.
func (p *Pair) Replica(t testing.TB) *pgxpool.Pool { return Pool(t, p.ReplicaURL) }

// Exec runs SQL statements at the primary as superuser.
func (p *Pair) Exec(t testing.TB, sql string) {
	t.Helper()
	if err := p.Stack.Primary.Exec(Context(t), p.Database, sql); err != nil {
		t.Fatal(err)
	}
}

// WaitForReplay waits until the replica shows everything written so far.
func (p *Pair) WaitForReplay(t testing.TB) {
	t.Helper()
	if err := p.Stack.WaitForReplay(Context(t)); err != nil {
		t.Fatalf("waiting for the replica: %v", err)
	}
}

// PauseReplay lets the replica receive but not replay, until ResumeReplay or
// the end of the test. Only for a private stack: replay stops for all databases.
func (p *Pair) PauseReplay(t testing.TB) {
	t.Helper()
	if err := p.Stack.Replica.PauseReplay(Context(t)); err != nil {
		t.Fatalf("pausing replay: %v", err)
	}
}

// ResumeReplay lets the replica replay again.
func (p *Pair) ResumeReplay(t testing.TB) {
	t.Helper()
	if err := p.Stack.Replica.ResumeReplay(Context(t)); err != nil {
		t.Fatalf("resuming replay: %v", err)
	}
}

// Pool opens a pool that reads times in UTC; it is closed when the test ends.
func Pool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 8
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// sharedStack is the stack of a test binary, started at first use.
type sharedStack struct {
	mu    sync.Mutex
	stack *stack
	err   error
}

var shared sharedStack

func (s *sharedStack) get() (*stack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stack == nil && s.err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.stack, s.err = start(ctx, sandbox.Options{})
	}
	return s.stack, s.err
}

func (s *sharedStack) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stack == nil {
		return nil
	}
	return s.stack.Close()
}

// stack is a sandbox with templates to clone.
type stack struct {
	*sandbox.Stack
	// Kept open, because every test needs both once or twice.
	primary, replica *pgxpool.Pool

	mu        sync.Mutex
	templates map[string]template
	count     atomic.Int64
	redis     []int // databases of Redis that are free
}

func start(ctx context.Context, options sandbox.Options) (*stack, error) {
	if options.Dir == "" {
		options.TempDir = memoryDir()
	}
	inner, err := sandbox.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	s := &stack{Stack: inner, templates: map[string]template{}}
	for n := range sandbox.RedisDatabases {
		s.redis = append(s.redis, n)
	}
	var atPrimary, atReplica error
	s.primary, atPrimary = pgxpool.New(ctx, s.Stack.Primary.URL("postgres"))
	s.replica, atReplica = pgxpool.New(ctx, s.Stack.Replica.URL("postgres"))
	if err := errors.Join(atPrimary, atReplica); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return s, nil
}

// Close ends the stack. It fails when a server has logged a secret.
func (s *stack) Close() error {
	s.primary.Close()
	s.replica.Close()
	said := s.saysNoSecret()
	return errors.Join(said, s.Stack.Close())
}

func (s *stack) saysNoSecret() error {
	logs, err := filepath.Glob(filepath.Join(s.Dir, "log", "*"))
	if err != nil {
		return err
	}
	found, said, err := observetest.SecretsInFiles(logs)
	switch {
	case err != nil:
		return err
	case said == 0:
		return fmt.Errorf("the servers have said nothing in %d logs", len(logs))
	case len(found) > 0:
		return fmt.Errorf("a server has logged a secret: %s", strings.Join(found, "; "))
	}
	return nil
}

// waitForReplay is Stack.WaitForReplay over the open connections.
func (s *stack) waitForReplay(ctx context.Context) error {
	var lsn string
	if err := s.primary.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&lsn); err != nil {
		return err
	}
	for {
		var reached bool
		if err := s.replica.QueryRow(ctx, "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", lsn).Scan(&reached); err != nil || reached {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// pair clones a database for a test.
func (s *stack) pair(t testing.TB, options []Option) *Pair {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	template, err := s.template(ctx, options)
	if err != nil {
		t.Fatalf("making the template database: %v", err)
	}
	database := fmt.Sprintf("test_%d", s.count.Add(1))
	if _, err := s.primary.Exec(ctx, "CREATE DATABASE "+database+" TEMPLATE "+template.name); err != nil {
		t.Fatalf("cloning a database: %v", err)
	}
	redis := s.takeRedis(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := s.primary.Exec(ctx, "DROP DATABASE "+database+" WITH (FORCE)")
		if err := errors.Join(err, s.giveRedis(ctx, redis)); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	if err := s.waitForReplay(ctx); err != nil {
		t.Fatalf("waiting for the database at the replica: %v", err)
	}
	return s.describe(template, database, redis)
}

// private uses the only database of a private stack.
func (s *stack) private(t testing.TB, options []Option) *Pair {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	template, err := s.template(ctx, options)
	if err != nil {
		t.Fatalf("migrating: %v", err)
	}
	if err := s.waitForReplay(ctx); err != nil {
		t.Fatalf("waiting for the database at the replica: %v", err)
	}
	// A test that crashes servers does not want to see connections die that it
	// did not open.
	s.primary.Reset()
	s.replica.Reset()
	return s.describe(template, template.name, 0)
}

func (s *stack) describe(template template, database string, redis int) *Pair {
	return &Pair{
		Stack: s.Stack, Database: database, Site: SecondarySite,
		MainURL: s.PrimaryURL(database), LinkURL: s.LinkURL(database), ReplicaURL: s.Stack.Replica.URL(database),
		MainRoleURL: s.Stack.MainURL(database), ProcessorURL: s.ProcessorURL(database), ReaderURL: s.ReaderURL(database),
		RedisURL: s.Redis.DatabaseURL(redis),
		SiteID:   template.siteID, MainSiteID: template.mainSiteID,
	}
}

func (s *stack) takeRedis(t testing.TB) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.redis) == 0 {
		t.Fatalf("more than %d tests at once", sandbox.RedisDatabases)
	}
	n := s.redis[0]
	s.redis = s.redis[1:]
	return n
}

func (s *stack) giveRedis(ctx context.Context, n int) error {
	if err := s.Redis.Flush(ctx, n); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.redis, n) {
		s.redis = append(s.redis, n)
	}
	return nil
}
