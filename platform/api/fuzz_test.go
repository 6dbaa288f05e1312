package api_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
)

func depth(data []byte) int {
	deepest, now, inString := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == '[' || c == '{'):
			now++
			deepest = max(deepest, now)
		case !inString && (c == ']' || c == '}'):
			now--
		}
	}
	return deepest
}

// The door reads exactly what encoding/json reads, and lets through only what
// jsonb takes as it is.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":[1,2.5e3,-0,"x\n\u00e9",null,true]}`, `{"a":1,"a":2}`, `"\u0000"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`, `1e131072`, `0.1e-99999`, `[[[[]]]]`, "\"\xff\"", `{"\u0061":1,"a":2}`,
		`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"i":10}`, `01`, `-`, `1.`, `[1,]`, `{"a"}`, `nul`, `"\ud83d\u0000"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		faults := 0
		err := api.CheckJSON(data, func(location, message string) {
			faults++
			if message == "" || !utf8.ValidString(location) {
				t.Fatalf("fault %q at %q", message, location)
			}
		})
		if valid := json.Valid(data); valid != (err == nil) && depth(data) <= 60 {
			t.Fatalf("encoding/json says %v, the door says %v: %q", valid, err, data)
		}
		if err != nil || faults > 0 {
			return
		}
		if !utf8.Valid(data) {
			t.Fatalf("invalid UTF-8 passes: %q", data)
		}
		var parsed any
		dec := json.NewDecoder(strings.NewReader(string(data)))
		dec.UseNumber()
		if err := dec.Decode(&parsed); err != nil {
			t.Fatal(err)
		}
		inspect(t, parsed)
	})
}

func inspect(t *testing.T, v any) {
	switch v := v.(type) {
	case string:
		if strings.ContainsRune(v, 0) {
			t.Fatalf("NUL passes: %q", v)
		}
	case map[string]any:
		for key, member := range v {
			inspect(t, key)
			inspect(t, member)
		}
	case []any:
		for _, member := range v {
			inspect(t, member)
		}
	}
}

func FuzzCursor(f *testing.F) {
	digest := []byte("123456789")
	f.Add(api.EncodeCursor(api.SortKey{Time: time.Unix(0, 0), UUID: uuid.Max}, digest))
	f.Add(api.EncodeCursor(api.SortKey{Name: "x", Int: 5}, digest))
	f.Add("e30")
	f.Fuzz(func(t *testing.T, text string) {
		for order := api.NewestFirst; order <= api.ByID; order++ {
			key, err := api.DecodeCursor(text, digest, order)
			if err != nil {
				continue
			}
			again, err := api.DecodeCursor(api.EncodeCursor(key, digest), digest, order)
			if order == api.NewestFirst && (key.UUID == uuid.Nil || key.Time.IsZero()) || order == api.NewestFirstByInt && key.Time.IsZero() {
				continue // no row has these
			}
			if err != nil || !again.Time.Equal(key.Time) || again.UUID != key.UUID || again.Int != key.Int || again.Name != key.Name {
				t.Fatalf("%q gives %v and then %v (%v)", text, key, again, err)
			}
			if api.CheckText(key.Name) != "" || key.Time.Year() > 9999 || (order == api.NewestFirst && key.Time.Year() < 1) {
				t.Fatalf("%q gives %v, which no database takes", text, key)
			}
		}
	})
}

func FuzzFilters(f *testing.F) {
	f.Add("status=running&unit_id=1,2&pwv_mm_min=1&start_time_from=2026-07-15T00:00:00Z&q=a&ra=1&dec=2&radius_deg=3")
	f.Add("limit=5&cursor=x&count=true&%zz&a;b&comment_contains=%00")
	f.Fuzz(func(t *testing.T, query string) {
		p := newProbe(t)
		r := httptest.NewRequest("GET", "/everything", nil)
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer observer")
		w := p.send(r)
		if w.Code != 200 && w.Code != 422 {
			t.Fatalf("%q: %d %s", query, w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) || !utf8.Valid(w.Body.Bytes()) {
			t.Fatalf("%q: %s", query, w.Body)
		}
		if w.Code == 200 {
			if _, err := url.ParseQuery(query); err != nil {
				t.Fatalf("%q passes", query)
			}
			for _, condition := range func() []api.Condition { c, _ := (<-p.lists).Values.Simple(); return c }() {
				for _, v := range condition.Values {
					if text, ok := v.(string); ok && (text == "" || api.CheckText(text) != "") {
						t.Fatalf("%q gives the text %q", query, text)
					}
				}
			}
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("key", "wait=5", `"a.b"`, "r1", "*/*")
	f.Add("", "wait=\x00", `W/"`, "\xff", ";")
	f.Fuzz(func(t *testing.T, key, prefer, match, id, accept string) {
		p := newProbe(t)
		r := request("PATCH", lampPath, `{"comment": "x"}`)
		for name, value := range map[string]string{"Idempotency-Key": key, "Prefer": prefer, "If-Match": match, "X-Request-Id": id, "Accept": accept} {
			r.Header[name] = []string{value}
		}
		w := p.send(r)
		if w.Code != 200 && w.Code != 412 && w.Code != 422 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) || !utf8.Valid(w.Body.Bytes()) {
			t.Fatalf("%s", w.Body)
		}
		if w.Code == 200 && strings.Trim(key, "abcdefghijklmnopqrstuvwxyz") == key && (key == "" || len(key) > 255) {
			t.Fatalf("the key %q passes", key)
		}
		if got := w.Header().Get("X-Request-Id"); got == "" || strings.ContainsAny(got, " \r\n<>\"") {
			t.Fatalf("X-Request-Id is %q", got)
		}
	})
}

func FuzzBody(f *testing.F) {
	f.Add([]byte(`{"watts": 1, "comment": "x", "lit_at": "2026-07-15T00:00:00Z"}`))
	f.Add([]byte(`{"watts": 1e999}`))
	f.Add([]byte("{\"comment\": \"\xff\\u0000\"}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		p := newProbe(t)
		w := p.send(request("POST", "/lamps", string(body)))
		if w.Code != 201 && w.Code != 400 && w.Code != 422 {
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
		var answer any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || !utf8.Valid(w.Body.Bytes()) {
			t.Fatalf("%q: %v %s", body, err, w.Body)
		}
		if w.Code == 201 {
			if err := api.CheckJSON(body, func(location, message string) { t.Fatalf("%q passes: %s %s", body, location, message) }); err != nil {
				t.Fatal(err)
			}
		}
	})
}
