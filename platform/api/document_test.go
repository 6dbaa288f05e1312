package api_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
)

func TestDocumentKeepsTheRulesForClients(t *testing.T) {
	p := newProbe(t)
	if found := api.CheckDocument(p.router.OpenAPI()); len(found) > 0 {
		t.Error(strings.Join(found, "\n"))
	}
}

func TestDocumentForms(t *testing.T) {
	p := newProbe(t)
	for path, want := range map[string]struct{ media, version string }{
		"/openapi.json":     {"application/openapi+json", `"openapi":"3.1.0"`},
		"/openapi.yaml":     {"application/openapi+yaml", `openapi: 3.1.0`},
		"/openapi-3.0.json": {"application/openapi+json", `"openapi":"3.0.3"`},
	} {
		w := p.do("GET", path, "", "Authorization", "")
		if w.Code != 200 || w.Header().Get("Content-Type") != want.media || !strings.Contains(w.Body.String(), want.version) {
			t.Errorf("%s: %d %s %.80s", path, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
		if strings.Contains(w.Body.String(), "$schema") {
			t.Errorf("%s mentions $schema", path)
		}
	}
}

// at walks down a JSON document.
func at(v any, path ...string) any {
	for _, step := range path {
		m, _ := v.(map[string]any)
		v = m[step]
	}
	return v
}

func TestDocumentDescribesConventions(t *testing.T) {
	p := newProbe(t)
	var doc any
	if err := json.Unmarshal(p.do("GET", "/openapi.json", "").Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path []string
		want any
	}{
		{[]string{"paths", "/lamps", "post", "x-permission"}, "write:observations"},
		{[]string{"paths", "/lamps", "post", "x-critical"}, true},
		{[]string{"paths", "/lamps", "get", "x-critical"}, nil},
		{[]string{"paths", "/status", "get", "x-permission"}, "open"},
		{[]string{"paths", "/status", "get", "security"}, nil},
		{[]string{"paths", "/lamps", "post", "security"}, []any{map[string]any{"bearer": []any{}}}},
		{[]string{"components", "securitySchemes", "bearer", "scheme"}, "bearer"},
		{[]string{"components", "schemas", "LampCreate", "additionalProperties"}, false},
		{[]string{"components", "schemas", "LampPatch", "additionalProperties"}, false},
		{[]string{"components", "schemas", "Lamp", "additionalProperties"}, nil},
		{[]string{"components", "schemas", "Problem", "additionalProperties"}, nil},
		{[]string{"components", "schemas", "LampPage", "additionalProperties"}, nil},
		{[]string{"components", "schemas", "Lamp", "required"}, []any{"id", "state", "watts", "lit_at", "comment"}},
		{[]string{"components", "schemas", "Lamp", "properties", "id"}, map[string]any{"type": "string", "format": "uuid"}},
		{[]string{"components", "schemas", "Lamp", "properties", "comment", "type"}, []any{"string", "null"}},
		{[]string{"components", "schemas", "LampPatch", "properties", "comment", "type"}, []any{"string", "null"}},
		{[]string{"components", "schemas", "LampPatch", "properties", "state", "type"}, "string"},
		{[]string{"components", "schemas", "LampPatch", "required"}, nil},
		{[]string{"components", "schemas", "Nothing", "properties", "nested", "type"}, []any{"object", "null"}},
		{[]string{"components", "schemas", "BulkItem", "properties", "free"}, map[string]any{"type": "object", "additionalProperties": true}},
		{[]string{"components", "schemas", "LampPage", "properties", "items", "items", "$ref"}, "#/components/schemas/Lamp"},
		{[]string{"components", "headers", "X-Transaction-Id", "schema", "type"}, "string"},
		{[]string{"components", "parameters", "Idempotency-Key", "in"}, "header"},
		{[]string{"paths", "/lamps", "post", "responses", "201", "headers", "X-Commit-LSN", "$ref"}, "#/components/headers/X-Commit-LSN"},
		{[]string{"paths", "/lamps", "get", "responses", "200", "headers", "X-Replay-LSN", "$ref"}, "#/components/headers/X-Replay-LSN"},
		{[]string{"paths", "/lamps", "get", "responses", "422", "$ref"}, "#/components/responses/ProblemUnprocessableEntity"},
		{[]string{"paths", "/lamps", "post", "responses", "409", "$ref"}, "#/components/responses/ProblemConflict"},
		{[]string{"components", "responses", "ProblemUnprocessableEntity", "content", "application/problem+json", "schema", "$ref"}, "#/components/schemas/Problem"},
		{[]string{"paths", "/lamps/{id}", "get", "responses", "304", "description"}, "Not Modified"},
		{[]string{"paths", "/lamps/{id}", "patch", "requestBody", "content", "application/merge-patch+json", "schema", "$ref"}, "#/components/schemas/LampPatch"},
		{[]string{"paths", "/docs", "get", "responses", "200", "content", "text/html", "schema", "type"}, "string"},
		{[]string{"paths", "/metrics", "get", "x-permission"}, "read:metrics"},
	} {
		if diff := cmp.Diff(test.want, at(doc, test.path...)); diff != "" {
			t.Errorf("%s: %s", strings.Join(test.path, " "), diff)
		}
	}
	parameters, _ := at(doc, "paths", "/everything", "get", "parameters").([]any)
	seen := map[string]any{}
	for _, parameter := range parameters {
		if name, ok := at(parameter, "name").(string); ok {
			seen[name] = parameter
		}
	}
	for _, name := range []string{"limit", "cursor", "count", "status", "pwv_mm_min", "has_pwv_mm", "start_time_to", "comment_contains", "q", "radius_deg"} {
		if seen[name] == nil {
			t.Errorf("the parameter %s is not described", name)
		}
	}
	if at(seen["status"], "explode") != false || at(seen["status"], "schema", "type") != "array" {
		t.Errorf("status is %v", seen["status"])
	}
}

// CrookedBody is in requests and answers, and named badly.
type CrookedBody struct {
	ID    uuid.UUID `json:"id"`
	Maybe *string   `json:"maybe,omitempty"`
}

type crookedInput struct {
	api.Write
	ID   int64 `path:"id"`
	Body CrookedBody
}

type crookedRead struct {
	ID   uuid.UUID `path:"id"`
	List []int64   `query:"list,explode"`
}

type crookedOutput struct{ Body CrookedBody }

func TestCheckerFindsWhatBreaksTheRules(t *testing.T) {
	r, err := api.New(api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	api.Register(r, api.Op{ID: "put-crooked", Method: "PUT", Path: "/crooked/{id}", Summary: "x", Permission: "write:observations"},
		func(context.Context, *crookedInput) (*crookedOutput, error) { return nil, nil })
	api.Register(r, api.Op{ID: "get-crooked", Method: "GET", Path: "/crooked/{id}", Summary: "x", Permission: "read:observations", Tags: []string{"ui"}},
		func(context.Context, *crookedRead) (*crookedOutput, error) { return nil, nil })
	found := strings.Join(api.CheckDocument(r.OpenAPI()), "\n")
	for _, want := range []string{
		"schema CrookedBody: ends in Body", "schema CrookedBody: is used in requests and in answers", "/crooked/{id}: the parameter id is of several types",
		"PUT /crooked/{id}: has none of the tags", "GET /crooked/{id}: the list list is not explode: false",
	} {
		if !strings.Contains(found, want) {
			t.Errorf("it does not find %q in\n%s", want, found)
		}
	}
	document := r.OpenAPI()
	operation := document.Paths["/crooked/{id}"].Get
	operation.Extensions, operation.OperationID, operation.Summary = nil, "putCrooked", ""
	for _, want := range []string{"GET /crooked/{id}: has no permission", "the operation id \"putCrooked\" is not", "GET /crooked/{id}: has no summary"} {
		if found := strings.Join(api.CheckDocument(document), "\n"); !strings.Contains(found, want) {
			t.Errorf("it does not find %q in\n%s", want, found)
		}
	}
}

func TestRegistrationRefusesWhatBreaksTheRules(t *testing.T) {
	good := api.Op{ID: "get-it", Method: "GET", Path: "/it", Summary: "x", Permission: "read:observations"}
	for name, change := range map[string]func(*api.Op){
		"no permission":        func(o *api.Op) { o.Permission = "" },
		"wrong permission":     func(o *api.Op) { o.Permission = "observations" },
		"no id":                func(o *api.Op) { o.ID = "" },
		"camel id":             func(o *api.Op) { o.ID = "getIt" },
		"no summary":           func(o *api.Op) { o.Summary = "" },
		"slash":                func(o *api.Op) { o.Path = "/it/" },
		"write without key":    func(o *api.Op) { o.Method = "DELETE" },
		"filters without list": func(o *api.Op) { o.Filters = everyFilter },
		"critical read":        func(o *api.Op) { o.Critical = true },
	} {
		r, err := api.New(api.Options{})
		if err != nil {
			t.Fatal(err)
		}
		op := good
		change(&op)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: registered", name)
				}
			}()
			api.Register(r, op, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
		}()
	}
}

func TestTwoTypesOfOneNamePanic(t *testing.T) {
	r, err := api.New(api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	type Problem struct {
		Other string `json:"other"`
	}
	defer func() {
		if cause := recover(); cause == nil {
			t.Error("two types share a schema name")
		}
	}()
	api.Register(r, api.Op{ID: "get-it", Method: "GET", Path: "/it", Summary: "x", Permission: api.Open},
		func(context.Context, *struct{}) (*struct{ Body Problem }, error) { return nil, nil })
}
