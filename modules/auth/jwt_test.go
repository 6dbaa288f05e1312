package auth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// session begins a session of a user as a login does.
func (s *site) session(t testing.TB, username string) auth.Session {
	t.Helper()
	var id int64
	if err := s.main.QueryRow(sandboxtest.Context(t), "SELECT id FROM app_user WHERE username = $1", username).Scan(&id); err != nil {
		t.Fatal(err)
	}
	now := s.clock.now().UTC().Truncate(time.Microsecond)
	session := auth.Session{ID: uuid.NewString(), UserID: id, Username: username, Created: now, Expires: now.Add(7 * 24 * time.Hour), UserAgent: "test"}
	if err := s.sessions.BeginSession(sandboxtest.Context(t), session, "hash of "+session.ID); err != nil {
		t.Fatal(err)
	}
	return session
}

func (s *site) accessToken(t testing.TB, session auth.Session) string {
	t.Helper()
	text, expires, err := s.access.Issue(session)
	if err != nil {
		t.Fatal(err)
	}
	if life := expires.Sub(s.clock.now()); life < 15*time.Minute || life > 30*time.Minute {
		t.Errorf("an access token is valid for %s", life)
	}
	return text
}

// claims are those of a token that the site would issue; a test changes some.
func (s *site) claims(session auth.Session) jwt.MapClaims {
	now := s.clock.now()
	return jwt.MapClaims{
		"iss": "opsdb", "aud": s.name(), "sub": session.Username, "sid": session.ID, "jti": "x", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}
}

