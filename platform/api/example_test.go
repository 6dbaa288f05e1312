package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
)

// A module declares its problems, its filters, and its inputs and outputs.

var lampBroken = &problem.Kind{Code: "lamp-broken", Title: "The lamp is broken", Status: http.StatusConflict, Doc: "It cannot be lit."}

var lampFilters = api.NewFilters(
	api.Enum("state", "on", "off"),
	api.Nullable(api.Number("watts")),
	api.Time("lit_at"),
	api.Text("comment"),
	api.Joined(api.Int("room_id")),
	api.Search(),
)

// Lamp is a record: every field is always there, null when it is unknown.
type Lamp struct {
	ID      uuid.UUID  `json:"id"`
	State   string     `json:"state" enum:"on,off"`
	Watts   *float64   `json:"watts" doc:"Power, watts."`
	LitAt   *time.Time `json:"lit_at"`
	Comment *string    `json:"comment"`
}

// LampCreate is the body of a create: absent is the default.
type LampCreate struct {
	ID      *uuid.UUID `json:"id,omitempty" doc:"Made by the client; absent: made here."`
	Watts   *float64   `json:"watts" required:"false" minimum:"0"`
	LitAt   *time.Time `json:"lit_at" required:"false" doc:"Default: now."`
	Comment *string    `json:"comment" required:"false" maxLength:"1000"`
}

// LampPatch is the body of a PATCH: absent is unchanged, null clears.
type LampPatch struct {
	Comment api.Optional[string] `json:"comment,omitzero" maxLength:"1000"`
	State   api.Optional[string] `json:"state,omitzero" enum:"on,off" nullable:"false"`
}

type createLampInput struct {
	api.Write
	Body LampCreate
}

type patchLampInput struct {
	api.Write
	api.IfMatch
	ID   uuid.UUID `path:"id"`
	Body LampPatch
}

type getLampInput struct {
	api.Read
	api.IfNoneMatch
	ID uuid.UUID `path:"id"`
}

type listLampsInput struct{ api.List }

type lampOutput struct {
	api.Versioned
	api.Written
	Body Lamp
}

// registerLamps is what a module's Register does.
func registerLamps(r *api.Router) {
	lamp := Lamp{ID: uuid.MustParse("0198f0f6-7a4e-7c9a-9d1e-0c2d3f4a5b6c"), State: "on"}

	api.Register(r, api.Op{ID: "create-lamp", Method: http.MethodPost, Path: "/lamps", Status: http.StatusCreated, Critical: true,
		Summary: "Record a lamp", Permission: "write:observations", Tags: []string{"operations"}, Problems: []*problem.Kind{problem.IDTaken},
	}, func(ctx context.Context, in *createLampInput) (*lampOutput, error) {
		if in.Body.ID != nil {
			if err := api.CheckClientID("body.id", *in.Body.ID); err != nil {
				return nil, err
			}
		}
		// request is txn.Request(in.Request(ctx)); then writer.Write and, for in.Wait(), writer.Wait.
		request := in.Request(ctx)
		out := &lampOutput{Body: lamp}
		out.Body.Watts, out.Body.LitAt, out.Body.Comment = in.Body.Watts, in.Body.LitAt, in.Body.Comment
		out.SetReplayed(request.Key == "seen")
		return out, nil
	})

	api.Register(r, api.Op{ID: "update-lamp", Method: http.MethodPatch, Path: "/lamps/{id}", Critical: true,
		Summary: "Change a lamp", Permission: "write:observations", Tags: []string{"operations"}, Problems: []*problem.Kind{lampBroken},
	}, func(_ context.Context, in *patchLampInput) (*lampOutput, error) {
		if err := in.Match(api.ETag(lamp, lamp)); err != nil {
			return nil, err
		}
		out := &lampOutput{Body: lamp}
		out.Body.Comment = in.Body.Comment.Or(lamp.Comment)
		return out, nil
	})

	api.Register(r, api.Op{ID: "get-lamp", Method: http.MethodGet, Path: "/lamps/{id}",
		Summary: "One lamp", Permission: "read:observations", Tags: []string{"operations"},
	}, func(_ context.Context, in *getLampInput) (*lampOutput, error) {
		if in.ID != lamp.ID {
			return nil, problem.NotFound.Field("path.id", in.ID.String(), "there is no such lamp")
		}
		etag := api.ETag(lamp, lamp)
		if err := in.Unchanged(etag); err != nil {
			return nil, err
		}
		return &lampOutput{Versioned: api.Versioned{ETag: etag}, Body: lamp}, nil
	})

	api.Register(r, api.Op{ID: "list-lamps", Method: http.MethodGet, Path: "/lamps", Filters: lampFilters, Order: api.NewestFirst,
		Summary: "Lamps, newest first", Permission: "read:observations", Tags: []string{"operations"},
	}, func(_ context.Context, in *listLampsInput) (*api.PageOutput[Lamp], error) {
		var params struct { // an sqlc Params struct
			State       []string   `json:"state"`
			WattsMin    *float64   `json:"watts_min"`
			WattsMax    *float64   `json:"watts_max"`
			HasWatts    *bool      `json:"has_watts"`
			LitAtFrom   *time.Time `json:"lit_at_from"`
			LitAtTo     *time.Time `json:"lit_at_to"`
			CommentLike *string    `json:"comment_like"`
			RoomID      []int64    `json:"room_id"`
			Q           *string    `json:"q"`
			AfterTime   *time.Time `json:"after_time"`
			AfterID     *uuid.UUID `json:"after_id"`
			PageSize    int32      `json:"page_size"`
		}
		if err := in.Values.Into(&params); err != nil {
			return nil, err
		}
		if after, ok := in.After(); ok {
			params.AfterTime, params.AfterID = &after.Time, &after.UUID
		}
		// pending.Page.Filters are these, and Undecided is the second.
		_, _ = in.Values.Simple()
		var total *int64
		if in.Count {
			n := int64(1)
			total = &n
		}
		last := api.SortKey{Time: time.Date(2026, 7, 15, 4, 0, 0, 0, time.UTC), UUID: lamp.ID}
		return api.NewPage(in.List, []Lamp{lamp}, &last, total), nil
	})
}

// everyone is an Authenticator that permits all.
type everyone struct{}

func (everyone) Authenticate(_ context.Context, bearer string) (api.Principal, error) {
	if bearer != "secret" {
		return api.Principal{}, problem.Unauthorized.New("the token is not known")
	}
	return api.Principal{UserID: 7, Username: "ada", Permissions: map[string]bool{"read:observations": true, "write:observations": true}}, nil
}

// A complete resource: problems, filters, inputs, outputs, operations.
func Example() {
	problems, err := problem.NewCatalog(problem.Set{Kinds: []*problem.Kind{lampBroken}})
	if err != nil {
		panic(err)
	}
	router, err := api.New(api.Options{Site: "observatory", Authenticator: everyone{}, Problems: problems})
	if err != nil {
		panic(err)
	}
	registerLamps(router)

	request := httptest.NewRequest(http.MethodPost, "/lamps", strings.NewReader(`{"watts": 60}`))
	request.Header.Set("Authorization", "Bearer secret")
	request.Header.Set("Idempotency-Key", "first-lamp")
	answer := httptest.NewRecorder()
	router.Handler().ServeHTTP(answer, request)
	fmt.Println(answer.Code, answer.Body)
	// Output:
	// 201 {"id":"0198f0f6-7a4e-7c9a-9d1e-0c2d3f4a5b6c","state":"on","watts":60,"lit_at":null,"comment":null}
}
