package auth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/observe/observetest"
	"github.com/opsdb/opsdb/platform/record/recordtest"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// TestRolesHaveTheDocumentedPermissions holds the reference rows of the schema against the table of the API's documentation.
func TestRolesHaveTheDocumentedPermissions(t *testing.T) {
	t.Parallel()
	resources := []string{"observations", "files", "packages", "sources", "programs", "instruments", "transfers", "staging"}
	with := func(action string, resources ...string) (out []string) {
		for _, r := range resources {
			out = append(out, action+":"+r)
		}
		return out
	}
	reads := with("read", append(slices.Clone(resources), "buffer", "history", "metrics")...)
	want := map[string][]string{
		"admin":    slices.Concat(reads, with("read", "audit"), with("write", resources...), with("manage", "users", "buffer"), with("configure", "system")),
		"observer": slices.Concat(reads, with("write", "observations", "files", "packages", "sources", "programs", "instruments", "staging")),
		"viewer":   slices.Concat(reads, with("write", "staging")),
		"service":  slices.Concat(reads, with("write", "observations", "files", "packages", "transfers", "staging")),
	}
	for _, permissions := range want {
		slices.Sort(permissions)
	}
	rows, err := sandboxtest.New(t).Primary(t).Query(sandboxtest.Context(t), `
		SELECT r.name, p.name FROM role r JOIN role_permission rp ON rp.role_id = r.id JOIN permission p ON p.id = rp.permission_id ORDER BY p.name`)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	var role, permission string
	if _, err := pgx.ForEachRow(rows, []any{&role, &permission}, func() error {
		got[role] = append(got[role], permission)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("roles and permissions (-documented +stored):\n%s", diff)
	}
}

func TestAdminRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), false)
	ctx := sandboxtest.Context(t)
	s.user(t, "ada", "observer")
	s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
	create := func(n auth.NewToken) error { _, _, err := s.admin.CreateToken(ctx, n); return err }
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"a user twice":                {s.admin.CreateUser(ctx, "ada", "", false, "viewer"), auth.ErrUserExists},
		"a user with an unknown role": {s.admin.CreateUser(ctx, "bob", "", false, "viewer", "king"), auth.ErrRoleUnknown},
		"a role for nobody":           {s.admin.GrantRole(ctx, "nobody", "viewer"), auth.ErrUserUnknown},
		"a role there is not":         {s.admin.GrantRole(ctx, "ada", "king"), auth.ErrRoleUnknown},
		"a token for nobody":          {create(auth.NewToken{Username: "nobody", Name: "x"}), auth.ErrUserUnknown},
		"a token twice":               {create(auth.NewToken{Username: "ada", Name: "laptop"}), auth.ErrTokenExists},
		"revoking what is not there":  {s.admin.RevokeToken(ctx, 4711), auth.ErrTokenGone},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	for _, name := range []string{"", "a\nb", "-x", "a b", strings.Repeat("a", 101)} {
		if err := s.admin.CreateUser(ctx, name, "", false, "viewer"); err == nil || !strings.Contains(err.Error(), "a name has letters") {
			t.Errorf("a user %q: %v", name, err)
		}
	}
	for _, scope := range []string{"read", "read:nothing", "*", "*:*", "read:**", "Read:files", "read:file*", ""} {
		if err := create(auth.NewToken{Username: "ada", Name: "scoped", Scopes: []string{"read:files", scope}}); err == nil {
			t.Errorf("the scope %q is taken", scope)
		}
	}
	users, err := s.admin.Users(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(users) != 1 || !slices.Equal(users[0].Roles, []string{"observer"}) {
		t.Errorf("users after all refusals: %+v", users)
	}
}

func TestRevokedTokenLeavesItsNameToASuccessor(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), false)
	ctx := sandboxtest.Context(t)
	s.user(t, "ada", "observer")
	s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
	id, err := s.admin.TokenID(ctx, "ada", "laptop")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.admin.RevokeToken(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := s.admin.RevokeToken(ctx, id); !errors.Is(err, auth.ErrTokenGone) {
		t.Errorf("revoking it again: %v", err)
	}
	s.token(t, auth.NewToken{Username: "ada", Name: "laptop"})
	tokens, err := s.admin.Tokens(ctx, "ada")
	if err != nil {
		t.Fatal(err)
	}
	if len(tokens) != 2 || tokens[0].IsActive || !tokens[1].IsActive || tokens[0].RevokedAt == nil {
		t.Errorf("tokens: %+v", tokens)
	}
}

