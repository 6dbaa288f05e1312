package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// APIToken is what may be known of an API token.
type APIToken struct {
	ID         int64       `json:"id" doc:"The token's id."`
	UserID     int64       `json:"user_id" doc:"Whose rights it carries."`
	Username   string      `json:"username" doc:"The name of that user."`
	Name       string      `json:"name" doc:"What it is for; unique among the user's active tokens."`
	Prefix     string      `json:"prefix" doc:"The first characters after ops_api_token_, to recognise it by."`
	Scopes     []string    `json:"scopes" nullable:"false" doc:"What the user's rights are narrowed to; none: all of them."`
	IsActive   bool        `json:"is_active" doc:"false once it was revoked."`
	ExpiresAt  *time.Time  `json:"expires_at" doc:"When it expires; null for never."`
	LastUsedAt *time.Time  `json:"last_used_at" doc:"When it was used last, to about 10 seconds; null for never."`
	LastUsedIP *netip.Addr `json:"last_used_ip" doc:"The client's address of that use, as the site's proxies tell it; null for never, or not known."`
	UsageCount int64       `json:"usage_count" doc:"How often it was used, counted with a delay of about 10 seconds."`
	RevokedAt  *time.Time  `json:"revoked_at" doc:"When it was revoked."`
	CreatedAt  time.Time   `json:"created_at" doc:"When it was made."`
}

// APITokenNew is a token that was just made, with its secret.
type APITokenNew struct {
	ID        int64      `json:"id" doc:"The token's id."`
	UserID    int64      `json:"user_id" doc:"Whose rights it carries."`
	Username  string     `json:"username" doc:"The name of that user."`
	Name      string     `json:"name" doc:"What it is for."`
	Prefix    string     `json:"prefix" doc:"The first characters after ops_api_token_, to recognise it by."`
	Scopes    []string   `json:"scopes" nullable:"false" doc:"What the user's rights are narrowed to; none: all of them."`
	ExpiresAt *time.Time `json:"expires_at" doc:"When it expires; null for never."`
	CreatedAt time.Time  `json:"created_at" doc:"When it was made."`
	Token     *string    `json:"token" doc:"The secret itself, shown this once; null when the request was a dry run, or a repetition: when the first answer is lost, revoke the token and make another."`
}

// APITokenCreate is the body that makes an API token.
type APITokenCreate struct {
	Name      string     `json:"name" minLength:"1" maxLength:"255" pattern:"\\S" patternDescription:"more than spaces" doc:"What it is for; unique among the user's active tokens." example:"primecam-daq"`
	Scopes    []string   `json:"scopes,omitempty" maxItems:"100" doc:"Permissions, or all of an action such as read:*, to narrow the user's rights; none: all of them. A scope never adds a right." example:"[\"read:*\",\"write:observations\"]"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"When it expires; absent: when it is revoked."`
	UserID    *int64     `json:"user_id,omitempty" minimum:"1" doc:"For a service account: needs manage:users, and whatever the token is to permit. Absent: for yourself; people make their own."`
}

// APITokenScopes are the scopes that a token can have.
type APITokenScopes struct {
	Scopes []APITokenScope `json:"scopes" nullable:"false" doc:"All scopes there are, by name."`
}

// APITokenScope is what a token's rights can be narrowed to.
type APITokenScope struct {
	Scope       string   `json:"scope" doc:"A permission, or all of an action." example:"read:*"`
	Description string   `json:"description" doc:"What it permits."`
	Permissions []string `json:"permissions" nullable:"false" doc:"The permissions that it covers."`
	Permitted   bool     `json:"permitted" doc:"Whether you have one of them: without, a token of yours gains nothing by it."`
}

var tokenFilters = api.NewFilters(
	api.Joined(api.String("username")).Doc("The user."),
	api.String("name"), api.Text("name"),
	api.Flag("is_active").Doc("true: only those that are not revoked; false: only revoked ones."),
	api.Nullable(api.Time("expires_at")),
)

type (
	tokenListInput   = listInput
	tokenScopesInput struct{ api.Read }
	createTokenInput struct {
		api.Write
		Body APITokenCreate
	}
	revokeTokenInput struct {
		api.Write
		ID int64 `path:"id" minimum:"1" doc:"The token."`
	}
	createdTokenOutput struct {
		api.Written
		CacheControl string `header:"Cache-Control" doc:"no-store: the answer has a secret."`
		Body         APITokenNew
	}
	tokenScopesOutput  struct{ Body APITokenScopes }
	revokedTokenOutput struct{ api.Written }
)

