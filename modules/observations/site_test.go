package observations_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/buffer"
	"github.com/opsdb/opsdb/modules/observations"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// sites are both sites of one test, served over HTTP as serve wires them.
type sites struct {
	*sandboxtest.Pair
	main, secondary *site
	problems        *problem.Catalog
	catalog         *txn.Catalog
	store           *pending.Store
	replica         *pgxpool.Pool
}

// site is one of them, as a client sees it.
type site struct {
	t      testing.TB
	name   string
	url    string
	reader *pending.Reader
	writer txn.Writer
}

func newSites(t testing.TB) *sites {
	t.Helper()
	return wire(t, sandboxtest.New(t, sandboxtest.Seeded()))
}

func newPrivateSites(t testing.TB) *sites {
	t.Helper()
	return wire(t, sandboxtest.NewPrivate(t, sandbox.Options{}, sandboxtest.Seeded()))
}

func wire(t testing.TB, pair *sandboxtest.Pair) *sites {
	t.Helper()
	s := &sites{Pair: pair}
	var err error
	if s.catalog, err = txn.NewCatalog(slices.Concat(observations.Steps(), buffer.Steps(), auth.Steps())...); err != nil {
		t.Fatal(err)
	}
	if s.problems, err = problem.NewCatalog(txn.Problems, observations.Problems, buffer.Problems, auth.Problems); err != nil {
		t.Fatal(err)
	}
	primary := openPool(t, pg.OpenWriter, pair.MainRoleURL)
	s.replica = openPool(t, pg.OpenReader, pair.ReaderURL)

	reader := pending.NewReader(primary, nil, sandboxtest.MainSite, pending.Limits{})
	reader.CheckOn(openPool(t, pg.OpenChecks, pair.MainRoleURL))
	s.main = s.serve(t, sandboxtest.MainSite, reader, txn.NewDirect(txn.DirectConfig{
		Pool: primary, Reader: reader, Catalog: s.catalog, Problems: s.problems, Site: sandboxtest.MainSite, SiteID: pair.MainSiteID,
	}))
	s.store, s.secondary = s.process(t)
	return s
}

// process is one API process of the secondary site, with its own view.
func (s *sites) process(t testing.TB) (*pending.Store, *site) {
	t.Helper()
	// A busy machine must not make a test accept unchecked.
	return s.processWith(t, s.replica, pending.Limits{Read: 20 * time.Second, Accept: 20 * time.Second, Check: 20 * time.Second})
}

// processWith is process with a replica of its own.
func (s *sites) processWith(t testing.TB, replica *pgxpool.Pool, limits pending.Limits) (*pending.Store, *site) {
	t.Helper()
	client, err := rdb.Open(rdb.Options{URL: s.RedisURL})
	if err != nil {
		t.Fatal(err)
	}
	store, err := pending.Open(sandboxtest.Context(t), client, pending.Options{Site: s.Site, Tables: slices.Concat(observations.Tables(), auth.Tables()), Decoder: s.catalog})
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
	reader := pending.NewReader(replica, store, s.Site, limits)
	return store, s.serve(t, s.Site, reader, txn.NewBuffered(txn.BufferedConfig{
		Store: store, Reader: reader, Catalog: s.catalog, Problems: s.problems, Site: s.Site, SiteID: s.SiteID,
	}))
}

func openPool(t testing.TB, open func(context.Context, string, pg.Options) (*pgxpool.Pool, error), url string) *pgxpool.Pool {
	t.Helper()
	pool, err := open(context.Background(), url, pg.Options{ApplicationName: "opsdb-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// permitted is an Authenticator that permits everything of this module.
type permitted struct{ userID int64 }

func (p permitted) Authenticate(_ context.Context, bearer string) (api.Principal, error) {
	rights := map[string]bool{}
	for _, what := range []string{"observations", "files", "packages"} {
		rights["read:"+what], rights["write:"+what] = true, true
	}
	rights["read:buffer"], rights["manage:buffer"] = true, true
	return api.Principal{UserID: p.userID, Username: bearer, Permissions: rights}, nil
}

func (s *sites) serve(t testing.TB, name string, reader *pending.Reader, writer txn.Writer) *site {
	t.Helper()
	router, err := api.New(api.Options{Site: name, Authenticator: permitted{}, Problems: s.problems})
	if err != nil {
		t.Fatal(err)
	}
	observations.New(observations.Config{Writer: writer, Reader: reader, Site: name, PackageMaxBytes: 100_000_000_000}).Register(router)
	server := httptest.NewServer(router.Handler())
	t.Cleanup(server.Close)
	return &site{t: t, name: name, url: server.URL, reader: reader, writer: writer}
}

// drain starts the site's processor and tracker, until the test ends.
func (s *sites) drain(t testing.TB) {
	t.Helper()
	m, err := buffer.New(buffer.Config{
		Site: s.Site, Store: s.store, Reader: s.secondary.reader, Replica: s.replica, PrimaryURL: s.ProcessorURL,
		Catalog: s.catalog, Problems: s.problems, RetryAttempts: 1, RetryDelay: time.Hour, Logger: observetest.Logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Start(context.Background())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Errorf("stopping the processor: %v", err)
		}
	})
}

// both runs a test at the main site and at the secondary one.
func both(t *testing.T, test func(t *testing.T, s *sites, at *site)) {
	t.Helper()
	t.Parallel()
	for _, name := range []string{"main", "secondary"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSites(t)
			at := s.secondary
			if name == "main" {
				at = s.main
			}
			at.t = t
			test(t, s, at)
		})
	}
}

