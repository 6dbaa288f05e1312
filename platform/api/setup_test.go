package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/problem"
)

func TestMain(m *testing.M) { os.Exit(observetest.Run(m)) }

// tokens is an Authenticator with one token for each kind of caller.
type tokens struct{}

func (tokens) Authenticate(ctx context.Context, bearer string) (api.Principal, error) {
	observer := map[string]bool{"read:observations": true, "write:observations": true, "read:metrics": true}
	switch bearer {
	case "observer":
		return api.Principal{UserID: 1, Username: "ada", Permissions: observer, Kind: "api_token", TokenID: 1}, nil
	case "observer-too":
		return api.Principal{UserID: 1, Username: "ada", Permissions: observer, Kind: "api_token", TokenID: 3}, nil
	case "logged-in":
		return api.Principal{UserID: 1, Username: "ada", Permissions: observer, Kind: "jwt", SessionID: "one"}, nil
	case "service":
		return api.Principal{UserID: 2, Username: "daq", Permissions: observer, Service: true, Kind: "api_token", TokenID: 2}, nil
	case "nobody":
		return api.Principal{UserID: 3, Username: "eve", Permissions: map[string]bool{}}, nil
	case "later":
		return api.Principal{}, problem.CredentialsUnavailable.New("the replica cannot be read")
	case "guess":
		if api.GuessesSpent(ctx) {
			return api.Principal{}, problem.TooManyRequests.New("too many guesses")
		}
		return api.Principal{}, fmt.Errorf("%w: %w", api.ErrWrongSecret, problem.Unauthorized.New("the token is not known"))
	case "bug":
		return api.Principal{}, errors.New("hunter2")
	}
	return api.Principal{}, problem.Unauthorized.New("the token is not known")
}

// probe is a router with the lamps of the example and one operation for each
// thing that can happen to a request.
type probe struct {
	t       *testing.T
	handler http.Handler
	router  *api.Router
	logs    *safeBuffer
	seen    []api.Answered
	request chan api.WriteRequest
	bulk    chan []BulkItem
	lists   chan api.List
}

// BulkItem is an item of the bulk operation.
type BulkItem struct {
	Name string          `json:"name" maxLength:"20"`
	Size int64           `json:"size" minimum:"0"`
	At   *time.Time      `json:"at" required:"false"`
	Free json.RawMessage `json:"free,omitempty"`
}

// BulkResult is the answer of the bulk operation.
type BulkResult struct {
	Count int `json:"count"`
}

type bulkInput struct {
	api.Write
	Body []BulkItem `maxItems:"10000"`
}

type bulkOutput struct{ Body BulkResult }

type listEverythingInput struct{ api.List }

type waitInput struct{}

type codeInput struct {
	Kind  string `path:"kind"`
	Small int32  `query:"small"`
}

// Nothing is an empty record.
type Nothing struct {
	Deadline *time.Time       `json:"deadline"`
	Nested   *Lamp            `json:"nested"`
	Raw      *json.RawMessage `json:"raw"`
}

type nothingOutput struct{ Body Nothing }

