// Package recordtest runs tests of read operations at both kinds of site: the same handlers over a main site's
// primary and over a secondary site's replica and Redis, with the rights that real servers have.
package recordtest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// Site is one site that serves the operations under test.
type Site struct {
	*sandboxtest.Pair
	Secondary bool
	Reader    *pending.Reader
	// Store is nil at main.
	Store *pending.Store

	router *api.Router
	redis  *rdb.Client
	away   bool
}

// Answer is what an operation answered.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Both runs a test at a main and at a secondary site, each with demo data of its own.
func Both(t *testing.T, register func(*api.Router, record.Reader), test func(t *testing.T, s *Site)) {
	t.Helper()
	for name, secondary := range map[string]bool{"main": false, "secondary": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, New(t, secondary, register))
		})
	}
}

// New makes one site. What register is given reads as the handlers of a real server do.
func New(t testing.TB, secondary bool, register func(*api.Router, record.Reader)) *Site {
	t.Helper()
	s := &Site{Pair: sandboxtest.New(t, sandboxtest.Seeded()), Secondary: secondary}
	ctx := sandboxtest.Context(t)
	url, name := s.MainRoleURL, sandboxtest.MainSite
	if secondary {
		url, name = s.ReaderURL, sandboxtest.SecondarySite
		client, err := rdb.Open(rdb.Options{URL: s.RedisURL})
		if err != nil {
			t.Fatal(err)
		}
		s.redis = client
		t.Cleanup(func() {
			if !s.away {
				s.RedisAway(t)
			}
		})
		s.Store, err = pending.Open(ctx, client, pending.Options{Site: name, Decoder: changes{}, Durability: pending.Relaxed, Tables: []pending.Table{
			{Name: "executed_obs_unit", Time: "start_time", Paths: []string{"obs_unit_id"}, Fixed: []string{"obs_unit_id", "start_time"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closed(t, s.Store.Close()) })
	}
	pool, err := pg.OpenReader(ctx, url, pg.Options{ApplicationName: "opsdb-test", MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s.Reader = pending.NewReader(pool, s.Store, name, pending.Limits{Read: 30 * time.Second})
	s.router, err = api.New(api.Options{Site: name, Authenticator: named{}, Logger: observetest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	register(s.router, s.Reader)
	return s
}

// RedisAway makes the site's Redis unreachable from now on.
func (s *Site) RedisAway(t testing.TB) {
	t.Helper()
	s.away = true
	closed(t, s.redis.Close())
}

func closed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("closing: %v", err)
	}
}

// Get asks with every permission. headers are names and values in turn.
func (s *Site) Get(t testing.TB, path string, headers ...string) Answer {
	t.Helper()
	return s.GetAs(t, "read:observations,read:sources,read:programs,read:instruments,read:transfers", path, headers...)
}

// GetAs asks with the permissions that are listed, separated by commas.
func (s *Site) GetAs(t testing.TB, permissions, path string, headers ...string) Answer {
	t.Helper()
	request := httptest.NewRequestWithContext(sandboxtest.Context(t), http.MethodGet, path, nil)
	if permissions != "" {
		request.Header.Set("Authorization", "Bearer "+strings.ReplaceAll(permissions, ",", "/"))
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	s.router.Handler().ServeHTTP(recorder, request)
	return Answer{Status: recorder.Code, Header: recorder.Header(), Body: recorder.Body.String()}
}

// Into decodes the body of a successful answer.
func (a Answer) Into(t testing.TB, v any) {
	t.Helper()
	if a.Status != http.StatusOK {
		t.Fatalf("status %d: %s", a.Status, a.Body)
	}
	if err := json.Unmarshal([]byte(a.Body), v); err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
}

// Page is a page of any list, as far as tests look at it.
type Page struct {
	Items      []map[string]any `json:"items"`
	NextCursor *string          `json:"next_cursor"`
	Total      *int64           `json:"total"`
}

// Names lists the names of the records of a page.
func (p Page) Names() []string {
	names := []string{}
	for _, item := range p.Items {
		name, _ := item["name"].(string)
		names = append(names, name)
	}
	return names
}

// List asks for one page.
func (s *Site) List(t testing.TB, path string) Page {
	t.Helper()
	var page Page
	s.Get(t, path).Into(t, &page)
	return page
}

// Walk asks for all pages of a list, limit records each, and returns the records of all.
func (s *Site) Walk(t testing.TB, path string, limit string) Page {
	t.Helper()
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	var all Page
	next := path + separator + "count=true&limit=" + limit
	for {
		page := s.List(t, next)
		all.Items, all.Total = append(all.Items, page.Items...), page.Total
		if page.NextCursor == nil {
			return all
		}
		if len(page.Items) == 0 {
			t.Fatalf("%s: an empty page with a next one", next)
		}
		if len(all.Items) > 2_000 {
			t.Fatalf("%s goes on for ever", path)
		}
		next = path + separator + "count=true&limit=" + limit + "&cursor=" + *page.NextCursor
	}
}

// Pend accepts a transaction with these changes into the site's buffer, where nothing drains it.
func (s *Site) Pend(t testing.TB, ch ...pending.Change) {
	t.Helper()
	ctx := sandboxtest.Context(t)
	data, err := json.Marshal(ch)
	if err != nil {
		t.Fatal(err)
	}
	view, err := s.Store.CatchUp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := s.Store.Accept(ctx, pending.Accept{Changes: ch, View: view, Transaction: &pending.Transaction{
		ID: id, Operation: "test", Rows: len(ch), AcceptedAt: time.Now().UTC().Truncate(time.Microsecond), Site: s.Site, Actor: "user:test",
		Steps: []pending.Step{{Kind: "changes/1", Data: data}},
	}})
	if err != nil || accepted.Stale {
		t.Fatalf("accepting: %+v, %v", accepted, err)
	}
}

// Mapped fails when a constraint of the tables of a module has no meaning for clients, or one that is not there has.
func Mapped(t *testing.T, set problem.Set, tables ...string) {
	t.Helper()
	catalog, err := problem.NewCatalog(set)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	if err := sandboxtest.New(t).Primary(t).QueryRow(sandboxtest.Context(t), `
		SELECT array_agg(DISTINCT name COLLATE "C" ORDER BY name COLLATE "C") FROM (
			SELECT conname::text AS name, conrelid AS rel FROM pg_constraint
			UNION
			SELECT x.relname::text, i.indrelid FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indisunique
		) c JOIN pg_class r ON r.oid = c.rel WHERE r.relname = ANY ($1)`, tables).Scan(&want); err != nil {
		t.Fatal(err)
	}
	got := catalog.Constraints()
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("the constraint %s has no meaning for clients", name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("there is no constraint %s in these tables", name)
		}
	}
}

// changes is a Decoder of steps whose data are the changes themselves.
type changes struct{}

func (changes) Changes(kind string, data json.RawMessage) ([]pending.Change, error) {
	if kind != "changes/1" {
		return nil, pending.ErrUnknownKind
	}
	var out []pending.Change
	err := json.Unmarshal(data, &out)
	return out, err
}

// named is an Authenticator whose credentials are the permissions they give.
type named struct{}

func (named) Authenticate(_ context.Context, bearer string) (api.Principal, error) {
	principal := api.Principal{UserID: 1, Username: "test", Permissions: map[string]bool{}, Kind: "api_token"}
	for permission := range strings.SplitSeq(bearer, "/") {
		if !strings.Contains(permission, ":") {
			return api.Principal{}, problem.Unauthorized.New("the credential is not a list of permissions")
		}
		principal.Permissions[permission] = true
	}
	return principal, nil
}
