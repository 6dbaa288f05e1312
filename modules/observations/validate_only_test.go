package observations_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// stores is all that the primary and the site's Redis hold, table by table and key
// by key.
func stores(t *testing.T, s *sites) map[string]string {
	t.Helper()
	held := map[string]string{"primary": one[string](t, s, `SELECT string_agg(table_name || ' ' ||
		query_to_xml(format('SELECT md5(string_agg(t::text, $$,$$ ORDER BY t::text)) FROM %I.%I t', table_schema, table_name), true, true, '')::text, ' ' ORDER BY table_name)
		FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`)}
	client, err := rdb.Open(rdb.Options{URL: s.RedisURL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	keys, err := client.Keys(sandboxtest.Context(t), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		held[key] = fmt.Sprint(dumpKey(t, client, key))
	}
	return held
}

// drySchema is what the test reads of a body's schema.
type drySchema struct {
	Ref        string               `json:"$ref"`
	Type       string               `json:"type"`
	Items      *drySchema           `json:"items"`
	Enum       []any                `json:"enum"`
	Required   []string             `json:"required"`
	Properties map[string]drySchema `json:"properties"`
}

// dryDocument is what the test reads of the document.
type dryDocument struct {
	Paths map[string]map[string]struct {
		Parameters []struct{ Name string }
		Body       *struct {
			Content map[string]struct{ Schema drySchema }
		} `json:"requestBody"`
		Responses map[string]any
	}
	Components struct{ Schemas map[string]drySchema }
}

// body makes a valid body: what is required, or every text when nothing is.
func (d dryDocument) body(t *testing.T, s drySchema, values object) any {
	t.Helper()
	if s.Ref != "" {
		s = d.Components.Schemas[s.Ref[strings.LastIndex(s.Ref, "/")+1:]]
	}
	if s.Type == "array" {
		return []any{d.body(t, *s.Items, values)}
	}
	body := object{}
	for name, p := range s.Properties {
		value, known := values[name]
		switch required := slices.Contains(s.Required, name); {
		case required && len(p.Enum) > 0:
			body[name] = p.Enum[0]
		case required && !known:
			t.Fatalf("say in this test what a valid %s is", name)
		case required:
			body[name] = value
		case len(s.Required) == 0 && p.Type == "string":
			body[name] = "dry"
		}
	}
	return body
}

// TestValidateOnlyWritesNothing makes a dry run of every write in the document.
func TestValidateOnlyWritesNothing(t *testing.T) {
	both(t, func(t *testing.T, s *sites, at *site) {
		var d dryDocument
		at.get("/openapi-3.0.json").read(&d)
		execution := at.start(unit(t, s), nil, "Idempotency-Key", "used").id()
		values := object{
			"obs_unit_id": unit(t, s), "executed_obs_unit_id": execution, "instrument_module_id": module(t, s, "Mod280"),
			"name": "dry.g3", "relative_path": "dry/dry.g3", "size_bytes": 1024, "checksum": strings.Repeat("0", 16),
		}
		at.register(execution, module(t, s, "Mod280"), "first", 1, 1024)
		pack := at.post("/raw_data_package", object{"executed_obs_unit_id": execution, "instrument_module_id": values["instrument_module_id"]}).want(http.StatusCreated).id()
		at.register(execution, module(t, s, "Mod280"), "second", 1, 1024)
		id := map[string]string{"executed_obs_units": execution, "raw_data_package": pack}

		before := stores(t, s)
		tried := 0
		for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
			for method, op := range d.Paths[path] {
				dry := slices.ContainsFunc(op.Parameters, func(p struct{ Name string }) bool { return p.Name == "validate_only" })
				if writes := method == "post" || method == "put" || method == "patch"; dry != writes {
					t.Errorf("%s %s: has validate_only: %v", method, path, dry)
				}
				if !dry {
					continue
				}
				if op.Responses["200"] == nil {
					t.Errorf("%s %s: the document lacks the answer 200", method, path)
				}
				tried++
				body := d.body(t, op.Body.Content["application/json"].Schema, values)
				target := strings.ReplaceAll(path, "{id}", id[strings.Split(path, "/")[1]]) + "?validate_only=true"
				answer := at.do(strings.ToUpper(method), target, body, "Idempotency-Key", "used", "Prefer", "wait=5")
				record := answer.want(http.StatusOK)
				if sync, there := record["sync"]; !there || sync != nil {
					t.Errorf("%s: got sync %v, want null: %s", answer.what, sync, answer.body)
				}
				for _, name := range []string{"Location", "X-Transaction-Id", "X-Commit-LSN", "Idempotency-Replayed"} {
					if value := answer.header.Get(name); value != "" {
						t.Errorf("%s: has %s: %s", answer.what, name, value)
					}
				}
				after := stores(t, s)
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("%s changed what is stored (-before +after):\n%s", answer.what, diff)
				}
				before = after
			}
		}
		if tried < 7 {
			t.Errorf("only %d operations were tried", tried)
		}

		// It refuses what the write would refuse, and shows what it would make of it.
		finish := "/executed_obs_units/" + execution + "/finish"
		at.post("/executed_obs_units/start?validate_only=true", object{"obs_unit_id": 1 << 40}).wantProblem(http.StatusUnprocessableEntity, "invalid", "body.obs_unit_id")
		if got := at.put(finish+"?validate_only=true", object{"status": "aborted"}).want(http.StatusOK); got.text("status") != "aborted" || got.id() != execution {
			t.Errorf("a dry run of finishing shows %v", got)
		}
		at.put(finish, object{"status": "completed"}, "Idempotency-Key", "finish").want(http.StatusOK)
		at.put(finish+"?validate_only=true", object{"status": "completed"}, "Idempotency-Key", "finish").wantProblem(http.StatusConflict, "observation-not-running")
		if maps.Equal(before, stores(t, s)) {
			t.Error("a write that is no dry run leaves no trace that this test sees")
		}
	})
}
