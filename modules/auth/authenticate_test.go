package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func TestWhatIsNoValidCredentialIsRefused(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "ada", "observer")
		s.user(t, "gone", "observer")
		valid := s.token(t, auth.NewToken{Username: "ada", Name: "valid"})
		expired := s.token(t, auth.NewToken{Username: "ada", Name: "expired", Lifetime: -time.Second})
		inactive := s.token(t, auth.NewToken{Username: "gone", Name: "inactive"})
		revoked := s.token(t, auth.NewToken{Username: "ada", Name: "revoked"})
		s.exec(t, "UPDATE app_user SET is_active = false WHERE username = 'gone'")
		s.exec(t, "UPDATE api_token SET is_active = false, revoked_at = now() WHERE name = 'revoked'")
		unknown, err := auth.NewTokenText()
		if err != nil {
			t.Fatal(err)
		}
		s.replay(t)
		if _, err := s.auth.Authenticate(sandboxtest.Context(t), valid); err != nil {
			t.Fatalf("a valid token: %v", err)
		}
		typo := valid[:20] + swap(valid[20]) + valid[21:]
		for name, c := range map[string]struct{ text, says string }{
			"empty":              {"", "no credential"},
			"another form":       {"eyJhbGciOiJFZERTQSJ9.e30", "no credential"},
			"a typo":             {typo, "malformed"},
			"cut":                {valid[:40], "malformed"},
			"unknown":            {unknown, "unknown"},
			"expired":            {expired, "expired"},
			"revoked":            {revoked, "revoked"},
			"of an inactive one": {inactive, "not active"},
		} {
			for try := range 2 { // the second time by what the first has left behind
				principal, err := s.auth.Authenticate(sandboxtest.Context(t), c.text)
				if !errors.Is(err, problem.Unauthorized) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s, try %d: got %v, want unauthenticated that says %q", name, try+1, err, c.says)
				}
				if principal.Username != "" || len(principal.Permissions) > 0 {
					t.Errorf("%s: refused, and yet %+v", name, principal)
				}
				if err != nil && c.text != "" && strings.Contains(err.Error(), c.text) {
					t.Errorf("%s: the refusal repeats the secret", name)
				}
			}
		}
	})
}

func TestMalformedTokenCostsNoLookUp(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		for _, text := range []string{"ops_api_token_", "ops_api_token_" + strings.Repeat("0", 49), "x"} {
			if _, err := s.auth.Authenticate(sandboxtest.Context(t), text); !errors.Is(err, problem.Unauthorized) {
				t.Errorf("%q: %v", text, err)
			}
		}
		if n := s.db.queries.Load(); n != 0 {
			t.Errorf("%d queries for malformed tokens", n)
		}
	})
}

func TestPrincipalHasTheRightsOfItsUserNarrowedByScopes(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "vera", "viewer", "service")
		var viewer []string
		for _, resource := range []string{"observations", "files", "packages", "sources", "programs", "instruments", "transfers", "staging", "buffer", "history", "metrics"} {
			viewer = append(viewer, "read:"+resource)
		}
		service := []string{"write:observations", "write:files", "write:packages", "write:transfers", "write:staging"}
		all := slices.Sorted(slices.Values(slices.Concat(viewer, service)))
		cases := map[string]struct{ scopes, want []string }{
			"none":                      {nil, all},
			"a wildcard":                {[]string{"read:*"}, slices.Sorted(slices.Values(viewer))},
			"one":                       {[]string{"write:files"}, []string{"write:files"}},
			"several":                   {[]string{"read:metrics", "write:*"}, slices.Sorted(slices.Values(append([]string{"read:metrics"}, service...)))},
			"what the user may not do":  {[]string{"manage:users", "read:audit", "read:files"}, []string{"read:files"}},
			"a wildcard of other kinds": {[]string{"manage:*"}, nil},
		}
		texts := map[string]string{}
		for name, c := range cases {
			texts[name] = s.token(t, auth.NewToken{Username: "vera", Name: name, Scopes: c.scopes})
		}
		s.replay(t)
		for name, c := range cases {
			principal, err := s.auth.Authenticate(sandboxtest.Context(t), texts[name])
			if err != nil {
				t.Errorf("scopes %s: %v", name, err)
				continue
			}
			if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(principal.Permissions))); diff != "" {
				t.Errorf("scopes %s (-want +got):\n%s", name, diff)
			}
			if principal.Actor() != "user:vera" || !slices.Equal(principal.Roles, []string{"service", "viewer"}) || principal.Kind != "api_token" || principal.TokenID == 0 {
				t.Errorf("scopes %s: principal %+v", name, principal)
			}
		}
	})
}

