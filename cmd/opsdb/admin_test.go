package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// opsdb runs one command line against the primary of pair and returns what it printed.
func opsdb(t *testing.T, pair *sandboxtest.Pair, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&bytes.Buffer{})
	root.SetArgs(append(args, "--url", pair.MainURL))
	err := root.ExecuteContext(sandboxtest.Context(t))
	return out.String(), err
}

func TestFirstAdministratorComesFromTheCommandLine(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	if _, err := opsdb(t, pair, "user", "create", "vera", "--role", "admin"); err != nil {
		t.Fatal(err)
	}
	secret, err := opsdb(t, pair, "token", "create", "--user", "vera", "--name", "laptop", "--scope", "read:*", "--scope", "manage:users", "--expires", "24h")
	if err != nil {
		t.Fatal(err)
	}
	principal, err := auth.NewAuthenticator(auth.AuthenticatorOptions{DB: pair.Primary(t)}).Authenticate(sandboxtest.Context(t), strings.TrimSpace(secret))
	if err != nil {
		t.Fatalf("the printed token %q: %v", secret, err)
	}
	if !principal.Can("manage:users") || !principal.Can("read:audit") || principal.Can("manage:buffer") || principal.Expires.IsZero() {
		t.Errorf("principal %+v", principal)
	}
	for _, args := range [][]string{
		{"user", "create", "vera", "--role", "admin"},
		{"user", "create", "bob"},
		{"user", "create", "bob", "--role", "king"},
		{"token", "create", "--user", "vera", "--name", "laptop"},
		{"token", "create", "--user", "bob", "--name", "laptop"},
		{"token", "create", "--user", "vera", "--name", "x", "--expires", "0s"},
		{"token", "create", "--user", "vera", "--name", "x", "--scope", "read:nothing"},
		{"user", "link", "vera", "vera"},
		{"user", "link", "vera", "0"},
		{"user", "link", "bob", "17"},
		{"token", "revoke"},
		{"token", "revoke", "one"},
		{"token", "revoke", "4711"},
	} {
		if out, err := opsdb(t, pair, args...); err == nil || out != "" {
			t.Errorf("opsdb %s: %q, %v", strings.Join(args, " "), out, err)
		}
	}
	if _, err := opsdb(t, pair, "token", "revoke", "--user", "vera", "--name", "laptop"); err != nil {
		t.Errorf("revoking: %v", err)
	}
	list, err := opsdb(t, pair, "token", "list", "--json")
	var tokens []auth.APIToken
	if err != nil || json.Unmarshal([]byte(list), &tokens) != nil || len(tokens) != 1 || tokens[0].IsActive {
		t.Errorf("tokens %s, %v", list, err)
	}
	if strings.Contains(list, strings.TrimSpace(secret)[20:]) {
		t.Error("the list has the secret")
	}
}

