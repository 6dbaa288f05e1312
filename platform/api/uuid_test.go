package api_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
)

type Ids struct {
	ID    uuid.UUID               `json:"id"`
	Maybe *uuid.UUID              `json:"maybe,omitempty"`
	Many  []uuid.UUID             `json:"many,omitempty"`
	Patch api.Optional[uuid.UUID] `json:"patch,omitzero"`
}

type idsInput struct {
	api.Write
	ID    uuid.UUID `path:"id"`
	Other uuid.UUID `query:"other"`
	Body  Ids
}

// IdsShown is what came in.
type IdsShown struct {
	All []uuid.UUID `json:"all"`
}

type idsOutput struct{ Body IdsShown }

// TestUUIDsHaveOneForm: a second spelling of an id would be a second key of caches
// and a reference that text comparison does not find.
func TestUUIDsHaveOneForm(t *testing.T) {
	p := newProbe(t)
	api.Register(p.router, api.Op{ID: "put-ids", Method: "PUT", Path: "/ids/{id}", Summary: "Ids", Permission: "write:observations", Tags: []string{"operations"}},
		func(_ context.Context, in *idsInput) (*idsOutput, error) {
			return &idsOutput{IdsShown{append([]uuid.UUID{in.ID, in.Other, in.Body.ID, *in.Body.Maybe, in.Body.Patch.Value}, in.Body.Many...)}}, nil
		})
	p.handler = p.router.Handler()
	const good = "0198F0F6-7a4e-7c9a-9d1e-0c2d3f4a5b6c"
	put := func(id string) (path, body string) {
		return "/ids/" + id + "?other=" + id, strings.ReplaceAll(`{"id": "X", "maybe": "X", "many": ["X"], "patch": "X"}`, "X", id)
	}
	path, body := put(good)
	if w := p.do("PUT", path, body); w.Code != 200 || strings.Count(w.Body.String(), strings.ToLower(good)) != 6 {
		t.Errorf("the canonical form: %d %s", w.Code, w.Body)
	}
	for _, bad := range []string{"urn:uuid:" + good, "{" + good + "}", "(" + good + ")", strings.ReplaceAll(good, "-", ""), good[:35], good[:35] + "g", "x", strings.Repeat("é", 36)} {
		path, body := put(bad)
		got := p.problem(p.do("PUT", path, body), 422, "invalid")
		at := locations(got)
		slices.Sort(at)
		if diff := cmp.Diff([]string{"body.id", "body.many[0]", "body.maybe", "body.patch", "path.id", "query.other"}, at); diff != "" {
			t.Errorf("%s (-want +got):\n%s", bad, diff)
		}
		for _, e := range got.Errors {
			if e.Message != "must be a UUID of 36 characters, with hyphens" {
				t.Errorf("%s: %s: %q", bad, e.Location, e.Message)
			}
		}
		if at := locations(p.problem(p.do("GET", "/everything?file_id="+bad, ""), 422, "invalid")); !slices.Equal(at, []string{"query.file_id"}) {
			t.Errorf("filter %s: %v", bad, at)
		}
	}
	if text := p.do("GET", "/openapi.json", "", "Authorization", "").Body.String(); strings.Contains(text, "{8}") {
		t.Error("the document has the pattern of UUIDs, which generated clients apply to values that are no text")
	}
}

type hiddenPath struct {
	ID int64 `path:"id"`
}

// Deeper is exported, and what it embeds is not.
type Deeper struct{ hiddenPath }

type (
	hiddenInput  struct{ hiddenPath }
	deeperInput  struct{ Deeper }
	pointerInput struct{ *hiddenPath }
	harmless     struct{}
	fineInput    struct {
		harmless
		ID int64 `path:"id"`
	}
)

var _ = fineInput{}.harmless // otherwise named by reflection only

// TestHiddenParametersAreRefused: huma leaves the fields of an embedded struct that
// is not exported empty, so that a handler would ask for record 0.
func TestHiddenParametersAreRefused(t *testing.T) {
	t.Parallel()
	panics := func(register func(*api.Router, api.Op)) (message any) {
		router, err := api.New(api.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { message = recover() }()
		register(router, api.Op{ID: "get-hidden", Method: "GET", Path: "/hidden/{id}", Summary: "Hidden", Permission: api.Open, Tags: []string{"operations"}})
		return nil
	}
	for name, message := range map[string]any{
		"hidden": panics(func(r *api.Router, op api.Op) {
			api.Register(r, op, func(context.Context, *hiddenInput) (*nothingOutput, error) { return nil, nil })
		}),
		"deeper": panics(func(r *api.Router, op api.Op) {
			api.Register(r, op, func(context.Context, *deeperInput) (*nothingOutput, error) { return nil, nil })
		}),
		"pointer": panics(func(r *api.Router, op api.Op) {
			api.Register(r, op, func(context.Context, *pointerInput) (*nothingOutput, error) { return nil, nil })
		}),
	} {
		if text, ok := message.(string); !ok || !strings.Contains(text, "hiddenPath") {
			t.Errorf("%s: %v", name, message)
		}
	}
	if message := panics(func(r *api.Router, op api.Op) {
		api.Register(r, op, func(context.Context, *fineInput) (*nothingOutput, error) { return nil, nil })
	}); message != nil {
		t.Errorf("an embedded struct without parameters: %v", message)
	}
}
