package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opsdb/opsdb/modules/auth/githubtest"
	"github.com/opsdb/opsdb/platform/observe/observetest"
)

// refusals are the error answers that the tests' clients have got, by the address of the server.
var refusals = &errorAnswers{by: map[string]*strings.Builder{}}

// Every client without a transport of its own has this one.
func init() { http.DefaultTransport = refusals.through(http.DefaultTransport) }

type errorAnswers struct {
	mu sync.Mutex
	by map[string]*strings.Builder
}

// through returns a transport that keeps the error answers of another one.
func (a *errorAnswers) through(transport http.RoundTripper) http.RoundTripper {
	return &overhearing{transport, a}
}

type overhearing struct {
	http.RoundTripper
	kept *errorAnswers
}

// RoundTrip implements http.RoundTripper.
func (o *overhearing) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := o.RoundTripper.RoundTrip(request)
	if err != nil || answer.StatusCode < http.StatusBadRequest {
		return answer, err
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(text))
	o.kept.mu.Lock()
	defer o.kept.mu.Unlock()
	kept := o.kept.by[request.URL.Host]
	if kept == nil {
		kept = &strings.Builder{}
		o.kept.by[request.URL.Host] = kept
	}
	fmt.Fprintf(kept, "%s %d %v %s\n", request.Method, answer.StatusCode, answer.Header, text)
	return answer, nil
}

// CloseIdleConnections is what http.Client looks for.
func (o *overhearing) CloseIdleConnections() {
	if transport, ok := o.RoundTripper.(*http.Transport); ok {
		transport.CloseIdleConnections()
	}
}