func sign(t testing.TB, method jwt.SigningMethod, kid string, claims jwt.MapClaims, key any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = kid
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAccessTokenHasTheRightsOfItsUser(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "vera", "viewer")
		s.replay(t)
		session := s.session(t, "vera")
		text := s.accessToken(t, session)
		ctx := sandboxtest.Context(t)
		p, err := s.auth.Authenticate(ctx, text)
		if err != nil {
			t.Fatal(err)
		}
		if p.Kind != "jwt" || p.Actor() != "user:vera" || p.SessionID != session.ID || p.TokenID != 0 || p.Expires.IsZero() || !slices.Equal(p.Roles, []string{"viewer"}) {
			t.Errorf("principal %+v", p)
		}
		if !p.Can("read:files") || !p.Can("write:staging") || p.Can("write:files") || len(p.Permissions) != 12 {
			t.Errorf("permissions %v", slices.Sorted(maps.Keys(p.Permissions)))
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"aud", "exp", "iat", "iss", "jti", "sid", "sub"}, slices.Sorted(maps.Keys(claims))); diff != "" {
			t.Errorf("claims (-want +got):\n%s", diff)
		}

		// What the user may do is not what it was when the token was made, but what it is.
		if err := s.admin.GrantRole(ctx, "vera", "observer"); err != nil {
			t.Fatal(err)
		}
		s.replay(t)
		s.clock.advance(31 * time.Second)
		if p, err = s.auth.Authenticate(ctx, text); err != nil || !p.Can("write:files") {
			t.Errorf("31 s after a role was granted: %v, %v", p.Permissions, err)
		}
		s.clock.advance(20 * time.Minute)
		if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.Unauthorized) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestWhatIsNoValidAccessTokenIsRefused(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		for _, name := range []string{"vera", "gone", "other"} {
			s.user(t, name, "viewer")
		}
		s.replay(t)
		key, err := s.keys.Signing()
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := auth.NewSigningKey(s.keysDir, "cornell", s.clock.now())
		if err != nil {
			t.Fatal(err)
		}
		ctx := sandboxtest.Context(t)
		if err := s.admin.AddSigningKey(ctx, "cornell", foreign.ID, foreign.PublicText()); err != nil {
			t.Fatal(err)
		}
		vera, gone, ended := s.session(t, "vera"), s.session(t, "gone"), s.session(t, "vera")
		s.exec(t, "UPDATE app_user SET is_active = false WHERE username = 'gone'")
		s.replay(t)
		if err := s.sessions.EndSession(ctx, ended.ID); err != nil {
			t.Fatal(err)
		}
		with := func(change func(c jwt.MapClaims)) jwt.MapClaims {
			c := s.claims(vera)
			change(c)
			return c
		}
		ours := func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodEdDSA, key.ID, c, key.Private) }
		valid := ours(s.claims(vera))
		if _, err := s.auth.Authenticate(ctx, valid); err != nil {
			t.Fatalf("a valid token: %v", err)
		}
		parts := strings.Split(valid, ".")
		demanding := jwt.NewWithClaims(jwt.SigningMethodEdDSA, s.claims(vera))
		demanding.Header["kid"], demanding.Header["crit"], demanding.Header["b64"] = key.ID, []string{"b64"}, true // RFC 7797
		demands, err := demanding.SignedString(key.Private)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"an extension that it demands": demands,
			"no algorithm":                 sign(t, jwt.SigningMethodNone, key.ID, s.claims(vera), jwt.UnsafeAllowNoneSignatureType),
			"the public key as a secret":   sign(t, jwt.SigningMethodHS256, key.ID, s.claims(vera), []byte(key.Private.Public().(ed25519.PublicKey))),
			"a foreign key":                sign(t, jwt.SigningMethodEdDSA, foreign.ID, s.claims(vera), foreign.Private),
			"a foreign key under our id":   sign(t, jwt.SigningMethodEdDSA, key.ID, s.claims(vera), foreign.Private),
			"an unknown key":               sign(t, jwt.SigningMethodEdDSA, "nowhere", s.claims(vera), key.Private),
			"another issuer":               ours(with(func(c jwt.MapClaims) { c["iss"] = "github" })),
			"another audience":             ours(with(func(c jwt.MapClaims) { c["aud"] = "cornell" })),
			"no audience":                  ours(with(func(c jwt.MapClaims) { delete(c, "aud") })),
			"no end":                       ours(with(func(c jwt.MapClaims) { delete(c, "exp") })),
			"its end reached":              ours(with(func(c jwt.MapClaims) { c["exp"] = s.clock.now().Add(-time.Second).Unix() })),
			"no session":                   ours(with(func(c jwt.MapClaims) { delete(c, "sid") })),
			"an unknown session":           ours(with(func(c jwt.MapClaims) { c["sid"] = uuid.NewString() })),
			"an ended session":             ours(s.claims(ended)),
			"another's session":            ours(with(func(c jwt.MapClaims) { c["sub"] = "other" })),
			"an unknown user":              ours(with(func(c jwt.MapClaims) { c["sub"] = "nobody" })),
			"an inactive user":             ours(s.claims(gone)),
			"another payload":              parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"admin"}`)) + "." + parts[2],
			"no signature":                 parts[0] + "." + parts[1] + ".",
			"too long":                     valid + strings.Repeat("A", 5000),
		} {
			for range 2 {
				if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.Unauthorized) {
					t.Errorf("%s: %v, want unauthenticated", name, err)
				} else if strings.Contains(err.Error(), parts[2]) {
					t.Errorf("%s: the refusal repeats the token", name)
				}
			}
		}
	})
}

func TestMalformedAccessTokenCostsNoLookUp(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		for _, text := range []string{"a.b.c", "eyJ.eyJ.", "eyJhbGciOiJub25lIn0.e30.AA", "..", strings.Repeat("a.", 3000)} {
			if _, err := s.auth.Authenticate(sandboxtest.Context(t), text); !errors.Is(err, problem.Unauthorized) {
				t.Errorf("%.40q: %v", text, err)
			}
		}
		if n := s.db.queries.Load(); n != 0 {
			t.Errorf("%d queries for malformed tokens", n)
		}
	})
}

func TestEndedSessionIsOutAtOnceWhereItEnds(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "vera", "viewer")
		s.replay(t)
		text := s.accessToken(t, s.session(t, "vera"))
		ctx := sandboxtest.Context(t)
		if _, err := s.auth.Authenticate(ctx, text); err != nil {
			t.Fatal(err)
		}
		s.exec(t, "UPDATE app_user SET is_active = false")
		s.replay(t)
		if _, err := s.auth.Authenticate(ctx, text); err != nil {
			t.Fatalf("the test has no precondition: nothing was cached: %v", err)
		}
		if err := s.auth.ForgetUser(ctx, "vera"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.Unauthorized) {
			t.Errorf("a user who was deactivated: %v", err)
		}
	})
}

func TestSessionGoesOnWhileTheReplicaCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), true)
	s.user(t, "vera", "viewer")
	s.user(t, "unseen", "viewer")
	s.replay(t)
	session, unseen := s.session(t, "vera"), s.session(t, "unseen")
	ctx := sandboxtest.Context(t)
	before, err := s.auth.Authenticate(ctx, s.accessToken(t, session))
	if err != nil {
		t.Fatal(err)
	}
	s.db.broken.Store(true)
	s.clock.advance(time.Hour)
	next := s.accessToken(t, session) // as a refresh gives it
	for name, a := range map[string]*auth.Authenticator{"this process": s.auth, "another": s.another(t)} {
		after, err := a.Authenticate(ctx, next)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before.Permissions, after.Permissions); diff != "" {
			t.Errorf("%s: remembered rights (-verified +remembered):\n%s", name, diff)
		}
	}
	if _, err := s.auth.Authenticate(ctx, s.accessToken(t, unseen)); !errors.Is(err, problem.CredentialsUnavailable) {
		t.Errorf("a user never seen here: %v, want credentials-unavailable", err)
	}
	if err := s.sessions.EndSession(ctx, session.ID); err != nil {
		t.Fatal(err)
	}
	s.clock.advance(3 * time.Second)
	if _, err := s.auth.Authenticate(ctx, next); !errors.Is(err, problem.Unauthorized) {
		t.Errorf("an ended session, the replica still away: %v", err)
	}
}

// TestEveryProcessFollowsTheEndOfASession: who logs out, or whose refresh token was used twice, is out in each process of
// the site, also while its database cannot be read.
func TestEveryProcessFollowsTheEndOfASession(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, t *testing.T, s *site, session auth.Session) error{
		"logout": func(ctx context.Context, _ *testing.T, s *site, session auth.Session) error {
			return s.sessions.EndSession(ctx, session.ID)
		},
		"everywhere": func(ctx context.Context, _ *testing.T, s *site, session auth.Session) error {
			return s.sessions.EndSessions(ctx, session.UserID)
		},
		"reuse": func(ctx context.Context, t *testing.T, s *site, session auth.Session) error {
			for _, next := range []string{"second", "third"} {
				if _, err := s.sessions.RenewSession(ctx, session.ID, "hash of "+session.ID, next, 0); err != nil {
					return err
				}
				s.clock.advance(time.Millisecond)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothSites(t, func(t *testing.T, s *site) {
				s.user(t, "vera", "viewer")
				s.replay(t)
				session := s.session(t, "vera")
				text := s.accessToken(t, session)
				ctx, stop := context.WithCancel(sandboxtest.Context(t))
				another := s.another(t)
				var following sync.WaitGroup
				following.Go(func() { another.Follow(ctx) })
				t.Cleanup(func() { stop(); following.Wait() })
				if _, err := another.Authenticate(ctx, text); err != nil {
					t.Fatal(err)
				}
				if s.store != nil {
					s.db.broken.Store(true)
				}
				if err := end(ctx, t, s, session); err != nil {
					t.Fatal(err)
				}
				// The clock of the cache stands still, so that nothing expires by itself.
				sandboxtest.Eventually(t, 30*time.Second, "the other process to follow", func() bool {
					_, err := another.Authenticate(ctx, text)
					return errors.Is(err, problem.Unauthorized)
				})
			})
		})
	}
}

// TestKeysRotateWithOverlap: what the old key has signed verifies for as long as it would have, and what the new one signs
// does at once, in files and in the published set.
func TestKeysRotateWithOverlap(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "vera", "viewer")
		ctx := sandboxtest.Context(t)
		old, err := s.keys.Signing()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.admin.AddSigningKey(ctx, s.name(), old.ID, old.PublicText()); err != nil {
			t.Fatal(err)
		}
		s.replay(t)
		session := s.session(t, "vera")
		s.clock.advance(time.Minute)
		first := s.accessToken(t, session)
		next, err := auth.NewSigningKey(s.keysDir, s.name(), s.clock.now())
		if err != nil {
			t.Fatal(err)
		}
		s.clock.advance(11 * time.Second)
		second := s.accessToken(t, session)
		if kid := header(t, second)["kid"]; kid != next.ID {
			t.Fatalf("11 s after the rotation %s signs, want %s", kid, next.ID)
		}
		s.clock.advance(19 * time.Minute)
		for name, text := range map[string]string{"the old key": first, "the new key": second} {
			if _, err := s.auth.Authenticate(ctx, text); err != nil {
				t.Errorf("signed by %s, 19 minutes later: %v", name, err)
			}
		}
		if got := kids(s.keys.PublicKeys(ctx)); !slices.Contains(got, old.ID) || !slices.Contains(got, next.ID) {
			t.Errorf("published in the overlap: %v", got)
		}
		forged := sign(t, jwt.SigningMethodEdDSA, old.ID, jwt.MapClaims{
			"iss": "opsdb", "aud": s.name(), "sub": "vera", "sid": session.ID, "exp": s.clock.now().Add(time.Hour).Unix(),
		}, old.Private)
		s.clock.advance(2 * time.Minute)
		s.exec(t, "UPDATE signing_key SET retired_at = created_at")
		s.replay(t)
		s.clock.advance(31 * time.Second)
		if _, err := s.auth.Authenticate(ctx, forged); !errors.Is(err, problem.Unauthorized) {
			t.Errorf("signed by a retired key: %v", err)
		}
		if got := kids(s.keys.PublicKeys(ctx)); !slices.Equal(got, []string{next.ID}) {
			t.Errorf("published after the overlap: %v, want %s", got, next.ID)
		}
	})
}

func TestPublicKeysAreThereWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		ctx := sandboxtest.Context(t)
		public := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
		if err := s.admin.AddSigningKey(ctx, "cornell", "cornell-1", public); err != nil {
			t.Fatal(err)
		}
		s.replay(t)
		own, err := s.keys.Signing()
		if err != nil {
			t.Fatal(err)
		}
		router, err := api.New(api.Options{Site: s.name(), Authenticator: s.auth})
		if err != nil {
			t.Fatal(err)
		}
		auth.New(auth.Config{Keys: s.keys}).Register(router)
		ask := func() []string {
			answer := httptest.NewRecorder()
			router.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
			if answer.Code != http.StatusOK || answer.Header().Get("Cache-Control") != "public, max-age=300" {
				t.Errorf("%d %v", answer.Code, answer.Header())
			}
			var set auth.SigningKeySet
			if err := json.Unmarshal(answer.Body.Bytes(), &set); err != nil {
				t.Fatal(err)
			}
			for _, key := range set.Keys {
				if key.KeyType != "OKP" || key.Curve != "Ed25519" || key.Algorithm != "EdDSA" || key.Use != "sig" || len(key.X) != 43 {
					t.Errorf("key %+v", key)
				}
			}
			return kids(set)
		}
		s.db.broken.Store(true)
		if got := ask(); !slices.Equal(got, []string{own.ID}) {
			t.Errorf("with a database that never answered: %v", got)
		}
		s.db.broken.Store(false)
		s.clock.advance(3 * time.Second)
		both := []string{own.ID, "cornell-1"}
		if got := ask(); !slices.Equal(got, both) {
			t.Errorf("with the database: %v", got)
		}
		s.db.broken.Store(true)
		s.clock.advance(time.Minute)
		if got := ask(); !slices.Equal(got, both) {
			t.Errorf("with the database away again: %v", got)
		}
		// Whoever can read a site's key can sign as the site.
		if err := os.Chmod(filepath.Join(s.keysDir, own.ID+".pem"), 0o644); err != nil {
			t.Fatal(err)
		}
		loose := auth.NewKeyRing(auth.KeyRingOptions{Dir: s.keysDir, Site: s.name(), DB: s.db, Now: s.clock.now})
		if _, err := loose.Signing(); err == nil {
			t.Error("a key that others may read signs")
		}
	})
}

func TestSessionIsRenewedOnceByEachSecret(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "vera", "viewer")
		s.replay(t)
		ctx := sandboxtest.Context(t)
		renew := func(session auth.Session, presented, next string) string {
			t.Helper()
			turn, err := s.sessions.RenewSession(ctx, session.ID, presented, next, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return string(turn)
		}
		there := func(session auth.Session) bool {
			t.Helper()
			found, err := s.sessions.Session(ctx, session.ID)
			if err != nil {
				t.Fatal(err)
			}
			if found != nil {
				if diff := cmp.Diff(session, *found); diff != "" {
					t.Errorf("session (-begun +found):\n%s", diff)
				}
			}
			return found != nil
		}
		session, other, third := s.session(t, "vera"), s.session(t, "vera"), s.session(t, "vera")
		first := "hash of " + session.ID
		for _, step := range []struct{ presented, next, want string }{
			{"wrong", "x", "refused"},
			{first, "second", "renewed"},
			{first, "x", "repeated"},
			{"second", "third", "renewed"},
			{first, "x", "refused"},
		} {
			if got := renew(session, step.presented, step.next); got != step.want {
				t.Errorf("%s: %s, want %s", step.presented, got, step.want)
			}
		}
		s.clock.advance(11 * time.Second)
		if got := renew(session, "second", "x"); got != "reused" || there(session) {
			t.Errorf("the secret before, 11 s later: %s, and the session is there: %t", got, there(session))
		}
		if got := renew(session, "third", "x"); got != "refused" {
			t.Errorf("the right secret of an ended session: %s", got)
		}
		if !there(other) || !there(third) {
			t.Error("another session has ended with it")
		}
		if err := s.sessions.EndSessions(ctx, other.UserID); err != nil {
			t.Fatal(err)
		}
		if there(other) || there(third) {
			t.Error("a session goes on after all have ended")
		}
		last := s.session(t, "vera")
		s.clock.advance(7 * 24 * time.Hour)
		if there(last) || renew(last, "hash of "+last.ID, "x") != "refused" {
			t.Error("a session outlives its time")
		}
	})
}

func kids(set auth.SigningKeySet) (out []string) {
	for _, key := range set.Keys {
		out = append(out, key.ID)
	}
	return out
}

func header(t testing.TB, text string) (h map[string]any) {
	t.Helper()
	content, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &h); err != nil {
		t.Fatal(err)
	}
	return h
}