func registerTokens(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-api-tokens", Method: http.MethodGet, Path: "/api/tokens", Permission: api.LoggedIn, Tags: tags,
		Summary: "API tokens, by name", Filters: tokenFilters, Order: api.ByName,
		Description: "Your own tokens; all of them for whoever may manage users. No secret is among what is stored, and so none here.",
	}, m.listTokens)
	api.Register(r, api.Op{
		ID: "create-api-token", Method: http.MethodPost, Path: "/api/tokens", Permission: api.LoggedIn, Tags: tags, Status: http.StatusCreated,
		Summary:     "Make an API token",
		Description: "Only somebody who has logged in makes tokens: a token that was lost must not have made others. The secret is in this answer and nowhere else.",
		Problems:    []*problem.Kind{problem.Conflict, problem.MainUnreachable},
	}, m.createToken)
	api.Register(r, api.Op{
		ID: "list-api-token-scopes", Method: http.MethodGet, Path: "/api/tokens/scopes", Permission: api.LoggedIn, Tags: tags,
		Summary: "What a token can be narrowed to",
	}, m.tokenScopes)
	api.Register(r, api.Op{
		ID: "revoke-api-token", Method: http.MethodDelete, Path: "/api/tokens/{id}", Permission: api.LoggedIn, Tags: tags,
		Summary:     "Revoke an API token",
		Description: "For good: at this site at once, elsewhere when it has replicated, 30 seconds later at most. Your own tokens; any for whoever may manage users.",
		Problems:    []*problem.Kind{problem.NotFound, problem.MainUnreachable, TokenRevoked},
	}, m.revokeToken)
}

// managesUsers tells whether a request may see and do what belongs to other users.
func managesUsers(ctx context.Context) (userID int64, all bool, err error) {
	p, ok := api.PrincipalFrom(ctx)
	if !ok {
		return 0, false, problem.Unauthorized.New("the request has no credential")
	}
	return p.UserID, p.Can("manage:users"), nil
}

func (m *Module) listTokens(ctx context.Context, in *tokenListInput) (*api.PageOutput[APIToken], error) {
	userID, all, err := managesUsers(ctx)
	if err != nil {
		return nil, err
	}
	var page db.ListTokensParams
	var count db.CountTokensParams
	if err := record.Fill(in.List, &page, &count); err != nil {
		return nil, err
	}
	if !all {
		page.OfUser, count.OfUser = &userID, &userID
	}
	return record.List[db.ListTokensRow, APIToken]{
		Page: func(ctx context.Context, tx pending.DBTX, from record.From) ([]db.ListTokensRow, error) {
			page.AfterName, page.AfterID, page.PageSize = from.Name, from.ID, from.Size
			return db.New(tx).ListTokens(ctx, page)
		},
		Count: func(ctx context.Context, tx pending.DBTX) (int64, error) { return db.New(tx).CountTokens(ctx, count) },
		Items: record.Each(func(row db.ListTokensRow) APIToken { return APIToken(row) }),
		Key:   func(row db.ListTokensRow) (string, int64) { return row.Name, row.ID },
	}.Answer(ctx, m.config.Reader, in.List)
}

func (m *Module) tokenScopes(ctx context.Context, _ *tokenScopesInput) (*tokenScopesOutput, error) {
	p, _ := api.PrincipalFrom(ctx)
	var rows []db.ListPermissionRecordsRow
	if err := m.read(ctx, func(ctx context.Context, q *db.Queries) (err error) {
		rows, err = q.ListPermissionRecords(ctx, db.ListPermissionRecordsParams{PageSize: allRows})
		return err
	}); err != nil {
		return nil, err
	}
	actions := map[string]*APITokenScope{}
	out := &tokenScopesOutput{Body: APITokenScopes{Scopes: []APITokenScope{}}}
	for _, row := range rows {
		out.Body.Scopes = append(out.Body.Scopes, APITokenScope{Scope: row.Name, Description: row.Description, Permissions: []string{row.Name}, Permitted: p.Can(row.Name)})
		action, _, _ := strings.Cut(row.Name, ":")
		wide := actions[action]
		if wide == nil {
			wide = &APITokenScope{Scope: action + ":*", Description: "Everything that begins with " + action}
			actions[action] = wide
		}
		wide.Permissions, wide.Permitted = append(wide.Permissions, row.Name), wide.Permitted || p.Can(row.Name)
	}
	for _, wide := range actions {
		out.Body.Scopes = append(out.Body.Scopes, *wide)
	}
	slices.SortFunc(out.Body.Scopes, func(a, b APITokenScope) int { return strings.Compare(a.Scope, b.Scope) })
	return out, nil
}

