package auth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
)

// Admin manages users, tokens and signing keys on the primary. It is what the command line works with, so that an
// installation has its first administrator before any credential exists.
type Admin struct {
	conn  beginner
	now   func() time.Time
	log   Recorder // nil: nobody is told
	actor string
}

// beginner is a connection or a pool that can begin transactions.
type beginner interface {
	db.DBTX
	Begin(ctx context.Context) (pgx.Tx, error)
}

// NewAdmin returns an Admin that writes to the primary behind conn, a *pgx.Conn or a *pgxpool.Pool.
func NewAdmin(conn beginner) *Admin { return &Admin{conn: conn, now: time.Now} }

// Audited makes an Admin tell an audit log what it changes; actor is who it says did that.
func (a *Admin) Audited(log Recorder, actor string) *Admin {
	return &Admin{conn: a.conn, now: a.now, log: log, actor: actor}
}

func (a *Admin) record(ctx context.Context, action, table, row string, detail map[string]any) {
	if a.log == nil {
		return
	}
	detail["actor"] = a.actor
	a.log.Record(ctx, Event{Action: action, Table: table, Row: row, Detail: detail})
}

// recordUser tells how a user is after a change.
func (a *Admin) recordUser(ctx context.Context, action, username string) {
	if a.log == nil {
		return
	}
	detail, row := map[string]any{"username": username}, ""
	if user, err := a.User(ctx, username); err == nil {
		row = strconv.FormatInt(user.ID, 10)
		detail["roles"], detail["is_active"], detail["is_service"], detail["github_id"] = user.Roles, user.IsActive, user.IsService, user.GithubID
	}
	a.record(ctx, action, tableUser, row, detail)
}

// Errors of Admin that a caller may want to tell apart.
var (
	ErrUserExists        = errors.New("the user exists already")
	ErrUserUnknown       = errors.New("there is no such user")
	ErrAccountTaken      = errors.New("the GitHub account is another user's")
	ErrRoleUnknown       = errors.New("there is no such role")
	ErrTokenExists       = errors.New("the user has an active token of that name already")
	ErrLastAdministrator = errors.New("nobody would be left who may manage users")
	ErrTokenGone         = errors.New("there is no such active token")
)

