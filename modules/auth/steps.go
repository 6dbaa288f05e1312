package auth

import (
	"context"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

const (
	tableUser       = "app_user"
	tableRole       = "role"
	tableToken      = "api_token"
	tablePreference = "user_preference"
)

// DirectSteps returns one value of each step that is carried out on the primary alone,
// for the catalog of a Direct writer.
func DirectSteps() []txn.Step {
	return append(loginSteps(),
		lockUsers{}, mayStill{}, mayGive{}, mayPermit{}, mayLend{}, createUser{}, updateUser{}, setUserRoles{}, lockRoles{}, keepManager{}, updateRole{}, setRolePermissions{},
		createToken{}, revokeToken{}, revokeTokens{}, setPreferences{},
	)
}

// changed says what a step does to one row with a number, for the ledger.
func changed(table string, id int64, set map[string]any) []pending.Change {
	return []pending.Change{txn.Update(table, txn.NumberID(id), set)}
}

// createUser adds a user without roles.
type createUser db.InsertUserParams

// Kind implements txn.Step.
func (createUser) Kind() string { return "users.create/1" }

// Apply implements txn.Step.
func (s createUser) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).InsertUser(ctx, db.InsertUserParams(s))
}

// Rows implements txn.Step.
func (s createUser) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableUser, txn.NumberID(s.ID), s)}
}

// updateUser changes some columns of a user.
type updateUser db.UpdateUserParams

// Kind implements txn.Step.
func (updateUser) Kind() string { return "users.update/1" }

// Apply implements txn.Step.
func (s updateUser) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).UpdateUser(ctx, db.UpdateUserParams(s))
}

// Rows implements txn.Step.
func (s updateUser) Rows() []pending.Change {
	set := map[string]any{"updated_at": s.UpdatedAt}
	if s.IsActive != nil {
		set["is_active"] = *s.IsActive
	}
	if s.FullName != nil {
		set["full_name"] = *s.FullName
	}
	if s.SetEmail {
		set["email"] = s.Email
	}
	return changed(tableUser, s.ID, set)
}

// Refusal implements txn.Refuser.
func (s updateUser) Refusal() *problem.Kind { return otherVersion(s.ExpectedVersion) }

// otherVersion is what it means that a row was not there to be changed.
func otherVersion(expected *int32) *problem.Kind {
	if expected != nil {
		return problem.VersionMismatch
	}
	return problem.NotFound
}

// setUserRoles gives a user exactly these roles.
type setUserRoles db.SetUserRolesParams

// Kind implements txn.Step.
func (setUserRoles) Kind() string { return "users.set_roles/1" }

// Apply implements txn.Step.
func (s setUserRoles) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).SetUserRoles(ctx, db.SetUserRolesParams(s))
}

// Rows implements txn.Step.
func (s setUserRoles) Rows() []pending.Change {
	return changed(tableUser, s.UserID, map[string]any{"roles": s.Roles})
}

// Refusal implements txn.Refuser.
func (setUserRoles) Refusal() *problem.Kind { return RoleUnknown }

// lockRoles makes the transactions that give or take rights wait for each other: two that take the right to manage users
// from the last two would not see each other, nor would one of a user see another that takes the right to it from them.
type lockRoles struct{}

// Kind implements txn.Step.
func (lockRoles) Kind() string { return "roles.lock/1" }

// Apply implements txn.Step.
func (lockRoles) Apply(ctx context.Context, to txn.DBTX) error { return db.New(to).LockRoles(ctx) }

// Rows implements txn.Step.
func (lockRoles) Rows() []pending.Change { return nil }

// lockUsers makes the transaction wait for others that take something from these users, before it is asked what they have.
type lockUsers struct {
	IDs []int64 `json:"ids"`
}

// Kind implements txn.Step.
func (lockUsers) Kind() string { return "users.lock/1" }

// Apply implements txn.Step.
func (s lockUsers) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).LockUsers(ctx, s.IDs)
}

// Rows implements txn.Step.
func (lockUsers) Rows() []pending.Change { return nil }

// mayStill refuses the transaction unless the primary, too, finds that who asks for it may: a site whose replica lags goes
// by rights, a token or a session that main has taken away already, and what main has put out must not let itself in again
// from there.
type mayStill db.MayStillParams

// Kind implements txn.Step.
func (mayStill) Kind() string { return "roles.may_still/1" }

// Apply implements txn.Step.
func (s mayStill) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).MayStill(ctx, db.MayStillParams(s))
}

// Rows implements txn.Step.
func (mayStill) Rows() []pending.Change { return nil }

// Refusal implements txn.Refuser.
func (mayStill) Refusal() *problem.Kind { return problem.Forbidden }

// mayGive refuses the transaction when a user would get what who asks may not do: at main they may have lost it, or their
// way in, where the site still shows them with it.
type mayGive db.MayGiveParams

// Kind implements txn.Step.
func (mayGive) Kind() string { return "roles.may_give/1" }

// Apply implements txn.Step.
func (s mayGive) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).MayGive(ctx, db.MayGiveParams(s))
}

// Rows implements txn.Step.
func (mayGive) Rows() []pending.Change { return nil }

// Refusal implements txn.Refuser.
func (mayGive) Refusal() *problem.Kind { return problem.Forbidden }

// mayPermit is mayGive of a role.
type mayPermit db.MayPermitParams

// Kind implements txn.Step.
func (mayPermit) Kind() string { return "roles.may_permit/1" }

// Apply implements txn.Step.
func (s mayPermit) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).MayPermit(ctx, db.MayPermitParams(s))
}

// Rows implements txn.Step.
func (mayPermit) Rows() []pending.Change { return nil }

// Refusal implements txn.Refuser.
func (mayPermit) Refusal() *problem.Kind { return problem.Forbidden }