func TestVerifiedTokenIsTrustedForThirtySeconds(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "ada", "observer")
		text := s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
		s.replay(t)
		ctx := sandboxtest.Context(t)
		for range 10 {
			if _, err := s.auth.Authenticate(ctx, text); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.db.queries.Load(); n != 1 {
			t.Errorf("%d queries for ten requests, want 1", n)
		}
		s.exec(t, "UPDATE api_token SET is_active = false")
		s.replay(t)
		s.clock.advance(29 * time.Second)
		if _, err := s.auth.Authenticate(ctx, text); err != nil {
			t.Errorf("29 s after the look-up: %v", err)
		}
		s.clock.advance(2 * time.Second)
		if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.Unauthorized) {
			t.Errorf("31 s after the look-up a revoked token gives %v", err)
		}
	})
}

func TestForgottenTokenIsCheckedAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), false)
	s.user(t, "ada", "observer")
	text := s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
	ctx := sandboxtest.Context(t)
	if _, err := s.auth.Authenticate(ctx, text); err != nil {
		t.Fatal(err)
	}
	s.exec(t, "UPDATE api_token SET is_active = false")
	hash, _, err := auth.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.auth.Forget(ctx, hash); err != nil {
		t.Fatal(err)
	}
	if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.Unauthorized) {
		t.Errorf("a revoked token after Forget gives %v", err)
	}
}

func TestTokenExpiresWhileItIsCached(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "ada", "observer")
		text := s.token(t, auth.NewToken{Username: "ada", Name: "short", Lifetime: 10 * time.Second})
		s.replay(t)
		ctx := sandboxtest.Context(t)
		principal, err := s.auth.Authenticate(ctx, text)
		if err != nil || principal.Expires.IsZero() {
			t.Fatalf("before its end: %+v, %v", principal, err)
		}
		s.clock.advance(11 * time.Second)
		if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.Unauthorized) {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestManyRequestsShareOneLookUp(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "ada", "observer")
		text := s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
		s.replay(t)
		release := make(chan struct{})
		s.db.hold.Store(&release)
		first, cancel := context.WithCancel(sandboxtest.Context(t))
		var done sync.WaitGroup
		ask := func(ctx context.Context) {
			done.Go(func() {
				if _, err := s.auth.Authenticate(ctx, text); err != nil {
					t.Errorf("one of many requests: %v", err)
				}
			})
		}
		ask(first)
		sandboxtest.Eventually(t, 5*time.Second, "the look-up", func() bool { return s.db.queries.Load() == 1 })
		for range 49 {
			ask(sandboxtest.Context(t))
		}
		cancel() // the client that began the look-up goes away: the others must not fail with it
		close(release)
		done.Wait()
		if n := s.db.queries.Load(); n > 3 {
			t.Errorf("%d look-ups for 50 requests at once", n)
		}
	})
}

func TestMainWithoutItsDatabaseCannotCheck(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), false)
	s.user(t, "ada", "observer")
	text := s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
	s.db.broken.Store(true)
	ctx := sandboxtest.Context(t)
	if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.CredentialsUnavailable) {
		t.Errorf("with the database away: %v, want credentials-unavailable", err)
	}
	s.db.broken.Store(false)
	if _, err := s.auth.Authenticate(ctx, text); err != nil {
		t.Errorf("with the database back: %v", err)
	}
}

