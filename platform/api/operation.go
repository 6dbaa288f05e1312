package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opsdb/opsdb/platform/problem"
)

// Permissions that are not one of the table in the documentation.
const (
	// Open needs no credential. One that is sent and valid is known to the
	// handler all the same; one that is not valid counts as none.
	Open = "open"
	// AnyUser needs a valid credential, whatever it permits.
	AnyUser = "any-user"
	// LoggedIn needs a user who has logged in: no API token will do, whatever it permits.
	LoggedIn = "logged-in-user"
)

// Op describes an operation: what the document says of it, who may call it and
// which limits it has. ID, Method, Path, Summary and Permission are required.
type Op struct {
	ID          string // kebab-case verb-noun; client method names come from it
	Method      string
	Path        string // pattern of http.ServeMux, /executed_obs_units/{id}
	Summary     string // one line
	Description string // Markdown
	Permission  string // "read:observations", Open, AnyUser or LoggedIn
	Critical    bool   // buffered at a secondary site: x-critical
	Tags        []string
	Status      int             // of success; 0 = 200, or 204 without a body
	MaxBody     int64           // bytes; 0 = DefaultMaxBody
	NDJSON      bool            // the body may be NDJSON instead of a JSON array
	MergePatch  bool            // the body is a JSON merge patch; set for every PATCH
	Stream      bool            // waits or streams: REQUEST_TIMEOUT does not apply
	Errors      []int           // statuses beside those every operation has
	Problems    []*problem.Kind // problems of its own, listed in the document; their statuses count as Errors

	// Filters are the query parameters of a list; the input embeds List.
	Filters *Filters
	// Order is the sort order of a list, which its cursors must fit.
	Order Order
	// Produces is the media type of an answer that is not JSON (Raw outputs).
	Produces string
	// SameBody are error statuses that are answered with the output instead of a
	// problem: a health check tells what is wrong in full.
	SameBody []int
	// NoIdempotency lets a write do without an Idempotency-Key: logins and the
	// like, which write nothing that a repeat could double.
	NoIdempotency bool
	// PerMinute is how many calls an address may make in a minute, whatever its
	// credentials: for what costs somebody else something. 0 is no limit but RateLimit.
	PerMinute int
	// NoValidateOnly refuses validate_only as it does any unknown parameter: for
	// commands, which change no record that a dry run could show.
	NoValidateOnly bool

	scarce *limiter // of PerMinute
}

