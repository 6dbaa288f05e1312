package auth

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
)

// Me is what the server knows of whoever sent the request.
type Me struct {
	UserID      int64      `json:"user_id" doc:"The user's id."`
	Username    string     `json:"username" doc:"The user's name." example:"observer1"`
	Service     bool       `json:"service" doc:"Whether this is a service account and no person."`
	Roles       []string   `json:"roles" nullable:"false" doc:"The user's roles, by name."`
	Permissions []string   `json:"permissions" nullable:"false" doc:"What this credential permits: the permissions of the roles, narrowed by the scopes of a token." example:"[\"read:observations\"]"`
	Credential  string     `json:"credential" doc:"The kind of credential: api_token or jwt." example:"api_token"`
	TokenID     *int64     `json:"token_id" nullable:"true" doc:"The API token's id; null for another kind of credential."`
	ExpiresAt   *time.Time `json:"expires_at" nullable:"true" doc:"When the credential expires; null when it does not."`
}

type meOutput struct{ Body Me }

func registerMe(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "get-me", Method: http.MethodGet, Path: "/auth/me", Permission: api.AnyUser, Tags: []string{"shared", "auth"},
		Summary:     "Who am I?",
		Description: "The user, the roles and what the credential of this request permits. Any valid credential may ask.",
	}, m.me)
}

// me answers from the credential alone: it works whenever the credential does.
func (m *Module) me(ctx context.Context, _ *struct{}) (*meOutput, error) {
	p, ok := api.PrincipalFrom(ctx)
	if !ok {
		return nil, problem.Unauthorized.New("the request has no credential")
	}
	me := Me{UserID: p.UserID, Username: p.Username, Service: p.Service, Roles: slices.Clone(p.Roles), Permissions: []string{}, Credential: p.Kind}
	for permission, granted := range p.Permissions {
		if granted {
			me.Permissions = append(me.Permissions, permission)
		}
	}
	slices.Sort(me.Permissions)
	if me.Roles == nil {
		me.Roles = []string{}
	}
	if p.TokenID != 0 {
		me.TokenID = &p.TokenID
	}
	if !p.Expires.IsZero() {
		expires := p.Expires.UTC()
		me.ExpiresAt = &expires
	}
	return &meOutput{Body: me}, nil
}