// of returns what a server has answered.
func (a *errorAnswers) of(site string) string {
	u, err := url.Parse(site)
	if err != nil {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if kept := a.by[u.Host]; kept != nil {
		return kept.String()
	}
	return ""
}

// watchProcesses keeps the command lines of the demo and of all that it starts, as the list of processes shows them, until
// the returned function is called.
func (d *runningDemo) watchProcesses() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	ours := map[string]bool{strconv.Itoa(d.cmd.Process.Pid): true}
	go func() {
		defer close(ended)
		for {
			d.lookAtProcesses(ours)
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// lookAtProcesses adds to ours the children of those that are in it, and keeps the command lines of them all.
func (d *runningDemo) lookAtProcesses(ours map[string]bool) {
	parents := map[string]string{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // a system without /proc has none
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may hold anything.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 {
			parents[filepath.Base(filepath.Dir(file))] = fields[1]
		}
	}
	for found := true; found; {
		found = false
		for pid, parent := range parents {
			if ours[parent] && !ours[pid] {
				ours[pid], found = true, true
			}
		}
	}
	for pid := range ours {
		line, err := os.ReadFile("/proc/" + pid + "/cmdline")
		if err != nil || len(line) == 0 {
			delete(ours, pid) // another process may get the number
			continue
		}
		d.processesMu.Lock()
		d.processes[strings.ReplaceAll(string(line), "\x00", " ")] = true
		d.processesMu.Unlock()
	}
}

// saysNoSecret looks through all that the servers of a running demo have said, with LOG_LEVEL=debug, through their error
// answers, and through what the list of processes has shown of the demo and its children. stop calls it, so it is the end of
// each test that runs the whole product.
func (d *runningDemo) saysNoSecret() {
	d.t.Helper()
	if _, err := os.Stat(d.readyFile); errors.Is(err, os.ErrNotExist) {
		return // it did not come so far
	}
	ready := d.ready()
	secrets := append([]string{ready.Admin, ready.Observer, ready.Service, ready.Viewer, githubtest.ClientSecret}, d.secrets...)
	for _, text := range []string{ready.MainDBURL, ready.ReplicaDBURL, ready.RedisURL} {
		u, err := url.Parse(text)
		if err != nil {
			d.t.Error(err)
			return
		}
		if password, there := u.User.Password(); there {
			secrets = append(secrets, password)
		}
	}
	logs, err := filepath.Glob(filepath.Join(ready.DataDir, "log", "*"))
	if err != nil || len(logs) < 5 {
		d.t.Errorf("%d logs, %v", len(logs), err)
	}
	found, said, err := observetest.SecretsInFiles(logs, secrets...)
	if err != nil || said < 1000 {
		d.t.Errorf("the servers have said %d bytes at the level debug, %v", said, err)
	}
	for _, secret := range found {
		d.t.Error(secret)
	}
	for _, site := range append([]string{ready.MainURL}, ready.ObservatoryURLs...) {
		for _, found := range observetest.Secrets(refusals.of(site), secrets...) {
			d.t.Errorf("an error answer of %s has %s", site, found)
		}
	}
	d.processesMu.Lock()
	defer d.processesMu.Unlock()
	if _, err := os.Stat("/proc/self/cmdline"); err == nil && len(d.processes) < len(ready.Pids.all()) {
		d.t.Errorf("the process list was seen with %d command lines: %v", len(d.processes), d.processes)
	}
	for line := range d.processes {
		for _, found := range observetest.Secrets(line, secrets...) {
			d.t.Errorf("the process list shows %s", found)
		}
	}
}

// TestNoSecretIsSaid handles every kind of secret at both sites, in right and wrong ways; stop looks for them.
func TestNoSecretIsSaid(t *testing.T) {
	d := startDemo(t, "--no-night")
	ready := d.ready()
	for name, site := range map[string]string{"main": ready.MainURL, "secondary": ready.ObservatoryURL} {
		access, _ := d.deviceLogin(site, "henrietta")
		session := apiClient{base: site, token: access}
		var made struct {
			ID    int64  `json:"id"`
			Token string `json:"token"`
		}
		if _, err := session.send(t.Context(), http.MethodPost, "/api/tokens", map[string]any{"name": "no secret " + name, "scopes": []string{"read:*"}}, &made); err != nil {
			t.Fatalf("%s: a token for a session: %v", name, err)
		}
		d.secrets = append(d.secrets, made.Token)
		token := apiClient{base: site, token: made.Token}
		if err := token.get(t.Context(), "/users", nil); err == nil {
			t.Errorf("%s: the token has more rights than its scopes", name)
		}
		if err := token.get(t.Context(), "/executed_obs_units?limit=1", nil); err != nil {
			t.Errorf("%s: the new token: %v", name, err)
		}
		if _, err := token.send(t.Context(), http.MethodPost, "/api/tokens", map[string]any{"name": "x"}, nil); err == nil {
			t.Errorf("%s: a token makes tokens", name)
		}
		var list struct {
			Items []map[string]any `json:"items"`
		}
		if err := session.get(t.Context(), "/api/tokens", &list); err != nil || len(list.Items) == 0 {
			t.Errorf("%s: the list of tokens: %v", name, err)
		}
		if found := observetest.Secrets(fmt.Sprint(list), made.Token); len(found) > 0 {
			t.Errorf("%s: the list of tokens has %v", name, found)
		}
		if _, err := session.send(t.Context(), http.MethodDelete, fmt.Sprintf("/api/tokens/%d", made.ID), nil, nil); err != nil {
			t.Errorf("%s: revoking: %v", name, err)
		}
		if err := token.get(t.Context(), "/executed_obs_units?limit=1", nil); err == nil {
			t.Errorf("%s: the revoked token is accepted", name)
		}
		// Wrong ones, and secrets where none belongs.
		for _, path := range []string{"/auth/me", "/github/callback?code=c0de-c0de-c0de&state=st4te-st4te", "/executed_obs_units?token=" + made.Token, "/users/" + made.Token} {
			for _, bearer := range []string{mistyped(made.Token), access + "x", access, made.Token + made.Token} {
				if err := (apiClient{base: site, token: bearer}).get(t.Context(), path, nil); err == nil && path != "/auth/me" {
					t.Errorf("%s: %s is answered", name, path)
				}
			}
		}
		for path, body := range map[string]any{
			"/auth/exchange": map[string]any{"code": access, "code_verifier": strings.Repeat("v", 43)}, "/github/device/token": map[string]any{"device_code": access},
			"/users": map[string]any{"username": made.Token, "roles": []string{made.Token}}, "/api/tokens": map[string]any{"name": 7, "scopes": made.Token},
		} {
			if _, err := session.send(t.Context(), http.MethodPost, path, body, nil, "X-Request-Id", "r", "Idempotency-Key", made.Token); err == nil {
				t.Errorf("%s: POST %s with nonsense is answered", name, path)
			}
		}
	}
	for _, site := range []string{ready.MainURL, ready.ObservatoryURL} {
		if n := strings.Count(refusals.of(site), "/problems/"); n < 20 {
			t.Errorf("%d error answers of %s were kept to be searched", n, site)
		}
	}
}

// TestNoExampleIsASecret: what the document gives as an example or default has not the form of a secret, nor has its text.
func TestNoExampleIsASecret(t *testing.T) {
	r, err := describe()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if found := observetest.Secrets(string(text)); len(found) > 0 {
		t.Errorf("the document has %v", found)
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	examples := 0
	var walk func(node any, name string)
	// As the value of a field with the name: an example may be a secret only by what it is an example of.
	look := func(name string, value any) {
		examples++
		as, err := json.Marshal(map[string]any{name: value})
		if err != nil {
			t.Fatal(err)
		}
		if found := observetest.Secrets(string(as)); len(found) > 0 {
			t.Errorf("an example of %s is %v", name, found)
		}
	}
	walk = func(node any, name string) {
		switch node := node.(type) {
		case []any:
			for _, item := range node {
				walk(item, name)
			}
		case map[string]any:
			if parameter, ok := node["name"].(string); ok {
				name = parameter
			}
			for key, value := range node {
				list, several := value.([]any)
				switch {
				case key == "examples" && several:
					for _, item := range list {
						look(name, item)
					}
				case key == "example", key == "examples", key == "default":
					look(name, value)
				case key == "schema", key == "items", key == "allOf", key == "anyOf", key == "oneOf":
					walk(value, name)
				default:
					walk(value, key)
				}
			}
		}
	}
	walk(document, "")
	if examples < 50 {
		t.Errorf("%d examples were looked at: not all modules are in the document", examples)
	}
}

func readAll(t *testing.T, answer *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// deviceLogin logs a person of the stand-in for GitHub in to a site, and returns the access token and the refresh cookie.
func (d *runningDemo) deviceLogin(site, login string) (access, cookie string) {
	d.t.Helper()
	open := apiClient{base: site}
	var device struct {
		Code     string `json:"device_code"`
		UserCode string `json:"user_code"`
		At       string `json:"verification_uri"`
	}
	if _, err := open.send(d.t.Context(), http.MethodPost, "/github/device", nil, &device); err != nil {
		d.t.Fatal(err)
	}
	answer, err := http.PostForm(device.At, url.Values{"user_code": {device.UserCode}, "login": {login}})
	if err != nil {
		d.t.Fatal(err)
	}
	readAll(d.t, answer)
	var granted struct {
		Token string `json:"access_token"`
	}
	headers, err := open.send(d.t.Context(), http.MethodPost, "/github/device/token", map[string]any{"device_code": device.Code}, &granted)
	if err != nil {
		d.t.Fatal(err)
	}
	cookie, _, _ = strings.Cut(headers.Get("Set-Cookie"), ";")
	_, refresh, _ := strings.Cut(cookie, "=")
	d.secrets = append(d.secrets, granted.Token, refresh)
	return granted.Token, cookie
}
