package api_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/platform/api"
)

const lampPath = "/lamps/0198f0f6-7a4e-7c9a-9d1e-0c2d3f4a5b6c"

func TestCredentialsComeBeforeEverythingElse(t *testing.T) {
	p := newProbe(t)
	for _, path := range []string{"/lamps/not-a-uuid?bad=1", "/nowhere", "/lamps//x", "/lamps/bulk/"} {
		for _, method := range []string{"GET", "POST", "DELETE", "PURGE"} {
			w := p.do(method, path, "{broken", "Authorization", "", "Content-Type", "text/plain")
			p.problem(w, 401, "unauthenticated")
			if w.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s: no WWW-Authenticate", method, path)
			}
		}
	}
	for _, credential := range []string{"Bearer wrong", "Basic observer", "Bearer", "Bearer  ", "Bearer observer observer", "observer", "Bearer \u00a0observer", "Bearer observer\u3000"} {
		p.problem(p.do("GET", "/lamps", "", "Authorization", credential), 401, "unauthenticated")
	}
	p.problem(p.do("POST", "/lamps?bad=1", "{broken", "Authorization", "Bearer nobody", "Content-Type", "text/plain"), 403, "forbidden")
	w := p.do("GET", "/lamps", "", "Authorization", "Bearer later")
	p.problem(w, 503, "credentials-unavailable")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	p.problem(p.do("GET", "/lamps", "", "Authorization", "Bearer bug"), 500, "internal")
	if w := p.do("GET", "/lamps", "", "Authorization", "bearer observer"); w.Code != 200 {
		t.Errorf("the scheme is not case-sensitive, but got %d", w.Code)
	}
}

func TestTwoCredentialsAreNone(t *testing.T) {
	p := newProbe(t)
	r := request("GET", "/lamps", "")
	r.Header["Authorization"] = []string{"Bearer observer", "Bearer nobody"}
	p.problem(p.send(r), 401, "unauthenticated")
}

func TestOpenAndAnyUser(t *testing.T) {
	p := newProbe(t)
	for credential, want := range map[string]string{"": `"nested":null`, "Bearer wrong": `"nested":null`, "Bearer later": `"nested":null`, "Bearer nobody": `"state":"eve"`} {
		w := p.do("GET", "/status", "", "Authorization", credential)
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: %d %s, want %s", credential, w.Code, w.Body, want)
		}
	}
	if w := p.do("GET", "/me", "", "Authorization", "Bearer nobody"); w.Code != 200 {
		t.Errorf("any user: %d", w.Code)
	}
	p.problem(p.do("GET", "/me", "", "Authorization", ""), 401, "unauthenticated")
}

func TestRouterErrors(t *testing.T) {
	p := newProbe(t)
	for _, path := range []string{"/nowhere", "/lamps//x", "/lamps/../lamps", "/lamps/a/b"} {
		p.problem(p.do("GET", path, ""), 404, "not-found")
	}
	for path, want := range map[string]string{"/lamps": "GET, HEAD, POST", lampPath: "GET, HEAD, PATCH", "/status": "GET, HEAD", "/docs/start.js": "GET, HEAD"} {
		w := p.do("DELETE", path, "")
		p.problem(w, 405, "method-not-allowed")
		if got := w.Header().Get("Allow"); got != want {
			t.Errorf("%s allows %q, want %q", path, got, want)
		}
	}
	p.problem(p.do("DELETE", "/status", "", "Authorization", ""), 405, "method-not-allowed")
	for _, path := range []string{"/lamps", "/status", "/docs/start.js"} {
		p.problem(p.do("TRACE", path, ""), 405, "method-not-allowed")
	}
}

