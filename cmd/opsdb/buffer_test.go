package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/config"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// anybody lets every credential do everything.
type anybody struct{}

func (anybody) Authenticate(context.Context, string) (api.Principal, error) {
	return api.Principal{Username: "ada", Permissions: map[string]bool{"write:observations": true, "manage:buffer": true, "read:buffer": true}}, nil
}

// operated is a secondary site at which commands are given.
type operated struct {
	*testing.T
	pair *sandboxtest.Pair
}

// at sets the environment of the secondary site.
func at(t *testing.T) operated {
	t.Helper()
	o := operated{t, sandboxtest.New(t, sandboxtest.Seeded())}
	for name, value := range map[string]string{
		"SITE_NAME": o.pair.Site, "SITE_TYPE": "secondary", "MAIN_DB_URL": o.pair.ProcessorURL, "LOCAL_DB_URL": o.pair.ReaderURL,
		"REDIS_URL": o.pair.RedisURL, "SITE_KEYS_DIR": filepath.Join(t.TempDir(), "keys"), "TRANSACTION_RETRY_ATTEMPTS": "1",
	} {
		t.Setenv(name, value)
	}
	o.serve()
	return o
}

// serve does to the site's Redis what a server does when it starts.
func (o operated) serve() {
	o.Helper()
	c, err := config.Load()
	if err != nil {
		o.Fatal(err)
	}
	catalog, err := newCatalog()
	if err != nil {
		o.Fatal(err)
	}
	client, err := rdb.Open(rdb.Options{URL: c.Redis.URL, Name: "opsdb-test"})
	if err != nil {
		o.Fatal(err)
	}
	store, err := pending.Open(sandboxtest.Context(o.T), client, storeOptions(c, catalog, pending.Relaxed))
	if err != nil {
		o.Fatal(err)
	}
	if err := errors.Join(store.Close(), client.Close()); err != nil {
		o.Fatal(err)
	}
}

// TestCommandsLeaveAnotherSitesRedisAlone: a wrong SITE_NAME or REDIS_URL is no empty buffer, and nothing is paused.
func TestCommandsLeaveAnotherSitesRedisAlone(t *testing.T) {
	o := at(t)
	o.says("0 buffered", "buffer", "status")
	o.Setenv("SITE_NAME", "nowhere")
	for _, command := range [][]string{{"status"}, {"list"}, {"pause"}, {"resume"}, {"retry", "--all"}, {"export", filepath.Join(o.TempDir(), "x")}, {"discard", uuid.NewString(), "--reason", "x"}} {
		o.refuses("no server of site nowhere has used this Redis", append([]string{"buffer"}, command...)...)
	}
	client, err := rdb.Open(rdb.Options{URL: o.pair.RedisURL, Name: "opsdb-test"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // nothing was written
	if keys, err := client.Keys(t.Context(), "site:nowhere:*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("written: %v, %v", keys, err)
	}
	o.Setenv("REDIS_URL", "redis://127.0.0.1:1/0")
	o.refuses("asking the site's Redis (REDIS_URL)", "buffer", "status")
}

// TestDoctorFailsWithoutAServerOfTheSite: a site that cannot work is not well, one whose link is down is.
func TestDoctorFailsWithoutAServerOfTheSite(t *testing.T) {
	o := at(t)
	o.says("warn  signing_key", "doctor")
	for _, c := range []struct {
		name, value, says string
		fails             bool
	}{
		{"MAIN_DB_URL", "postgres://o@127.0.0.1:1/o", "warn  reachable", false},
		{"LOCAL_DB_URL", "postgres://o@127.0.0.1:1/o", "FAIL  reachable", true},
		{"REDIS_URL", "redis://127.0.0.1:1/0", "FAIL  reachable", true},
		{"SITE_NAME", "nowhere", "FAIL  site", true},
		{"GITHUB_CLIENT_ID", "x", "FAIL  signing_key", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			if c.name == "GITHUB_CLIENT_ID" {
				for name, value := range map[string]string{"GITHUB_CLIENT_SECRET": "y", "GITHUB_ORG_NAME": "z", "BACKEND_URL": "https://a.example", "FRONTEND_URL": "https://b.example"} {
					t.Setenv(name, value)
				}
			}
			out, err := o.run("", "doctor")
			if (err != nil) != c.fails || !strings.Contains(out, c.says) {
				t.Errorf("%v, want %t, with %q in\n%s", err, c.fails, c.says, out)
			}
		})
	}
}

// TestMistypedCommandsFail: whatever comes after them in a script must not run.
func TestMistypedCommandsFail(t *testing.T) {
	t.Parallel()
	var groups int
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if !cmd.HasSubCommands() {
			return
		}
		groups++
		path := strings.Fields(cmd.CommandPath())[1:]
		root := newRoot()
		root.SetOut(&bytes.Buffer{})
		root.SetErr(&bytes.Buffer{})
		root.SetArgs(append(path, "mistyped"))
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "mistyped") {
			t.Errorf("%s mistyped: %v", cmd.CommandPath(), err)
		}
	}
	walk(newRoot())
	if groups < 8 {
		t.Errorf("%d groups of commands", groups)
	}
	root := newRoot()
	var help bytes.Buffer
	root.SetOut(&help)
	root.SetArgs([]string{"migrate"})
	if err := root.ExecuteContext(t.Context()); err != nil || !strings.Contains(help.String(), "Usage:") {
		t.Errorf("a group alone shows its help: %q, %v", help.String(), err)
	}
	root.SetArgs([]string{"buffer", "discard"})
	if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "usage: opsdb buffer discard ID") {
		t.Errorf("without its argument: %v", err)
	}
}

