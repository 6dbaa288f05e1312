package auth

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// Role is a named set of permissions.
type Role struct {
	ID          int64     `json:"id" doc:"The role's id."`
	Name        string    `json:"name" doc:"Its name, which a path can take instead of the id." example:"observer"`
	Description string    `json:"description" doc:"Whom it is for."`
	Permissions []string  `json:"permissions" nullable:"false" doc:"What it permits, by name." example:"[\"read:observations\"]"`
	Version     int32     `json:"version" doc:"Counts the changes of the record."`
	CreatedAt   time.Time `json:"created_at" doc:"When the record was made."`
	UpdatedAt   time.Time `json:"updated_at" doc:"When the record was changed last."`
}

// RoleReplace is the body that says anew what a role is.
type RoleReplace struct {
	Description string   `json:"description" maxLength:"1000" doc:"Whom it is for."`
	Permissions []string `json:"permissions" nullable:"false" maxItems:"200" doc:"All that it permits, by name." example:"[\"read:observations\",\"write:observations\"]"`
}

// Permission is one right, as operations ask for it.
type Permission struct {
	ID          int64    `json:"id" doc:"The permission's id."`
	Name        string   `json:"name" doc:"Its name, action:resource." example:"write:observations"`
	Description string   `json:"description" doc:"What it permits."`
	Roles       []string `json:"roles" nullable:"false" doc:"The roles that give it."`
}

var (
	roleFilters       = api.NewFilters(api.String("name"), api.Joined(api.String("permission")).Doc("Gives one of these permissions."))
	permissionFilters = api.NewFilters(api.String("name"), api.Text("name"))
)

type (
	roleListInput       = listInput
	permissionListInput = listInput
	getRoleInput        struct {
		api.Read
		api.IfNoneMatch
		ID string `path:"id" minLength:"1" maxLength:"63" doc:"The id when it has only digits, else the name." example:"observer"`
	}
	replaceRoleInput struct {
		api.Write
		api.IfMatch
		ID   string `path:"id" minLength:"1" maxLength:"63" doc:"The id when it has only digits, else the name." example:"observer"`
		Body RoleReplace
	}
	roleOutput struct {
		api.Versioned
		api.Written
		Body Role
	}
)

func registerRoles(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-roles", Method: http.MethodGet, Path: "/roles", Permission: "manage:users", Tags: tags,
		Summary: "Roles with their permissions, by name", Filters: roleFilters, Order: api.ByName,
	}, m.listRoles)
	api.Register(r, api.Op{
		ID: "get-role", Method: http.MethodGet, Path: "/roles/{id}", Permission: "manage:users", Tags: tags,
		Summary: "One role", Problems: []*problem.Kind{problem.NotFound},
	}, m.getRole)
	api.Register(r, api.Op{
		ID: "replace-role", Method: http.MethodPut, Path: "/roles/{id}", Permission: "manage:users", Tags: tags,
		Summary:     "Say anew what a role permits",
		Description: "Holds for all who have the role: at this site at once, elsewhere when it has replicated, 30 seconds later at most. Somebody must be left who may manage users. Nobody adds a permission that they do not have themselves, and the role admin keeps all.",
		Problems:    []*problem.Kind{problem.NotFound, problem.VersionMismatch, problem.MainUnreachable, LastAdministrator, PermissionUnknown},
	}, m.replaceRole)
	api.Register(r, api.Op{
		ID: "list-permissions", Method: http.MethodGet, Path: "/permissions", Permission: "manage:users", Tags: tags,
		Summary: "Permissions and the roles that give them, by name", Filters: permissionFilters, Order: api.ByName,
	}, m.listPermissions)
}

func (m *Module) listRoles(ctx context.Context, in *roleListInput) (*api.PageOutput[Role], error) {
	var page db.ListRolesParams
	var count db.CountRolesParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.ListRolesRow, Role]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.ListRolesRow, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListRoles(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) { return db.New(tx).CountRoles(ctx, count) },
		Items: record.Each(func(row db.ListRolesRow) Role { return Role(row) }),
		Key:   func(row db.ListRolesRow) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.config.Reader, in.List)
}

func (m *Module) listPermissions(ctx context.Context, in *permissionListInput) (*api.PageOutput[Permission], error) {
	var page db.ListPermissionRecordsParams
	var count db.CountPermissionsParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.ListPermissionRecordsRow, Permission]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.ListPermissionRecordsRow, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListPermissionRecords(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) {
			return db.New(tx).CountPermissions(ctx, count)
		},
		Items: record.Each(func(row db.ListPermissionRecordsRow) Permission { return Permission(row) }),
		Key:   func(row db.ListPermissionRecordsRow) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.config.Reader, in.List)
}