func TestUsesAreWrittenInBatches(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), false)
	ctx := sandboxtest.Context(t)
	s.user(t, "ada", "observer")
	one := s.token(t, auth.NewToken{Username: "ada", Name: "one"})
	two := s.token(t, auth.NewToken{Username: "ada", Name: "two"})
	s.token(t, auth.NewToken{Username: "ada", Name: "unused"})
	far := netip.MustParseAddr("2001:db8::7")
	for _, text := range []string{one, two, one, one} {
		if _, err := s.auth.Authenticate(api.From(ctx, far, false), text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.auth.Authenticate(ctx, one[:62]+swap(one[62])); err == nil {
		t.Fatal("a typo is accepted")
	}
	if err := s.uses.Flush(ctx, failingSink{}); !errors.Is(err, errDead) {
		t.Fatalf("a sink that fails: %v", err)
	}
	near := netip.MustParseAddr("192.0.2.1")
	if _, err := s.auth.Authenticate(api.From(ctx, near, false), one); err != nil {
		t.Fatal(err)
	}
	sink := auth.NewUseTable(s.main)
	for range 2 { // the second has nothing to add
		if err := s.uses.Flush(ctx, sink); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]int64{}
	tokens, err := s.admin.Tokens(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		got[token.Name] = token.UsageCount
		if (token.LastUsedAt != nil) != (token.UsageCount > 0) || token.LastUsedAt != nil && !token.LastUsedAt.Equal(s.clock.now().Truncate(time.Microsecond)) {
			t.Errorf("token %s was used last at %v", token.Name, token.LastUsedAt)
		}
		if want := map[string]netip.Addr{"one": near, "two": far}[token.Name]; (token.LastUsedIP != nil) != want.IsValid() || token.LastUsedIP != nil && *token.LastUsedIP != want {
			t.Errorf("token %s was used last from %v, want %v", token.Name, token.LastUsedIP, want)
		}
	}
	if diff := cmp.Diff(map[string]int64{"one": 4, "two": 1, "unused": 0}, got); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
}

func TestUsesAtASecondarySiteReachThePrimary(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), true)
	ctx := sandboxtest.Context(t)
	s.user(t, "svc", "service")
	text := s.token(t, auth.NewToken{Username: "svc", Name: "daq"})
	s.replay(t)
	for batch := range 2 {
		for range 3 {
			if _, err := s.auth.Authenticate(api.From(ctx, netip.MustParseAddr("192.0.2.1"), false), text); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.uses.Flush(ctx, s.store); err != nil {
			t.Fatalf("batch %d: %v", batch, err)
		}
	}
	id, err := s.admin.TokenID(ctx, "svc", "daq")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := s.redis.HGetAll(ctx, "site:observatory:token_uses").Result()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{fmt.Sprintf("%d:uses", id): "6", fmt.Sprintf("%d:last", id): fmt.Sprint(s.clock.now().Unix()), fmt.Sprintf("%d:from", id): "192.0.2.1"}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("kept uses (-want +got):\n%s", diff)
	}

	// While the primary does not answer they are kept on; then it is told, once.
	forward := func(primary auth.UseSink) {
		following, stop := context.WithCancel(ctx)
		defer stop()
		auth.ForwardUses(following, &ticks{KeptUses: s.store, stop: stop}, primary, time.Millisecond, observetest.Logger(t))
	}
	used := func() int64 {
		t.Helper()
		tokens, err := s.admin.Tokens(ctx, "svc")
		if err != nil || len(tokens) != 1 {
			t.Fatal(tokens, err)
		}
		if tokens[0].UsageCount > 0 && tokens[0].LastUsedAt.Unix() != s.clock.now().Unix() {
			t.Errorf("used last at %v", tokens[0].LastUsedAt)
		}
		if ip := tokens[0].LastUsedIP; tokens[0].UsageCount > 0 && (ip == nil || ip.String() != "192.0.2.1") {
			t.Errorf("used last from %v", ip)
		}
		return tokens[0].UsageCount
	}
	s.db.broken.Store(true)
	forward(auth.NewUseTable(s.db))
	if n := used(); n != 0 {
		t.Errorf("%d uses at a primary that does not answer", n)
	}
	for range 2 { // the second has nothing to add
		forward(auth.NewUseTable(s.main))
		if n := used(); n != 6 {
			t.Errorf("%d uses at the primary, want 6", n)
		}
	}
}

// ticks lets the uses be taken once, and then stops whoever takes them.
type ticks struct {
	auth.KeptUses
	taken bool
	stop  func()
}

func (k *ticks) TakeTokenUses(ctx context.Context) ([]auth.TokenUse, error) {
	if k.taken {
		k.stop()
		return nil, nil
	}
	k.taken = true
	return k.KeptUses.TakeTokenUses(ctx)
}

func TestUsesAreWrittenWhenTheServerEnds(t *testing.T) {
	t.Parallel()
	uses, sink := auth.NewUses(), make(memorySink, 1)
	uses.Count(7, time.Now(), netip.Addr{})
	ctx, cancel := context.WithCancel(sandboxtest.Context(t))
	cancel()
	uses.Run(ctx, sink, time.Hour, observetest.Logger(t))
	if got := <-sink; len(got) != 1 || got[0].TokenID != 7 || got[0].Uses != 1 {
		t.Errorf("written at the end: %+v", got)
	}
}

