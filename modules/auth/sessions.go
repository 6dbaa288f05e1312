package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/pending"
)

const (
	// sessionLife is how long a session lasts after its login, however often it is refreshed: at a cut-off site the longest
	// time that a login goes on without main.
	sessionLife = 7 * 24 * time.Hour
	// forgetSessionAfter is how long after its end main's table still has a session.
	forgetSessionAfter = 30 * 24 * time.Hour
	// codeLife is how long a login's one-time code is good for.
	codeLife = time.Minute
	// repeatGrace is how long after a refresh the refresh token before is still answered, with an access token and without
	// another refresh token: two tabs of a browser refresh at the same time, and only one answer sets the cookie last.
	repeatGrace = 10 * time.Second
)

// Session is one login of a user at one site.
type Session = pending.Login

// Turn is what became of a refresh token that was presented.
type Turn = pending.LoginTurn

// Sessions is where a site keeps its sessions: SessionTable at main, pending.Store at a secondary site, where they go on
// with the link cut. Both keep only hashes of refresh tokens.
type Sessions interface {
	// BeginSession stores a new session with the hash of what renews it first.
	BeginSession(ctx context.Context, session Session, hash string) error
	// Session returns a session that has neither been ended nor expired, and nil when there is none.
	Session(ctx context.Context, id string) (*Session, error)
	// SessionsOf returns such sessions of a user, the newest first, 100 at most.
	SessionsOf(ctx context.Context, userID int64) ([]Session, error)
	// RenewSession puts the hash next in the place of the presented one, once. The one before, presented again, ends the
	// session, unless it was replaced less than grace ago.
	RenewSession(ctx context.Context, id, presented, next string, grace time.Duration) (Turn, error)
	// EndSession ends a session for good, and EndSessions all those of a user at the site.
	EndSession(ctx context.Context, id string) error
	EndSessions(ctx context.Context, userID int64) error
	// SessionsEnded is a number that rises whenever a session is ended, in whichever process.
	SessionsEnded(ctx context.Context) (int64, error)
}

// secret renews a session: a refresh token, or the one-time code that comes before the first of them. The family are 16 random
// bytes that all secrets of a session share, so that each of them is known for one that was used. Only hashes are stored, of
// the family and of the whole.
type secret struct {
	sessionID uuid.UUID
	family    [16]byte
	text      string
	hash      string // what is stored of it
}

// newSession returns the secret of a new session that has no text yet.
func newSession() (secret, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return secret{}, fmt.Errorf("reading random bytes for a session: %w", err)
	}
	s := secret{sessionID: id}
	if _, err := rand.Read(s.family[:]); err != nil {
		return secret{}, fmt.Errorf("reading random bytes for a session: %w", err)
	}
	return s, nil
}

// next returns another refresh token of the same session: the session's id, which finds it, the family, and 32 random bytes.
func (s secret) next() (secret, error) {
	own := make([]byte, 32)
	if _, err := rand.Read(own); err != nil {
		return secret{}, fmt.Errorf("reading random bytes for a session: %w", err)
	}
	return s.refresh(base64.RawURLEncoding.EncodeToString(slices.Concat(s.sessionID[:], s.family[:], own))), nil
}

// refresh is the refresh token of this text.
func (s secret) refresh(text string) secret {
	s.text, s.hash = text, hashOf("refresh", text)
	return s
}

// parseRefresh checks the form of a refresh token.
func parseRefresh(text string) (secret, bool) {
	content, ok := decodeSpelled(text)
	if !ok || len(content) != 16+16+32 {
		return secret{}, false
	}
	return secret{sessionID: uuid.UUID(content[:16]), family: [16]byte(content[16:32])}.refresh(text), true
}

// loginCode is what the one-time code of a login holds. It is sealed: the code is in an address, and whoever sees it there
// must not have what makes a refresh token.
type loginCode struct {
	Session   uuid.UUID `json:"session"`
	Family    []byte    `json:"family"`
	Challenge string    `json:"challenge"` // of the page that may exchange it
}

// newCode returns a new session's one-time code, for whoever has the verifier of a challenge.
func (k *KeyRing) newCode(challenge string) (secret, error) {
	s, err := newSession()
	if err != nil {
		return secret{}, err
	}
	text, err := k.seal(purposeCode, loginCode{Session: s.sessionID, Family: s.family[:], Challenge: challenge})
	return s.code(text), err
}

// code is the one-time code of this text.
func (s secret) code(text string) secret {
	s.text, s.hash = text, hashOf("code", text)
	return s
}

// openCode reads a one-time code; false when it was not made here, or for another verifier.
func (k *KeyRing) openCode(text, verifier string) (secret, bool) {
	var c loginCode
	if !k.unseal(purposeCode, text, &c) || len(c.Family) != 16 || subtle.ConstantTimeCompare([]byte(c.Challenge), []byte(challengeOf(verifier))) != 1 {
		return secret{}, false
	}
	return secret{sessionID: c.Session, family: [16]byte(c.Family)}.code(text), true
}

// familyHash is what is stored of the family.
func (s secret) familyHash() string { return hashOf("family", hex.EncodeToString(s.family[:])) }