func (o operated) run(stdin string, args ...string) (string, error) {
	root := newRoot()
	var out bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&bytes.Buffer{})
	root.SetArgs(args)
	err := root.ExecuteContext(sandboxtest.Context(o.T))
	return out.String(), err
}

// says demands that a command succeeds and prints want.
func (o operated) says(want string, args ...string) string {
	o.Helper()
	out, err := o.run("", args...)
	if err != nil || !strings.Contains(out, want) {
		o.Errorf("opsdb %s: %q, %v; want %q", strings.Join(args, " "), out, err, want)
	}
	return out
}

// refuses demands that a command fails, which is exit status 1, and says want.
func (o operated) refuses(want string, args ...string) {
	o.Helper()
	out, err := o.run("", args...)
	if err == nil || !strings.Contains(err.Error(), want) || out != "" {
		o.Errorf("opsdb %s: %q, %v; want an error with %q", strings.Join(args, " "), out, err, want)
	}
}

// start starts an execution at the site as a client does, and returns its id and that of
// the transaction.
func (o operated) start(unit int64, comment string) (id, tx string) {
	o.Helper()
	err := withSite(sandboxtest.Context(o.T), func(s *site, _ pending.View) error {
		router, err := api.New(api.Options{Site: o.pair.Site, Authenticator: anybody{}})
		if err != nil {
			return err
		}
		s.observations().Register(router)
		request := httptest.NewRequest("POST", "/executed_obs_units/start", strings.NewReader(fmt.Sprintf(`{"obs_unit_id": %d, "comment": %q}`, unit, comment)))
		request.Header.Set("Authorization", "Bearer x")
		request.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		router.Handler().ServeHTTP(answer, request)
		var unit struct{ ID string }
		if err := json.Unmarshal(answer.Body.Bytes(), &unit); err != nil || answer.Code != 201 {
			return fmt.Errorf("starting: %d, %s, %w", answer.Code, answer.Body, err)
		}
		id, tx = unit.ID, answer.Header().Get("X-Transaction-Id")
		return nil
	})
	if err != nil {
		o.Fatal(err)
	}
	return id, tx
}

// drain runs the site's processor until nothing waits, dead letters apart.
func (o operated) drain() {
	o.Helper()
	err := withSite(sandboxtest.Context(o.T), func(s *site, _ pending.View) (err error) {
		if s.problems, err = problem.NewCatalog(problemSets...); err != nil {
			return err
		}
		if err := s.openBuffer(o.Context(), s.local); err != nil {
			return err
		}
		s.buffer.Start(o.Context())
		sandboxtest.Eventually(o.T, time.Minute, "the buffer to be drained", func() bool {
			c := s.store.Current().Counts()
			return c.Buffered == 0 && c.Applied == 0
		})
		return s.buffer.Stop(sandboxtest.Context(o.T))
	})
	if err != nil {
		o.Fatal(err)
	}
}

