package auth

import (
	"context"
	"fmt"
	"maps"
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

var tags = []string{"shared", "auth"}

// User is a person or a service account.
type User struct {
	ID          int64      `json:"id" doc:"The user's id."`
	Username    string     `json:"username" doc:"The name, which the user's writes carry as user:<username>." example:"svc-primecam"`
	GithubID    *int64     `json:"github_id" doc:"The GitHub account of a person who has logged in."`
	Email       *string    `json:"email" doc:"Where the user can be reached; null when it is not known."`
	FullName    string     `json:"full_name" doc:"The name to show."`
	AvatarUrl   string     `json:"avatar_url" doc:"A picture to show, or nothing."`
	IsActive    bool       `json:"is_active" doc:"Whether the user's credentials are accepted."`
	IsService   bool       `json:"is_service" doc:"Whether this is a program and no person."`
	LastLoginAt *time.Time `json:"last_login_at" doc:"When the user logged in last; null for never."`
	Roles       []string   `json:"roles" nullable:"false" doc:"The user's roles, by name."`
	Version     int32      `json:"version" doc:"Counts the changes of the record."`
	CreatedAt   time.Time  `json:"created_at" doc:"When the record was made."`
	UpdatedAt   time.Time  `json:"updated_at" doc:"When the record was changed last."`
}

// UserCreate is the body that makes a service account.
type UserCreate struct {
	Username string   `json:"username" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"The name: letters, digits, dots, underscores and hyphens, beginning with a letter or digit. It cannot be changed." example:"svc-primecam"`
	FullName *string  `json:"full_name,omitempty" maxLength:"500" doc:"The name to show."`
	Email    *string  `json:"email,omitempty" maxLength:"500" doc:"Where somebody can be reached who looks after it."`
	Roles    []string `json:"roles" nullable:"false" maxItems:"100" doc:"The roles, by name." example:"[\"service\"]"`
}

// UserPatch is the body that changes a user, a JSON merge patch.
type UserPatch struct {
	IsActive api.Optional[bool]     `json:"is_active,omitzero" nullable:"false" doc:"false refuses the user's credentials, at this site at once, at others when the change has replicated, and ends the sessions. API tokens are accepted again with true, unless they were revoked."`
	FullName api.Optional[string]   `json:"full_name,omitzero" nullable:"false" maxLength:"500" doc:"The name to show."`
	Email    api.Optional[string]   `json:"email,omitzero" maxLength:"500" doc:"Where the user can be reached; null clears it."`
	Roles    api.Optional[[]string] `json:"roles,omitzero" nullable:"false" maxItems:"100" doc:"Takes the place of the user's roles. Nobody gives a role that permits what they may not do themselves."`

	RevokeTokens api.Optional[bool] `json:"revoke_tokens,omitzero" nullable:"false" doc:"true revokes all API tokens of the user, for good: for somebody who has left, or whose secrets are lost."`
}

var userFilters = api.NewFilters(
	api.String("username"), api.Text("username"), api.Text("full_name"),
	api.Flag("is_active").Doc("true: only active users; false: only others."),
	api.Flag("is_service").Doc("true: only service accounts; false: only people."),
	api.Joined(api.String("role")).Doc("Has one of these roles."),
	api.Search().Doc("In the names and the e-mail address."),
)

type (
	listInput     struct{ api.List }
	userListInput = listInput
	getUserInput  struct {
		api.Read
		api.IfNoneMatch
		ID int64 `path:"id" minimum:"1" doc:"The user."`
	}
	createUserInput struct {
		api.Write
		Body UserCreate
	}
	updateUserInput struct {
		api.Write
		api.IfMatch
		ID   int64 `path:"id" minimum:"1" doc:"The user."`
		Body UserPatch
	}
	createdUserOutput struct {
		api.Versioned
		api.Written
		Location string `header:"Location" doc:"Where the user is."`
		Body     User
	}
	userOutput struct {
		api.Versioned
		api.Written
		Body User
	}
)

func registerUsers(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-users", Method: http.MethodGet, Path: "/users", Permission: "manage:users", Tags: tags,
		Summary: "Users and service accounts, by name", Filters: userFilters, Order: api.ByName,
	}, m.listUsers)
	api.Register(r, api.Op{
		ID: "create-user", Method: http.MethodPost, Path: "/users", Permission: "manage:users", Tags: tags, Status: http.StatusCreated,
		Summary:     "Make a service account",
		Description: "People come by their first login; an account of a program is made here, and an API token for it with `POST /api/tokens`. Its name differs from all others by more than the case of letters.",
		Problems:    []*problem.Kind{problem.Conflict, problem.MainUnreachable, RoleUnknown},
	}, m.createUser)
	api.Register(r, api.Op{
		ID: "get-user", Method: http.MethodGet, Path: "/users/{id}", Permission: "manage:users", Tags: tags,
		Summary: "One user", Problems: []*problem.Kind{problem.NotFound},
	}, m.getUser)
	api.Register(r, api.Op{
		ID: "update-user", Method: http.MethodPatch, Path: "/users/{id}", Permission: "manage:users", Tags: tags,
		Summary:     "Change a user: active or not, names, roles",
		Description: "A user who is made inactive is refused at once at this site, elsewhere when the change has replicated. The last one who may manage users stays.",
		Problems:    []*problem.Kind{problem.NotFound, problem.VersionMismatch, problem.MainUnreachable, LastAdministrator, RoleUnknown},
	}, m.updateUser)
}

