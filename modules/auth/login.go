package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// loginPatience is how long a browser has from the beginning of a login to its end at GitHub.
const loginPatience = 10 * time.Minute

// What is sealed for a browser or a device, and for what.
const (
	purposeLogin  = "login cookie"
	purposeDevice = "device login"
)

// begunLogin is what a browser carries, sealed in a cookie, from the beginning of a login to its end. Whoever has another
// cookie, or none, cannot end it: nobody can be made to log in as someone else.
type begunLogin struct {
	State     string    `json:"state"`
	Verifier  string    `json:"verifier"`  // for GitHub, of PKCE
	Challenge string    `json:"challenge"` // for us, of the page that will exchange the code; "" is none
	Until     time.Time `json:"until"`
}

// begunDevice is what a device carries while a person confirms its login.
type begunDevice struct {
	Code  string    `json:"code"`
	Until time.Time `json:"until"`
}

// ends tells whether a callback is the end of this login.
func (b begunLogin) ends(state string, now time.Time) bool {
	return b.State != "" && subtle.ConstantTimeCompare([]byte(b.State), []byte(state)) == 1 && now.Before(b.Until)
}

// signIn writes that a person logs in, on the primary, and returns who that is here. With the primary out of reach a person
// whom this site knows already gets in as it knows them.
func (m *Module) signIn(ctx context.Context, request txn.Request, person GitHubPerson) (id int64, username string, err error) {
	_, err = m.config.Direct.Write(ctx, request, func(ctx context.Context, tx *txn.Builder) error {
		known, readErr := m.known(ctx, tx, person)
		if readErr != nil {
			return readErr
		}
		if known != nil {
			id, username = known.ID, known.Username
			tx.Add(SignIn{ID: known.ID, Email: person.Email, FullName: person.Name, AvatarUrl: person.AvatarURL, At: tx.Now()})
		} else {
			if id, readErr = tx.NextNumber(ctx, "app_user"); readErr != nil {
				return readErr
			}
			username = person.Login
			github := person.ID
			tx.Add(SignUp{ID: id, Username: username, GithubID: &github, Email: person.Email, FullName: person.Name, AvatarUrl: person.AvatarURL, At: tx.Now()})
		}
		tx.Add(SetTeamRoles{UserID: id, Roles: person.Roles, At: tx.Now()})
		return nil
	})
	if !errors.Is(err, problem.MainUnreachable) {
		return id, username, err
	}
	rows, readErr := db.New(m.config.DB).GetPerson(ctx, db.GetPersonParams{GithubID: person.ID, Username: person.Login})
	if readErr != nil {
		return 0, "", err // what cannot be read is no user that this site knows
	}
	known, refused := judgePerson(rows, person)
	switch {
	case refused != nil:
		return 0, "", refused
	case known == nil:
		return 0, "", err
	}
	return known.ID, known.Username, nil
}

// known is the user of a person, nil when there is none yet.
func (m *Module) known(ctx context.Context, tx *txn.Builder, person GitHubPerson) (known *db.GetPersonRow, err error) {
	err = tx.Require(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		rows, err := db.New(s.DB).GetPerson(ctx, db.GetPersonParams{GithubID: person.ID, Username: person.Login})
		if err != nil {
			return err
		}
		known, err = judgePerson(rows, person)
		return err
	})
	return known, err
}

// judgePerson picks the user of a GitHub account. The account's number decides: names change, and one that is free at
// GitHub can be taken by anybody. So a user of that name who was made by hand is not theirs.
func judgePerson(rows []db.GetPersonRow, person GitHubPerson) (*db.GetPersonRow, error) {
	for _, row := range rows {
		if row.GithubID != nil && *row.GithubID == person.ID {
			if !row.IsActive {
				return nil, problem.Forbidden.New("the user is not active")
			}
			return &row, nil
		}
	}
	if len(rows) > 0 {
		return nil, usernameTaken.New("%s is another user here: an administrator has to make room", person.Login)
	}
	return nil, nil
}

// begin begins a session of a user, to be renewed first by what hash gives of its secret.
func (m *Module) begin(ctx context.Context, userID int64, username, agent string, hash func(secret) string) (secret, error) {
	now := m.now().UTC().Truncate(time.Microsecond)
	id, err := uuid.NewRandom()
	if err != nil {
		return secret{}, err
	}
	first, err := newSecret(id)
	if err != nil {
		return secret{}, err
	}
	session := Session{ID: id.String(), UserID: userID, Username: username, Created: now, Expires: now.Add(sessionLife), UserAgent: agent}
	if err := m.config.Sessions.BeginSession(ctx, session, hash(first)); err != nil {
		return secret{}, err
	}
	return first, nil
}

// renew puts another refresh token in the place of what was presented to a session, and makes an access token. The refresh
// token is empty when the presented one was replaced a moment ago: whoever did that has the next one.
func (m *Module) renew(ctx context.Context, presented secret, hash string, grace, youngerThan time.Duration) (Session, string, *AccessToken, error) {
	session, err := m.config.Credentials.session(ctx, presented.sessionID)
	if err != nil {
		return Session{}, "", nil, err
	}
	if youngerThan > 0 && m.now().Sub(session.Created) >= youngerThan {
		return Session{}, "", nil, problem.Unauthorized.New("the code has expired")
	}
	// Before the token is used up: who cannot be checked now shall be able to try again with it.
	if _, _, err := m.config.Credentials.user(ctx, session.Username); err != nil {
		return Session{}, "", nil, err
	}
	if err := m.config.Credentials.admitted(ctx, api.Principal{Username: session.Username, SessionID: session.ID}, m.now()); err != nil {
		return Session{}, "", nil, err
	}
	id, err := uuid.Parse(session.ID)
	if err != nil {
		return Session{}, "", nil, err
	}
	next, err := newSecret(id)
	if err != nil {
		return Session{}, "", nil, err
	}
	turn, err := m.config.Sessions.RenewSession(ctx, session.ID, hash, next.refreshHash(), grace)
	switch {
	case err != nil:
		return Session{}, "", nil, err
	case turn == pending.LoginReused:
		m.config.Credentials.forgetSession(session.ID)
		m.recordSession(ctx, "session.reuse", session)
		m.config.Logger.WarnContext(ctx, "a session is ended: what renews it was used twice", "user", session.Username, "session", session.ID)
		return Session{}, "", nil, problem.Unauthorized.New("the session is ended: what renews it was used twice")
	case turn == pending.LoginRefused:
		return Session{}, "", nil, problem.Unauthorized.New("this does not renew the session")
	}
	text, expires, err := m.config.AccessTokens.Issue(session)
	if err != nil {
		return Session{}, "", nil, err
	}
	access := &AccessToken{Token: text, Type: "Bearer", ExpiresIn: int64(expires.Sub(m.now()).Seconds()), ExpiresAt: expires}
	if turn == pending.LoginRepeated {
		return session, "", access, nil
	}
	return session, next.text, access, nil
}