// userName is what a user may be called, here as at POST /users.
var userName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// CreateUser adds a user with roles. It changes nothing when the user exists (ErrUserExists) or a role does not
// (ErrRoleUnknown).
func (a *Admin) CreateUser(ctx context.Context, username, fullName string, service bool, roles ...string) error {
	if !userName.MatchString(username) {
		return fmt.Errorf("creating user %q: a name has letters, digits, dots, underscores and hyphens, begins with a letter or digit, and has at most 100", username)
	}
	err := pgx.BeginFunc(ctx, a.conn, func(tx pgx.Tx) error {
		q, now := db.New(tx), a.now().UTC()
		created, err := q.CreateUser(ctx, db.CreateUserParams{Username: username, FullName: fullName, IsService: service, CreatedAt: now})
		if err != nil {
			return fmt.Errorf("creating user %s: %w", username, err)
		}
		if created == 0 {
			return fmt.Errorf("creating user %s: %w", username, ErrUserExists)
		}
		for _, role := range roles {
			if err := grant(ctx, q, username, role, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		a.recordUser(ctx, "user.create", username)
	}
	return err
}

// GrantRole gives an existing user one more role; one the user has already stays.
func (a *Admin) GrantRole(ctx context.Context, username, role string) error {
	q := db.New(a.conn)
	if _, err := q.GetUser(ctx, username); errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("granting role %s to %s: %w", role, username, ErrUserUnknown)
	} else if err != nil {
		return fmt.Errorf("reading user %s: %w", username, err)
	}
	if err := grant(ctx, q, username, role, a.now().UTC()); err != nil {
		return err
	}
	a.recordUser(ctx, "user.update", username)
	return nil
}

func grant(ctx context.Context, q *db.Queries, username, role string, now time.Time) error {
	exists, err := q.HasRole(ctx, role)
	if err != nil {
		return fmt.Errorf("reading role %s: %w", role, err)
	}
	if !exists {
		return fmt.Errorf("granting role %s to %s: %w", role, username, ErrRoleUnknown)
	}
	if _, err := q.GrantRole(ctx, db.GrantRoleParams{Username: username, Role: role, GrantedAt: now}); err != nil {
		return fmt.Errorf("granting role %s to %s: %w", role, username, err)
	}
	return nil
}

// allRows is the size of a page that has them all.
const allRows = math.MaxInt32

// Users returns all users, by name.
func (a *Admin) Users(ctx context.Context) ([]User, error) {
	rows, err := db.New(a.conn).ListUsers(ctx, db.ListUsersParams{PageSize: allRows})
	if err != nil {
		return nil, fmt.Errorf("reading users: %w", err)
	}
	users := make([]User, 0, len(rows))
	for _, row := range rows {
		users = append(users, User(row))
	}
	return users, nil
}

// User returns one user by name.
func (a *Admin) User(ctx context.Context, username string) (User, error) {
	row, err := db.New(a.conn).GetUserRecord(ctx, db.GetUserRecordParams{Username: &username})
	if errors.Is(err, pgx.ErrNoRows) {
		return User{}, fmt.Errorf("user %s: %w", username, ErrUserUnknown)
	}
	if err != nil {
		return User{}, fmt.Errorf("reading user %s: %w", username, err)
	}
	return User(row), nil
}

// PutOut makes a user inactive and ends all API tokens of theirs for good, in one transaction; it returns how many there
// were. The last one who may manage users stays (ErrLastAdministrator).
func (a *Admin) PutOut(ctx context.Context, username string) (ended int64, err error) {
	inactive, id := false, ""
	err = a.change(ctx, username, func(q *db.Queries, user User, now time.Time) (err error) {
		id = strconv.FormatInt(user.ID, 10)
		if err := q.UpdateUser(ctx, db.UpdateUserParams{ID: user.ID, IsActive: &inactive, UpdatedAt: now}); err != nil {
			return err
		}
		ended, err = q.EndTokens(ctx, db.EndTokensParams{UserID: user.ID, RevokedAt: now})
		return err
	})
	if err == nil {
		a.record(ctx, "token.revoke", tableUser, id, map[string]any{"username": username, "tokens": ended})
	}
	return ended, err
}

// SetActive makes a user active or not. The last one who may manage users stays
// (ErrLastAdministrator).
func (a *Admin) SetActive(ctx context.Context, username string, active bool) error {
	return a.change(ctx, username, func(q *db.Queries, user User, now time.Time) error {
		return q.UpdateUser(ctx, db.UpdateUserParams{ID: user.ID, IsActive: &active, UpdatedAt: now})
	})
}

// RevokeRole takes a role from a user; one that the user does not have is ErrRoleUnknown.
// The last one who may manage users keeps that (ErrLastAdministrator).
func (a *Admin) RevokeRole(ctx context.Context, username, role string) error {
	return a.change(ctx, username, func(q *db.Queries, user User, now time.Time) error {
		if !slices.Contains(user.Roles, role) {
			return fmt.Errorf("taking role %s from %s: %w", role, username, ErrRoleUnknown)
		}
		return q.TakeRole(ctx, db.TakeRoleParams{UserID: user.ID, Role: role, TakenAt: now})
	})
}

// LinkGitHub says that the GitHub account of a number is a person's, nil that none is: a user who was made by hand logs in
// with it from then on, and keeps the roles given by hand. ErrUserUnknown means that no person has the name,
// ErrAccountTaken that the account is another user's.
func (a *Admin) LinkGitHub(ctx context.Context, username string, account *int64) error {
	linked, err := db.New(a.conn).LinkGitHub(ctx, db.LinkGitHubParams{Username: username, GithubID: account, UpdatedAt: a.now().UTC()})
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.ConstraintName == "app_user_github_id_key":
		return fmt.Errorf("linking user %s: %w", username, ErrAccountTaken)
	case err != nil:
		return fmt.Errorf("linking user %s: %w", username, err)
	case linked == 0:
		return fmt.Errorf("linking user %s: %w, or it is a program", username, ErrUserUnknown)
	}
	a.recordUser(ctx, "user.update", username)
	return nil
}

// change changes a user, if that leaves somebody who may manage users.
func (a *Admin) change(ctx context.Context, username string, fn func(q *db.Queries, user User, now time.Time) error) error {
	err := pgx.BeginFunc(ctx, a.conn, func(tx pgx.Tx) error {
		q := db.New(tx)
		if err := q.LockRoles(ctx); err != nil {
			return fmt.Errorf("changing user %s: %w", username, err)
		}
		user, err := (&Admin{conn: tx, now: a.now}).User(ctx, username)
		if err != nil {
			return err
		}
		before, err := q.CountOtherManagers(ctx, 0)
		if err != nil {
			return fmt.Errorf("counting who may manage users: %w", err)
		}
		if err := fn(q, user, a.now().UTC()); err != nil {
			return fmt.Errorf("changing user %s: %w", username, err)
		}
		after, err := q.CountOtherManagers(ctx, 0)
		if err != nil {
			return fmt.Errorf("counting who may manage users: %w", err)
		}
		if before > 0 && after == 0 {
			return fmt.Errorf("changing user %s: %w", username, ErrLastAdministrator)
		}
		return nil
	})
	if err == nil {
		a.recordUser(ctx, "user.update", username)
	}
	return err
}

// Roles returns all roles, by name.
func (a *Admin) Roles(ctx context.Context) ([]Role, error) {
	rows, err := db.New(a.conn).ListRoles(ctx, db.ListRolesParams{PageSize: allRows})
	if err != nil {
		return nil, fmt.Errorf("reading roles: %w", err)
	}
	roles := make([]Role, 0, len(rows))
	for _, row := range rows {
		roles = append(roles, Role(row))
	}
	return roles, nil
}

// NewToken says which API token to make.
type NewToken struct {
	Username string
	Name     string        // unique among the user's active tokens
	Scopes   []string      // permissions or action:*; none = all rights of the user
	Lifetime time.Duration // 0 = never expires; below 0 = has expired already
}

// CreateToken makes an API token and returns its secret text, which nobody can find out again, and its id.
func (a *Admin) CreateToken(ctx context.Context, n NewToken) (secret string, id int64, err error) {
	q, now := db.New(a.conn), a.now().UTC()
	permissions, err := q.ListPermissions(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("reading permissions: %w", err)
	}
	if wrong := meaningless(n.Scopes, permissions); len(wrong) > 0 {
		return "", 0, fmt.Errorf("no permission is covered by the scopes %s; there are: %s", strings.Join(wrong, ", "), strings.Join(permissions, ", "))
	}
	if _, err := q.GetActiveToken(ctx, db.GetActiveTokenParams{Username: n.Username, Name: n.Name}); err == nil {
		return "", 0, fmt.Errorf("creating token %s of %s: %w", n.Name, n.Username, ErrTokenExists)
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return "", 0, fmt.Errorf("reading the tokens of %s: %w", n.Username, err)
	}
	text, err := NewTokenText()
	if err != nil {
		return "", 0, err
	}
	hash, prefix, err := ParseToken(text)
	if err != nil {
		return "", 0, fmt.Errorf("checking a new token: %w", err)
	}
	params := db.CreateTokenParams{Username: n.Username, Name: n.Name, TokenHash: hash.String(), Prefix: prefix, Scopes: n.Scopes, CreatedAt: now}
	if params.Scopes == nil {
		params.Scopes = []string{}
	}
	if n.Lifetime != 0 {
		expires := now.Add(n.Lifetime).Truncate(time.Microsecond)
		params.ExpiresAt = &expires
	}
	row, err := q.CreateToken(ctx, params)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", 0, fmt.Errorf("creating token %s of %s: %w", n.Name, n.Username, ErrUserUnknown)
	}
	if err != nil {
		return "", 0, fmt.Errorf("creating token %s of %s: %w", n.Name, n.Username, err)
	}
	a.record(ctx, "token.create", tableToken, strconv.FormatInt(row.ID, 10), map[string]any{
		"username": n.Username, "name": n.Name, "prefix": prefix, "scopes": params.Scopes,
	})
	return text, row.ID, nil
}

