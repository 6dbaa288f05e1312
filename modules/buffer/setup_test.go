package buffer

import (
	"context"
	"testing"
	"time"

	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn/txntest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// config is the module's configuration for one process of the secondary site.
func config(t testing.TB, s *txntest.Sites, store *pending.Store, reader *pending.Reader) Config {
	t.Helper()
	return Config{
		Site: s.Site, Version: "test", Store: store, Writer: s.Buffered, Reader: reader, Replica: s.ReplicaPool, PrimaryURL: s.ProcessorURL,
		Catalog: s.Catalog, Problems: s.Problems, RetryDelay: 100 * time.Millisecond, RetryAttempts: 1,
		Logger: observetest.Logger(t),
	}
}

// make makes the module of one process of the secondary site, not yet started.
func make1(t testing.TB, s *txntest.Sites, change ...func(*Config)) *Module {
	t.Helper()
	c := config(t, s, s.Store, s.Reader)
	for _, f := range change {
		f(&c)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// start starts a module and stops it when the test ends.
func start(t testing.TB, m *Module) {
	t.Helper()
	m.Start(t.Context())
	t.Cleanup(func() { stop(t, m) })
}

func stop(t testing.TB, m *Module) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// mainSite is the module at main, with its reaper.
func mainSite(t testing.TB, s *txntest.Sites) *Module {
	t.Helper()
	m, err := New(Config{Site: sandboxtest.MainSite, Version: "test", Reader: s.Reader, Primary: s.PrimaryPool, Catalog: s.Catalog, Problems: s.Problems})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// drained waits until nothing of the site is pending any more, dead letters apart.
func drained(t testing.TB, s *txntest.Sites, limit time.Duration) {
	t.Helper()
	sandboxtest.Eventually(t, limit, "everything to be replicated", func() bool {
		c := s.Store.Current().Counts()
		return c.Buffered == 0 && c.Applied == 0
	})
}

// alone are servers of the test's own.
func alone(t testing.TB, o sandbox.Options) *txntest.Sites {
	return txntest.NewPrivate(t, o, Steps()...)
}

// both are the two sites on the servers that the tests share.
func both(t testing.TB) *txntest.Sites { return txntest.New(t, Steps()...) }
