package auth

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
)

// OwnSessions are the sessions of whoever asks.
type OwnSessions struct {
	Sessions []OwnSession `json:"sessions" nullable:"false" doc:"Those that go on at this site, the newest first; 100 at most."`
}

// OwnSession is a login of whoever asks, as a person knows it again.
type OwnSession struct {
	ID        string    `json:"id" format:"uuid" doc:"The session's id, the sid of its access tokens."`
	CreatedAt time.Time `json:"created_at" doc:"When it began, with a login."`
	ExpiresAt time.Time `json:"expires_at" doc:"When it ends by itself."`
	UserAgent string    `json:"user_agent" doc:"What the browser or program that logged in calls itself." example:"opsdb/1.0"`
	Current   bool      `json:"current" doc:"Whether it is the session that asks."`
}

type (
	ownSessionsOutput struct {
		CacheControl string `header:"Cache-Control" doc:"no-store."`
		Body         OwnSessions
	}
	endOwnSessionInput struct {
		ID string `path:"id" format:"uuid" doc:"The session."`
	}
)

func registerOwnSessions(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-own-sessions", Method: http.MethodGet, Path: "/auth/sessions", Permission: api.LoggedIn, Tags: tags,
		Summary:     "Where am I logged in?",
		Description: "Your sessions at this site; each site has its own.",
		Problems:    []*problem.Kind{problem.PendingUnavailable},
	}, m.ownSessions)
	api.Register(r, api.Op{
		ID: "end-own-session", Method: http.MethodDelete, Path: "/auth/sessions/{id}", Permission: api.LoggedIn, Tags: tags, NoIdempotency: true,
		Summary:     "Log out elsewhere",
		Description: "Ends one of your sessions at this site, also with the link cut. To end all of them, at every site: POST /auth/logout with `everywhere`.",
		Problems:    []*problem.Kind{problem.NotFound, problem.PendingUnavailable},
	}, m.endOwnSession)
}

func (m *Module) ownSessions(ctx context.Context, _ *struct{}) (*ownSessionsOutput, error) {
	p, _ := api.PrincipalFrom(ctx)
	sessions, err := m.config.Sessions.SessionsOf(ctx, p.UserID)
	if err != nil {
		return nil, err
	}
	out := &ownSessionsOutput{CacheControl: "no-store", Body: OwnSessions{Sessions: []OwnSession{}}}
	for _, s := range sessions {
		out.Body.Sessions = append(out.Body.Sessions, OwnSession{
			ID: s.ID, CreatedAt: s.Created, ExpiresAt: s.Expires, UserAgent: s.UserAgent, Current: s.ID == p.SessionID,
		})
	}
	return out, nil
}

func (m *Module) endOwnSession(ctx context.Context, in *endOwnSessionInput) (*struct{}, error) {
	p, _ := api.PrincipalFrom(ctx)
	id, err := uuid.Parse(in.ID)
	if err != nil {
		return nil, problem.Invalid.Field("path.id", in.ID, "is no UUID")
	}
	session, err := m.config.Sessions.Session(ctx, id.String()) // however it was spelled
	if err != nil {
		return nil, err
	}
	if session == nil || session.UserID != p.UserID {
		return nil, problem.NotFound.Field("path.id", in.ID, "you have no such session here")
	}
	if err := m.end(ctx, *session, false); err != nil {
		return nil, err
	}
	m.recordSession(ctx, "logout", *session, "everywhere", false, "by_session", p.SessionID)
	return nil, nil
}
