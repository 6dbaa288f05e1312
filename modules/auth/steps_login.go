package auth

import (
	"context"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// loginSteps are the writes of a login with GitHub.
func loginSteps() []txn.Step { return []txn.Step{SignUp{}, SignIn{}, SetTeamRoles{}} }

// SignUp adds a person at the first login with GitHub.
type SignUp db.SignUpParams

// Kind implements txn.Step.
func (SignUp) Kind() string { return "app_user.sign_up/1" }

// Apply implements txn.Step.
func (s SignUp) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).SignUp(ctx, db.SignUpParams(s))
}

// Rows implements txn.Step.
func (s SignUp) Rows() []pending.Change {
	return []pending.Change{txn.Create("app_user", txn.NumberID(s.ID), s)}
}

// SignIn notes a login of a person who is known.
type SignIn db.SignInParams

// Kind implements txn.Step.
func (SignIn) Kind() string { return "app_user.sign_in/1" }

// Apply implements txn.Step.
func (s SignIn) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).SignIn(ctx, db.SignInParams(s))
}

// Refusal implements txn.Refuser: the person was deactivated meanwhile, or the account is no longer theirs.
func (SignIn) Refusal() *problem.Kind { return problem.Forbidden }

// Rows implements txn.Step.
func (s SignIn) Rows() []pending.Change {
	return []pending.Change{txn.Update("app_user", txn.NumberID(s.ID), map[string]any{
		"email": s.Email, "full_name": s.FullName, "avatar_url": s.AvatarUrl, "last_login_at": s.At,
	})}
}

// SetTeamRoles makes the roles that a person has by teams those of a login.
type SetTeamRoles db.SetTeamRolesParams

// Kind implements txn.Step.
func (SetTeamRoles) Kind() string { return "app_user.set_team_roles/1" }

// Apply implements txn.Step.
func (s SetTeamRoles) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).SetTeamRoles(ctx, db.SetTeamRolesParams(s))
}

// Rows implements txn.Step.
func (s SetTeamRoles) Rows() []pending.Change {
	return []pending.Change{txn.Update("app_user", txn.NumberID(s.UserID), map[string]any{"team_roles": s.Roles})}
}

// EndSessions ends at every site the sessions of a user that began before a time.
type EndSessions db.EndSessionsEverywhereParams

// Kind implements txn.Step.
func (EndSessions) Kind() string { return "auth.end_sessions/1" }

// ReadBy implements txn.Confidential: it says who has logged out.
func (EndSessions) ReadBy() string { return "read:audit" }

// Apply implements txn.Step.
func (s EndSessions) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).EndSessionsEverywhere(ctx, db.EndSessionsEverywhereParams(s))
}

// Rows implements txn.Step.
func (s EndSessions) Rows() []pending.Change {
	return []pending.Change{txn.Update("app_user", txn.NumberID(s.UserID), map[string]any{"sessions_from": s.At})}
}