// TestCommandLineIsInTheAuditLog: what the command line changes is in the main site's audit log, with who did it, and
// what it refuses is not; `opsdb audit verify` ends with 1 when the log was changed.
func TestCommandLineIsInTheAuditLog(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	dir := filepath.Join(t.TempDir(), "keys")
	says := func(args ...string) string {
		t.Helper()
		out, err := opsdb(t, pair, args...)
		if err != nil {
			t.Fatalf("opsdb %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	says("user", "create", "ada", "--role", "viewer")
	says("user", "grant", "ada", "observer")
	says("user", "revoke", "ada", "viewer")
	says("user", "link", "ada", "17")
	says("user", "deactivate", "ada")
	secret := strings.TrimSpace(says("token", "create", "--user", "ada", "--name", "laptop"))
	says("token", "revoke", "--user", "ada", "--name", "laptop")
	says("keys", "init", "--dir", dir, "--site", "observatory")
	says("keys", "init", "--dir", dir, "--site", "observatory") // publishes what is published
	rotated := strings.TrimSpace(says("keys", "rotate", "--dir", dir, "--site", "observatory"))
	for _, args := range [][]string{{"user", "create", "ada", "--role", "viewer"}, {"user", "grant", "ada", "king"}, {"token", "revoke", "4711"}} {
		if _, err := opsdb(t, pair, args...); err == nil {
			t.Errorf("opsdb %s is not refused", strings.Join(args, " "))
		}
	}
	rows, err := pair.Primary(t).Query(sandboxtest.Context(t), `
		SELECT action || ' ' || coalesce(detail->>'roles', detail->>'name', detail->>'site', '') || coalesce(' ' || (detail->>'is_active'), ''), detail->>'actor', site, row_id, detail::text
		FROM audit_event ORDER BY at`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var what, actor, site, row, detail string
	if _, err := pgx.ForEachRow(rows, []any{&what, &actor, &site, &row, &detail}, func() error {
		if !strings.HasPrefix(actor, "shell:") || site != sandboxtest.MainSite || row == "" || strings.Contains(detail, secret[20:]) {
			t.Errorf("%s by %q at %q, row %q: %s", what, actor, site, row, detail)
		}
		got = append(got, what)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`user.create ["viewer"] true`, `user.update ["observer", "viewer"] true`, `user.update ["observer"] true`, `user.update ["observer"] true`, `user.update ["observer"] false`,
		"token.create laptop", "token.revoke laptop", "key.publish observatory", "key.publish observatory",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the audit log (-want +got):\n%s", diff)
	}
	if row != rotated {
		t.Errorf("the last event is of key %q, and %q was published", row, rotated)
	}
	if out := says("audit", "verify"); !strings.Contains(out, "nothing is broken") {
		t.Errorf("verify says %q", out)
	}
	pair.Exec(t, "DELETE FROM audit_event WHERE action = 'token.revoke'")
	out, err := opsdb(t, pair, "audit", "verify")
	var exit exitError
	if !errors.As(err, &exit) || exit.code != 1 || !strings.Contains(out, "BROKEN") {
		t.Errorf("verify of a log that misses an event: %v, %q", err, out)
	}
}

func TestSeedMakesTokensOnce(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	first, err := opsdb(t, pair, "seed", "--tokens")
	if err != nil {
		t.Fatal(err)
	}
	var made map[string]string
	if err := json.Unmarshal([]byte(first), &made); err != nil || len(made) != len(demoTokens) {
		t.Fatalf("tokens made: %s (%v)", first, err)
	}
	authenticator := auth.NewAuthenticator(auth.AuthenticatorOptions{DB: pair.Primary(t)})
	for name, valid := range map[string]bool{"primecam-daq": true, "chai-daq": true, "transfer-manager": true, "notebook-2025": false, "lost-laptop": false} {
		principal, err := authenticator.Authenticate(sandboxtest.Context(t), made[name])
		if (err == nil) != valid {
			t.Errorf("token %s: %v", name, err)
		}
		if valid && (!principal.Service || !principal.Can("read:transfers") || principal.Can("write:files") != strings.HasSuffix(name, "-daq")) {
			t.Errorf("token %s: %+v", name, principal)
		}
	}
	if second, err := opsdb(t, pair, "seed", "--tokens"); err != nil || strings.TrimSpace(second) != "{}" {
		t.Errorf("a second run makes %s (%v)", second, err)
	}
}

func TestSiteAndKeysAreMadeOnce(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	dir := filepath.Join(t.TempDir(), "keys")
	for range 2 {
		if _, err := opsdb(t, pair, "site", "add", "effelsberg", "--name", "Effelsberg", "--latitude", "50.5"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := opsdb(t, pair, "site", "add", "second", "--main"); err == nil {
		t.Error("a second main site is added")
	}
	first, err := opsdb(t, pair, "keys", "init", "--dir", dir, "--site", "effelsberg")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := opsdb(t, pair, "keys", "init", "--dir", dir, "--site", "effelsberg"); err != nil || again != first {
		t.Errorf("init again gives %q (%v), not %q", again, err, first)
	}
	rotated, err := opsdb(t, pair, "keys", "rotate", "--dir", dir, "--site", "effelsberg")
	if err != nil || rotated == first {
		t.Fatalf("rotate gives %q, %v", rotated, err)
	}
	var current string
	if err := pair.Primary(t).QueryRow(sandboxtest.Context(t), "SELECT string_agg(kid, ',') FROM signing_key WHERE site = 'effelsberg' AND retired_at IS NULL").Scan(&current); err != nil {
		t.Fatal(err)
	}
	if current != strings.TrimSpace(rotated) {
		t.Errorf("current key %q, want %q", current, rotated)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("%d files of keys, %v", len(files), err)
	}
}

func TestKeyIsMadeWithoutThePrimary(t *testing.T) {
	t.Parallel()
	root, dir := newRoot(), t.TempDir()
	var out, said bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&said)
	root.SetArgs([]string{"keys", "init", "--dir", dir, "--site", "observatory", "--url", "postgres://opsdb@127.0.0.1:1/opsdb"})
	if err := root.ExecuteContext(sandboxtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "observatory-") || !strings.Contains(said.String(), "not published yet") {
		t.Errorf("printed %q, said %q", &out, &said)
	}
}
