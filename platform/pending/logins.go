package pending

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Login is one session of a person at a site, as the site keeps it. It holds no secret; Family is the hash of what all
// that have renewed it have in common.
type Login struct {
	ID        string    `json:"id"`
	UserID    int64     `json:"user_id"`
	Username  string    `json:"username"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires"`
	UserAgent string    `json:"user_agent"`
	Family    string    `json:"family,omitempty"`
}

// LoginTurn is what became of a secret that was presented to renew a login.
type LoginTurn string

// The turns.
const (
	// LoginRenewed: the next secret has taken its place.
	LoginRenewed LoginTurn = "renewed"
	// LoginRepeated: it was replaced a moment ago, and nothing has changed.
	LoginRepeated LoginTurn = "repeated"
	// LoginReused: it was replaced before, so two hold it, and the login is ended.
	LoginReused LoginTurn = "reused"
	// LoginRefused: it is not the login's, or there is no such login.
	LoginRefused LoginTurn = "refused"
)

// A login is the hash login:<id> with the fields document, secret (the hash of what renews it), previous, turned and
// expires (milliseconds); the set logins:<user id> has the ids of a user's. All expire by themselves. The
// counter logins_ended rises with each that is ended before.

func (s *Store) loginKey(id string) string { return s.prefix + "login:" + id }

func (s *Store) loginsKey(userID int64) string {
	return s.prefix + "logins:" + strconv.FormatInt(userID, 10)
}

// BeginSession stores a new login with the hash of what renews it first.
func (s *Store) BeginSession(ctx context.Context, login Login, hash string) error {
	document, err := json.Marshal(login)
	if err != nil {
		return fmt.Errorf("encoding a login: %w", err)
	}
	lasts := login.Expires.Sub(s.now())
	p := s.client.TxPipeline()
	p.HSet(ctx, s.loginKey(login.ID), "document", document, "secret", hash, "expires", login.Expires.UnixMilli())
	p.PExpire(ctx, s.loginKey(login.ID), lasts)
	p.SAdd(ctx, s.loginsKey(login.UserID), login.ID)
	p.PExpire(ctx, s.loginsKey(login.UserID), lasts) // each login is as long as the others, so the newest ends last
	known := p.SCard(ctx, s.loginsKey(login.UserID))
	if _, err := p.Exec(ctx); err != nil {
		return s.unavailable("keeping a login", err)
	}
	if known.Val() > MaxLogins { // of somebody who logs in week after week, most have ended
		if _, err := s.SessionsOf(ctx, login.UserID); err != nil {
			return err
		}
	}
	return nil
}

// Session returns a login that has neither been ended nor expired, and nil when there is none.
func (s *Store) Session(ctx context.Context, id string) (*Login, error) {
	text, err := s.client.HGet(ctx, s.loginKey(id), "document").Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, s.unavailable("reading a login", err)
	}
	login := new(Login)
	if err := json.Unmarshal([]byte(text), login); err != nil {
		return nil, fmt.Errorf("decoding a login: %w", err)
	}
	if !s.now().Before(login.Expires) {
		return nil, nil
	}
	return login, nil
}

// MaxLogins is how many logins of a user are shown.
const MaxLogins = 100

// SessionsOf returns the logins of a user that have neither been ended nor expired, the newest first, MaxLogins at most, and
// forgets the ids of the others.
func (s *Store) SessionsOf(ctx context.Context, userID int64) ([]Login, error) {
	ids, err := s.client.SMembers(ctx, s.loginsKey(userID)).Result()
	if err != nil {
		return nil, s.unavailable("reading the logins of a user", err)
	}
	p := s.client.Pipeline()
	documents := make([]*redis.StringCmd, 0, len(ids))
	for _, id := range ids {
		documents = append(documents, p.HGet(ctx, s.loginKey(id), "document"))
	}
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, s.unavailable("reading the logins of a user", err)
	}
	var logins []Login
	var ended []any
	for i, document := range documents {
		text, err := document.Result()
		if errors.Is(err, redis.Nil) {
			ended = append(ended, ids[i])
			continue
		}
		if err != nil {
			return nil, s.unavailable("reading the logins of a user", err)
		}
		var login Login
		if err := json.Unmarshal([]byte(text), &login); err != nil {
			return nil, fmt.Errorf("decoding a login: %w", err)
		}
		if s.now().Before(login.Expires) {
			logins = append(logins, login)
		}
	}
	if len(ended) > 0 {
		if err := s.client.SRem(ctx, s.loginsKey(userID), ended...).Err(); err != nil {
			return nil, s.unavailable("forgetting the logins of a user that have ended", err)
		}
	}
	slices.SortFunc(logins, func(a, b Login) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return logins[:min(len(logins), MaxLogins)], nil
}

// RenewSession puts the hash next in the place of the presented one, once. The one before, presented again, ends the
// login, unless it was replaced less than grace ago.
func (s *Store) RenewSession(ctx context.Context, id, presented, next string, grace time.Duration) (LoginTurn, error) {
	turn, err := scripts.renewLogin.Run(ctx, s.client, []string{s.prefix}, id, presented, next, s.now().UnixMilli(), grace.Milliseconds()).Text()
	if err != nil {
		return LoginRefused, s.unavailable("renewing a login", err)
	}
	return LoginTurn(turn), nil
}

// EndSession ends a login for good.
func (s *Store) EndSession(ctx context.Context, id string) error {
	p := s.client.TxPipeline()
	p.Del(ctx, s.loginKey(id))
	p.Incr(ctx, s.prefix+"logins_ended")
	if _, err := p.Exec(ctx); err != nil {
		return s.unavailable("ending a login", err)
	}
	return nil
}

// EndSessions ends all logins of a user at the site. One that begins meanwhile may go on, and the next call ends it.
func (s *Store) EndSessions(ctx context.Context, userID int64) error {
	ids, err := s.client.SMembers(ctx, s.loginsKey(userID)).Result()
	if err != nil {
		return s.unavailable("reading the logins of a user", err)
	}
	p := s.client.TxPipeline()
	for _, id := range ids {
		p.Del(ctx, s.loginKey(id))
		p.SRem(ctx, s.loginsKey(userID), id)
	}
	p.Incr(ctx, s.prefix+"logins_ended")
	if _, err := p.Exec(ctx); err != nil {
		return s.unavailable("ending the logins of a user", err)
	}
	return nil
}

// SessionsEnded is a number that rises whenever a login is ended, in whichever process.
func (s *Store) SessionsEnded(ctx context.Context) (int64, error) {
	ended, err := s.client.Get(ctx, s.prefix+"logins_ended").Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, s.unavailable("asking whether a login has ended", err)
	}
	return ended, nil
}
