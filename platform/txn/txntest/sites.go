package txntest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
)

// Sites are both sites of one test, wired as the servers wire them, as their
// unprivileged roles.
type Sites struct {
	*sandboxtest.Pair
	// PrimaryPool is main's, ReplicaPool the secondary's.
	PrimaryPool, ReplicaPool *pgxpool.Pool
	Catalog                  *txn.Catalog
	Problems                 *problem.Catalog
	// Direct is main's writer, MainReader its reader.
	Direct     *txn.Direct
	MainReader *pending.Reader
	// Store, Reader and Buffered are those of one process at the secondary site.
	Store    *pending.Store
	Reader   *pending.Reader
	Buffered *txn.Buffered
}

// New wires both sites to the servers that the package's tests share. steps are
// known beside those of the notes.
func New(t testing.TB, steps ...txn.Step) *Sites {
	t.Helper()
	return Wire(t, sandboxtest.New(t), steps...)
}

// NewPrivate wires both sites to servers of their own, for tests that cut, pause
// and kill.
func NewPrivate(t testing.TB, options sandbox.Options, steps ...txn.Step) *Sites {
	t.Helper()
	return Wire(t, sandboxtest.NewPrivate(t, options), steps...)
}

// Wire wires both sites to servers that the test has prepared.
func Wire(t testing.TB, pair *sandboxtest.Pair, steps ...txn.Step) *Sites {
	t.Helper()
	s := &Sites{Pair: pair}
	s.Exec(t, Schema)
	if err := pair.Stack.WaitForReplay(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.Catalog, err = txn.NewCatalog(append(Steps(), steps...)...); err != nil {
		t.Fatal(err)
	}
	if s.Problems, err = problem.NewCatalog(txn.Problems, Problems); err != nil {
		t.Fatal(err)
	}
	s.PrimaryPool = pool(t, pg.OpenWriter, pair.MainRoleURL)
	s.ReplicaPool = pool(t, pg.OpenReader, pair.ReaderURL)
	s.MainReader = pending.NewReader(s.PrimaryPool, nil, sandboxtest.MainSite, pending.Limits{})
	s.MainReader.CheckOn(pool(t, pg.OpenChecks, pair.MainRoleURL))
	s.Direct = s.MainProcess()
	s.Store, s.Reader, s.Buffered = s.Process(t)
	return s
}

// MainProcess is the writer of another API process of main. It has the connections of the others.
func (s *Sites) MainProcess() *txn.Direct {
	return txn.NewDirect(txn.DirectConfig{
		Pool: s.PrimaryPool, Reader: s.MainReader,
		Catalog: s.Catalog, Problems: s.Problems, Site: sandboxtest.MainSite, SiteID: s.MainSiteID,
	})
}

// Process opens what another API process of the secondary site has: its own view
// of the same buffer.
func (s *Sites) Process(t testing.TB) (*pending.Store, *pending.Reader, *txn.Buffered) {
	t.Helper()
	// As patient as with the replica, below.
	client, err := rdb.Open(rdb.Options{URL: s.RedisURL, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	store, err := pending.Open(sandboxtest.Context(t), client, pending.Options{Site: s.Site, Tables: []pending.Table{Table()}, Decoder: s.Catalog})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
		if err := client.Close(); err != nil {
			t.Errorf("closing Redis: %v", err)
		}
	})
	// Patient: on a busy machine a write would be accepted without its checks.
	reader := pending.NewReader(s.ReplicaPool, store, s.Site, pending.Limits{Accept: 10 * time.Second, Check: 10 * time.Second})
	return store, reader, txn.NewBuffered(txn.BufferedConfig{
		Store: store, Reader: reader, Catalog: s.Catalog, Problems: s.Problems, Site: s.Site, SiteID: s.SiteID,
	})
}

// LinkConfig is how a processor of the secondary site reaches the primary.
func (s *Sites) LinkConfig() txn.LinkConfig {
	return txn.LinkConfig{URL: s.ProcessorURL, Site: s.Site, Problems: s.Problems}
}

func pool(t testing.TB, open func(context.Context, string, pg.Options) (*pgxpool.Pool, error), url string) *pgxpool.Pool {
	t.Helper()
	p, err := open(context.Background(), url, pg.Options{ApplicationName: "opsdb-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Request is a request of ada's without a key.
func Request(operation string) txn.Request {
	return txn.Request{Operation: operation, Actor: "user:ada", Digest: []byte(operation)}
}

// Note writes a note with w and returns its id.
func Note(t testing.TB, w txn.Writer, body string, parent *uuid.UUID) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	_, err := w.Write(sandboxtest.Context(t), Request("write-note"), func(_ context.Context, tx *txn.Builder) error {
		note := NewWrite(tx, body, parent)
		id = note.ID
		tx.Add(note)
		return nil
	})
	if err != nil {
		t.Fatalf("writing note %q: %v", body, err)
	}
	return id
}

// EditNote edits a note with w.
func EditNote(t testing.TB, w txn.Writer, edit Edit) txn.Receipt {
	t.Helper()
	receipt, err := w.Write(sandboxtest.Context(t), Request("edit-note"), func(_ context.Context, tx *txn.Builder) error {
		tx.Add(edit)
		return nil
	})
	if err != nil {
		t.Fatalf("editing note %s: %v", edit.ID, err)
	}
	return receipt
}

// Bodies returns the bodies of all notes that pool shows, by id.
func Bodies(t testing.TB, pool *pgxpool.Pool) map[uuid.UUID]string {
	t.Helper()
	rows, err := pool.Query(sandboxtest.Context(t), "SELECT id, body FROM note")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	notes := map[uuid.UUID]string{}
	for rows.Next() {
		var id uuid.UUID
		var body string
		if err := rows.Scan(&id, &body); err != nil {
			t.Fatal(err)
		}
		notes[id] = body
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return notes
}
