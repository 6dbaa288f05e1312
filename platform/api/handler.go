package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/opsdb/opsdb/platform/observe"
	"github.com/opsdb/opsdb/platform/problem"
)

// methods are those a path may know, in the order Allow lists them.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// Handler returns what the server serves: the operations, behind request ids,
// security headers, recovery and the router's own errors.
func (r *Router) Handler() http.Handler {
	r.finish.Do(r.finishDocument)
	return http.HandlerFunc(r.serve)
}

func (r *Router) serve(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	st := &state{requestID: requestID(req), path: shownPath(req.URL.Path)}
	ctx := observe.WithRequestID(context.WithValue(req.Context(), stateKey{}, st), st.requestID)
	var span trace.Span
	if r.opts.Tracer != nil {
		ctx, span = r.beginSpan(ctx, req, st)
	}
	req = req.WithContext(ctx)
	st.request = req
	rec := &recorder{ResponseWriter: w}
	h := w.Header()
	h["X-Request-Id"] = []string{st.requestID}
	if r.opts.Site != "" {
		h["X-Site"] = []string{r.opts.Site}
	}
	for name, value := range securityHeaders {
		h[name] = value
	}
	defer func() {
		if cause := recover(); cause != nil {
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			r.logger.ErrorContext(ctx, "operation panicked", slogOperation(st), slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
			if rec.status != 0 {
				// Part of an answer is out: only a broken connection tells the client.
				panic(http.ErrAbortHandler)
			}
			r.writeProblem(rec, req, problem.Internal.New("the server made a mistake; its log has the details"))
		}
		r.answered(st, req, rec, time.Since(began))
		if span != nil {
			endSpan(span, st, req, rec)
		}
	}()

	// Also of a request that is refused before its body is read: net/http reads on until the answer is out.
	if err := bodyWithin(w, req, r.bodyTimeout); err != nil {
		r.writeProblem(rec, req, problem.Malformed.New("the body cannot be read"))
		return
	}
	if r.cors(rec, req) {
		return
	}
	if headers(req) > maxHeaders {
		r.writeProblem(rec, req, problem.HeaderTooLarge.New("more than %d headers", maxHeaders))
		return
	}
	// A trailing slash is served in place: a redirect would turn a POST into a GET
	// in half of the clients.
	if p := req.URL.Path; len(p) > 1 && strings.HasSuffix(p, "/") {
		trimmed := *req.URL
		trimmed.Path = strings.TrimRight(p, "/")
		trimmed.RawPath = strings.TrimRight(req.URL.RawPath, "/")
		if trimmed.Path == "" {
			trimmed.Path = "/"
		}
		req.URL = &trimmed
	}
	if req.Method == http.MethodConnect || !clean(req.URL.EscapedPath()) {
		r.unmatched(rec, req, st)
		return
	}
	if _, pattern := r.mux.Handler(req); pattern == "" {
		r.unmatched(rec, req, st)
		return
	}
	r.mux.ServeHTTP(rec, req)
}

// clean reports whether ServeMux would take the path as it is, without answering
// a redirect to another spelling of it.
func clean(p string) bool { return p == "/" || path.Clean(p) == p }

// unmatched answers a request that no operation takes: whoever may not ask gets
// no hint of what exists.
func (r *Router) unmatched(w http.ResponseWriter, req *http.Request, st *state) {
	var allowed []string
	open := false
	if clean(req.URL.EscapedPath()) {
		probe := *req
		for _, method := range methods {
			probe.Method = method
			if _, pattern := r.mux.Handler(&probe); pattern != "" {
				allowed = append(allowed, method)
				open = open || r.openPaths[pattern]
			}
		}
	}
	if !open {
		st.op = &Op{ID: "unmatched", Permission: AnyUser}
		p := r.admit(w, req, st)
		st.op = nil
		if p != nil {
			r.writeProblem(w, req, p)
			return
		}
	}
	if len(allowed) > 0 {
		allow := strings.Join(allowed, ", ")
		r.writeProblem(w, req, problem.MethodNotAllowed.New("%s is not possible here: %s", req.Method, allow).WithHeader("Allow", allow))
		return
	}
	r.writeProblem(w, req, problem.NotFound.New("nothing lies at %s", st.path))
}

// WriteProblem answers a request with a problem as a Router does, for what serves
// before there is one or beside it.
func WriteProblem(w http.ResponseWriter, req *http.Request, p *problem.Problem) {
	if stateOf(req.Context()) == nil {
		st := &state{requestID: requestID(req), path: shownPath(req.URL.Path)}
		req = req.WithContext(context.WithValue(req.Context(), stateKey{}, st))
		w.Header().Set("X-Request-Id", st.requestID)
		for name, value := range securityHeaders {
			w.Header()[name] = value
		}
	}
	if err := writeProblem(w, req, p); err != nil {
		return // the client is gone
	}
}

// writeProblem answers outside of huma: before an operation is reached. That the
// client may have gone away by then is nobody's concern.
func (r *Router) writeProblem(w http.ResponseWriter, req *http.Request, p *problem.Problem) {
	if err := writeProblem(w, req, p); err != nil {
		r.logger.DebugContext(req.Context(), "client went away", slogError(err))
	}
}

func writeProblem(w http.ResponseWriter, req *http.Request, p *problem.Problem) error {
	p = complete(stateOf(req.Context()), p)
	h := w.Header()
	for name, values := range p.GetHeaders() {
		h[name] = values
	}
	h.Set("Content-Type", problem.ContentType)
	w.WriteHeader(p.Status)
	if req.Method == http.MethodHead {
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(p)
}

func (r *Router) answered(st *state, req *http.Request, rec *recorder, took time.Duration) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	a := Answered{Operation: "unmatched", Method: req.Method, Route: "unmatched", Status: status, Took: took}
	if st.op != nil {
		a.Operation, a.Route = st.op.ID, st.op.Path
	} else {
		a.Method = boundedMethod(req.Method)
	}
	if r.opts.Observe != nil {
		r.opts.Observe(a)
	}
	if r.logger.Enabled(req.Context(), slog.LevelDebug) {
		actor := ""
		if st.principal != nil {
			actor = st.principal.Actor()
		}
		// The route and not the path, which may have a secret in it by mistake.
		r.logger.DebugContext(req.Context(), "answered", slog.String("method", a.Method), slog.String("operation", a.Operation), slog.String("route", a.Route),
			slog.Int("status", status), slog.Duration("took", took), slog.String("actor", actor))
	}
}

// boundedMethod keeps invented methods out of the metrics' labels.
func boundedMethod(method string) string {
	for _, known := range methods {
		if method == known {
			return method
		}
	}
	return "OTHER"
}

var securityHeaders = http.Header{
	"X-Content-Type-Options":  {"nosniff"},
	"X-Frame-Options":         {"DENY"},
	"Referrer-Policy":         {"no-referrer"},
	"Content-Security-Policy": {"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"},
	"Cache-Control":           {"private, no-cache"},
}

// requestID takes the client's X-Request-Id when it is a plain word, so that one id
// follows a request through several systems, and makes one otherwise.
func requestID(req *http.Request) string {
	id := req.Header.Get("X-Request-Id")
	if len(id) > 0 && len(id) <= 128 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:+/=") == "" {
		return id
	}
	return uuid.Must(uuid.NewV7()).String()
}

func shownPath(p string) string {
	p = strings.ToValidUTF8(p, "\uFFFD")
	if len(p) > 500 {
		return strings.ToValidUTF8(p[:500], "") + "…"
	}
	return p
}

// bodyWithin lets a request's body take no longer than a time to arrive.
func bodyWithin(w http.ResponseWriter, req *http.Request, limit time.Duration) error {
	if req.ContentLength == 0 {
		return nil
	}
	err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// headers counts the lines of a request's header.
func headers(req *http.Request) (n int) {
	for _, values := range req.Header {
		n += len(values)
	}
	return n
}

// recorder remembers the status of an answer. Unwrap keeps deadlines and flushing
// of the connection within reach of http.ResponseController.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 || w.status < 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher for answers that stream.
func (w *recorder) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap implements the convention of http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
