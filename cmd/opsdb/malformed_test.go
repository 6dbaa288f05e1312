package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opsdb/opsdb/platform/problem"
)

// TestMalformedRequestsAreProblems sends both sites requests that are wrong in
// random ways, made from the document: every operation, every parameter, header
// and body of it. Whatever comes, no answer is a 5xx, each 4xx is a valid problem,
// and no server dies. OPSDB_MALFORMED says how many (5,000 unless told) and
// OPSDB_SEED repeats a run.
func TestMalformedRequestsAreProblems(t *testing.T) {
	total := number(t, "OPSDB_MALFORMED", 5_000)
	seed := uint64(number(t, "OPSDB_SEED", int(time.Now().UnixNano()>>10)))
	d := startDemo(t, "--no-night")
	ready := d.ready()
	r, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	targets := operationsOf(r.OpenAPI())
	if len(targets) < 50 {
		t.Fatalf("the document has %d operations: not all modules are in it", len(targets))
	}
	t.Logf("OPSDB_SEED=%d, %d operations", seed, len(targets))
	sites := []string{ready.MainURL, ready.ObservatoryURL}
	tokens := []string{ready.Admin, ready.Service, ready.Viewer, ready.Admin, "ops_api_token_", "\u00e9"}
	var sent, refused, passed atomic.Int64
	ctx, stop := context.WithTimeout(t.Context(), 25*time.Minute)
	defer stop()
	var workers sync.WaitGroup
	const parallel = 8
	client := &http.Client{Transport: refusals.through(&http.Transport{MaxIdleConnsPerHost: parallel}), Timeout: time.Minute}
	for worker := range parallel {
		workers.Go(func() {
			m := mutator{rand.New(rand.NewPCG(seed, uint64(worker)))}
			for n := worker; n < total && ctx.Err() == nil && !t.Failed(); n += parallel {
				target := targets[m.IntN(len(targets))]
				request, body, err := m.request(ctx, sites[m.IntN(len(sites))], target, r.OpenAPI())
				if err != nil {
					continue // net/http's own client does not send it
				}
				request.Header.Set("Authorization", "Bearer "+tokens[m.IntN(len(tokens))])
				status, fault := judge(client, request)
				// A machine that is too busy to check a credential within 200 ms says 503.
				for end := time.Now().Add(30 * time.Second); status == http.StatusServiceUnavailable && time.Now().Before(end); {
					request.Body = io.NopCloser(bytes.NewReader(body))
					status, fault = judge(client, request)
				}
				sent.Add(1)
				switch {
				case fault != "":
					t.Errorf("%s %s\n%q\n%.2000q\n%s", request.Method, request.URL, request.Header, body, fault)
				case status >= 400:
					refused.Add(1)
				default:
					passed.Add(1)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d requests: %d refused, %d answered", sent.Load(), refused.Load(), passed.Load())
	if !t.Failed() && (sent.Load() < int64(total)*9/10 || refused.Load() < sent.Load()/3) {
		t.Errorf("of %d requests %d were sent and %d refused: they are not malformed enough to tell anything", total, sent.Load(), refused.Load())
	}
	for name, pid := range ready.Pids.all() {
		if now := d.ready().Pids.all()[name]; now != pid {
			t.Errorf("%s was started again during the test", name)
		}
	}
}

func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// judge sends a request and says what is wrong with the answer.
func judge(client *http.Client, request *http.Request) (status int, fault string) {
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	status = response.StatusCode
	if status < 400 {
		return status, ""
	}
	var p problem.Problem
	read := json.NewDecoder(bytes.NewReader(content))
	read.DisallowUnknownFields()
	wrong := func(what string) (int, string) {
		return status, fmt.Sprintf("%s: %d %s %.2000s", what, status, response.Header.Get("Content-Type"), content)
	}
	switch {
	case status >= 500:
		return wrong("a request makes the server fail")
	case response.Header.Get("Content-Type") != problem.ContentType:
		return wrong("the media type is none of a problem")
	case request.Method == http.MethodHead:
		return status, ""
	case read.Decode(&p) != nil:
		return wrong("the body is no problem")
	case p.Status != status, p.Title == "", !strings.HasPrefix(p.Type, "/problems/"), p.RequestID == "",
		p.RequestID != response.Header.Get("X-Request-Id"), p.Errors == nil, p.ErrorCount < len(p.Errors), len(p.Errors) > problem.MaxErrors:
		return wrong("the problem does not say what each has to")
	}
	return status, ""
}

// target is one operation of the document.
type target struct {
	method, path string
	op           *huma.Operation
}

func operationsOf(document *huma.OpenAPI) []target {
	var out []target
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		item := document.Paths[path]
		for method, op := range map[string]*huma.Operation{
			http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
		} {
			if op != nil {
				out = append(out, target{method, path, op})
			}
		}
	}
	slices.SortFunc(out, func(a, b target) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return out
}

// mutator makes requests that are nearly right.
type mutator struct{ *rand.Rand }

// chance is true in one case of n.
func (m mutator) chance(n int) bool { return m.IntN(n) == 0 }

// nasty are texts that have broken something somewhere.
var nasty = []string{
	"", " ", "0", "-1", "1e309", "NaN", "9223372036854775808", "-0", "1.5", "true", "null", "[]", "{}", "%", "%00", "%zz", "\x00", "\xff\xfe", "\u202e",
	"'", `"`, `\`, "';--", "${x}", "{{x}}", "../..", "/", ".", "..", "a,b,,c", ",", "00000000-0000-0000-0000-000000000000",
	"ffffffff-ffff-ffff-ffff-ffffffffffff", "0198f0f6-7a4e-7c9a-9d1e-0c2d3f4a5b6c", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z",
	"9999-12-31T23:59:60Z", "2026-07-15T00:00:00+14:00", "1:0/0", "0:FFFFFFFF/FFFFFFFF", strings.Repeat("9", 400), strings.Repeat("a", 5000), "\U0001F52D", "ſ",
}

func (m mutator) nasty() string { return nasty[m.IntN(len(nasty))] }

// request makes a request for an operation; body is what it carries.
func (m mutator) request(ctx context.Context, site string, to target, document *huma.OpenAPI) (*http.Request, []byte, error) {
	path, query, header := to.path, []string{}, http.Header{}
	for _, p := range to.op.Parameters {
		value := m.nasty()
		if !m.chance(3) && p.Schema != nil {
			value = fmt.Sprint(m.value(p.Schema, document, 0))
		}
		switch p.In {
		case "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(value))
		case "query":
			// A wait that is well formed is no malformed request, and takes its time.
			if m.chance(3) && p.Name != "wait" {
				query = append(query, p.Name+"="+m.escape(value))
			}
		case "header":
			if m.chance(4) && p.Name != "Prefer" && p.Name != "X-Min-LSN" {
				header[http.CanonicalHeaderKey(p.Name)] = []string{value}
			}
		}
	}
	if m.chance(5) {
		query = append(query, m.escape(m.nasty())+"="+m.escape(m.nasty()))
	}
	if m.chance(30) && len(query) > 0 {
		query = append(query, query[0])
	}
	method := to.method
	if m.chance(50) {
		method = []string{"HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "BREW"}[m.IntN(6)]
	}
	var body []byte
	kind := "application/json"
	if b := to.op.RequestBody; b != nil {
		kinds := slices.Sorted(maps.Keys(b.Content))
		kind = kinds[m.IntN(len(kinds))]
		body = m.body(b.Content[kind].Schema, document)
	}
	if m.chance(20) {
		kind = []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "", "*/*", "multipart/form-data"}[m.IntN(6)]
	}
	r, err := http.NewRequestWithContext(ctx, method, site+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	r.URL.RawQuery = strings.Join(query, "&")
	if kind != "" {
		header.Set("Content-Type", kind)
	}
	if m.chance(10) {
		header.Set("Accept", m.nasty())
	}
	if m.chance(20) {
		header.Set("X-Request-Id", m.nasty())
	}
	for name, values := range header {
		// What no header may hold is not sent by net/http's client.
		if !strings.ContainsFunc(values[0], func(r rune) bool { return r < ' ' || r == 0x7f }) {
			r.Header[name] = values
		}
	}
	return r, body, nil
}

func (m mutator) escape(text string) string {
	if m.chance(10) && !strings.ContainsAny(text, " \x00\n\r") {
		return text
	}
	return url.QueryEscape(text)
}

// body makes a body after a schema, and damages it.
func (m mutator) body(schema *huma.Schema, document *huma.OpenAPI) []byte {
	content, err := json.Marshal(m.value(schema, document, 0))
	if err != nil {
		return []byte(m.nasty())
	}
	switch m.IntN(12) {
	case 0:
		content = content[:m.IntN(len(content)+1)]
	case 1:
		if len(content) > 0 {
			content[m.IntN(len(content))] ^= byte(1 << m.IntN(8))
		}
	case 2:
		content = append(content, content...)
	case 3:
		content = []byte(m.nasty())
	case 4:
		depth := m.IntN(20_000)
		content = []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
	case 5:
		content = []byte(strings.Replace(string(content), `:`, `:{"a":{"a":`, 1))
	case 6:
		content = bytes.Replace(content, []byte("{"), []byte(`{"extra":1,"extra":2,`), 1)
	}
	return content
}

// value makes a value after a schema: mostly of the right type, seldom right.
func (m mutator) value(schema *huma.Schema, document *huma.OpenAPI, depth int) any {
	if schema.Ref != "" {
		schema = document.Components.Schemas.SchemaFromRef(schema.Ref)
	}
	if m.chance(12) || depth > 6 {
		return m.wrong()
	}
	switch schema.Type {
	case huma.TypeObject:
		object := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
			if slices.Contains(schema.Required, name) && !m.chance(20) || m.chance(3) {
				object[name] = m.value(schema.Properties[name], document, depth+1)
			}
		}
		return object
	case huma.TypeArray:
		items := make([]any, m.IntN(4))
		for i := range items {
			items[i] = m.value(schema.Items, document, depth+1)
		}
		return items
	case huma.TypeString:
		if len(schema.Enum) > 0 && !m.chance(4) {
			return schema.Enum[m.IntN(len(schema.Enum))]
		}
		switch schema.Format {
		case "uuid":
			return fmt.Sprintf("0198f0f6-7a4e-7c9a-9d1e-%012x", m.Uint64N(1<<48))
		case "date-time":
			return time.Unix(m.Int64N(1<<33), m.Int64N(1e9)).UTC().Format(time.RFC3339Nano)
		}
		if len(schema.Examples) > 0 && m.chance(2) {
			return schema.Examples[0]
		}
		return m.nasty()
	case huma.TypeInteger:
		return []any{m.IntN(100), -1, 0, int64(1) << 62, json.Number("1e3"), json.Number("99999999999999999999")}[m.IntN(6)]
	case huma.TypeNumber:
		return []any{m.Float64() * 360, -1, 0, 1e308, json.Number("1e400"), json.Number("0.000000000000000000001")}[m.IntN(6)]
	case huma.TypeBoolean:
		return m.chance(2)
	}
	return m.wrong()
}

func (m mutator) wrong() any {
	return []any{nil, true, 7, -1.5, m.nasty(), []any{}, map[string]any{}, []any{nil, "x"}, map[string]any{"\x00": m.nasty()}}[m.IntN(9)]
}