// HasToken tells whether a user ever had a token of a name, expired and revoked ones included.
func (a *Admin) HasToken(ctx context.Context, username, name string) (bool, error) {
	had, err := db.New(a.conn).HasToken(ctx, db.HasTokenParams{Username: username, Name: name})
	if err != nil {
		return false, fmt.Errorf("reading the tokens of %s: %w", username, err)
	}
	return had, nil
}

// Tokens returns the tokens of a user, or of all users when the name is empty.
func (a *Admin) Tokens(ctx context.Context, username string) ([]APIToken, error) {
	params := db.ListTokensParams{PageSize: allRows}
	if username != "" {
		params.Username = []string{username}
	}
	rows, err := db.New(a.conn).ListTokens(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("reading tokens: %w", err)
	}
	tokens := make([]APIToken, 0, len(rows))
	for _, row := range rows {
		tokens = append(tokens, APIToken(row))
	}
	return tokens, nil
}

// RevokeToken ends a token for good. A site stops accepting it once its replica shows that, at most 30 s later.
func (a *Admin) RevokeToken(ctx context.Context, id int64) error {
	q := db.New(a.conn)
	token, err := q.GetToken(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("revoking token %d: %w", id, ErrTokenGone)
	}
	if err != nil {
		return fmt.Errorf("reading token %d: %w", id, err)
	}
	revoked, err := q.RevokeToken(ctx, db.RevokeTokenParams{ID: id, RevokedAt: a.now().UTC()})
	if err != nil {
		return fmt.Errorf("revoking token %d: %w", id, err)
	}
	if revoked == 0 {
		return fmt.Errorf("revoking token %d: %w", id, ErrTokenGone)
	}
	a.record(ctx, "token.revoke", tableToken, strconv.FormatInt(id, 10), map[string]any{"username": token.Username, "name": token.Name, "prefix": token.Prefix})
	return nil
}

// TokenID returns the id of a user's active token by its name.
func (a *Admin) TokenID(ctx context.Context, username, name string) (int64, error) {
	row, err := db.New(a.conn).GetActiveToken(ctx, db.GetActiveTokenParams{Username: username, Name: name})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("token %s of %s: %w", name, username, ErrTokenGone)
	}
	if err != nil {
		return 0, fmt.Errorf("reading token %s of %s: %w", name, username, err)
	}
	return row.ID, nil
}

// AddSigningKey publishes the public part of a site's signing key. Its predecessors are retired once all that they have
// signed is over; until then they verify.
func (a *Admin) AddSigningKey(ctx context.Context, site, kid, publicKey string) error {
	now := a.now().UTC()
	params := db.AddSigningKeyParams{Kid: kid, Site: site, PublicKey: publicKey, CreatedAt: now, RetiredAt: now.Add(keyOverlap)}
	added, err := db.New(a.conn).AddSigningKey(ctx, params)
	if err != nil {
		return fmt.Errorf("publishing signing key %s: %w", kid, err)
	}
	if added > 0 {
		a.record(ctx, "key.publish", "signing_key", kid, map[string]any{"site": site})
	}
	return nil
}