// hashOf is what is stored of a secret; what is of one purpose is not taken for what is of another.
func hashOf(purpose, text string) string {
	sum := sha256.Sum256([]byte(purpose + " " + text))
	return hex.EncodeToString(sum[:])
}

// SessionTable is the Sessions of the main site: rows of the table session, without a ledger row for each refresh.
type SessionTable struct {
	site string
	db   DBTX
	now  func() time.Time
}

// NewSessionTable returns the sessions of a site on the primary; now nil is time.Now.
func NewSessionTable(site string, primary DBTX, now func() time.Time) *SessionTable {
	if now == nil {
		now = time.Now
	}
	return &SessionTable{site: site, db: primary, now: now}
}

// BeginSession implements Sessions.
func (t *SessionTable) BeginSession(ctx context.Context, session Session, hash string) error {
	id, err := uuid.Parse(session.ID)
	if err != nil {
		return fmt.Errorf("the session's id: %w", err)
	}
	err = db.New(t.db).BeginSession(ctx, db.BeginSessionParams{
		ID: id, UserID: session.UserID, Site: t.site, FamilyHash: session.Family, RefreshHash: hash, CreatedAt: session.Created, ExpiresAt: session.Expires, UserAgent: session.UserAgent,
		ForgetBefore: session.Created.Add(-forgetSessionAfter),
	})
	if err != nil {
		return fmt.Errorf("storing a session: %w", err)
	}
	return nil
}

// Session implements Sessions.
func (t *SessionTable) Session(ctx context.Context, id string) (*Session, error) {
	row, err := t.row(ctx, id)
	if err != nil || row == nil {
		return nil, err
	}
	return &Session{
		ID: id, UserID: row.UserID, Username: row.Username, Created: row.CreatedAt.UTC(), Expires: row.ExpiresAt.UTC(), UserAgent: row.UserAgent, Family: row.FamilyHash,
	}, nil
}

// SessionsOf implements Sessions.
func (t *SessionTable) SessionsOf(ctx context.Context, userID int64) ([]Session, error) {
	rows, err := db.New(t.db).ListSessions(ctx, db.ListSessionsParams{UserID: userID, Now: t.now().UTC(), MaxRows: pending.MaxLogins})
	if err != nil {
		return nil, fmt.Errorf("reading the sessions of a user: %w", err)
	}
	var sessions []Session
	for _, row := range rows {
		sessions = append(sessions, Session{
			ID: row.ID.String(), UserID: userID, Username: row.Username, Created: row.CreatedAt.UTC(), Expires: row.ExpiresAt.UTC(), UserAgent: row.UserAgent, Family: row.FamilyHash,
		})
	}
	return sessions, nil
}

// row returns the row of a session that goes on, and nil when there is none.
func (t *SessionTable) row(ctx context.Context, id string) (*db.GetSessionRow, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return nil, nil
	}
	row, err := db.New(t.db).GetSession(ctx, parsed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a session: %w", err)
	}
	if row.RevokedAt != nil || !t.now().Before(row.ExpiresAt) {
		return nil, nil
	}
	return &row, nil
}

// RenewSession implements Sessions.
func (t *SessionTable) RenewSession(ctx context.Context, id, presented, next string, grace time.Duration) (Turn, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return pending.LoginRefused, nil
	}
	now := t.now().UTC().Truncate(time.Microsecond)
	renewed, err := db.New(t.db).RenewSession(ctx, db.RenewSessionParams{ID: parsed, PresentedHash: presented, NextHash: next, Now: now})
	if err != nil {
		return pending.LoginRefused, fmt.Errorf("renewing a session: %w", err)
	}
	if renewed == 1 {
		return pending.LoginRenewed, nil
	}
	row, err := t.row(ctx, id)
	switch {
	case err != nil:
		return pending.LoginRefused, err
	case row == nil || row.PreviousHash == nil || *row.PreviousHash != presented:
		return pending.LoginRefused, nil
	case now.Sub(row.UpdatedAt) < grace:
		return pending.LoginRepeated, nil
	}
	return pending.LoginReused, t.EndSession(ctx, id)
}

// EndSession implements Sessions.
func (t *SessionTable) EndSession(ctx context.Context, id string) error {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return nil
	}
	if err := db.New(t.db).EndSession(ctx, db.EndSessionParams{ID: parsed, Now: t.now().UTC()}); err != nil {
		return fmt.Errorf("ending a session: %w", err)
	}
	return nil
}

// EndSessions implements Sessions.
func (t *SessionTable) EndSessions(ctx context.Context, userID int64) error {
	if err := db.New(t.db).EndSessions(ctx, db.EndSessionsParams{UserID: userID, Now: t.now().UTC()}); err != nil {
		return fmt.Errorf("ending the sessions of a user: %w", err)
	}
	return nil
}

// SessionsEnded implements Sessions.
func (t *SessionTable) SessionsEnded(ctx context.Context) (int64, error) {
	version, err := db.New(t.db).GetSessionVersion(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking whether a session has ended: %w", err)
	}
	return version, nil
}
