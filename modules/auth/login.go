package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

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
	purposeCode   = "login code"
)

// shownPatience is how long a login waits for a user to be shown here who was just made elsewhere.
const shownPatience = 10 * time.Second

// begunLogin is what a browser carries, sealed in a cookie, from the beginning of a login to its end. Whoever has another
// cookie, or none, cannot end it: nobody can be made to log in as someone else.
type begunLogin struct {
	State     string    `json:"state"`
	Verifier  string    `json:"verifier"`  // for GitHub, of PKCE
	Challenge string    `json:"challenge"` // for us, of the page that will exchange the code
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
//
// Whoever logs in for the first time twice at once, in two tabs or at two sites, is made once: the second login waits until
// this site shows the user, for a while.
//
// The audit log is told before the session of the login begins, at main in the same transaction: there is no session
// without its event. Should the session then not begin, its event names one that never was.
func (m *Module) signIn(ctx context.Context, request txn.Request, by string, person GitHubPerson, session secret) (signedIn, error) {
	limit, cancel := context.WithTimeout(ctx, shownPatience)
	defer cancel()
	for {
		who, err := m.signInOnce(ctx, request, by, person, session)
		if !madeElsewhere(err) {
			return who, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-limit.Done():
			return signedIn{}, problem.MainUnreachable.New("the user was made a moment ago, and this site does not show it yet: log in again")
		}
	}
}

// madeElsewhere tells whether a login was refused since the user whom it would make was made meanwhile: the name or the
// GitHub account is there. Another conflict would be the same the next time.
func madeElsewhere(err error) bool {
	var refused *problem.Problem
	if !errors.As(err, &refused) || !errors.Is(err, problem.Conflict) {
		return false
	}
	return slices.ContainsFunc(refused.Errors, func(e problem.FieldError) bool {
		return e.Location == "body.username" || e.Location == "body.github_id"
	})
}

// signedIn is who has logged in. made: for the first time; cut: main was not told, nor of the roles of teams.
type signedIn struct {
	id        int64
	username  string
	made, cut bool
}

func (m *Module) signInOnce(ctx context.Context, request txn.Request, by string, person GitHubPerson, session secret) (who signedIn, err error) {
	here, err := m.knownHere(ctx, person)
	if err != nil {
		return signedIn{}, err
	}
	if here != nil {
		request.Actor = "user:" + here.Username // not what GitHub calls them by now
	}
	event := func() Event { return loginEvent(by, who, person, session) }
	receipt, err := m.told(ctx, request, event, func(ctx context.Context, tx *txn.Builder) error {
		known, readErr := m.known(ctx, tx, &person)
		if readErr != nil {
			return readErr
		}
		if known != nil {
			who = signedIn{id: known.ID, username: known.Username}
			tx.Add(SignIn{ID: known.ID, GithubID: person.ID, Email: person.Email, FullName: person.Name, AvatarUrl: person.AvatarURL, At: tx.Now()})
		} else {
			id, readErr := tx.NextNumber(ctx, "app_user")
			if readErr != nil {
				return readErr
			}
			who = signedIn{id: id, username: person.Login, made: true}
			github := person.ID
			tx.Add(SignUp{ID: id, Username: person.Login, GithubID: &github, Email: person.Email, FullName: person.Name, AvatarUrl: person.AvatarURL, At: tx.Now()})
		}
		tx.Add(SetTeamRoles{UserID: who.id, Roles: person.Roles, At: tx.Now()})
		return nil
	})
	if err == nil {
		m.record(ctx, receipt, event)
	}
	if !errors.Is(err, problem.MainUnreachable) {
		return who, err
	}
	if here == nil {
		return signedIn{}, err
	}
	who = signedIn{id: here.ID, username: here.Username, cut: true}
	if m.config.Audit != nil {
		m.config.Audit.Record(ctx, event())
	}
	return who, nil
}

// knownHere is the user of a person as this site knows them, nil when it does not, or cannot say. One who may not log in
// here is an error.
func (m *Module) knownHere(ctx context.Context, person GitHubPerson) (*db.GetPersonRow, error) {
	rows, err := db.New(m.config.DB).GetPerson(ctx, db.GetPersonParams{GithubID: person.ID, Username: person.Login})
	if err != nil {
		m.config.Logger.WarnContext(ctx, "whether this site knows who logs in cannot be read", "error", err)
		return nil, nil
	}
	here, err := judgePerson(rows, person)
	if err != nil || here == nil {
		return nil, err
	}
	err = m.config.Credentials.admitted(ctx, api.Principal{Username: here.Username}, m.now())
	if errors.Is(err, problem.Unauthorized) {
		return nil, problem.Forbidden.New("the user is denied at this site")
	}
	return here, err
}

// loginEvent is what the audit log has of a login, and of what came with it: a new user, and which roles the teams give.
func loginEvent(by string, who signedIn, person GitHubPerson, session secret) Event {
	more := []any{"by", by}
	if who.made {
		more = append(more, "new_user", true)
	}
	if !who.cut {
		more = append(more, "team_roles", person.Roles)
	}
	return sessionEvent("login", Session{ID: session.sessionID.String(), UserID: who.id, Username: who.username}, more...)
}

// known is the user of a person, nil when there is none yet. Of the roles that the teams give it leaves those that there
// are: a mapping with a mistake must not keep anybody out.
func (m *Module) known(ctx context.Context, tx *txn.Builder, person *GitHubPerson) (known *db.GetPersonRow, err error) {
	err = tx.Require(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		q := db.New(s.DB)
		roles, err := q.FindRoles(ctx, person.Roles)
		if err != nil {
			return err
		}
		person.Roles = slices.DeleteFunc(slices.Clone(person.Roles), func(name string) bool {
			unknown := !slices.ContainsFunc(roles, func(r db.FindRolesRow) bool { return r.Name == name })
			if unknown {
				m.config.Logger.WarnContext(ctx, "GITHUB_TEAM_ROLE_MAPPING names a role that there is not", "role", name)
			}
			return unknown
		})
		rows, err := q.GetPerson(ctx, db.GetPersonParams{GithubID: person.ID, Username: person.Login})
		if err != nil {
			return err
		}
		known, err = judgePerson(rows, *person)
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

// begin begins the session of a login, to be renewed first by what is given.
func (m *Module) begin(ctx context.Context, who signedIn, agent string, first secret) error {
	now := m.now().UTC().Truncate(time.Microsecond)
	session := Session{
		ID: first.sessionID.String(), UserID: who.id, Username: who.username, Created: now, Expires: now.Add(sessionLife), UserAgent: agent, Family: first.familyHash(),
	}
	return m.config.Sessions.BeginSession(ctx, session, first.hash)
}

// renew puts another refresh token in the place of what was presented to a session, and makes an access token. The refresh
// token is empty when the presented one was replaced a moment ago: whoever did that has the next one.
func (m *Module) renew(ctx context.Context, by secret, grace, youngerThan time.Duration) (Session, string, *AccessToken, error) {
	session, err := m.config.Credentials.session(ctx, by.sessionID.String())
	if errors.Is(err, problem.Unauthorized) {
		return Session{}, "", nil, fmt.Errorf("%w: %w", api.ErrWrongSecret, err) // or it is an old one: that cannot be told
	}
	if err != nil {
		return Session{}, "", nil, err
	}
	if youngerThan > 0 && m.now().Sub(session.Created) >= youngerThan {
		return Session{}, "", nil, problem.Unauthorized.New("the code has expired")
	}
	// Before the token is used up: who cannot be checked now shall be able to try again with it.
	if err := m.goesOn(ctx, session); err != nil {
		return Session{}, "", nil, err
	}
	next, err := by.next()
	if err != nil {
		return Session{}, "", nil, err
	}
	turn, err := m.turn(ctx, session, by, next.hash, grace)
	switch {
	case err != nil:
		return Session{}, "", nil, err
	case turn == pending.LoginReused:
		return Session{}, "", nil, problem.Unauthorized.New("the session is ended: what renews it was used twice")
	case turn == pending.LoginRefused:
		return Session{}, "", nil, notOfTheSession()
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

// goesOn is problem.Unauthorized when a session was ended elsewhere, its user is out or either is denied here.
func (m *Module) goesOn(ctx context.Context, session Session) error {
	if _, _, err := m.config.Credentials.sessionUser(ctx, session); err != nil {
		return err
	}
	return m.config.Credentials.admitted(ctx, api.Principal{Username: session.Username, SessionID: session.ID}, m.now())
}

// notOfTheSession refuses a secret that names a session and is none of it: a guess.
func notOfTheSession() error {
	return fmt.Errorf("%w: %w", api.ErrWrongSecret, problem.Unauthorized.New("this does not renew the session"))
}

// turn puts the hash next in the place of what was presented to a session. A secret of the session that is not its newest
// has been used before, however long ago: the session is ended.
func (m *Module) turn(ctx context.Context, session Session, by secret, next string, grace time.Duration) (Turn, error) {
	turn, err := m.config.Sessions.RenewSession(ctx, session.ID, by.hash, next, grace)
	if err != nil {
		return turn, err
	}
	if turn == pending.LoginRefused && subtle.ConstantTimeCompare([]byte(session.Family), []byte(by.familyHash())) == 1 {
		if err := m.config.Sessions.EndSession(ctx, session.ID); err != nil {
			return turn, err
		}
		turn = pending.LoginReused
	}
	if turn == pending.LoginReused {
		m.config.Credentials.forgetSession(session.ID)
		m.recordSession(ctx, "session.reuse", session)
		m.config.Logger.WarnContext(ctx, "a session is ended: what renews it was used twice", "user", session.Username, "session", session.ID)
	}
	return turn, nil
}