func TestMeTellsWhoAsks(t *testing.T) {
	t.Parallel()
	bothSites(t, func(t *testing.T, s *site) {
		s.user(t, "ada", "viewer")
		text := s.token(t, auth.NewToken{Username: "ada", Name: "laptop", Scopes: []string{"write:*", "read:files"}, Lifetime: time.Hour})
		s.replay(t)
		router, err := api.New(api.Options{Site: s.pair.Site, Authenticator: s.auth})
		if err != nil {
			t.Fatal(err)
		}
		auth.New(auth.Config{}).Register(router)
		ask := func(bearer string) (int, map[string]any) {
			request := httptest.NewRequest(http.MethodGet, "/auth/me", nil)
			if bearer != "" {
				request.Header.Set("Authorization", "Bearer "+bearer)
			}
			answer := httptest.NewRecorder()
			router.Handler().ServeHTTP(answer, request)
			var body map[string]any
			if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
				t.Fatalf("%s: %v", answer.Body, err)
			}
			return answer.Code, body
		}
		status, me := ask(text)
		if status != http.StatusOK {
			t.Fatalf("%d %v", status, me)
		}
		for _, unpredictable := range []string{"user_id", "token_id", "expires_at"} {
			if me[unpredictable] == nil {
				t.Errorf("%s is null", unpredictable)
			}
			delete(me, unpredictable)
		}
		want := map[string]any{"username": "ada", "service": false, "credential": "api_token", "roles": []any{"viewer"}, "permissions": []any{"read:files", "write:staging"}}
		if diff := cmp.Diff(want, me); diff != "" {
			t.Errorf("GET /auth/me (-want +got):\n%s", diff)
		}
		if status, body := ask(""); status != http.StatusUnauthorized || body["type"] != "/problems/unauthenticated" {
			t.Errorf("without a credential: %d %v", status, body)
		}
	})
}

func TestSigningKeysStayPrivateAndTheNewestCounts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	now := time.Now()
	if _, err := auth.NewestSigningKey(dir, "cologne"); !errors.Is(err, auth.ErrNoSigningKey) {
		t.Errorf("without a key: %v", err)
	}
	first, err := auth.InitSigningKey(dir, "cologne", now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := auth.InitSigningKey(dir, "cologne", now)
	if err != nil || !first.Private.Equal(again.Private) || first.ID != again.ID {
		t.Errorf("init a second time made another key: %v", err)
	}
	if _, err := auth.NewSigningKey(dir, "cornell", now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	second, err := auth.NewSigningKey(dir, "cologne", now.Add(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	newest, err := auth.NewestSigningKey(dir, "cologne")
	if err != nil || newest.ID != second.ID || !newest.Private.Equal(second.Private) {
		t.Errorf("the newest is %s (%v), want %s", newest.ID, err, second.ID)
	}
	if public, err := base64.RawURLEncoding.DecodeString(second.PublicText()); err != nil || len(public) != 32 {
		t.Errorf("public part %q", second.PublicText())
	}
	file := filepath.Join(dir, second.ID+".pem")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the private part has mode %v", info.Mode())
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.NewestSigningKey(dir, "cologne"); err == nil {
		t.Error("a key that others may read is used")
	}
	for _, site := range []string{"", "../x", "a*", "A"} {
		if _, err := auth.NewSigningKey(dir, site, now); err == nil {
			t.Errorf("a key for the site %q", site)
		}
	}
}

func TestPublishedKeyRetiresItsPredecessor(t *testing.T) {
	t.Parallel()
	s := newSite(t, sandboxtest.New(t), false)
	ctx := sandboxtest.Context(t)
	for _, kid := range []string{"a", "b", "b"} {
		if err := s.admin.AddSigningKey(ctx, "cologne", kid, "public"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.admin.AddSigningKey(ctx, "cornell", "c", "public"); err != nil {
		t.Fatal(err)
	}
	var current string
	if err := s.main.QueryRow(ctx, "SELECT string_agg(kid, ',' ORDER BY kid) FROM signing_key WHERE retired_at IS NULL").Scan(&current); err != nil {
		t.Fatal(err)
	}
	if current != "b,c" {
		t.Errorf("current keys: %s, want b,c", current)
	}
	var overlap time.Duration
	if err := s.main.QueryRow(ctx, "SELECT retired_at - now() FROM signing_key WHERE kid = 'a'").Scan(&overlap); err != nil {
		t.Fatal(err)
	}
	if overlap < 20*time.Minute || overlap > 22*time.Minute {
		t.Errorf("the predecessor verifies for %s more, want the life of a token", overlap)
	}
}

type failingSink struct{}

func (failingSink) AddTokenUses(context.Context, []auth.TokenUse) error { return errDead }

type memorySink chan []auth.TokenUse

func (m memorySink) AddTokenUses(_ context.Context, uses []auth.TokenUse) error {
	m <- uses
	return nil
}

func TestEveryConstraintIsMapped(t *testing.T) {
	t.Parallel()
	recordtest.Mapped(t, auth.Problems, "app_user", "role", "permission", "user_role", "role_permission", "api_token", "user_preference", "session", "signing_key", "audit_event")
}
