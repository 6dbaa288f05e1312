package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// demoLifetime is how long a token of the demo is valid.
const demoLifetime = 24 * time.Hour

// DemoToken is a token that the demo gives away.
type DemoToken struct {
	Token     string    `json:"token" doc:"The secret, an ordinary API token."`
	UserID    int64     `json:"user_id" doc:"The user it belongs to."`
	Role      string    `json:"role" doc:"What it permits."`
	ExpiresAt time.Time `json:"expires_at" doc:"When it expires."`
}

// DemoTokenCreate is the body that asks for a token of the demo.
type DemoTokenCreate struct {
	Role *string `json:"role,omitempty" enum:"admin,observer,viewer,service" doc:"The role; absent: observer."`
}

type (
	demoTokenInput  struct{ Body DemoTokenCreate }
	demoTokenOutput struct {
		CacheControl string `header:"Cache-Control" doc:"no-store: the answer has a secret."`
		Body         DemoToken
	}
)

func registerDemo(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "create-demo-token", Method: http.MethodPost, Path: "/api/demo/create-demo-token", Permission: api.Open, Tags: tags, Status: http.StatusCreated,
		Summary:     "Get a token for the demo",
		Description: "Only where DEMO_MODE is set. The token belongs to the user demo-<role> and is valid for a day.",
		Problems:    []*problem.Kind{problem.MainUnreachable}, NoIdempotency: true, NoValidateOnly: true,
	}, m.createDemoToken)
}

func (m *Module) createDemoToken(ctx context.Context, in *demoTokenInput) (*demoTokenOutput, error) {
	role := api.Or(in.Body.Role, "observer")
	made, err := m.makeDemoToken(ctx, role)
	if errors.Is(err, problem.Conflict) { // another request has just made the user
		made, err = m.makeDemoToken(ctx, role)
	}
	if err != nil {
		return nil, err
	}
	return &demoTokenOutput{CacheControl: "no-store", Body: made}, nil
}

func (m *Module) makeDemoToken(ctx context.Context, role string) (DemoToken, error) {
	text, err := NewTokenText()
	if err != nil {
		return DemoToken{}, err
	}
	hash, prefix, err := ParseToken(text)
	if err != nil {
		return DemoToken{}, fmt.Errorf("checking a new token: %w", err)
	}
	made, username := DemoToken{Token: text, Role: role}, "demo-"+role
	var id int64
	event := func() Event {
		return Event{Action: "token.create", Table: tableToken, Row: strconv.FormatInt(id, 10), Detail: map[string]any{
			"username": username, "prefix": prefix, "by": "demo",
		}}
	}
	receipt, err := m.told(pending.WithoutBuffer(ctx), txn.Request{Operation: "create-demo-token", Actor: "user:" + username}, event, func(ctx context.Context, tx *txn.Builder) error {
		if err := check(ctx, tx, func(ctx context.Context, q *db.Queries) error {
			row, err := q.GetUserRecord(ctx, db.GetUserRecordParams{Username: &username})
			made.UserID = row.ID
			if err = record.Found(err, username, "user"); errors.Is(err, problem.NotFound) {
				return nil
			}
			return err
		}); err != nil {
			return err
		}
		if made.UserID == 0 {
			if made.UserID, err = tx.NextNumber(ctx, tableUser); err != nil {
				return err
			}
			tx.Add(createUser{ID: made.UserID, Username: username, FullName: "Demo " + role, CreatedAt: tx.Now()},
				setUserRoles{UserID: made.UserID, Roles: []string{role}, GrantedAt: tx.Now()})
		}
		if id, err = tx.NextNumber(ctx, tableToken); err != nil {
			return err
		}
		made.ExpiresAt = tx.Now().Add(demoLifetime)
		tx.Add(createToken{
			ID: id, UserID: made.UserID, Name: "demo-" + tx.ID().String(), TokenHash: hash.String(), Prefix: prefix, Scopes: []string{}, ExpiresAt: &made.ExpiresAt, CreatedAt: tx.Now(),
		})
		return nil
	})
	if err != nil {
		return DemoToken{}, err
	}
	m.record(ctx, receipt, event)
	return made, nil
}