func (m *Module) listUsers(ctx context.Context, in *userListInput) (*api.PageOutput[User], error) {
	var page db.ListUsersParams
	var count db.CountUsersParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	return record.List[db.ListUsersRow, User]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.ListUsersRow, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListUsers(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) { return db.New(tx).CountUsers(ctx, count) },
		Items: record.Each(func(row db.ListUsersRow) User { return User(row) }),
		Key:   func(row db.ListUsersRow) (string, int64) { return row.Username, row.ID },
	}.Answer(ctx, m.config.Reader, in.List)
}

func (m *Module) getUser(ctx context.Context, in *getUserInput) (*record.Output[User], error) {
	return record.One(ctx, m.config.Reader, in.IfNoneMatch, func(ctx context.Context, s *pending.Snapshot) (User, error) {
		return userByID(ctx, db.New(s.DB), in.ID)
	})
}

func userByID(ctx context.Context, q *db.Queries, id int64) (User, error) {
	row, err := q.GetUserRecord(ctx, db.GetUserRecordParams{ID: &id})
	return User(row), record.Found(err, id, "user")
}

// userAgain is the user whom a repeated request has written, as it is by now.
func (m *Module) userAgain(ctx context.Context, receipt txn.Receipt) (user User, err error) {
	id, err := numberOf(receipt, tableUser)
	if err != nil {
		return user, err
	}
	err = m.read(ctx, func(ctx context.Context, q *db.Queries) error {
		user, err = userByID(ctx, q, id)
		return err
	})
	return user, notShownYet(err)
}