var (
	operationID = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)+$`)
	permission  = regexp.MustCompile(`^(read|write|manage|configure):[a-z_]+$`)
)

func validPermission(s string) bool {
	return s == Open || s == AnyUser || s == LoggedIn || permission.MatchString(s)
}

// Register adds an operation. The handler gets input that has passed every check
// of this package, with times in UTC to the microsecond, and returns an output
// or an error: a *problem.Problem is answered as it is, anything else is mapped by
// the catalog, logged when it is a fault, and never shown.
//
// A description that breaks a rule, such as one without a permission, panics:
// operations are fixed when the program starts.
func Register[I, O any](r *Router, op Op, h func(context.Context, *I) (*O, error)) {
	if err := checkOp[I](&op); err != nil {
		panic(fmt.Sprintf("api: operation %s %s: %v", op.Method, op.Path, err))
	}
	if op.Permission == Open {
		r.openPaths[op.Method+" "+op.Path] = true
	}
	if op.MaxBody == 0 {
		op.MaxBody = DefaultMaxBody
	}
	if op.PerMinute > 0 {
		op.scarce = newLimiter(float64(op.PerMinute)/60, op.PerMinute)
	}
	route := &route{op: &op, query: map[string]bool{}, plan: planOf(reflect.TypeFor[I]()), body: hasField[I]("Body")}
	ho := huma.Operation{
		OperationID:   op.ID,
		Method:        op.Method,
		Path:          op.Path,
		Summary:       op.Summary,
		Description:   op.Description,
		Tags:          op.Tags,
		DefaultStatus: op.Status,
		MaxBodyBytes:  -1, // read and limited by enter
		Middlewares:   huma.Middlewares{r.enter(route)},
		Extensions:    map[string]any{"x-permission": op.Permission},
	}
	if op.Critical {
		ho.Extensions["x-critical"] = true
	}
	if op.Permission != Open {
		ho.Security = []map[string][]string{{bearer: {}}}
	}
	if op.Produces != "" {
		status := op.Status
		if status == 0 {
			status = http.StatusOK
		}
		ho.Responses = map[string]*huma.Response{fmt.Sprint(status): {
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{op.Produces: {Schema: producedSchema(op.Produces)}},
		}}
	}
	r.registry.top = bodyTypes[I, O]()
	huma.Register(r.huma, ho, func(ctx context.Context, in *I) (*O, error) {
		st := stateOf(ctx)
		route.plan.normalise(reflect.ValueOf(in).Elem(), st)
		if len(st.faults) > 0 {
			return nil, complete(st, st.refuse(problem.Invalid.New("the request is not valid")))
		}
		ctx, err := r.waitForReplay(ctx, route, st)
		if err != nil {
			return nil, r.answerError(ctx, st, err)
		}
		out, err := h(ctx, in)
		if err != nil {
			return nil, r.answerError(ctx, st, err)
		}
		return out, nil
	})
	r.describe(route)
}

func checkOp[I any](op *Op) error {
	write := op.Method == http.MethodPost || op.Method == http.MethodPut || op.Method == http.MethodPatch || op.Method == http.MethodDelete
	op.MergePatch = op.MergePatch || op.Method == http.MethodPatch
	for _, k := range op.Problems {
		op.Errors = append(op.Errors, k.Status)
	}
	switch {
	case !operationID.MatchString(op.ID):
		return fmt.Errorf("the id %q is not kebab-case verb-noun", op.ID)
	case op.Summary == "":
		return fmt.Errorf("it has no summary")
	case !validPermission(op.Permission):
		return fmt.Errorf("it has no permission (%q)", op.Permission)
	case !strings.HasPrefix(op.Path, "/") || (len(op.Path) > 1 && strings.HasSuffix(op.Path, "/")):
		return fmt.Errorf("the path is not like /things/{id}")
	case write && !op.NoIdempotency && !hasField[I]("IdempotencyKey"):
		return fmt.Errorf("it writes, so its input must embed api.Write (or the operation say NoIdempotency)")
	case op.Filters != nil && !hasField[I]("Cursor"):
		return fmt.Errorf("it has filters, so its input must embed api.List")
	case op.Critical && !write:
		return fmt.Errorf("only a write can be critical")
	}
	if hidden := hiddenParameters(reflect.TypeFor[I]()); hidden != "" {
		return fmt.Errorf("its input embeds %s, which is not exported: its parameters would stay empty", hidden)
	}
	return nil
}

// hiddenParameters names an unexported struct with parameters that an input embeds.
// huma passes over it without a word, in the document and in requests.
func hiddenParameters(t reflect.Type) string {
	if t.Kind() != reflect.Struct {
		return ""
	}
	for i := range t.NumField() {
		f := t.Field(i)
		inner := f.Type
		for inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if !f.Anonymous || inner.Kind() != reflect.Struct {
			continue
		}
		if !f.IsExported() && hasParameters(inner) {
			return inner.String()
		}
		if hidden := hiddenParameters(inner); hidden != "" {
			return hidden
		}
	}
	return ""
}

func hasParameters(t reflect.Type) bool {
	for _, f := range reflect.VisibleFields(t) {
		for _, tag := range []string{"path", "query", "header", "cookie", "form"} {
			if _, there := f.Tag.Lookup(tag); there {
				return true
			}
		}
		if f.Name == "Body" || f.Name == "RawBody" {
			return true
		}
	}
	return false
}

func hasField[I any](name string) bool {
	t := reflect.TypeFor[I]()
	if t.Kind() != reflect.Struct {
		return false
	}
	_, ok := t.FieldByName(name)
	return ok
}

func bodyTypes[I, O any]() []reflect.Type {
	var types []reflect.Type
	for _, t := range []reflect.Type{reflect.TypeFor[I](), reflect.TypeFor[O]()} {
		if t.Kind() != reflect.Struct {
			continue
		}
		if f, ok := t.FieldByName("Body"); ok {
			types = append(types, f.Type)
		}
	}
	return types
}

// route is a registered operation as its middleware needs it.
type route struct {
	op      *Op
	query   map[string]bool // known query parameters
	headers map[string]bool // known header parameters, canonical
	plan    plan
	body    bool
	types   []string // media types of the body, the first is meant when none is given
}

// answerError turns what a handler returned into the answer's problem, and logs
// what the client must not see. A status that is no error, 304, passes.
func (r *Router) answerError(ctx context.Context, st *state, err error) error {
	if nm, ok := err.(*notModified); ok {
		return nm
	}
	r.countGuess(ctx, caller(r.proxies.client(st.request)), err)
	p := r.problems.From(err)
	if errors.Is(p, problem.Forbidden) && st.principal != nil && r.opts.Refused != nil {
		r.opts.Refused(ctx, st.op.ID, st.op.Permission)
	}
	if p.Status >= 500 && p.Status != http.StatusServiceUnavailable && p.Status != http.StatusGatewayTimeout {
		r.logger.ErrorContext(ctx, "operation failed", slogOperation(st), slogError(err))
	} else if p.Status >= 500 {
		r.logger.WarnContext(ctx, "operation could not be done now", slogOperation(st), slogError(err))
	}
	return complete(st, p)
}

// complete returns p with the request it answers; p itself may be shared.
func complete(st *state, p *problem.Problem) *problem.Problem {
	full := *p
	full.Errors = slices.Clone(p.Errors)
	if full.Errors == nil {
		full.Errors = []problem.FieldError{}
	}
	full.Instance = problem.Mask(st.path)
	full.RequestID = st.requestID
	return &full
}