func TestSiteRemembersTokensWhileItsReplicaCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), true)
	s.user(t, "svc", "service")
	known := s.token(t, auth.NewToken{Username: "svc", Name: "daq", Scopes: []string{"write:*"}})
	unseen := s.token(t, auth.NewToken{Username: "svc", Name: "unseen"})
	s.replay(t)
	ctx := sandboxtest.Context(t)
	before, err := s.auth.Authenticate(ctx, known)
	if err != nil {
		t.Fatal(err)
	}
	s.db.broken.Store(true)
	s.clock.advance(time.Hour)
	after, err := s.auth.Authenticate(ctx, known)
	if err != nil {
		t.Fatalf("a token verified an hour ago: %v", err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("remembered principal (-verified +remembered):\n%s", diff)
	}
	// Another process of the site remembers as well.
	other := s.another(t)
	if _, err := other.Authenticate(ctx, known); err != nil {
		t.Errorf("in another process: %v", err)
	}
	if _, err := s.auth.Authenticate(ctx, unseen); !errors.Is(err, problem.CredentialsUnavailable) {
		t.Errorf("a valid token never seen here: %v, want credentials-unavailable and never unauthenticated", err)
	}
	s.clock.advance(24 * time.Hour)
	if _, err := s.auth.Authenticate(ctx, known); !errors.Is(err, problem.CredentialsUnavailable) {
		t.Errorf("25 hours later: %v, want credentials-unavailable", err)
	}
	s.db.broken.Store(false)
	s.clock.advance(2 * time.Second)
	for _, text := range []string{known, unseen} {
		if _, err := s.auth.Authenticate(ctx, text); err != nil {
			t.Errorf("with the replica back: %v", err)
		}
	}
}

func TestSecretsAreNotStoredInRedis(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), true)
	s.user(t, "svc", "service")
	text := s.token(t, auth.NewToken{Username: "svc", Name: "daq"})
	s.replay(t)
	ctx := sandboxtest.Context(t)
	if _, err := s.auth.Authenticate(ctx, text); err != nil {
		t.Fatal(err)
	}
	stored, err := s.redis.HGetAll(ctx, "site:observatory:credentials").Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) != 1 {
		t.Fatalf("remembered: %v", stored)
	}
	for key, value := range stored {
		if hash, _, _ := auth.ParseToken(text); key != hash.String() || strings.Contains(value, text) || strings.Contains(value, text[14:]) {
			t.Errorf("remembered %s: %s", key, value)
		}
	}
}

func TestRevokedTokenIsNotRemembered(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]string{
		"revoked":       "UPDATE api_token SET is_active = false, revoked_at = now()",
		"deleted":       "DELETE FROM api_token",
		"user inactive": "UPDATE app_user SET is_active = false",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, sandboxtest.New(t), true)
			s.user(t, "svc", "service")
			text := s.token(t, auth.NewToken{Username: "svc", Name: "daq"})
			s.replay(t)
			ctx := sandboxtest.Context(t)
			if _, err := s.auth.Authenticate(ctx, text); err != nil {
				t.Fatal(err)
			}
			s.exec(t, revoke)
			s.replay(t)
			s.clock.advance(31 * time.Second)
			if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.Unauthorized) {
				t.Fatalf("the replica shows it, and: %v", err)
			}
			s.db.broken.Store(true)
			s.clock.advance(31 * time.Second)
			if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.CredentialsUnavailable) {
				t.Errorf("then the replica goes away: %v, want credentials-unavailable", err)
			}
		})
	}
}