// mayLend is mayGive of a service account's token.
type mayLend db.MayLendParams

// Kind implements txn.Step.
func (mayLend) Kind() string { return "api_tokens.may_lend/1" }

// Apply implements txn.Step.
func (s mayLend) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).MayLend(ctx, db.MayLendParams(s))
}

// Rows implements txn.Step.
func (mayLend) Rows() []pending.Change { return nil }

// Refusal implements txn.Refuser.
func (mayLend) Refusal() *problem.Kind { return problem.Forbidden }

// keepManager refuses the transaction when it leaves nobody who may manage users.
type keepManager struct{}

// Kind implements txn.Step.
func (keepManager) Kind() string { return "roles.keep_manager/1" }

// Apply implements txn.Step.
func (keepManager) Apply(ctx context.Context, to txn.DBTX) error { return db.New(to).KeepManager(ctx) }

// Rows implements txn.Step.
func (keepManager) Rows() []pending.Change { return nil }

// Refusal implements txn.Refuser.
func (keepManager) Refusal() *problem.Kind { return LastAdministrator }

// updateRole changes the description of a role.
type updateRole db.UpdateRoleParams

// Kind implements txn.Step.
func (updateRole) Kind() string { return "roles.update/1" }

// Apply implements txn.Step.
func (s updateRole) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).UpdateRole(ctx, db.UpdateRoleParams(s))
}

// Rows implements txn.Step.
func (s updateRole) Rows() []pending.Change {
	return changed(tableRole, s.ID, map[string]any{"description": s.Description, "updated_at": s.UpdatedAt})
}

// Refusal implements txn.Refuser.
func (s updateRole) Refusal() *problem.Kind { return otherVersion(s.ExpectedVersion) }

// setRolePermissions gives a role exactly these permissions.
type setRolePermissions db.SetRolePermissionsParams

// Kind implements txn.Step.
func (setRolePermissions) Kind() string { return "roles.set_permissions/1" }

// Apply implements txn.Step.
func (s setRolePermissions) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).SetRolePermissions(ctx, db.SetRolePermissionsParams(s))
}

// Rows implements txn.Step.
func (s setRolePermissions) Rows() []pending.Change {
	return changed(tableRole, s.RoleID, map[string]any{"permissions": s.Permissions})
}

// Refusal implements txn.Refuser.
func (setRolePermissions) Refusal() *problem.Kind { return PermissionUnknown }

// createToken stores a new API token: of its text the hash alone.
type createToken db.InsertTokenParams

// Kind implements txn.Step.
func (createToken) Kind() string { return "api_tokens.create/1" }

// Apply implements txn.Step.
func (s createToken) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).InsertToken(ctx, db.InsertTokenParams(s))
}

// Rows implements txn.Step. The hash is nobody's business: the ledger does not have it.
func (s createToken) Rows() []pending.Change {
	return []pending.Change{txn.Create(tableToken, txn.NumberID(s.ID), struct {
		ID        int64      `json:"id"`
		UserID    int64      `json:"user_id"`
		Name      string     `json:"name"`
		Prefix    string     `json:"prefix"`
		Scopes    []string   `json:"scopes"`
		ExpiresAt *time.Time `json:"expires_at"`
		CreatedAt time.Time  `json:"created_at"`
	}{s.ID, s.UserID, s.Name, s.Prefix, s.Scopes, s.ExpiresAt, s.CreatedAt})}
}

// revokeToken ends an API token for good.
type revokeToken db.EndTokenParams

// Kind implements txn.Step.
func (revokeToken) Kind() string { return "api_tokens.revoke/1" }

// Apply implements txn.Step.
func (s revokeToken) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).EndToken(ctx, db.EndTokenParams(s))
}

// Rows implements txn.Step.
func (s revokeToken) Rows() []pending.Change {
	return changed(tableToken, s.ID, map[string]any{"is_active": false, "revoked_at": s.RevokedAt})
}

// Refusal implements txn.Refuser.
func (revokeToken) Refusal() *problem.Kind { return TokenRevoked }

// revokeTokens ends all API tokens of a user for good. IDs are those that there were when
// it was decided, for the ledger.
type revokeTokens struct {
	UserID    int64     `json:"user_id"`
	IDs       []int64   `json:"ids"`
	RevokedAt time.Time `json:"revoked_at"`
}

// Kind implements txn.Step.
func (revokeTokens) Kind() string { return "api_tokens.revoke_all/1" }

// Apply implements txn.Step.
func (s revokeTokens) Apply(ctx context.Context, to txn.DBTX) error {
	_, err := db.New(to).EndTokens(ctx, db.EndTokensParams{UserID: s.UserID, RevokedAt: s.RevokedAt})
	return err
}

// Rows implements txn.Step.
func (s revokeTokens) Rows() []pending.Change {
	var rows []pending.Change
	for _, id := range s.IDs {
		rows = append(rows, revokeToken{ID: id, RevokedAt: s.RevokedAt}.Rows()...)
	}
	return rows
}

// setPreferences stores a user's document whole.
type setPreferences db.SetPreferencesParams

// Kind implements txn.Step.
func (setPreferences) Kind() string { return "user_preferences.set/1" }

// Apply implements txn.Step.
func (s setPreferences) Apply(ctx context.Context, to txn.DBTX) error {
	return db.New(to).SetPreferences(ctx, db.SetPreferencesParams(s))
}

// Rows implements txn.Step.
func (s setPreferences) Rows() []pending.Change {
	return changed(tablePreference, s.UserID, map[string]any{"preferences": s.Preferences, "updated_at": s.UpdatedAt})
}

// Refusal implements txn.Refuser.
func (s setPreferences) Refusal() *problem.Kind { return problem.VersionMismatch }
