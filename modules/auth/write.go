package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// write carries a transaction out on the primary, which decides anew whether who asks may. Nothing of this module is
// pending, so that the site's Redis is not asked.
func (m *Module) write(ctx context.Context, in api.Write, build func(ctx context.Context, tx *txn.Builder) error) (txn.Receipt, error) {
	return m.config.Direct.Write(pending.WithoutBuffer(ctx), record.Request(ctx, in), func(ctx context.Context, tx *txn.Builder) error {
		tx.Add(asking(ctx, 0)...)
		return build(ctx, tx)
	})
}

// writeTold is write of what gives a user rights or takes them, 0 for none who is there, which the audit log is to tell: what
// that does not have afterwards is for record. Such transactions wait for each other.
func (m *Module) writeTold(ctx context.Context, in api.Write, user int64, event func() Event, build func(ctx context.Context, tx *txn.Builder) error) (txn.Receipt, error) {
	return m.told(pending.WithoutBuffer(ctx), record.Request(ctx, in), event, func(ctx context.Context, tx *txn.Builder) error {
		tx.Add(lockRoles{})
		tx.Add(asking(ctx, user)...)
		return build(ctx, tx)
	})
}

// asking is what the primary has to find of who has sent a request, all that the site has judged it by, with the user whom it
// is about locked.
func asking(ctx context.Context, about int64) []txn.Step {
	p, _ := api.PrincipalFrom(ctx)
	step := mayStill{UserID: p.UserID, TokenID: p.TokenID, Permissions: ownPermissions(ctx)}
	if !p.Began.IsZero() {
		step.SessionBegan = &p.Began
	}
	return []txn.Step{lockUsers{IDs: []int64{p.UserID, about}}, step}
}

// ownPermissions is all that the credential of a request permits.
func ownPermissions(ctx context.Context) []string {
	p, _ := api.PrincipalFrom(ctx)
	return slices.AppendSeq([]string{}, maps.Keys(p.Permissions))
}

// notShownYet says of a repeated request whose row is not to be found that this site does not show it yet.
func notShownYet(err error) error {
	if errors.Is(err, problem.NotFound) {
		return problem.DatabaseBusy.New("the request was carried out, and this site does not show it yet: repeat it")
	}
	return err
}

// numberOf is the number of the first row of a table that a transaction changes.
func numberOf(receipt txn.Receipt, table string) (int64, error) {
	for _, c := range receipt.Changes {
		if n, ok := txn.NumberOf(c.ID); ok && c.Table == table {
			return n, nil
		}
	}
	return 0, fmt.Errorf("reading transaction %s again: it has no %s", receipt.TransactionID, table)
}

// check runs the queries that a transaction is validated with.
func check(ctx context.Context, tx *txn.Builder, fn func(ctx context.Context, q *db.Queries) error) error {
	return tx.Require(ctx, func(ctx context.Context, s *pending.Snapshot) error { return fn(ctx, db.New(s.DB)) })
}

// read runs queries on a snapshot of the site's database.
func (m *Module) read(ctx context.Context, fn func(ctx context.Context, q *db.Queries) error) error {
	return m.config.Reader.Read(pending.WithoutBuffer(ctx), func(ctx context.Context, s *pending.Snapshot) error { return fn(ctx, db.New(s.DB)) })
}

// preferencesOf reads a user's document; found is false when there is none yet.
func preferencesOf(ctx context.Context, q *db.Queries, userID int64) (row db.GetPreferencesRow, found bool, err error) {
	row, err = q.GetPreferences(ctx, userID)
	if errors.Is(err, pgx.ErrNoRows) {
		return db.GetPreferencesRow{Preferences: []byte("{}")}, false, nil
	}
	if err != nil {
		return row, false, fmt.Errorf("reading preferences: %w", err)
	}
	return row, true, nil
}

// keepsManager refuses what would leave nobody who may manage users; others is how many
// there are beside who loses it. The primary decides again.
func keepsManager(others int64) error {
	if others == 0 {
		return LastAdministrator.New("nobody else may manage users")
	}
	return nil
}

// findRoles returns what each of some roles permits, and refuses roles that there are not.
func findRoles(ctx context.Context, q *db.Queries, names []string) (permissions map[string][]string, err error) {
	rows, err := q.FindRoles(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("reading roles: %w", err)
	}
	permissions = map[string][]string{}
	for _, row := range rows {
		permissions[row.Name] = row.Permissions
	}
	unknown := problem.Invalid.New("there is no such role")
	for i, name := range names {
		if _, there := permissions[name]; !there {
			unknown.AddField(fmt.Sprintf("body.roles[%d]", i), name, "there is no such role")
		}
	}
	if len(unknown.Errors) > 0 {
		return nil, unknown
	}
	return permissions, nil
}

// givesOnlyOwn refuses to give what the request's credential does not permit itself: or else whoever may manage users could
// do everything by a detour. The primary decides again.
func givesOnlyOwn(ctx context.Context, permissions []string) error {
	p, _ := api.PrincipalFrom(ctx)
	for _, permission := range permissions {
		if !p.Can(permission) {
			return problem.Forbidden.New("nobody gives what they may not do themselves, and you may not %s", permission)
		}
	}
	return nil
}