// TestRevokedTokenCostsNoLookUpForEachRequest: nor an inactive user's, for two seconds, and then it is looked up again.
func TestRevokedTokenCostsNoLookUpForEachRequest(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]string{
		"revoked":       "UPDATE api_token SET is_active = false, revoked_at = now()",
		"user inactive": "UPDATE app_user SET is_active = false",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothSites(t, func(t *testing.T, s *site) {
				s.user(t, "svc", "service")
				text := s.token(t, auth.NewToken{Username: "svc", Name: "daq"})
				ctx := sandboxtest.Context(t)
				s.exec(t, revoke)
				s.replay(t)
				for range 10 {
					if _, err := s.auth.Authenticate(ctx, text); !errors.Is(err, problem.Unauthorized) || errors.Is(err, api.ErrWrongSecret) {
						t.Fatalf("it gives %v", err)
					}
				}
				if n := s.db.queries.Load(); n != 1 {
					t.Errorf("%d queries for ten requests, want 1", n)
				}
				s.exec(t, "UPDATE api_token SET is_active = true, revoked_at = NULL")
				s.exec(t, "UPDATE app_user SET is_active = true")
				s.replay(t)
				s.clock.advance(3 * time.Second)
				if _, err := s.auth.Authenticate(ctx, text); err != nil {
					t.Errorf("valid again, three seconds later: %v", err)
				}
			})
		})
	}
}

// TestWhatWasReadBeforeARevocationCountsForNobody: a look-up that is under way when a token is revoked here lets in neither
// who has begun it nor who comes after the revocation and waits for it, and leaves nothing in the site's memory, also when
// the database cannot be asked once more.
func TestWhatWasReadBeforeARevocationCountsForNobody(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]*problem.Kind{"the replica answers": problem.Unauthorized, "the replica is gone by then": problem.CredentialsUnavailable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, sandboxtest.New(t), true)
			s.user(t, "svc", "service")
			text := s.token(t, auth.NewToken{Username: "svc", Name: "daq"})
			s.replay(t)
			ctx := sandboxtest.Context(t)
			hash, _, err := auth.ParseToken(text)
			if err != nil {
				t.Fatal(err)
			}
			held := make(chan struct{})
			s.db.late.Store(&held)
			asked := make(chan error, 2)
			ask := func() {
				_, err := s.auth.Authenticate(ctx, text)
				asked <- err
			}
			go ask()
			sandboxtest.Eventually(t, 10*time.Second, "the look-up", func() bool { return s.db.found.Load() > 0 })
			s.exec(t, "UPDATE api_token SET is_active = false, revoked_at = now()")
			s.replay(t)
			if err := s.auth.Forget(ctx, hash); err != nil {
				t.Fatal(err)
			}
			go ask()
			time.Sleep(100 * time.Millisecond) // it waits for the look-up that is under way
			s.db.late.Store(nil)
			s.db.broken.Store(want == problem.CredentialsUnavailable)
			close(held)
			for range 2 {
				if err := <-asked; !errors.Is(err, want) {
					t.Errorf("%v, want %s", err, want.Code)
				}
			}
			if document, err := s.store.Credential(ctx, hash.String()); err != nil || document != nil {
				t.Errorf("the site remembers %s, %v", document, err)
			}
		})
	}
}

func TestChangedRightsAreRememberedAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), true)
	s.user(t, "ada", "observer")
	text := s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
	s.replay(t)
	ctx := sandboxtest.Context(t)
	if p, err := s.auth.Authenticate(ctx, text); err != nil || !p.Can("write:sources") {
		t.Fatalf("%+v, %v", p, err)
	}
	s.exec(t, "UPDATE user_role SET role_id = (SELECT id FROM role WHERE name = 'viewer')")
	s.replay(t)
	s.clock.advance(31 * time.Second)
	if p, err := s.auth.Authenticate(ctx, text); err != nil || p.Can("write:sources") {
		t.Fatalf("after the change: %+v, %v", p, err)
	}
	s.db.broken.Store(true)
	s.clock.advance(31 * time.Second)
	if p, err := s.auth.Authenticate(ctx, text); err != nil || p.Can("write:sources") {
		t.Errorf("remembered after the change: %+v, %v", p, err)
	}
}

