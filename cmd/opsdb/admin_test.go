package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