func (m *Module) createToken(ctx context.Context, in *createTokenInput) (*createdTokenOutput, error) {
	userID, all, err := managesUsers(ctx)
	if err != nil {
		return nil, err
	}
	n := newToken{userID: userID, name: in.Body.Name, scopes: in.Body.Scopes, expires: in.Body.ExpiresAt}
	if in.Body.UserID != nil && *in.Body.UserID != userID {
		if !all {
			return nil, problem.Forbidden.New("the permission manage:users is needed for a token of another user")
		}
		n.userID, n.forAnother = *in.Body.UserID, true
	}
	out, receipt, err := m.makeToken(ctx, in.Write, n)
	if err != nil {
		return nil, err
	}
	return &createdTokenOutput{Written: record.Written(receipt), CacheControl: "no-store", Body: out}, nil
}

// newToken says which token is to be made.
type newToken struct {
	userID  int64
	name    string
	scopes  []string
	expires *time.Time
	// forAnother: not for who asks for it, so for a service account.
	forAnother bool
}

func (m *Module) makeToken(ctx context.Context, in api.Write, n newToken) (APITokenNew, txn.Receipt, error) {
	text, err := NewTokenText()
	if err != nil {
		return APITokenNew{}, txn.Receipt{}, err
	}
	hash, prefix, err := ParseToken(text)
	if err != nil {
		return APITokenNew{}, txn.Receipt{}, fmt.Errorf("checking a new token: %w", err)
	}
	scopes := distinct(n.scopes)
	var made APITokenNew
	event := func() Event {
		return Event{Action: "token.create", Table: tableToken, Row: strconv.FormatInt(made.ID, 10), Detail: map[string]any{
			"username": made.Username, "name": made.Name, "prefix": made.Prefix, "scopes": made.Scopes,
		}}
	}
	receipt, err := m.writeTold(ctx, in, n.userID, event, func(ctx context.Context, tx *txn.Builder) error {
		if n.expires != nil && !n.expires.After(tx.Now()) {
			return problem.Invalid.Field("body.expires_at", n.expires, "is over already")
		}
		var user User
		if err := check(ctx, tx, func(ctx context.Context, q *db.Queries) (err error) {
			user, err = tokenFor(ctx, q, n)
			return err
		}); err != nil {
			return err
		}
		id, err := tx.NextNumber(ctx, tableToken)
		if err != nil {
			return err
		}
		if n.forAnother {
			tx.Add(mayLend{UserID: n.userID, Scopes: scopes, OwnPermissions: ownPermissions(ctx)})
		}
		tx.Add(createToken{
			ID: id, UserID: n.userID, Name: n.name, TokenHash: hash.String(), Prefix: prefix, Scopes: scopes, ExpiresAt: n.expires, CreatedAt: tx.Now(),
		})
		made = APITokenNew{
			ID: id, UserID: n.userID, Username: user.Username, Name: n.name, Prefix: prefix, Scopes: scopes, ExpiresAt: n.expires, CreatedAt: tx.Now(), Token: &text,
		}
		return nil
	})
	if err != nil {
		return APITokenNew{}, receipt, err
	}
	if receipt.ValidateOnly {
		made.Token = nil
	}
	if receipt.Replayed {
		if made, err = m.tokenAgain(ctx, receipt); err != nil {
			return APITokenNew{}, receipt, err
		}
	}
	m.record(ctx, receipt, event)
	return made, receipt, nil
}

