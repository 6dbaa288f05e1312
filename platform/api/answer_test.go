package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/problem"
)

func TestIdempotencyKey(t *testing.T) {
	p := newProbe(t)
	for _, bad := range []string{"", "a b", "ä", "a\tb", strings.Repeat("x", 256)} {
		got := p.problem(p.do("POST", "/lamps", `{}`, "Idempotency-Key", bad), 422, "invalid")
		if diff := cmp.Diff([]string{"header.Idempotency-Key"}, locations(got)); diff != "" {
			t.Errorf("%q: %s", bad, diff)
		}
	}
	p.problem(p.do("POST", "/lamps", `{}`, "Idempotency-Key", "a", "Idempotency-Key", "b"), 422, "invalid")
	for _, good := range []string{"a", "!~", strings.Repeat("x", 255)} {
		if w := p.do("POST", "/lamps", `{}`, "Idempotency-Key", good); w.Code != 201 || w.Header().Get("Idempotency-Replayed") != "" {
			t.Errorf("%q: %d %s", good, w.Code, w.Body)
		}
	}
	if w := p.do("POST", "/lamps", `{}`, "Idempotency-Key", "seen"); w.Header().Get("Idempotency-Replayed") != "true" {
		t.Error("a repeat is not marked")
	}
}

func TestWriteRequestNamesRouteAndBody(t *testing.T) {
	p := newProbe(t)
	ask := func(path, body string, headers ...string) api.WriteRequest {
		if w := p.do("POST", path, body, headers...); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		<-p.bulk
		return <-p.request
	}
	first := ask("/lamps/bulk", `[]`, "Idempotency-Key", "k1")
	id := int64(1)
	want := api.WriteRequest{Operation: "create-bulk", Actor: "user:ada", UserID: &id, Key: "k1", Digest: first.Digest}
	if diff := cmp.Diff(want, first); diff != "" || len(first.Digest) != 32 {
		t.Error(diff)
	}
	if again := ask("/lamps/bulk/", `[]`); !bytes.Equal(again.Digest, first.Digest) {
		t.Error("the same route and body have two digests")
	}
	if other := ask("/lamps/bulk", ` []`); bytes.Equal(other.Digest, first.Digest) {
		t.Error("another body has the same digest")
	}
}

func TestPreferWait(t *testing.T) {
	p := newProbe(t)
	for _, bad := range []string{"wait", "wait=", "wait=soon", "wait=-1", "wait=1.5", "wait=99999999999999999999"} {
		got := p.problem(p.do("POST", "/lamps", `{}`, "Prefer", bad), 422, "invalid")
		if diff := cmp.Diff([]string{"header.Prefer"}, locations(got)); diff != "" {
			t.Errorf("%q: %s", bad, diff)
		}
	}
	for prefer, want := range map[string]time.Duration{"": 0, "wait=0": 0, "wait=10": 10 * time.Second, "respond-async, Wait=3; x=1": 3 * time.Second, "wait=100": time.Minute, "return=minimal": 0, `wait="7"`: 7 * time.Second} {
		if got := waitOf(t, prefer); got != want {
			t.Errorf("%q is %s, want %s", prefer, got, want)
		}
	}
}

// waitOf returns what a handler sees of a Prefer header.
func waitOf(t *testing.T, prefer string) time.Duration {
	t.Helper()
	r, err := api.New(api.Options{Authenticator: tokens{}})
	if err != nil {
		t.Fatal(err)
	}
	var seen time.Duration
	api.Register(r, api.Op{ID: "delete-it", Method: "DELETE", Path: "/it", Summary: "x", Permission: "write:observations", Tags: []string{"ui"}},
		func(_ context.Context, in *struct{ api.Write }) (*struct{}, error) {
			seen = in.Wait()
			return nil, nil
		})
	req := request("DELETE", "/it", "")
	req.Header.Set("Prefer", prefer)
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	if w.Code != 204 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return seen
}

