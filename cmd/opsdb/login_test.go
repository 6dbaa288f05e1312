package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestLoginFromATerminal walks `opsdb login`, `login token` and `logout` against both sites of a running demo.
func TestLoginFromATerminal(t *testing.T) {
	d := startDemo(t, "--no-night")
	ready := d.ready()
	for name, site := range map[string]string{"main": ready.MainURL, "secondary": ready.ObservatoryURL} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			run := func(args ...string) *exec.Cmd {
				cmd := exec.Command(d.cmd.Path, args...)
				cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+folder, "HOME="+folder)
				return cmd
			}
			said := &output{}
			login := run("login", "--url", site)
			login.Stderr = said
			if err := login.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- login.Wait() }()
			shown := regexp.MustCompile(`Open (\S+) and enter (\S+)`)
			d.wait(time.Minute, "the code", func() bool { return shown.MatchString(said.String()) })
			found := shown.FindStringSubmatch(said.String())
			answer, err := http.PostForm(found[1], url.Values{"user_code": {found[2]}, "login": {"vera"}})
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("confirming: %v", err)
			}
			if err := answer.Body.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Fatalf("login: %v\n%s", err, said)
			}
			file := filepath.Join(folder, "opsdb", "login.json")
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("what is kept has the mode %v: %v", info.Mode(), err)
			}
			token := func() string {
				t.Helper()
				out, err := run("login", "token").Output()
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(string(out))
			}
			first := token()
			if status, me := whoAmI(t, site, first); status != http.StatusOK || !strings.Contains(me, `"username":"vera"`) || !strings.Contains(me, `"observer"`) {
				t.Errorf("%d %s", status, me)
			}
			// When it is nearly over, another one is made.
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			past := regexp.MustCompile(`"expires_at": "[^"]*"`).ReplaceAll(content, []byte(`"expires_at": "2026-01-01T00:00:00Z"`))
			if err := os.WriteFile(file, past, 0o600); err != nil {
				t.Fatal(err)
			}
			second := token()
			if status, me := whoAmI(t, site, second); first == second || status != http.StatusOK {
				t.Errorf("after a refresh (another one: %t): %d %s", first != second, status, me)
			}
			// One that read the file before that gets a token, too, and keeps nothing: the newer cookie may be there by now.
			beside := filepath.Join(t.TempDir(), "opsdb", "login.json")
			if err := errors.Join(os.MkdirAll(filepath.Dir(beside), 0o700), os.WriteFile(beside, past, 0o600)); err != nil {
				t.Fatal(err)
			}
			late := run("login", "token")
			late.Env = append(late.Env, "XDG_CONFIG_HOME="+filepath.Dir(filepath.Dir(beside)))
			out, err := late.Output()
			if status, me := whoAmI(t, site, strings.TrimSpace(string(out))); err != nil || status != http.StatusOK {
				t.Errorf("beside a refresh: %v, %d %s", err, status, me)
			}
			if kept, err := os.ReadFile(beside); err != nil || !bytes.Equal(kept, past) {
				t.Errorf("beside a refresh it keeps %s, %v", kept, err)
			}
			if out, err := run("logout").CombinedOutput(); err != nil {
				t.Fatalf("logout: %v\n%s", err, out)
			}
			if status, me := whoAmI(t, site, second); status != http.StatusUnauthorized {
				t.Errorf("after the logout: %d %s", status, me)
			}
			if out, err := run("login", "token").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("nobody is logged in")) {
				t.Errorf("a token after the logout: %v %s", err, out)
			}
		})
	}
	if out, err := exec.Command(d.cmd.Path, "login", "--url", "http://opsdb.example.org").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("https")) {
		t.Errorf("a login over plain HTTP: %v %s", err, out)
	}
}

func whoAmI(t *testing.T, site, token string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, site+"/auth/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, readAll(t, answer)
}