// TestHangingReplicaDelaysOneRequestASecond: a replica that takes connections and answers nothing must not stop observing.
func TestHangingReplicaDelaysOneRequestASecond(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), true)
	s.user(t, "svc", "service")
	text := s.token(t, auth.NewToken{Username: "svc", Name: "daq"})
	s.replay(t)
	ctx := sandboxtest.Context(t)
	if _, err := s.auth.Authenticate(ctx, text); err != nil {
		t.Fatal(err)
	}
	never := make(chan struct{})
	s.db.hold.Store(&never)
	s.clock.advance(31 * time.Second)
	began := time.Now()
	if _, err := s.auth.Authenticate(ctx, text); err != nil {
		t.Errorf("with the replica hanging: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the answer took %v", took)
	}
	asked := s.db.queries.Load()
	for range 100 {
		if _, err := s.auth.Authenticate(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	unknown, err := auth.NewTokenText()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.auth.Authenticate(ctx, unknown); !errors.Is(err, problem.CredentialsUnavailable) {
		t.Errorf("an unknown token: %v", err)
	}
	if n := s.db.queries.Load(); n != asked {
		t.Errorf("the hanging replica was asked %d times more within the second", n-asked)
	}
}

// TestSlowReplicaIsWaitedForWhenNothingIsRemembered: a token that the site has never seen is worth a wait of more than the
// 200 ms after which one that is remembered is served from memory.
func TestSlowReplicaIsWaitedForWhenNothingIsRemembered(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), true)
	s.user(t, "svc", "service")
	text := s.token(t, auth.NewToken{Username: "svc", Name: "daq"})
	s.replay(t)
	ctx := sandboxtest.Context(t)
	hold := make(chan struct{})
	s.db.hold.Store(&hold)
	time.AfterFunc(2*200*time.Millisecond, func() { close(hold) })
	a := auth.NewAuthenticator(auth.AuthenticatorOptions{DB: s.db, Credentials: s.store, Now: s.clock.now, Logger: observetest.Logger(t)})
	if _, err := a.Authenticate(ctx, text); err != nil {
		t.Error(err)
	}
}

func TestWithoutReplicaAndRedisNothingCanBeChecked(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	s := newSite(t, pair, false)
	s.user(t, "svc", "service")
	text := s.token(t, auth.NewToken{Username: "svc", Name: "daq"})
	a := auth.NewAuthenticator(auth.AuthenticatorOptions{DB: s.db, Credentials: deadRedis{}, Now: s.clock.now, Logger: observetest.Logger(t)})
	ctx := sandboxtest.Context(t)
	if _, err := a.Authenticate(ctx, text); err != nil {
		t.Errorf("Redis away, replica there: %v", err)
	}
	s.db.broken.Store(true)
	s.clock.advance(31 * time.Second)
	if _, err := a.Authenticate(ctx, text); !errors.Is(err, problem.CredentialsUnavailable) {
		t.Errorf("both away: %v, want credentials-unavailable", err)
	}
}

// site is one site with an authenticator over a database that can be broken.
type site struct {
	pair  *sandboxtest.Pair
	main  *pgxpool.Pool
	admin *auth.Admin
	db    *faulty
	clock *clock
	store *pending.Store
	redis *rdb.Client
	uses  *auth.Uses
	auth  *auth.Authenticator

	keysDir  string
	keys     *auth.KeyRing
	access   *auth.AccessTokens
	sessions auth.Sessions
}

func bothSites(t *testing.T, test func(t *testing.T, s *site)) {
	for name, secondary := range map[string]bool{"main": false, "secondary": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, sandboxtest.New(t), secondary))
		})
	}
}