func TestRequestTimeoutGrowsWithTheWait(t *testing.T) {
	p := newProbe(t)
	left := func(headers ...string) time.Duration {
		var body struct{ Deadline time.Time }
		if err := json.Unmarshal(p.do("GET", "/me", "", headers...).Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		return time.Until(body.Deadline)
	}
	if got := left(); got < 25*time.Second || got > 30*time.Second {
		t.Errorf("%s are left", got)
	}
	if got := left("Prefer", "wait=60"); got < 85*time.Second {
		t.Errorf("%s are left with a wait of 60 s", got)
	}
}

func TestVersions(t *testing.T) {
	p := newProbe(t)
	etag := p.do("GET", lampPath, "").Header().Get("ETag")
	own, whole, _ := strings.Cut(strings.Trim(etag, `"`), ".")
	if own == "" || whole == "" || etag[0] != '"' {
		t.Fatalf("ETag %q", etag)
	}
	for match, status := range map[string]int{
		etag: 304, `"x", ` + etag: 304, "W/" + etag: 304, "*": 304,
		`"` + own + `.other"`: 200, `"other.` + whole + `"`: 200, "": 200, own: 200,
	} {
		w := p.do("GET", lampPath, "", "If-None-Match", match)
		if w.Code != status {
			t.Errorf("If-None-Match %s: %d, want %d", match, w.Code, status)
		}
		if status == 304 && (w.Body.Len() > 0 || w.Header().Get("ETag") != etag) {
			t.Errorf("304 has %d bytes and ETag %s", w.Body.Len(), w.Header().Get("ETag"))
		}
	}
	for match, status := range map[string]int{
		etag: 200, `"` + own + `.other"`: 200, "*": 200, "": 200, `"x", "` + own + `.y"`: 200,
		`"other.` + whole + `"`: 412, "W/" + etag: 412, own: 412, `""`: 412,
	} {
		w := p.do("PATCH", lampPath, `{}`, "If-Match", match)
		if w.Code != status {
			t.Errorf("If-Match %s: %d, want %d", match, w.Code, status)
		}
		if status == 412 {
			p.problem(w, 412, "version-mismatch")
		}
	}
	if api.ETag("a", "b") == api.ETag("a", "c") || api.ETag("a", "b") == api.ETag("b", "b") {
		t.Error("different records have one version")
	}
	if err := (api.IfMatch{}).Require(); err == nil {
		t.Error("a missing If-Match is no problem")
	}
}

func TestMergePatch(t *testing.T) {
	var got LampPatch
	for body, want := range map[string]LampPatch{
		`{}`:                             {},
		`{"comment": null}`:              {Comment: api.Null[string]()},
		`{"comment": "x"}`:               {Comment: api.Some("x")},
		`{"comment": "", "state": "on"}`: {Comment: api.Some(""), State: api.Some("on")},
	} {
		got = LampPatch{}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
		back, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var again LampPatch
		if err := json.Unmarshal(back, &again); err != nil || again != got {
			t.Errorf("%s is written %s", body, back)
		}
	}
	old := "old"
	if api.Null[string]().Or(&old) != nil || *api.Some("new").Or(&old) != "new" || *(api.Optional[string]{}).Or(&old) != "old" {
		t.Error("Or does not tell absent, null and a value apart")
	}
	p := newProbe(t)
	for body, status := range map[string]int{`{"comment": null}`: 200, `{"state": null}`: 422, `{"state": "on"}`: 200, `{"state": "dim"}`: 422, `{"comment": 5}`: 422, `{"x": 1}`: 422, `{"comment": "` + strings.Repeat("x", 1001) + `"}`: 422} {
		if w := p.do("PATCH", lampPath, body); w.Code != status {
			t.Errorf("%.40s: %d, want %d: %s", body, w.Code, status, w.Body)
		}
	}
}

func TestPages(t *testing.T) {
	p := newProbe(t)
	w := p.do("GET", "/lamps?state=on&limit=1", "")
	var page api.Page[Lamp]
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 1 || page.NextCursor == nil || page.Total != nil || !strings.Contains(w.Body.String(), `"total":null`) {
		t.Fatalf("got %s", w.Body)
	}
	link := w.Header().Get("Link")
	target, found := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	u, err := url.Parse(target)
	if !found || err != nil || u.Path != "/lamps" || u.Query().Get("cursor") != *page.NextCursor || u.Query().Get("state") != "on" {
		t.Fatalf("Link is %s", link)
	}
	if w := p.do("GET", target, ""); w.Code != 200 {
		t.Errorf("the next page: %d %s", w.Code, w.Body)
	}
	cursor := url.QueryEscape(*page.NextCursor)
	if w := p.do("GET", "/lamps?limit=7&count=true&state=on&cursor="+cursor, ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"total":1`) {
		t.Errorf("limit and count belong to no filter: %d %s", w.Code, w.Body)
	}
	for _, other := range []string{"/lamps?cursor=" + cursor, "/lamps?state=off&cursor=" + cursor, "/everything?cursor=" + cursor, "/lamps?state=on&cursor=x" + cursor, "/lamps?state=on&cursor=%20", "/lamps?state=on&cursor=e30"} {
		got := p.problem(p.do("GET", other, ""), 422, "invalid")
		if diff := cmp.Diff([]string{"query.cursor"}, locations(got)); diff != "" {
			t.Errorf("%s: %s", other, diff)
		}
	}
	if w := p.do("GET", "/everything", ""); w.Body.String() != `{"items":[],"next_cursor":null,"total":null}`+"\n" || w.Header().Get("Link") != "" {
		t.Errorf("an empty page is %s", w.Body)
	}
}

func TestCursorsFitTheirOrder(t *testing.T) {
	digest := []byte("digest")
	at, id := time.Date(2026, 7, 15, 4, 0, 0, 123456000, time.UTC), uuid.New()
	for order, key := range map[api.Order]api.SortKey{
		api.NewestFirst: {Time: at, UUID: id}, api.NewestFirstByInt: {Time: at, Int: 7}, api.ByName: {Name: "Ori\u00f3n", Int: 7}, api.ByID: {Int: -3},
	} {
		got, err := api.DecodeCursor(api.EncodeCursor(key, digest), digest, order)
		if err != nil || got != key {
			t.Errorf("%d: %v became %v (%v)", order, key, got, err)
		}
		if _, err := api.DecodeCursor(api.EncodeCursor(key, digest), []byte("other"), order); err == nil {
			t.Error("a cursor of other filters is taken")
		}
	}
	if _, err := api.DecodeCursor(api.EncodeCursor(api.SortKey{Name: "x", Int: 1}, digest), digest, api.NewestFirst); err == nil {
		t.Error("a cursor of another order is taken")
	}
}

func TestFilters(t *testing.T) {
	p := newProbe(t)
	id := uuid.New()
	query := "status=running,completed&name=a,b&unit_id=1,-2&file_id=" + id.String() + "&size_bytes=5&size_bytes_min=1&size_bytes_max=9&pwv_mm_min=.5&has_pwv_mm=false" +
		"&start_time_from=2026-07-15T02:00:00%2B02:00&start_time_to=2026-07-16T00:00:00Z&comment_contains=50%25_%5C&unpackaged=true&source_id=4&q=orion&ra=83.8&dec=-5.4&radius_deg=1"
	if w := p.do("GET", "/everything?"+query, ""); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	in := <-p.lists
	type status string
	var params struct {
		Status     []status    `json:"status"`
		Name       []string    `json:"name"`
		UnitID     []int64     `json:"unit_id"`
		FileID     []uuid.UUID `json:"file_id"`
		Size       []int32     `json:"size_bytes"`
		SizeMin    *int64      `json:"size_bytes_min"`
		SizeMax    *int64      `json:"size_bytes_max"`
		PwvMin     *float64    `json:"pwv_mm_min"`
		PwvMax     *float64    `json:"pwv_mm_max"`
		HasPwv     *bool       `json:"has_pwv_mm"`
		From       *time.Time  `json:"start_time_from"`
		To         *time.Time  `json:"start_time_to"`
		Contains   *string     `json:"comment_contains"`
		Unpackaged bool        `json:"unpackaged"`
		SourceID   []int64     `json:"source_id"`
		Q          *string     `json:"q"`
		RA         *float64    `json:"ra"`
		Dec        *float64    `json:"dec"`
		Radius     *float64    `json:"radius_deg"`
	}
	if err := everyFilter.Fits(params); err != nil {
		t.Fatal(err)
	}
	if err := in.Values.Into(&params); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"status":["running","completed"],"name":["a","b"],"unit_id":[1,-2],"file_id":["` + id.String() + `"],"size_bytes":[5],"size_bytes_min":1,"size_bytes_max":9,"pwv_mm_min":0.5,"pwv_mm_max":null,"has_pwv_mm":false,` +
		`"start_time_from":"2026-07-15T00:00:00Z","start_time_to":"2026-07-16T00:00:00Z","comment_contains":"50%_\\","unpackaged":true,"source_id":[4],"q":"orion","ra":83.8,"dec":-5.4,"radius_deg":1}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	simple, undecided := in.Values.Simple()
	ops := ""
	for _, c := range simple {
		ops += c.Column + " " + c.Op + ", "
	}
	if want := "status in, name in, unit_id in, file_id in, size_bytes in, size_bytes min, size_bytes max, pwv_mm min, pwv_mm has, start_time from, start_time to, comment contains, "; ops != want || !undecided {
		t.Errorf("undecided %v, simple %s", undecided, ops)
	}
	var like struct {
		Like *string `json:"comment_like"`
	}
	p.do("GET", "/everything?comment_contains=50%25_%5C", "")
	values := (<-p.lists).Values
	if err := values.Into(&like); err != nil || *like.Like != `%50\%\_\\%` {
		t.Errorf("the pattern is %v (%v)", like.Like, err)
	}
	if _, undecided := values.Simple(); undecided {
		t.Error("a text filter counts as undecided")
	}
	var poor struct{}
	if values.Into(&poor) == nil || everyFilter.Fits(poor) == nil {
		t.Error("a query without the filter's field is no error")
	}
}

func TestWrongFilters(t *testing.T) {
	p := newProbe(t)
	for query, want := range map[string][]string{
		"status=on":                            {"query.status"},
		"status=running,":                      {"query.status"},
		"unit_id=1.5":                          {"query.unit_id"},
		"unit_id=9223372036854775808":          {"query.unit_id"},
		"unit_id=a,b":                          {"query.unit_id", "query.unit_id"},
		"file_id=5":                            {"query.file_id"},
		"pwv_mm_min=NaN":                       {"query.pwv_mm_min"},
		"pwv_mm_min=0x1p3":                     {"query.pwv_mm_min"},
		"has_pwv_mm=1":                         {"query.has_pwv_mm"},
		"start_time_from=2026-07-15":           {"query.start_time_from"},
		"start_time_from=0000-07-15T00:00:00Z": {"query.start_time_from"},
		"q=" + strings.Repeat("x", 501):        {"query.q"},
		"ra=1":                                 {"query.radius_deg"},
		"ra=361&dec=91&radius_deg=181":         {"query.ra", "query.dec", "query.radius_deg"},
		"pwv_mm=1":                             {"query.pwv_mm"},
		"start_time=2026-07-15T00:00:00Z":      {"query.start_time"},
		"name=" + strings.Repeat("x,", 1001):   {"query.name"},
	} {
		got := p.problem(p.do("GET", "/everything?"+query, ""), 422, "invalid")
		if diff := cmp.Diff(want, locations(got)); diff != "" {
			t.Errorf("%.60s: %s", query, diff)
		}
	}
	if w := p.do("GET", "/everything?start_time_from=2026-07-15T02:00:00+02:00", ""); w.Code != 200 {
		t.Errorf("a plus that is not escaped: %d %s", w.Code, w.Body)
	}
}

func TestProblemsAreDocumented(t *testing.T) {
	p := newProbe(t)
	w := p.do("GET", "/problems", "", "Authorization", "")
	var all api.ProblemKinds
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all.Items) < 25 {
		t.Fatalf("%d problems: %v", len(all.Items), err)
	}
	for _, k := range all.Items {
		if w := p.do("GET", k.Type, "", "Authorization", ""); w.Code != 200 || !strings.Contains(w.Body.String(), k.Code) {
			t.Errorf("%s: %d", k.Type, w.Code)
		}
	}
	p.problem(p.do("GET", "/problems/none", "", "Authorization", ""), 404, "not-found")
}

func TestDocsWorkWithoutInternet(t *testing.T) {
	p := newProbe(t)
	page := p.do("GET", "/docs", "", "Authorization", "")
	if page.Code != 200 || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") || strings.Contains(page.Body.String(), "://") {
		t.Errorf("%d %s %s", page.Code, page.Header().Get("Content-Type"), page.Body)
	}
	for path, kind := range map[string]string{"/docs": "text/html", "/docs/swagger-ui.css": "text/css", "/docs/swagger-ui-bundle.js": "text/javascript", "/docs/start.js": "text/javascript", "/docs/favicon-32x32.png": "image/png"} {
		w := p.do("GET", path, "", "Authorization", "")
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'self'; img-src 'self' data:") {
			t.Errorf("%s: %d %s %s", path, w.Code, w.Header().Get("Content-Type"), w.Header().Get("Content-Security-Policy"))
		}
	}
	p.problem(p.do("GET", "/docs/other.js", "", "Authorization", ""), 404, "not-found")
}

func TestMetricsNeedTheirPermission(t *testing.T) {
	p := newProbe(t)
	if w := p.do("GET", "/metrics", ""); w.Code != 200 || w.Body.String() != "up 1\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	p.problem(p.do("GET", "/metrics", "", "Authorization", "Bearer nobody"), 403, "forbidden")
}

func TestBrowsersOfOtherOrigins(t *testing.T) {
	p := newProbe(t, func(o *api.Options) { o.Origins = []string{"https://console.example.org/"} })
	preflight := p.do("OPTIONS", "/lamps", "", "Authorization", "", "Origin", "https://console.example.org", "Access-Control-Request-Method", "POST")
	if preflight.Code != 204 || !strings.Contains(preflight.Header().Get("Access-Control-Allow-Headers"), "Idempotency-Key") {
		t.Errorf("%d %v", preflight.Code, preflight.Header())
	}
	w := p.do("GET", "/lamps", "", "Origin", "https://console.example.org")
	if w.Header().Get("Access-Control-Allow-Origin") != "https://console.example.org" {
		t.Error("a known origin is not let in")
	}
	exposed := strings.Split(w.Header().Get("Access-Control-Expose-Headers"), ", ")
	for _, name := range []string{"ETag", "Location", "Retry-After", "X-Request-Id", "X-Transaction-Id", "X-Commit-LSN", "RateLimit", "Idempotency-Replayed"} {
		if !slices.Contains(exposed, name) {
			t.Errorf("a page cannot read %s: %q", name, exposed)
		}
	}
	if w := p.do("GET", "/lamps", "", "Origin", "https://evil.example.org"); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("an unknown origin is let in")
	}
}

func TestProblemBeforeThereIsARouter(t *testing.T) {
	w := httptest.NewRecorder()
	api.WriteProblem(w, httptest.NewRequest("GET", "/x", nil), problem.ShuttingDown.New("soon"))
	(&probe{t: t}).problem(w, 503, "shutting-down")
}

// TestHeadersAreCountedByLines: one name a thousand times is a thousand headers.
func TestHeadersAreCountedByLines(t *testing.T) {
	p := newProbe(t)
	r := httptest.NewRequest(http.MethodGet, "/status", http.NoBody)
	for range 101 {
		r.Header.Add("X-Again", "x")
	}
	p.problem(p.send(r), 431, "header-too-large")
}

func TestRealServerLimitsHeaders(t *testing.T) {
	p := newProbe(t)
	server := httptest.NewUnstartedServer(p.handler)
	server.Config.MaxHeaderBytes = api.NewServer("", nil, observetest.Logger(t)).MaxHeaderBytes
	server.Start()
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		r.Header.Set("X-"+strings.Repeat("a", i+1), "x")
	}
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 431 {
		t.Errorf("150 headers: %d", answer.StatusCode)
	}
}