func (m *Module) createUser(ctx context.Context, in *createUserInput) (*createdUserOutput, error) {
	roles := distinct(in.Body.Roles)
	var user User
	event := func() Event {
		return Event{Action: "user.create", Table: tableUser, Row: strconv.FormatInt(user.ID, 10), Detail: map[string]any{
			"username": user.Username, "roles": roles, "is_service": user.IsService,
		}}
	}
	receipt, err := m.writeTold(ctx, in.Write, 0, event, func(ctx context.Context, tx *txn.Builder) error {
		if err := check(ctx, tx, func(ctx context.Context, q *db.Queries) error {
			taken, err := q.HasUsername(ctx, in.Body.Username)
			if err != nil {
				return fmt.Errorf("looking for a user: %w", err)
			}
			if taken {
				return problem.Conflict.Field("body.username", in.Body.Username, "the name is taken")
			}
			permissions, err := findRoles(ctx, q, in.Body.Roles)
			if err != nil {
				return err
			}
			return givesOnlyOwn(ctx, slices.Concat(slices.Collect(maps.Values(permissions))...))
		}); err != nil {
			return err
		}
		id, err := tx.NextNumber(ctx, tableUser)
		if err != nil {
			return err
		}
		step := createUser{
			ID: id, Username: in.Body.Username, Email: in.Body.Email, FullName: api.Or(in.Body.FullName, ""), IsService: true, CreatedAt: tx.Now(),
		}
		tx.Add(step, mayGive{UserID: id, SetRoles: true, Roles: roles, OwnPermissions: ownPermissions(ctx)}, setUserRoles{UserID: id, Roles: roles, GrantedBy: tx.UserID(), GrantedAt: tx.Now()})
		user = User{
			ID: id, Username: step.Username, Email: step.Email, FullName: step.FullName, IsActive: true, IsService: step.IsService, Roles: roles,
			Version: 1, CreatedAt: tx.Now(), UpdatedAt: tx.Now(),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if receipt.Replayed {
		if user, err = m.userAgain(ctx, receipt); err != nil {
			return nil, err
		}
	}
	out := &createdUserOutput{Written: record.Written(receipt), Location: "/users/" + strconv.FormatInt(user.ID, 10), Body: user}
	out.ETag = api.ETag(user, user)
	m.record(ctx, receipt, event)
	return out, nil
}

func (m *Module) updateUser(ctx context.Context, in *updateUserInput) (*userOutput, error) {
	var user User
	var tokens []db.ListActiveTokensRow
	body := in.Body
	event := func() Event {
		return Event{Action: "user.update", Table: tableUser, Row: strconv.FormatInt(in.ID, 10), Detail: userChange(user.Username, body)}
	}
	receipt, err := m.writeTold(ctx, in.Write, in.ID, event, func(ctx context.Context, tx *txn.Builder) error {
		step := updateUser{ID: in.ID, UpdatedAt: tx.Now()}
		if err := check(ctx, tx, func(ctx context.Context, q *db.Queries) (err error) {
			if user, err = userByID(ctx, q, in.ID); err != nil {
				return err
			}
			if err := in.Match(api.ETag(user, user)); err != nil {
				return err
			}
			if in.IfMatch.Given() {
				expected := user.Version
				step.ExpectedVersion = &expected
			}
			if tokens, err = q.ListActiveTokens(ctx, in.ID); err != nil {
				return fmt.Errorf("reading the tokens of a user: %w", err)
			}
			return mayChange(ctx, q, user, body)
		}); err != nil {
			return err
		}
		if body.IsActive.Set {
			user.IsActive, step.IsActive = body.IsActive.Value, &body.IsActive.Value
		}
		if body.FullName.Set {
			user.FullName, step.FullName = body.FullName.Value, &body.FullName.Value
		}
		if body.Email.Set {
			user.Email, step.SetEmail, step.Email = body.Email.Ptr(), true, body.Email.Ptr()
		}
		if body.Roles.Set || body.IsActive.Value {
			tx.Add(mayGive{
				UserID: in.ID, SetRoles: body.Roles.Set, Roles: distinct(body.Roles.Value), LetsIn: body.IsActive.Value, OwnPermissions: ownPermissions(ctx),
			})
		}
		tx.Add(step)
		if body.Roles.Set {
			user.Roles = distinct(body.Roles.Value)
			tx.Add(setUserRoles{UserID: in.ID, Roles: user.Roles, GrantedBy: tx.UserID(), GrantedAt: tx.Now()})
		}
		if body.RevokeTokens.Value {
			end := revokeTokens{UserID: in.ID, RevokedAt: tx.Now()}
			for _, token := range tokens {
				end.IDs = append(end.IDs, token.ID)
			}
			tx.Add(end)
		}
		if body.Roles.Set || body.IsActive.Set && !body.IsActive.Value {
			tx.Add(keepManager{})
		}
		user.Version, user.UpdatedAt = user.Version+1, tx.Now()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if receipt.Replayed {
		if user, err = m.userAgain(ctx, receipt); err != nil {
			return nil, err
		}
	}
	if !receipt.ValidateOnly && (body.IsActive.Set || body.Roles.Set || body.RevokeTokens.Value) {
		hashes := make([]string, 0, len(tokens))
		for _, token := range tokens {
			hashes = append(hashes, token.TokenHash)
		}
		m.forget(ctx, user.Username, hashes)
	}
	m.record(ctx, receipt, event)
	return &userOutput{Versioned: api.Versioned{ETag: api.ETag(user, user)}, Written: record.Written(receipt), Body: user}, nil
}

// mayChange checks what a change gives to a user, which is not more than who gives it has,
// and what it takes: the last one who may manage users stays that.
func mayChange(ctx context.Context, q *db.Queries, user User, body UserPatch) error {
	roles, active := user.Roles, user.IsActive
	if body.Roles.Set {
		roles = body.Roles.Value
	}
	if body.IsActive.Set {
		active = body.IsActive.Value
	}
	permissions, err := findRoles(ctx, q, roles)
	if err != nil {
		return err
	}
	manages := false
	for _, role := range roles {
		// Who is let in again has all of it anew.
		if !slices.Contains(user.Roles, role) || active && !user.IsActive {
			if err := givesOnlyOwn(ctx, permissions[role]); err != nil {
				return err
			}
		}
		manages = manages || slices.Contains(permissions[role], "manage:users")
	}
	if manages && active || !body.Roles.Set && !body.IsActive.Set {
		return nil
	}
	others, err := q.CountOtherManagers(ctx, user.ID)
	if err != nil {
		return err
	}
	return keepsManager(others)
}

// userChange is what the audit log says of a change.
func userChange(username string, body UserPatch) map[string]any {
	detail := map[string]any{"username": username}
	if body.IsActive.Set {
		detail["is_active"] = body.IsActive.Value
	}
	if body.Roles.Set {
		detail["roles"] = distinct(body.Roles.Value)
	}
	if body.RevokeTokens.Value {
		detail["revoke_tokens"] = true
	}
	if body.FullName.Set {
		detail["full_name"] = body.FullName.Value
	}
	if body.Email.Set {
		detail["email"] = body.Email.Ptr()
	}
	return detail
}

// distinct sorts names and keeps each once.
func distinct(names []string) []string {
	sorted := slices.Sorted(slices.Values(names))
	if sorted == nil {
		return []string{}
	}
	return slices.Compact(sorted)
}