func newSite(t testing.TB, pair *sandboxtest.Pair, secondary bool) *site {
	t.Helper()
	s := &site{pair: pair, main: pair.Primary(t), clock: &clock{at: time.Now()}, uses: auth.NewUses()}
	s.admin = auth.NewAdmin(s.main)
	s.db = &faulty{DBTX: s.main}
	if secondary {
		s.db = &faulty{DBTX: pair.Replica(t)}
		client, err := rdb.Open(rdb.Options{URL: pair.RedisURL})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		s.redis = client
		catalog, err := txn.NewCatalog(auth.Steps()...)
		if err != nil {
			t.Fatal(err)
		}
		s.store, err = pending.Open(sandboxtest.Context(t), client, pending.Options{Site: pair.Site, Tables: auth.Tables(), Decoder: catalog, Now: s.clock.now, Durability: pending.Relaxed})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	s.keysDir = filepath.Join(t.TempDir(), "keys")
	if _, err := auth.InitSigningKey(s.keysDir, s.name(), s.clock.now()); err != nil {
		t.Fatal(err)
	}
	s.keys = auth.NewKeyRing(auth.KeyRingOptions{Dir: s.keysDir, Site: s.name(), DB: s.db, Now: s.clock.now, Logger: observetest.Logger(t)})
	s.access = auth.NewAccessTokens(s.name(), s.keys, s.clock.now)
	s.sessions = auth.NewSessionTable(s.name(), s.main, s.clock.now)
	if s.store != nil {
		s.sessions = s.store
	}
	s.auth = s.another(t)
	return s
}

// another is the authenticator of another process of the site.
func (s *site) another(t testing.TB) *auth.Authenticator {
	t.Helper()
	o := auth.AuthenticatorOptions{
		DB: s.db, Uses: s.uses, AccessTokens: s.access, Sessions: s.sessions, Now: s.clock.now, Logger: observetest.Logger(t),
	}
	if s.store != nil {
		// The test machine may be too busy for the 200 ms of a real site; a hanging database still ends it.
		o.Credentials, o.Denied, o.LookupTimeout = s.store, s.store, 2*time.Second
	}
	return auth.NewAuthenticator(o)
}

// name is the site's short name.
func (s *site) name() string {
	if s.store == nil {
		return "cologne"
	}
	return s.pair.Site
}

func (s *site) user(t testing.TB, name string, roles ...string) {
	t.Helper()
	if err := s.admin.CreateUser(sandboxtest.Context(t), name, "", false, roles...); err != nil {
		t.Fatal(err)
	}
}

func (s *site) token(t testing.TB, n auth.NewToken) string {
	t.Helper()
	text, _, err := s.admin.CreateToken(sandboxtest.Context(t), n)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (s *site) exec(t testing.TB, sql string) { t.Helper(); s.pair.Exec(t, sql) }

func (s *site) replay(t testing.TB) {
	t.Helper()
	if s.store != nil {
		s.pair.WaitForReplay(t)
	}
}

// faulty is a database that can stop answering.
type faulty struct {
	auth.DBTX
	queries atomic.Int64
	broken  atomic.Bool
	hold    atomic.Pointer[chan struct{}] // before the database is asked
	found   atomic.Int64
	late    atomic.Pointer[chan struct{}] // after it has answered
}

func (f *faulty) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	f.queries.Add(1)
	if f.broken.Load() {
		return brokenRow{&pgconn.ConnectError{}}
	}
	if hold := f.hold.Load(); hold != nil {
		select {
		case <-*hold:
		case <-ctx.Done():
			return brokenRow{ctx.Err()}
		}
	}
	row := f.DBTX.QueryRow(ctx, sql, args...)
	f.found.Add(1)
	if late := f.late.Load(); late != nil {
		<-*late
	}
	return row
}

func (f *faulty) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	f.queries.Add(1)
	if f.broken.Load() {
		return nil, &pgconn.ConnectError{}
	}
	return f.DBTX.Query(ctx, sql, args...)
}

type brokenRow struct{ err error }

func (r brokenRow) Scan(...any) error { return r.err }

type deadRedis struct{}

var errDead = errors.New("redis: connection refused")

func (deadRedis) Credential(context.Context, string) (json.RawMessage, error) { return nil, errDead }
func (deadRedis) KeepCredential(context.Context, string, json.RawMessage, time.Duration) error {
	return errDead
}
func (deadRedis) CredentialKeys(context.Context) ([]string, error) { return nil, errDead }
func (deadRedis) DropCredential(context.Context, string) error     { return errDead }

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func swap(b byte) string {
	if b == 'a' {
		return "b"
	}
	return "a"
}

var _ api.Authenticator = (*auth.Authenticator)(nil)
