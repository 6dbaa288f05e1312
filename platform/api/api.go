// Package api turns typed functions into HTTP operations that all keep the same
// conventions: credentials before everything else, problem+json for every error,
// strict requests and open responses, idempotency keys, versions, pages, filters.
// Modules register their operations here; the conventions are in this package
// once, so that a handler holds nothing but its own subject.
//
// An operation is a call of Register with an Op, an input struct and a handler.
// Input structs embed what they need:
//
//   - Write for POST, PUT, PATCH and DELETE: Idempotency-Key and Prefer
//   - IfMatch and IfNoneMatch for versions, MinLSN for reads
//   - List for lists: limit, cursor, count and the filters of Op.Filters
//
// and outputs embed Written, Versioned and Snapshot for the headers of answers.
// See the package example for a complete resource.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.opentelemetry.io/otel/trace"

	"github.com/opsdb/opsdb/platform/problem"
)

// Limits of requests that no setting changes.
const (
	DefaultMaxBody = 1 << 20  // bytes of a body
	BulkMaxBody    = 16 << 20 // bytes of a body of a bulk operation, for Op.MaxBody
	maxHeaderBytes = 64 << 10 // bytes of all headers
	maxHeaders     = 100      // number of headers
	bodyTimeout    = 30 * time.Second
	MaxWait        = 60 * time.Second // the longest Prefer: wait
)

// Options is what the API has to know of the process it runs in. The zero value
// gives a document, and a router that refuses every credential.
type Options struct {
	Site          string           // short name, the header X-Site
	Version       string           // of the product, in the document
	Authenticator Authenticator    // checks credentials
	Problems      *problem.Catalog // nil: the common kinds only
	Logger        *slog.Logger     // nil: the default one
	Observe       func(Answered)   // told of each answer, for metrics; may be nil
	// Refused is told of an operation that the request's principal may not call, or not as they ask; may be nil.
	Refused func(ctx context.Context, operation, permission string)
	// Guessing is told of an address that has sent too many wrong secrets (ErrWrongSecret), each time that it has sent one
	// more than it may; may be nil.
	Guessing       func(ctx context.Context, address string)
	Tracer         trace.Tracer  // makes a span of each request; nil: none
	Metrics        http.Handler  // what GET /metrics answers; nil: no such operation
	RequestTimeout time.Duration // 0 = 30 s; waits add to it, streams have none
	RateLimit      float64       // requests a second and credential; 0 = no limit
	Origins        []string      // of browsers that may call (CORS)
	TrustedProxies []string      // whose X-Forwarded-For counts: addresses or CIDRs
	LSNTimeout     time.Duration // how long a read waits for its X-Min-LSN at most; 0 = 30 s
	// Replayed waits until the site shows a position, `<timeline>:<X/Y>`, for no longer
	// than until a time; it returns timeline-changed for one that cannot be compared,
	// and else the context with which the request is read, so that what is read shows
	// that position too. nil: X-Min-LSN is refused.
	Replayed func(ctx context.Context, position string, until time.Time) (context.Context, error)
	Describe map[string]string // tag -> description, for the document
}

// Answered is one finished request.
type Answered struct {
	Operation string // the operation's id, or "unmatched"
	Method    string
	Route     string // with placeholders, bounded
	Status    int
	Took      time.Duration
}

// Router holds the operations. Register all of them, then take Handler.
type Router struct {
	opts      Options
	mux       *http.ServeMux
	huma      huma.API
	registry  *registry
	problems  *problem.Catalog
	logger    *slog.Logger
	limiter   *limiter // of requests, by credential or address
	guesses   *limiter // of wrong secrets, by address
	proxies   proxies
	openPaths map[string]bool // "GET /health"
	// bodyTimeout is how long a request's body may take to arrive.
	bodyTimeout time.Duration
	finish      sync.Once
	document    documents
}

// New returns a router with the operations of the document itself: /openapi.*,
// /docs, /problems and, when there are metrics, /metrics.
func New(opts Options) (*Router, error) {
	if opts.Problems == nil {
		catalog, err := problem.NewCatalog()
		if err != nil {
			return nil, fmt.Errorf("building the API: %w", err)
		}
		opts.Problems = catalog
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.RequestTimeout == 0 {
		opts.RequestTimeout = 30 * time.Second
	}
	if opts.LSNTimeout == 0 {
		opts.LSNTimeout = 30 * time.Second
	}
	if opts.Version == "" {
		opts.Version = "dev"
	}
	trusted, err := parseProxies(opts.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("building the API: %w", err)
	}
	r := &Router{
		opts:      opts,
		mux:       http.NewServeMux(),
		registry:  newRegistry(),
		problems:  opts.Problems,
		logger:    opts.Logger,
		limiter:   newLimiter(opts.RateLimit, max(1, int(math.Ceil(opts.RateLimit)))),
		guesses:   newLimiter(guessesPerSecond, guessesAtOnce),
		proxies:   trusted,
		openPaths: map[string]bool{}, bodyTimeout: bodyTimeout,
	}
	r.huma = humago.New(r.mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "opsdb",
				Version:     opts.Version,
				Description: "Operations database of a telescope: what is to be observed, what was observed, and where its data went.",
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: r.registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					bearer: {Type: "http", Scheme: "bearer", Description: "An API token (`ops_api_token_…`) or a JWT."},
				},
			},
		},
		// No SchemasPath and no CreateHooks: without them answers carry no $schema.
		Formats:       formats,
		DefaultFormat: "application/json",
	})
	r.registerDocuments()
	return r, nil
}

// OpenAPI returns the finished document, 3.1. Register nothing after it.
func (r *Router) OpenAPI() *huma.OpenAPI {
	r.finish.Do(r.finishDocument)
	return r.huma.OpenAPI()
}

// Handle serves something that is no operation of the document, such as static
// files or a WebSocket upgrade, at a pattern of http.ServeMux. With a permission
// it is behind the same checks as operations are; Open leaves it open.
func (r *Router) Handle(pattern, permission string, h http.Handler) {
	if !validPermission(permission) {
		panic(fmt.Sprintf("api: %s has no permission (%q)", pattern, permission))
	}
	op := Op{ID: pattern, Path: pattern, Permission: permission, Stream: true}
	if permission == Open {
		r.openPaths[pattern] = true
	}
	r.mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
		st := stateOf(req.Context())
		st.op = &op
		if p := r.admit(w, req, st); p != nil {
			r.writeProblem(w, req, p)
			return
		}
		h.ServeHTTP(w, req)
	})
}

// PrincipalFrom returns who sent the request that ctx belongs to; false when the
// operation is open and the request has no valid credential.
func PrincipalFrom(ctx context.Context) (Principal, bool) {
	st := stateOf(ctx)
	if st == nil || st.principal == nil {
		return Principal{}, false
	}
	return *st.principal, true
}

// WithPrincipal returns a context as if p had sent the request, for tests of
// handlers and for work that runs on someone's behalf.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, stateKey{}, &state{principal: &p})
}

// RequestID returns the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	if st := stateOf(ctx); st != nil {
		return st.requestID
	}
	return ""
}