func TestTrailingSlashIsServedInPlace(t *testing.T) {
	p := newProbe(t)
	for path, status := range map[string]int{"/lamps/": 200, lampPath + "/": 200, "/docs/": 200, "/status//": 200} {
		if w := p.do("GET", path, ""); w.Code != status {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := p.do("POST", "/lamps/", `{}`); w.Code != 201 {
		t.Errorf("POST: %d %s", w.Code, w.Body)
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	p := newProbe(t)
	for _, path := range []string{"/lamps", "/nowhere", "/docs", "/lamps?x=1"} {
		w := p.do("GET", path, "", "X-Request-Id", "night-7/42")
		for name, want := range map[string]string{"X-Request-Id": "night-7/42", "X-Site": "observatory", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "private, no-cache"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if got := w.Header().Get("Content-Security-Policy"); !strings.HasSuffix(got, "; base-uri 'none'; frame-ancestors 'none'") || !strings.HasPrefix(got, "default-src 'none'") && path != "/docs" {
			t.Errorf("%s: Content-Security-Policy is %q", path, got)
		}
	}
	for _, bad := range []string{"a b", "<script>", strings.Repeat("x", 129), "ä"} {
		if got := p.do("GET", "/lamps", "", "X-Request-Id", bad).Header().Get("X-Request-Id"); got == bad || len(got) != 36 {
			t.Errorf("X-Request-Id %q became %q", bad, got)
		}
	}
}

func TestAcceptThatNamesNothingGetsJSON(t *testing.T) {
	p := newProbe(t)
	for _, accept := range []string{"", "text/html", "json", "image/*;q=0.1", "application/json;q=0", "*/*", ";;;"} {
		if w := p.do("GET", "/lamps", "", "Accept", accept); w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%q: %d %s", accept, w.Code, w.Header().Get("Content-Type"))
		}
		p.problem(p.do("GET", "/lamps?x=1", "", "Accept", accept), 422, "invalid")
	}
}

func TestQueryIsStrict(t *testing.T) {
	p := newProbe(t)
	for query, want := range map[string][]string{
		"colour=red":                       {"query.colour"},
		"state=on&state=off":               {"query.state"},
		"limit=5&limit=6&b=1&a=2":          {"query.a", "query.b", "query.limit"},
		"state=":                           {"query.state"},
		"comment_contains=a%00b":           {"query.comment_contains"},
		"comment_contains=%ff":             {"query.comment_contains"},
		"limit=501":                        {"query.limit"},
		"limit=0":                          {"query.limit"},
		"limit=many":                       {"query.limit"},
		"count=perhaps":                    {"query.count"},
		"%zz=1":                            {"query"},
		"a;b":                              {"query"},
		"LIMIT=5":                          {"query.LIMIT"},
		"limit=0&watts_min=x&state=broken": {"query.limit", "query.state", "query.watts_min"},
	} {
		got := locations(p.problem(p.do("GET", "/lamps?"+query, ""), 422, "invalid"))
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	p.problem(p.do("POST", "/lamps?force=true", `{}`), 422, "invalid")
	p.problem(p.do("GET", "/failures/none?small=3000000000", ""), 422, "invalid")
	p.problem(p.do("GET", "/failures/a%00b", ""), 422, "invalid")
	p.problem(p.do("GET", "/failures/%ff", ""), 422, "invalid")
}

func TestBodyIsStrict(t *testing.T) {
	p := newProbe(t)
	for _, test := range []struct {
		body string
		want []string
	}{
		{`{"colour": "red"}`, []string{"body.colour"}},
		{`{"Watts": 5}`, []string{"body.Watts"}},
		{`{"watts": -1, "comment": 5}`, []string{"body.comment", "body.watts"}},
		{`{"watts": 1e999}`, []string{"body.watts"}},
		{`{"watts": 1, "watts": 2}`, []string{"body.watts"}},
		{`{"comment": "a\u0000b"}`, []string{"body.comment"}},
		{`{"comment": "` + "\xff" + `"}`, []string{"body.comment"}},
		{`{"comment": "\ud83d"}`, []string{"body.comment"}},
		{`{"comment": "\ude00\ud83d"}`, []string{"body.comment"}},
		{`{"id": "5"}`, []string{"body.id"}},
		{`{"id": "00000000-0000-0000-0000-000000000000"}`, []string{"body.id"}},
		{`{"id": "ffffffff-ffff-ffff-ffff-ffffffffffff"}`, []string{"body.id"}},
		{`{"lit_at": "yesterday"}`, []string{"body.lit_at"}},
		{`{"lit_at": "0000-06-01T00:00:00Z"}`, []string{"body.lit_at"}},
		{`{"lit_at": "0001-01-01T00:00:00+12:00"}`, []string{"body.lit_at"}},
		{`{"lit_at": "9999-12-31T23:59:59-01:00"}`, []string{"body.lit_at"}},
		{`[]`, []string{"body"}},
		{`null`, []string{"body"}},
		{`"x"`, []string{"body"}},
	} {
		got := locations(p.problem(p.do("POST", "/lamps", test.body), 422, "invalid"))
		slices.Sort(got)
		if diff := cmp.Diff(test.want, slices.Compact(got)); diff != "" {
			t.Errorf("%s: %s", test.body, diff)
		}
	}
	for _, body := range []string{"", " ", "{", `{"a":}`, `{"comment": "a` + "\n" + `b"}`, `{} {}`, `{"watts": 01}`, `{"watts": .5}`, `{"watts": NaN}`, `{'a': 1}`, "\ufeff{}", strings.Repeat("[", 100000)} {
		p.problem(p.do("POST", "/lamps", body), 400, "malformed")
	}
	for _, body := range []string{`{"comment": null}`, `{"comment": "\ud83d\ude00 😀"}`, `{"watts": 6e1}`, `{"lit_at": "2026-07-15T04:00:00.123456789+02:00"}`, ` {} `} {
		if w := p.do("POST", "/lamps", body); w.Code != 201 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	w := p.do("POST", "/lamps", `{"lit_at": "2026-07-15T04:00:00.123456789+02:00"}`)
	if !strings.Contains(w.Body.String(), `"lit_at":"2026-07-15T02:00:00.123456Z"`) {
		t.Errorf("the time is not UTC to the microsecond: %s", w.Body)
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	p := newProbe(t)
	got := locations(p.problem(p.do("POST", "/lamps?x=1", `{"comment": "\u0000", "watts": -1, "z": 1}`, "Idempotency-Key", "a b", "Prefer", "wait=soon"), 422, "invalid"))
	slices.Sort(got)
	want := []string{"body.comment", "body.watts", "body.z", "header.Idempotency-Key", "header.Prefer", "query.x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestManyErrorsAreCounted(t *testing.T) {
	p := newProbe(t)
	var items []string
	for i := range 300 {
		items = append(items, fmt.Sprintf(`{"name": "file%d", "size": -1, "at": "9999-12-31T23:59:59-01:00"}`, i))
	}
	got := p.problem(p.do("POST", "/lamps/bulk", "["+strings.Join(items, ",")+"]"), 422, "invalid")
	if len(got.Errors) != 100 || got.ErrorCount != 300 {
		t.Errorf("%d of %d errors are listed", len(got.Errors), got.ErrorCount)
	}
	for i := range items {
		items[i] = strings.Replace(items[i], "-1,", "1,", 1)
	}
	got = p.problem(p.do("POST", "/lamps/bulk", "["+strings.Join(items, ",")+"]"), 422, "invalid")
	if len(got.Errors) != 100 || got.ErrorCount != 300 || got.Errors[7].Location != "body[7].at" {
		t.Errorf("%d of %d errors are listed, %v", len(got.Errors), got.ErrorCount, got.Errors[7])
	}
}

func TestLimitsOfBodies(t *testing.T) {
	p := newProbe(t)
	fill := func(size int) string { return `{"comment": "x"` + strings.Repeat(" ", size-16) + `}` }
	if w := p.do("POST", "/lamps", fill(api.DefaultMaxBody)); w.Code != 201 {
		t.Errorf("exactly the limit: %d %s", w.Code, w.Body)
	}
	p.problem(p.do("POST", "/lamps", fill(api.DefaultMaxBody+1)), 413, "too-large")
	r := request("POST", "/lamps", fill(api.DefaultMaxBody+1))
	r.ContentLength = -1
	p.problem(p.send(r), 413, "too-large")
	if w := p.do("POST", "/lamps/bulk", "["+strings.Repeat(" ", 2<<20)+"]"); w.Code != 201 {
		t.Errorf("bulk: %d %s", w.Code, w.Body)
	}
	p.problem(p.do("POST", "/lamps/bulk", "["+strings.Repeat(" ", 16<<20)+"]"), 413, "too-large")
}

func TestMediaTypes(t *testing.T) {
	p := newProbe(t)
	for _, given := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/merge-patch+json", "application/x-ndjson", "application/cbor", ";", "application/vnd.x+json"} {
		p.problem(p.do("POST", "/lamps", `{}`, "Content-Type", given), 415, "unsupported-media-type")
	}
	p.problem(p.do("POST", "/lamps", `{}`, "Content-Encoding", "gzip"), 415, "unsupported-media-type")
	for _, given := range []string{"application/json", "Application/JSON; charset=UTF-8", ""} {
		if w := p.do("POST", "/lamps", `{}`, "Content-Type", given); w.Code != 201 {
			t.Errorf("%q: %d %s", given, w.Code, w.Body)
		}
	}
	for _, given := range []string{"application/json", "application/merge-patch+json"} {
		if w := p.do("PATCH", lampPath, `{}`, "Content-Type", given); w.Code != 200 {
			t.Errorf("%q: %d %s", given, w.Code, w.Body)
		}
	}
}

func TestNDJSON(t *testing.T) {
	p := newProbe(t)
	w := p.do("POST", "/lamps/bulk", "{\"name\":\"a\",\"size\":1}\n\n{\"name\":\"b\",\"size\":2}\r\n", "Content-Type", "application/x-ndjson")
	if w.Code != 201 || w.Body.String() != "{\"count\":2}\n" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := <-p.bulk; got[1].Name != "b" {
		t.Errorf("got %v", got)
	}
	p.problem(p.do("POST", "/lamps/bulk", "{}{}", "Content-Type", "application/x-ndjson"), 400, "malformed")
	p.problem(p.do("POST", "/lamps/bulk", "{\"name\":\n\"a\"}", "Content-Type", "application/x-ndjson"), 400, "malformed")
}

func TestNumbersPassThroughFreeJSON(t *testing.T) {
	p := newProbe(t)
	const free = `{"a": 12345678901234567890.123456789, "b": 1.7e308, "c": [1.10]}`
	if w := p.do("POST", "/lamps/bulk", `[{"name":"a","size":9007199254740993,"free":`+free+`}]`); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	got := <-p.bulk
	if string(got[0].Free) != free || got[0].Size != 9007199254740993 {
		t.Errorf("got %s, %d", got[0].Free, got[0].Size)
	}
	for _, bad := range []string{`{"a": 1e131073}`, `{"a": 1e400}`, `{"a": [-1.8e308]}`, `{"a": 1` + strings.Repeat("0", 309) + `}`, `{"a": 1e-16384}`, `{"a": {"b": "\u0000"}}`, `{"a": {"b": 1, "b": 2}}`, `{"a\u0000": 1}`, `5`, `[]`} {
		p.problem(p.do("POST", "/lamps/bulk", `[{"name":"a","size":1,"free":`+bad+`}]`), 422, "invalid")
	}
	got422 := p.problem(p.do("POST", "/lamps/bulk", `[{"name":"a","size":9223372036854775808}]`), 422, "invalid")
	if strings.Contains(got422.Errors[0].Message, "Go") || len(got422.Errors) != 1 {
		t.Errorf("got %v", got422.Errors)
	}
}

func TestFailuresHideInternalText(t *testing.T) {
	p := newProbe(t, func(o *api.Options) { o.RequestTimeout = 20 * time.Millisecond })
	p.problem(p.do("GET", "/failures/panic", ""), 500, "internal")
	p.problem(p.do("GET", "/failures/plain", ""), 500, "internal")
	p.problem(p.do("GET", "/failures/huma", ""), 500, "internal")
	if n := strings.Count(p.logs.String(), "hunter2"); n < 2 {
		t.Errorf("the log has the cause %d times: %s", n, p.logs)
	}
	w := p.do("GET", "/failures/busy", "")
	p.problem(w, 503, "database-busy")
	if w.Header().Get("Retry-After") != "1" {
		t.Error("no Retry-After")
	}
	p.problem(p.do("GET", "/failures/timeout", ""), 503, "request-timeout")
}

func TestAnswersAreObserved(t *testing.T) {
	p := newProbe(t)
	p.do("GET", lampPath, "")
	p.do("BREW", "/nowhere/at/all", "")
	p.do("GET", "/failures/panic", "")
	var got []string
	for _, a := range p.seen {
		got = append(got, fmt.Sprintf("%s %s %s %d", a.Operation, a.Method, a.Route, a.Status))
	}
	want := []string{"get-lamp GET /lamps/{id} 200", "unmatched OTHER unmatched 404", "get-failure GET /failures/{kind} 500"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRateLimitIsPerCredentialAndSparesInstruments(t *testing.T) {
	p := newProbe(t, func(o *api.Options) { o.RateLimit = 2 })
	status := func(credential, method, path string) int {
		return p.do(method, path, `{}`, "Authorization", "Bearer "+credential).Code
	}
	limited := 0
	for range 20 {
		if status("observer", "GET", "/lamps") == http.StatusTooManyRequests {
			limited++
		}
		if got := status("service", "POST", "/lamps"); got != 201 {
			t.Fatalf("a service user's critical write is %d", got)
		}
	}
	if limited < 15 {
		t.Errorf("%d of 20 are limited", limited)
	}
	if h := p.do("POST", "/lamps", `{}`, "Authorization", "Bearer service").Header(); h.Get("RateLimit") != "" {
		t.Errorf("a write that is not limited says %q", h.Get("RateLimit"))
	}
	w := p.do("GET", "/lamps", "")
	if got := [2]string{w.Header().Get("RateLimit-Policy"), w.Header().Get("RateLimit")}; got != [2]string{`"credential";q=2;w=1`, `"credential";r=0;t=1`} {
		t.Errorf("the headers of the limit are %q", got)
	}
	open := p.do("GET", "/status", "", "Authorization", "")
	if got := open.Header().Get("RateLimit"); got != `"address";r=1;t=1` {
		t.Errorf("without a credential the limit is %q", got)
	}
	p.problem(w, 429, "too-many-requests")
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
	for _, other := range []string{"service", "observer-too", "logged-in"} {
		if got := status(other, "GET", "/lamps"); got != 200 {
			t.Errorf("another credential, %s, is %d", other, got)
		}
	}
}

// TestScarceOperationsAreLimitedByAddress: whatever the rate of all operations is, and however many credentials an
// address has.
func TestScarceOperationsAreLimitedByAddress(t *testing.T) {
	p := newProbe(t)
	api.Register(p.router, api.Op{ID: "get-scarce", Method: "GET", Path: "/scarce", Summary: "Scarce", Permission: api.Open, Tags: []string{"operations"}, PerMinute: 3},
		func(context.Context, *waitInput) (*nothingOutput, error) { return &nothingOutput{}, nil })
	call := func(peer, credential string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/scarce", http.NoBody)
		r.RemoteAddr = net.JoinHostPort(peer, "1234")
		if credential != "" {
			r.Header.Set("Authorization", "Bearer "+credential)
		}
		return p.send(r)
	}
	for _, credential := range []string{"", "observer", "service"} {
		if w := call("10.0.0.1", credential); w.Code != http.StatusOK {
			t.Fatalf("%q is %d %s", credential, w.Code, w.Body)
		}
	}
	w := call("10.0.0.1", "observer-too")
	p.problem(w, 429, "too-many-requests")
	if w.Header().Get("Retry-After") != "20" {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
	if w := call("10.0.0.2", ""); w.Code != http.StatusOK {
		t.Errorf("another address is %d", w.Code)
	}
}

// TestGuessesAreDampedByAddress: whoever sends many well-formed secrets that nobody has
// is told to wait. Typing errors and missing credentials count for nothing, and who
// shares the address and has a known credential notices nothing.
func TestGuessesAreDampedByAddress(t *testing.T) {
	told := []string{}
	p := newProbe(t, func(o *api.Options) {
		o.Guessing = func(_ context.Context, address string) { told = append(told, address) }
	})
	status := func(credential string) int {
		return p.do("GET", "/lamps", "", "Authorization", credential).Code
	}
	for range 100 {
		for _, harmless := range []string{"", "Bearer", "Bearer mistyped", "Basic Zm9vOmJhcg=="} {
			if got := status(harmless); got != 401 {
				t.Fatalf("%q is %d", harmless, got)
			}
		}
	}
	if got := status("Bearer guess"); got != 401 || len(told) > 0 {
		t.Fatalf("the first guess is %d, told of %q", got, told)
	}
	damped := 0
	for range 100 {
		if status("Bearer guess") == 429 {
			damped++
		}
	}
	if damped < 70 || damped > 85 {
		t.Errorf("of 100 guesses %d are damped", damped)
	}
	if len(told) < 1 || len(told) > 5 || told[0] != "192.0.2.1" {
		t.Errorf("told of guesses from %q", told)
	}
	if got := status("Bearer observer"); got != 200 {
		t.Errorf("a known credential from the same address is %d", got)
	}
	p.problem(p.do("GET", "/lamps", "", "Authorization", "Bearer guess"), 429, "too-many-requests")
	if got := status("Bearer mistyped"); got != 401 {
		t.Errorf("a typing error is %d after all guesses are spent", got)
	}
}

// TestLimitsGoByTheClientsAddress: by that of the client as the trusted proxies tell it, which nobody else can set, and
// for IPv6 by the network of a customer.
func TestLimitsGoByTheClientsAddress(t *testing.T) {
	p := newProbe(t, func(o *api.Options) { o.RateLimit, o.TrustedProxies = 0.001, []string{"10.0.0.0/8"} })
	limited := func(peer, forwarded string) bool {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/status", http.NoBody)
		r.RemoteAddr = net.JoinHostPort(peer, "1234")
		if forwarded != "" {
			r.Header.Set("X-Forwarded-For", forwarded)
		}
		w := httptest.NewRecorder()
		p.router.Handler().ServeHTTP(w, r)
		return w.Code == http.StatusTooManyRequests
	}
	for _, step := range []struct {
		peer, forwarded string
		want            bool
	}{
		{"192.0.2.1", "", false},
		{"192.0.2.1", "", true},
		{"192.0.2.1", "198.51.100.1", true}, // no proxy of ours
		{"192.0.2.2", "", false},
		{"10.0.0.1", "203.0.113.1", false},
		{"10.0.0.1", "203.0.113.1", true},
		{"10.0.0.2", "198.51.100.7, 203.0.113.1, 10.0.0.1", true}, // what the client wrote itself stands before
		{"10.0.0.1", "203.0.113.2", false},
		{"2001:db8:1:1::1", "", false},
		{"2001:db8:1:1:ffff::2", "", true},
		{"2001:db8:1:2::1", "", false},
	} {
		if got := limited(step.peer, step.forwarded); got != step.want {
			t.Errorf("from %s for %q: limited %t, want %t", step.peer, step.forwarded, got, step.want)
		}
	}
	// Whoever comes from everywhere makes nobody's bucket full again.
	for i := range 12_000 {
		limited(fmt.Sprintf("172.16.%d.%d", i/250, i%250), "")
		if i%1000 == 0 && !limited("192.0.2.1", "") {
			t.Fatalf("%d other addresses have given a full bucket back", i)
		}
	}
}
