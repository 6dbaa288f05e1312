package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/opsdb/opsdb/platform/problem"
)

// enter is what every operation begins with, in the order that the documentation
// promises: credential, permission, and only then the rest of the request. What it
// finds wrong with values is kept and answered together with what validation finds.
func (r *Router) enter(rt *route) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		req, w := humago.Unwrap(ctx)
		st := stateOf(req.Context())
		st.op = rt.op
		if p := r.admit(w, req, st); p != nil {
			r.writeProblem(w, req, p)
			return
		}
		rt.checkPath(req, st)
		query := rt.checkQuery(req, st)
		rt.checkHeaders(req, st)
		if rt.body {
			if p := rt.readBody(w, req, st); p != nil {
				r.writeProblem(w, req, st.refuse(p))
				return
			}
		} else {
			st.digest = digest(req, nil)
		}
		if rt.op.Filters != nil {
			st.values = rt.op.Filters.parse(query, st)
		}
		// An Accept that names nothing the operation has gets what it has.
		req.Header["Accept"] = []string{"application/json"}
		if rt.query[validateOnly] {
			ctx = answering{ctx, st}
		}
		if rt.op.Stream {
			next(ctx)
			return
		}
		limit := r.opts.RequestTimeout + preferredWait(req)
		if rt.minLSN(req) != "" {
			limit += r.opts.LSNTimeout
		}
		timed, cancel := context.WithTimeout(ctx.Context(), limit)
		defer cancel()
		next(huma.WithContext(ctx, timed))
	}
}

func (rt *route) checkPath(req *http.Request, st *state) {
	for part := range strings.SplitSeq(rt.op.Path, "/") {
		if strings.HasPrefix(part, "{") {
			name := strings.TrimSuffix(strings.Trim(part, "{}"), "...")
			st.text("path."+name, req.PathValue(name))
		}
	}
}

// checkQuery refuses what would otherwise be ignored in silence: unknown names, a
// name that occurs twice, a name without a value.
func (rt *route) checkQuery(req *http.Request, st *state) url.Values {
	if req.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		st.fault("query", nil, "is not a valid query string") // it may hold a login's code
	}
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values := query[name]
		location := "query." + strings.ToValidUTF8(name, "\uFFFD")
		switch {
		case !rt.query[name]:
			st.fault(location, values[0], "is not a parameter of this operation")
		case len(values) > 1:
			st.fault(location, strings.Join(values, ","), "is given more than once; give several values in one, separated by commas")
		case values[0] == "":
			st.fault(location, nil, "has no value")
		default:
			st.text(location, values[0])
		}
	}
	return query
}

// checkHeaders refuses headers of the operation that are sent twice or hold what
// no header may.
func (rt *route) checkHeaders(req *http.Request, st *state) {
	for name := range rt.headers {
		values := req.Header.Values(name)
		if len(values) > 1 {
			st.fault("header."+name, strings.Join(values, ", "), "is given more than once")
		}
		for _, value := range values {
			st.text("header."+name, value)
		}
	}
}

// text notes text that PostgreSQL cannot hold.
func (st *state) text(location, value string) {
	if message := CheckText(value); message != "" {
		st.fault(location, value, message)
	}
}

// CheckText returns why PostgreSQL cannot hold a text, or "" when it can.
func CheckText(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.IndexByte(s, 0) >= 0:
		return "has a NUL character"
	}
	return ""
}

// readBody reads, limits and checks the body, and puts it back for huma. It
// returns a problem only for what leaves nothing to validate.
func (rt *route) readBody(w http.ResponseWriter, req *http.Request, st *state) *problem.Problem {
	ndjson, p := rt.mediaType(req)
	if p != nil {
		return p
	}
	limit := rt.op.MaxBody
	if req.ContentLength > limit {
		w.Header().Set("Connection", "close") // do not wait for what nobody reads
		return problem.TooLarge.New("the body has %d bytes, the limit is %d", req.ContentLength, limit)
	}
	var buf bytes.Buffer
	if req.ContentLength > 0 {
		buf.Grow(int(req.ContentLength) + bytes.MinRead)
	}
	n, err := io.Copy(&buf, io.LimitReader(req.Body, limit+1))
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return problem.Malformed.New("the body did not arrive within %s", bodyTimeout)
		}
		return problem.Malformed.New("the body broke off after %d bytes", n)
	}
	if n > limit {
		w.Header().Set("Connection", "close")
		return problem.TooLarge.New("the body has more than %d bytes", limit)
	}
	body := buf.Bytes()
	st.digest = digest(req, body)
	if ndjson {
		body = arrayOf(body)
		req.Header["Content-Type"] = []string{"application/json"}
	}
	if len(bytes.TrimSpace(body)) > 0 {
		if err := checkJSON(body, st.fault); err != nil {
			return problem.Malformed.New("the body is not valid JSON: %v", err)
		}
	} else if len(body) > 0 {
		return problem.Malformed.New("the body is empty")
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// mediaType checks that the body is in a format the operation reads.
func (rt *route) mediaType(req *http.Request) (ndjson bool, p *problem.Problem) {
	if encoding := req.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false, problem.UnsupportedMediaType.Field("header.Content-Encoding", encoding, "bodies are taken as they are, without compression")
	}
	header := req.Header.Get("Content-Type")
	if header == "" {
		return false, nil
	}
	given, params, err := mime.ParseMediaType(header)
	if err != nil || !slices.Contains(rt.types, given) || (params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8")) {
		return false, problem.UnsupportedMediaType.Field("header.Content-Type", header, "the operation reads %s, in UTF-8", strings.Join(rt.types, " and "))
	}
	return given == ndjsonType, nil
}

const (
	jsonType       = "application/json"
	mergePatchType = "application/merge-patch+json"
	ndjsonType     = "application/x-ndjson"
)

// arrayOf turns NDJSON into a JSON array of its lines, without looking into them:
// what they hold is checked afterwards, as for any array.
func arrayOf(lines []byte) []byte {
	out := make([]byte, 0, len(lines)+2)
	out = append(out, '[')
	for line := range bytes.Lines(lines) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, line...)
	}
	return append(out, ']')
}

// digest identifies what a request asks for: method, path and the bytes of the
// body. A repeat with the same Idempotency-Key must have the same.
func digest(req *http.Request, body []byte) []byte {
	h := sha256.New()
	for _, part := range []string{req.Method, " ", req.URL.EscapedPath(), "\n"} {
		h.Write([]byte(part)) //nolint:errcheck // a hash never fails
	}
	h.Write(body) //nolint:errcheck // a hash never fails
	return h.Sum(nil)
}