// answer is what a site has answered.
type answer struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   []byte
}

// header sets request headers: "If-Match", tag, …
func (s *site) do(method, path string, body any, headers ...string) *answer {
	s.t.Helper()
	var content io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(sandboxtest.Context(s.t), method, s.url+path, content)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer ada")
	if content != nil {
		request.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return &answer{t: s.t, what: fmt.Sprintf("%s %s at %s", method, path, s.name), status: response.StatusCode, header: response.Header, body: read}
}

func (s *site) get(path string, headers ...string) *answer {
	s.t.Helper()
	return s.do(http.MethodGet, path, nil, headers...)
}

func (s *site) post(path string, body any, headers ...string) *answer {
	s.t.Helper()
	return s.do(http.MethodPost, path, body, headers...)
}

func (s *site) put(path string, body any, headers ...string) *answer {
	s.t.Helper()
	return s.do(http.MethodPut, path, body, headers...)
}

// want fails the test unless the status is this one, and gives the body.
func (a *answer) want(status int) object {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: got status %d, want %d: %.2000s", a.what, a.status, status, a.body)
	}
	var o object
	if len(a.body) > 0 {
		if err := json.Unmarshal(a.body, &o); err != nil {
			a.t.Fatalf("%s: %v: %s", a.what, err, a.body)
		}
	}
	return o
}

// read decodes an answer with status 200.
func (a *answer) read(into any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, into); err != nil || a.status != http.StatusOK {
		a.t.Fatalf("%s: got status %d: %v: %.2000s", a.what, a.status, err, a.body)
	}
}

// wantProblem fails the test unless the answer is this problem, naming these
// locations among its errors.
func (a *answer) wantProblem(status int, code string, locations ...string) object {
	a.t.Helper()
	o := a.want(status)
	if got := o["type"]; got != "/problems/"+code {
		a.t.Fatalf("%s: got problem %v, want %s: %s", a.what, got, code, a.body)
	}
	for _, location := range locations {
		if !strings.Contains(string(a.body), fmt.Sprintf("%q", location)) {
			a.t.Errorf("%s: the problem does not name %s: %s", a.what, location, a.body)
		}
	}
	return o
}

// object is a JSON object.
type object map[string]any

func (o object) id() string { return o.text("id") }

func (o object) text(name string) string {
	text, _ := o[name].(string)
	return text
}

func (o object) number(name string) float64 {
	n, _ := o[name].(float64)
	return n
}

func (o object) list(name string) []object {
	items, _ := o[name].([]any)
	list := make([]object, 0, len(items))
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			list = append(list, m)
		}
	}
	return list
}

// ids are the ids of a list of records.
func ids(list []object) []string {
	out := make([]string, 0, len(list))
	for _, o := range list {
		out = append(out, o.id())
	}
	return out
}

// state is the state of a record's sync.
func (o object) state() string {
	sync, _ := o["sync"].(map[string]any)
	state, _ := sync["state"].(string)
	return state
}

// eventually polls until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	sandboxtest.Eventually(t, time.Minute, what, cond)
}

// one gives the only value of a query at the primary.
func one[T any](t testing.TB, s *sites, sql string, args ...any) T {
	t.Helper()
	var v T
	conn, err := pgx.Connect(sandboxtest.Context(t), s.MainURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(sandboxtest.Context(t), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}