// count asks main how many rows there are.
func (o operated) count(sql string, args ...any) (n int64) {
	o.Helper()
	if err := o.pair.Primary(o.T).QueryRow(sandboxtest.Context(o.T), sql, args...).Scan(&n); err != nil {
		o.Fatal(err)
	}
	return n
}

// TestBufferCommands gives every command of `opsdb buffer` at a site with dead letters:
// starts of units that main has deleted.
func TestBufferCommands(t *testing.T) {
	o := at(t)
	file := filepath.Join(t.TempDir(), "file")
	unknown := uuid.NewString()

	o.says("0 buffered", "buffer", "status")
	o.says("", "buffer", "pause")
	o.says("draining is paused", "buffer", "status")
	o.says("", "buffer", "resume")
	o.says(`"paused": false`, "buffer", "status", "--json")
	for _, command := range [][]string{{"show"}, {"retry"}, {"discard", "--reason", "x"}, {"replace"}, {"replace", "--reason", "x", "--file", "-"}} {
		args := append([]string{"buffer", command[0], unknown}, command[1:]...)
		if out, err := o.run("{}", args...); err == nil || !strings.Contains(err.Error(), "pending") || out != "" {
			t.Errorf("opsdb %v: %q, %v; want that none is pending", args, out, err)
		}
		args[2] = "x"
		if out, err := o.run("{}", args...); err == nil || !strings.Contains(err.Error(), "is no id") || out != "" {
			t.Errorf("opsdb %v: %q, %v; want that it is no id", args, out, err)
		}
	}
	o.refuses("or --all", "buffer", "retry")
	o.refuses("--reason TEXT", "buffer", "discard", unknown)
	o.refuses("--reason TEXT", "buffer", "discard", unknown, "--reason", " ")
	o.refuses("2,000 characters", "buffer", "discard", unknown, "--reason", strings.Repeat("x", 2001))
	o.refuses("--reason TEXT", "buffer", "replace", unknown, "--file", "-")
	o.refuses("--file FILE", "buffer", "replace", unknown, "--reason", "x")
	o.refuses("no such file", "buffer", "replace", unknown, "--reason", "x", "--file", file)
	o.refuses("no JSON", "buffer", "replace", unknown, "--reason", "x", "--file", "-")

	good := o.count("SELECT min(id) FROM obs_unit")
	gone := o.count(`INSERT INTO obs_unit OVERRIDING SYSTEM VALUE
		SELECT (jsonb_populate_record(u, jsonb_build_object('id', (SELECT max(id) + 1 FROM obs_unit), 'name', 'gone'))).* FROM obs_unit AS u ORDER BY id LIMIT 1 RETURNING id`)
	o.pair.WaitForReplay(t)
	corrected, tx := o.start(gone, "to be corrected")
	discarded, other := o.start(gone, "to be discarded")
	retried, third := o.start(gone, "to be retried")
	o.says("5 buffered", "buffer", "status") // two of them tell the audit log of the pause
	o.says(tx, "buffer", "list")
	o.says(`"state": "buffered"`, "buffer", "list", "--json", "--limit", "1")
	o.says("to be corrected", "buffer", "show", tx)
	o.refuses("not-a-dead-letter", "buffer", "discard", tx, "--reason", "x")
	o.refuses("not-a-dead-letter", "buffer", "replace", tx)
	if _, err := o.run("{}", "buffer", "replace", tx, "--reason", "x", "--file", "-"); err == nil || !strings.Contains(err.Error(), "not-a-dead-letter") {
		t.Errorf("replacing what waits: %v", err)
	}
	o.refuses("opsdb keys init", "buffer", "export", file)
	o.says(o.pair.Site, "keys", "init", "--url", o.pair.MainURL)
	o.says("5 transactions are in the file", "buffer", "export", file)

	o.pair.Exec(t, fmt.Sprintf("DELETE FROM obs_unit WHERE id = %d", gone))
	o.drain()
	o.says("3 failed", "buffer", "status")
	o.says("obs_unit", "buffer", "list", "--dead")
	out, err := o.run("", "buffer", "import", file, "--url", o.pair.MainRoleURL)
	if err == nil || !strings.Contains(out, "3 refused") {
		t.Errorf("importing what main refuses: %q, %v", out, err)
	}

	var request map[string]any
	if err := json.Unmarshal([]byte(o.says(corrected, "buffer", "replace", tx)), &request); err != nil || request["obs_unit_id"] != float64(gone) {
		t.Fatalf("the request behind it: %v, %v", request, err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"obs_unit_id": %d}`, gone), 0o600); err != nil {
		t.Fatal(err)
	}
	o.refuses("body.request.obs_unit_id", "buffer", "replace", tx, "--reason", "x", "--file", file)
	request["obs_unit_id"] = good
	whole, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	out, err = o.run(string(whole), "buffer", "replace", tx, "--reason", "the unit was entered again", "--file", "-")
	if err != nil || !strings.Contains(out, tx+" is replaced by ") || !strings.Contains(out, "(shell:") {
		t.Errorf("replacing: %q, %v", out, err)
	}
	o.says(`"outcome": "discarded"`, "buffer", "discard", other, "--reason", "it never ran", "--json")
	o.says("it never ran", "buffer", "discard", other, "--reason", "again")
	o.says("1 transactions are in the buffer again", "buffer", "retry", third)
	o.drain()
	o.says("1 failed", "buffer", "status")
	o.pair.Exec(t, fmt.Sprintf(`INSERT INTO obs_unit OVERRIDING SYSTEM VALUE
		SELECT (jsonb_populate_record(u, '{"id": %d, "name": "back"}')).* FROM obs_unit AS u ORDER BY id LIMIT 1`, gone))
	o.says("1 transactions are in the buffer again", "buffer", "retry", "--all")
	o.drain()
	o.says("0 failed", "buffer", "status")
	if n := o.count("SELECT count(*) FROM executed_obs_unit WHERE id = $1 AND obs_unit_id = $2", corrected, good); n != 1 {
		t.Error("the corrected start is not at main")
	}
	if n := o.count("SELECT count(*) FROM executed_obs_unit WHERE id = $1", discarded); n != 0 {
		t.Error("the discarded start is at main")
	}
	if n := o.count("SELECT count(*) FROM executed_obs_unit WHERE id = $1", retried); n != 1 {
		t.Error("the retried start is not at main")
	}
	if n := o.count("SELECT count(*) FROM dead_letter_decision WHERE actor LIKE 'shell:%' AND reason IN ('the unit was entered again', 'it never ran')"); n != 2 {
		t.Errorf("main keeps %d of the decisions", n)
	}

	for action, want := range map[string]int64{"dead_letter.replace": 1, "dead_letter.discard": 1, "dead_letter.retry": 2, "buffer.pause": 1, "buffer.resume": 1} {
		if n := o.count("SELECT count(*) FROM audit_event WHERE action = $1 AND site = $2 AND detail->>'actor' LIKE 'shell:%'", action, o.pair.Site); n != want {
			t.Errorf("main's audit log has %d events %s of the command line, want %d", n, action, want)
		}
	}

	if err := os.WriteFile(file, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.refuses("nothing was changed", "buffer", "import", file, "--url", o.pair.MainRoleURL)
	t.Setenv("REDIS_URL", "redis://127.0.0.1:1/0")
	for _, args := range [][]string{{"status"}, {"list"}, {"show", unknown}, {"retry", "--all"}, {"pause"}, {"discard", unknown, "--reason", "x"}, {"replace", unknown}, {"export", file}} {
		o.refuses("", append([]string{"buffer"}, args...)...)
	}
	t.Setenv("SITE_TYPE", "main")
	o.refuses("the main site has no buffer", "buffer", "status")
}