// tokenFor checks what a new token is to be, and returns whose it is.
func tokenFor(ctx context.Context, q *db.Queries, n newToken) (User, error) {
	row, err := q.GetUserRecord(ctx, db.GetUserRecordParams{ID: &n.userID})
	if err = record.Found(err, n.userID, "user"); errors.Is(err, problem.NotFound) {
		return User{}, problem.Invalid.Field("body.user_id", n.userID, "there is no such user")
	} else if err != nil {
		return User{}, err
	}
	if !row.IsActive && !n.forAnother {
		return User{}, problem.Forbidden.New("you are not active any more")
	}
	if !row.IsActive {
		return User{}, problem.Invalid.Field("body.user_id", n.userID, "the user is not active")
	}
	if n.forAnother && !row.IsService {
		return User{}, problem.Invalid.Field("body.user_id", n.userID, "is a person, who makes their own tokens")
	}
	permissions, err := q.ListPermissions(ctx)
	if err != nil {
		return User{}, fmt.Errorf("reading permissions: %w", err)
	}
	wrong := problem.Invalid.New("a scope covers no permission")
	for i, scope := range n.scopes {
		if len(meaningless([]string{scope}, permissions)) > 0 {
			wrong.AddField(fmt.Sprintf("body.scopes[%d]", i), scope, "covers no permission; GET /api/tokens/scopes lists those that do")
		}
	}
	if len(wrong.Errors) > 0 {
		return User{}, wrong
	}
	if n.forAnother {
		rights, err := q.GetUserRights(ctx, row.Username)
		if err != nil {
			return User{}, fmt.Errorf("reading the rights of a user: %w", err)
		}
		if err := givesOnlyOwn(ctx, slices.Sorted(maps.Keys(narrow(rights.Permissions, n.scopes)))); err != nil {
			return User{}, err
		}
	}
	taken, err := q.HasActiveToken(ctx, db.HasActiveTokenParams{UserID: n.userID, Name: n.name})
	if err != nil {
		return User{}, fmt.Errorf("reading the tokens of a user: %w", err)
	}
	if taken {
		return User{}, problem.Conflict.Field("body.name", n.name, "the user has an active token of that name")
	}
	return User(row), nil
}

// tokenAgain is the token that a repeated request has made, without its secret: that was
// shown once.
func (m *Module) tokenAgain(ctx context.Context, receipt txn.Receipt) (again APITokenNew, err error) {
	id, err := numberOf(receipt, tableToken)
	if err != nil {
		return again, err
	}
	err = m.read(ctx, func(ctx context.Context, q *db.Queries) error {
		row, err := q.GetToken(ctx, id)
		again = APITokenNew{
			ID: row.ID, UserID: row.UserID, Username: row.Username, Name: row.Name, Prefix: row.Prefix, Scopes: row.Scopes, ExpiresAt: row.ExpiresAt, CreatedAt: row.CreatedAt,
		}
		return record.Found(err, id, "token")
	})
	return again, notShownYet(err)
}

func (m *Module) revokeToken(ctx context.Context, in *revokeTokenInput) (*revokedTokenOutput, error) {
	userID, all, err := managesUsers(ctx)
	if err != nil {
		return nil, err
	}
	var token db.GetTokenRow
	event := func() Event {
		return Event{Action: "token.revoke", Table: tableToken, Row: strconv.FormatInt(in.ID, 10), Detail: map[string]any{
			"username": token.Username, "name": token.Name, "prefix": token.Prefix,
		}}
	}
	receipt, err := m.writeTold(ctx, in.Write, 0, event, func(ctx context.Context, tx *txn.Builder) error {
		if err := check(ctx, tx, func(ctx context.Context, q *db.Queries) (err error) {
			token, err = q.GetToken(ctx, in.ID)
			return record.Found(err, in.ID, "token")
		}); err != nil {
			return err
		}
		switch {
		case token.UserID != userID && !all:
			return problem.NotFound.Field("path.id", in.ID, "there is no such token")
		case !token.IsActive:
			return TokenRevoked.New("the token has been revoked already")
		}
		tx.Add(revokeToken{ID: in.ID, RevokedAt: tx.Now()})
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !receipt.ValidateOnly && token.ID != 0 {
		m.forget(ctx, token.Username, []string{token.TokenHash})
	}
	m.record(ctx, receipt, event)
	return &revokedTokenOutput{Written: record.Written(receipt)}, nil
}