func newProbe(t *testing.T, change ...func(*api.Options)) *probe {
	t.Helper()
	p := &probe{t: t, logs: &safeBuffer{}, request: make(chan api.WriteRequest, 10), bulk: make(chan []BulkItem, 10), lists: make(chan api.List, 10)}
	problems, err := problem.NewCatalog(problem.Set{Kinds: []*problem.Kind{lampBroken}})
	if err != nil {
		t.Fatal(err)
	}
	opts := api.Options{
		Site: "observatory", Authenticator: tokens{}, Problems: problems,
		Logger:  slog.New(slog.NewMultiHandler(slog.NewTextHandler(p.logs, nil), observetest.Logger(t).Handler())),
		Observe: func(a api.Answered) { p.seen = append(p.seen, a) },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") }), //nolint:errcheck // a recorder never fails
	}
	for _, f := range change {
		f(&opts)
	}
	if p.router, err = api.New(opts); err != nil {
		t.Fatal(err)
	}
	registerLamps(p.router)
	tags := []string{"operations"}
	api.Register(p.router, api.Op{ID: "create-bulk", Method: "POST", Path: "/lamps/bulk", Status: 201, Critical: true, NDJSON: true, MaxBody: api.BulkMaxBody, Summary: "Many", Permission: "write:observations", Tags: tags},
		func(ctx context.Context, in *bulkInput) (*bulkOutput, error) {
			p.request <- in.Request(ctx)
			p.bulk <- in.Body
			return &bulkOutput{Body: BulkResult{Count: len(in.Body)}}, nil
		})
	api.Register(p.router, api.Op{ID: "get-status", Method: "GET", Path: "/status", Summary: "Open", Permission: api.Open, Tags: tags},
		func(ctx context.Context, _ *waitInput) (*nothingOutput, error) {
			out := &nothingOutput{}
			if principal, ok := api.PrincipalFrom(ctx); ok {
				out.Body.Nested = &Lamp{State: principal.Username}
			}
			return out, nil
		})
	api.Register(p.router, api.Op{ID: "get-me", Method: "GET", Path: "/me", Summary: "Anyone", Permission: api.AnyUser, Tags: tags},
		func(ctx context.Context, _ *waitInput) (*nothingOutput, error) {
			out := &nothingOutput{}
			if deadline, ok := ctx.Deadline(); ok {
				out.Body.Deadline = &deadline
			}
			return out, nil
		})
	api.Register(p.router, api.Op{ID: "get-failure", Method: "GET", Path: "/failures/{kind}", Summary: "Fails", Permission: api.Open, Tags: tags},
		func(ctx context.Context, in *codeInput) (*nothingOutput, error) {
			switch in.Kind {
			case "panic":
				panic("hunter2")
			case "plain":
				return nil, errors.New("hunter2")
			case "timeout":
				<-ctx.Done()
				return nil, ctx.Err()
			case "huma":
				return nil, huma.Error500InternalServerError("hunter2", errors.New("hunter2"))
			case "busy":
				return nil, problem.DatabaseBusy.New("busy")
			}
			return &nothingOutput{}, nil
		})
	api.Register(p.router, api.Op{ID: "list-everything", Method: "GET", Path: "/everything", Summary: "All filters", Permission: "read:observations", Tags: tags, Filters: everyFilter},
		func(_ context.Context, in *listEverythingInput) (*api.PageOutput[Lamp], error) {
			p.lists <- in.List
			return api.NewPage[Lamp](in.List, nil, nil, nil), nil
		})
	p.handler = p.router.Handler()
	return p
}

var everyFilter = api.NewFilters(
	api.Enum("status", "running", "completed"), api.String("name"), api.Int("unit_id"), api.UUID("file_id"), api.Range("size_bytes"),
	api.Nullable(api.Number("pwv_mm")), api.Time("start_time"), api.Text("comment"), api.Flag("unpackaged"), api.Joined(api.Int("source_id")), api.Search(), api.Cone(),
)

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}
func (s *safeBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// do sends one request as the observer; headers come in pairs, and an empty
// Authorization takes the credential away.
func (p *probe) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	p.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, reader)
	r.Header.Set("Authorization", "Bearer observer")
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" && headers[i] == "Authorization" {
			r.Header.Del("Authorization")
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
		if headers[i] == "Authorization" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	return w
}

// problem demands that an answer is a complete problem with this status and code.
func (p *probe) problem(w *httptest.ResponseRecorder, status int, code string) problem.Problem {
	p.t.Helper()
	var got problem.Problem
	if w.Code != status || w.Header().Get("Content-Type") != problem.ContentType {
		p.t.Errorf("got %d %s, want %d: %s", w.Code, w.Header().Get("Content-Type"), status, w.Body)
		return got
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		p.t.Fatalf("%v: %s", err, w.Body)
	}
	if got.Code() != code || got.Status != status || got.Title == "" || got.Detail == "" || got.RequestID != w.Header().Get("X-Request-Id") || got.RequestID == "" || got.Errors == nil {
		p.t.Errorf("want %s %d, got %s", code, status, w.Body)
	}
	if strings.Contains(w.Body.String(), "hunter2") {
		p.t.Errorf("internal text is shown: %s", w.Body)
	}
	return got
}

// locations lists what a problem names.
func locations(p problem.Problem) []string {
	out := []string{}
	for _, e := range p.Errors {
		out = append(out, e.Location)
	}
	return out
}

func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer observer")
	return r
}

func (p *probe) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	return w
}