func (m *Module) getRole(ctx context.Context, in *getRoleInput) (*record.Output[Role], error) {
	return record.One(ctx, m.config.Reader, in.IfNoneMatch, func(ctx context.Context, s *pending.Snapshot) (Role, error) {
		return roleAt(ctx, db.New(s.DB), in.ID)
	})
}

// roleAt reads the role that a path names: by its id when the path has only digits, else
// by its name, which begins with a letter.
func roleAt(ctx context.Context, q *db.Queries, path string) (Role, error) {
	params := db.GetRoleParams{Name: &path}
	if id, err := strconv.ParseUint(path, 10, 63); err == nil {
		number := int64(id)
		params = db.GetRoleParams{ID: &number}
	}
	row, err := q.GetRole(ctx, params)
	return Role(row), record.Found(err, path, "role")
}

func (m *Module) replaceRole(ctx context.Context, in *replaceRoleInput) (*roleOutput, error) {
	var role Role
	permissions := distinct(in.Body.Permissions)
	event := func() Event {
		return Event{Action: "role.update", Table: tableRole, Row: strconv.FormatInt(role.ID, 10), Detail: map[string]any{
			"name": role.Name, "permissions": permissions,
		}}
	}
	receipt, err := m.writeTold(ctx, in.Write, 0, event, func(ctx context.Context, tx *txn.Builder) error {
		step := updateRole{Description: in.Body.Description, UpdatedAt: tx.Now()}
		if err := check(ctx, tx, func(ctx context.Context, q *db.Queries) (err error) {
			if role, err = roleAt(ctx, q, in.ID); err != nil {
				return err
			}
			if err := in.Match(api.ETag(role, role)); err != nil {
				return err
			}
			if in.IfMatch.Given() {
				expected := role.Version
				step.ExpectedVersion = &expected
			}
			return checkPermissions(ctx, q, role, in.Body.Permissions)
		}); err != nil {
			return err
		}
		step.ID = role.ID
		tx.Add(mayPermit{RoleID: role.ID, Permissions: permissions, OwnPermissions: ownPermissions(ctx)}, step, setRolePermissions{RoleID: role.ID, Permissions: permissions, CreatedAt: tx.Now()}, keepManager{})
		role.Description, role.Permissions, role.Version, role.UpdatedAt = in.Body.Description, permissions, role.Version+1, tx.Now()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if receipt.Replayed {
		id, err := numberOf(receipt, tableRole)
		if err != nil {
			return nil, err
		}
		if err := m.read(ctx, func(ctx context.Context, q *db.Queries) (err error) {
			role, err = roleAt(ctx, q, strconv.FormatInt(id, 10))
			return err
		}); err != nil {
			return nil, err
		}
	}
	if !receipt.ValidateOnly {
		m.forgetAll()
	}
	m.record(ctx, receipt, event)
	return &roleOutput{Versioned: api.Versioned{ETag: api.ETag(role, role)}, Written: record.Written(receipt), Body: role}, nil
}

// allRights is the role that has every permission. It keeps them: nobody gives what they lack, so that one which nobody
// has any more could not be given back.
const allRights = "admin"

// checkPermissions checks the permissions that a role is to have: new ones are given by nobody who
// lacks them.
func checkPermissions(ctx context.Context, q *db.Queries, role Role, permissions []string) error {
	there, err := q.ListPermissions(ctx)
	if err != nil {
		return fmt.Errorf("reading permissions: %w", err)
	}
	var added []string
	known, manages := map[string]bool{}, false
	for _, name := range there {
		known[name] = true
	}
	unknown := problem.Invalid.New("there is no such permission")
	for i, name := range permissions {
		if !known[name] {
			unknown.AddField(fmt.Sprintf("body.permissions[%d]", i), name, "there is no such permission")
		}
		manages = manages || name == "manage:users"
		if !slices.Contains(role.Permissions, name) {
			added = append(added, name)
		}
	}
	if len(unknown.Errors) > 0 {
		return unknown
	}
	if err := givesOnlyOwn(ctx, added); err != nil {
		return err
	}
	if !manages {
		others, err := q.CountManagersWithout(ctx, role.ID)
		if err != nil {
			return err
		}
		if err := keepsManager(others); err != nil {
			return err
		}
	}
	if role.Name == allRights {
		for _, name := range there {
			if !slices.Contains(permissions, name) {
				return problem.Invalid.Field("body.permissions", permissions, "the role admin has every permission, and this lacks "+name)
			}
		}
	}
	return nil
}
