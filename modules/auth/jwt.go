package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
)

const (
	jwtIssuer = "opsdb"
	// accessLife is how long an access token is valid. What it permits is looked up anew meanwhile.
	accessLife = 20 * time.Minute
	// longestJWT bounds what is decoded at all; ours have some 500 characters.
	longestJWT = 4096
)

// accessClaims are the claims of an access token. Rights are none of them: they come from the database.
type accessClaims struct {
	jwt.RegisteredClaims
	SessionID string `json:"sid"`
}

// AccessTokens makes and verifies the access tokens of one site: JWTs, signed with Ed25519 by a key of the site, for the
// site alone.
type AccessTokens struct {
	site   string
	keys   *KeyRing
	now    func() time.Time
	parser *jwt.Parser
}

// NewAccessTokens returns the access tokens of a site; now nil is time.Now.
func NewAccessTokens(site string, keys *KeyRing, now func() time.Time) *AccessTokens {
	if now == nil {
		now = time.Now
	}
	return &AccessTokens{site: site, keys: keys, now: now, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(jwtIssuer), jwt.WithAudience(site),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(now), jwt.WithStrictDecoding(),
	)}
}

// Issue makes an access token of a session; it ends with the session at the latest.
func (t *AccessTokens) Issue(session Session) (text string, expires time.Time, err error) {
	key, err := t.keys.Signing()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("signing an access token: %w", err)
	}
	now := t.now().UTC().Truncate(time.Second)
	expires = now.Add(accessLife)
	if session.Expires.Before(expires) {
		expires = session.Expires.UTC().Truncate(time.Second)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, accessClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: jwtIssuer, Subject: session.Username, Audience: jwt.ClaimStrings{t.site},
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires), ID: uuid.NewString(),
		},
		SessionID: session.ID,
	})
	token.Header["kid"] = key.ID
	if text, err = token.SignedString(key.Private); err != nil {
		return "", time.Time{}, fmt.Errorf("signing an access token: %w", err)
	}
	return text, expires, nil
}

// parse verifies the signature and the claims of an access token.
func (t *AccessTokens) parse(ctx context.Context, text string) (accessClaims, error) {
	var claims accessClaims
	_, err := t.parser.ParseWithClaims(text, &claims, func(token *jwt.Token) (any, error) {
		// RFC 7515, 4.1.11: what the header demands to be understood, and is not, refuses it.
		if _, demands := token.Header["crit"]; demands {
			return nil, errors.New("its header demands what this server does not know")
		}
		kid, _ := token.Header["kid"].(string)
		key, err := t.keys.verifying(ctx, kid)
		if err != nil {
			return nil, err
		}
		if key == nil {
			return nil, errors.New("no key of this site has that id")
		}
		return key, nil
	})
	switch {
	case errors.Is(err, errKeysUnknown):
		return accessClaims{}, problem.CredentialsUnavailable.New("the key that signed the access token cannot be looked up at this moment")
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return accessClaims{}, problem.Unauthorized.New("the access token has expired: refresh the session")
	case err != nil:
		return accessClaims{}, problem.Unauthorized.New("the access token is not one of this site")
	}
	if _, err := uuid.Parse(claims.SessionID); err != nil || claims.Subject == "" {
		return accessClaims{}, problem.Unauthorized.New("the access token names no session")
	}
	return claims, nil
}

// isJWT tells whether a bearer text has the form of a JWT: three parts of base64url.
func isJWT(text string) bool {
	if len(text) > longestJWT {
		return false
	}
	dots, part := 0, 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '.' && part > 0:
			dots, part = dots+1, 0
		case isBase62(c) || c == '-' || c == '_':
			part++
		default:
			return false
		}
	}
	return dots == 2 && part > 0
}

func (a *Authenticator) verifyJWT(ctx context.Context, bearer string) (api.Principal, error) {
	principal, _, err := a.verified(ctx, sha256.Sum256([]byte(bearer)), func(ctx context.Context) (api.Principal, time.Duration, error) {
		claims, err := a.access.parse(ctx, bearer)
		if err != nil {
			return api.Principal{}, 0, err
		}
		session, err := a.session(ctx, claims.SessionID)
		if err != nil {
			return api.Principal{}, 0, validOnce(err)
		}
		if claims.Subject != session.Username {
			return api.Principal{}, 0, problem.Unauthorized.New("the session is another user's")
		}
		entry, lasts, err := a.sessionUser(ctx, session)
		if err != nil {
			return api.Principal{}, 0, validOnce(err)
		}
		principal := entry.principal()
		principal.Kind, principal.SessionID, principal.Began, principal.Expires = api.KindLogin, session.ID, session.Created, claims.ExpiresAt.UTC()
		return principal, lasts, nil
	})
	return principal, err
}

// sessionUser returns the rights of a session's user, and how long they may be trusted; of a user whose sessions were ended
// at another site it is problem.Unauthorized.
func (a *Authenticator) sessionUser(ctx context.Context, session Session) (entitlement, time.Duration, error) {
	entry, lasts, err := a.user(ctx, session.Username)
	switch {
	case err != nil:
		return entitlement{}, 0, err
	case entry.UserID != session.UserID:
		return entitlement{}, 0, problem.Unauthorized.New("the session is another user's")
	case entry.SessionsFrom != nil && session.Created.Before(*entry.SessionsFrom):
		return entitlement{}, 0, problem.Unauthorized.New("the session has ended: log in again")
	}
	return entry, lasts, nil
}

// session returns a session that has not ended at this site.
func (a *Authenticator) session(ctx context.Context, id string) (Session, error) {
	ctx, cancel := context.WithTimeout(ctx, a.patience(nil))
	defer cancel()
	session, err := a.sessions.Session(ctx, id)
	switch {
	case err != nil:
		a.logger.WarnContext(ctx, "a session cannot be checked", "error", err)
		return Session{}, problem.CredentialsUnavailable.New("the session cannot be checked at this moment")
	case session == nil || !a.now().Before(session.Expires):
		return Session{}, problem.Unauthorized.New("the session has ended: log in again")
	}
	return *session, nil
}
