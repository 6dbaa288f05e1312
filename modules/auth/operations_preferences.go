package auth

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// maxPreferences bounds the document of a user.
const maxPreferences = 64 << 10

// UserPreferences are what a user has set, as one document.
type UserPreferences struct {
	Preferences json.RawMessage `json:"preferences" doc:"The document; empty when nothing was set yet."`
	Version     int32           `json:"version" doc:"Counts the changes; 0 when nothing was set yet."`
	UpdatedAt   *time.Time      `json:"updated_at" doc:"When it was set last."`
}

// UserPreferencesReplace is the body that sets the document anew.
type UserPreferencesReplace struct {
	Preferences json.RawMessage `json:"preferences" doc:"The whole document: free JSON of at most 64 KiB, its numbers written out (1e6 counts as 1000000)."`
}

type (
	getPreferencesInput struct {
		api.Read
		api.IfNoneMatch
	}
	setPreferencesInput struct {
		api.Write
		api.IfMatch
		Body UserPreferencesReplace
	}
	preferencesOutput struct {
		api.Versioned
		api.Written
		Body UserPreferences
	}
)

func registerPreferences(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "get-user-preferences", Method: http.MethodGet, Path: "/user_preferences", Permission: api.AnyUser, Tags: []string{"ui", "auth"},
		Summary: "What you have set",
	}, m.getPreferences)
	api.Register(r, api.Op{
		ID: "replace-user-preferences", Method: http.MethodPut, Path: "/user_preferences", Permission: api.AnyUser, Tags: []string{"ui", "auth"},
		Summary: "Set your preferences anew, as one document", Problems: []*problem.Kind{problem.VersionMismatch, problem.MainUnreachable},
	}, m.setPreferences)
}

// readPreferences reads the document of whoever sent the request.
func readPreferences(ctx context.Context, q *db.Queries) (UserPreferences, error) {
	p, ok := api.PrincipalFrom(ctx)
	if !ok {
		return UserPreferences{}, problem.Unauthorized.New("the request has no credential")
	}
	row, found, err := preferencesOf(ctx, q, p.UserID)
	if err != nil || !found {
		return UserPreferences{Preferences: row.Preferences}, err
	}
	return UserPreferences{Preferences: row.Preferences, Version: row.Version, UpdatedAt: &row.UpdatedAt}, nil
}

// etag is the version of a document. jsonb writes JSON in its own way, so the text of it
// does not count.
func (p UserPreferences) etag() string {
	return api.ETag(struct {
		Version   int32
		UpdatedAt *time.Time
	}{p.Version, p.UpdatedAt}, nil)
}

func (m *Module) getPreferences(ctx context.Context, in *getPreferencesInput) (*record.Output[UserPreferences], error) {
	out := &record.Output[UserPreferences]{}
	err := m.config.Reader.Read(pending.WithoutBuffer(ctx), func(ctx context.Context, s *pending.Snapshot) (err error) {
		out.ReplayLSN = s.ReplayLSN
		out.Body, err = readPreferences(ctx, db.New(s.DB))
		return err
	})
	if err != nil {
		return nil, err
	}
	out.ETag = out.Body.etag()
	return out, in.Unchanged(out.ETag)
}

func (m *Module) setPreferences(ctx context.Context, in *setPreferencesInput) (*preferencesOutput, error) {
	if api.StoredSize(in.Body.Preferences) > maxPreferences {
		return nil, problem.Invalid.Field("body.preferences", nil, "has more than 64 KiB with its numbers written out")
	}
	userID, _, err := managesUsers(ctx)
	if err != nil {
		return nil, err
	}
	var now UserPreferences
	receipt, err := m.write(ctx, in.Write, func(ctx context.Context, tx *txn.Builder) error {
		step := setPreferences{UserID: userID, Preferences: in.Body.Preferences, UpdatedAt: tx.Now()}
		if err := check(ctx, tx, func(ctx context.Context, q *db.Queries) (err error) {
			now, err = readPreferences(ctx, q)
			return err
		}); err != nil {
			return err
		}
		if err := in.Match(now.etag()); err != nil {
			return err
		}
		if in.IfMatch.Given() {
			expected := now.Version
			step.ExpectedVersion = &expected
		}
		tx.Add(step)
		at := tx.Now()
		now = UserPreferences{Preferences: in.Body.Preferences, Version: now.Version + 1, UpdatedAt: &at}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if receipt.Replayed {
		if err := m.read(ctx, func(ctx context.Context, q *db.Queries) (err error) {
			now, err = readPreferences(ctx, q)
			return err
		}); err != nil {
			return nil, err
		}
	}
	return &preferencesOutput{Versioned: api.Versioned{ETag: now.etag()}, Written: record.Written(receipt), Body: now}, nil
}
