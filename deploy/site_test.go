package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/opsdb/opsdb/platform/config"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/sandbox"
	opsdbsql "github.com/opsdb/opsdb/sql"
)

// service has the keys of Compose that the files here use: another one is a mistake,
// or belongs here.
type service struct {
	Image, User, Restart string
	Build                struct{ Context, Dockerfile string }
	Entrypoint, Command  []string
	Environment          map[string]string
	Volumes, Ports       []string
	DependsOn            map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck          struct {
		Test              []string
		Interval, Timeout string
		Retries           int
	}
	ReadOnly        bool          `yaml:"read_only"`
	CapDrop         []string      `yaml:"cap_drop"`
	SecurityOpt     []string      `yaml:"security_opt"`
	ShmSize         string        `yaml:"shm_size"`
	StopGracePeriod time.Duration `yaml:"stop_grace_period"`
}

type composeFile struct {
	Name     string
	Opsdb    service `yaml:"x-opsdb"`
	Services map[string]service
	Volumes  map[string]any
}

var (
	demanded     = regexp.MustCompile(`\$\{([A-Z_]+):\?[^}]+\}`)
	composeSites = []string{"main", "secondary"}
)

// compose reads the file of a site as Compose does when every variable of .env is
// "observatory", and returns the variables that it demands.
func compose(t *testing.T, site string) (composeFile, []string) {
	t.Helper()
	text := read(t, filepath.Join("compose", site, "compose.yaml"))
	names := map[string]bool{}
	for _, m := range demanded.FindAllStringSubmatch(text, -1) {
		names[m[1]] = true
	}
	text = demanded.ReplaceAllString(text, "observatory")
	if rest := strings.ReplaceAll(text, "$$", ""); strings.Contains(rest, "$") {
		t.Errorf("%s: a variable is not demanded with :?, so Compose would take an empty one: %s", site, rest[strings.Index(rest, "$"):])
	}
	var c composeFile
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c); err != nil {
		t.Fatalf("%s: %v", site, err)
	}
	return c, slices.Sorted(maps.Keys(names))
}

func TestComposeHasNoDefaultSecrets(t *testing.T) {
	for _, site := range composeSites {
		_, names := compose(t, site)
		var example []string
		for line := range strings.Lines(read(t, filepath.Join("compose", site, "env.example"))) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if value != "" {
				t.Errorf("%s: env.example has a value for %s", site, name)
			}
			example = append(example, name)
		}
		slices.Sort(example)
		if !slices.Equal(names, example) {
			t.Errorf("%s: compose.yaml demands %v, env.example has %v", site, names, example)
		}
	}
}

func TestComposeServicesAreWhatTheProductTakes(t *testing.T) {
	known := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(read(t, "../docs/configuration.md"), -1)
	isKnown := func(name string) bool {
		return slices.ContainsFunc(known, func(m []string) bool { return m[1] == name })
	}
	sites := opsdbsql.DefaultLogins("observatory")
	roles := []string{"postgres", sites.Main.Name, sites.Sites[0].Processor.Name, sites.Sites[0].Reader.Name}
	servers := 0
	for _, site := range composeSites {
		c, _ := compose(t, site)
		for name, s := range c.Services {
			if s.Image != "opsdb" {
				if user := s.Environment["PGUSER"]; user != "" && user != sites.Sites[0].Replication.Name {
					t.Errorf("%s/%s: nobody has the role %s", site, name, user)
				}
				continue
			}
			for variable, value := range s.Environment {
				if !isKnown(variable) {
					t.Errorf("%s/%s: there is no setting %s", site, name, variable)
				}
				if strings.HasSuffix(variable, "_USER") && !slices.Contains(roles, value) {
					t.Errorf("%s/%s: %s: nobody makes the role %s", site, name, variable, value)
				}
			}
			if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.SecurityOpt) == 0 {
				t.Errorf("%s/%s has more rights than it needs", site, name)
			}
			if _, err := os.Stat(filepath.Join("compose", site, s.Build.Context, s.Build.Dockerfile)); err != nil {
				t.Errorf("%s/%s: %v", site, name, err)
			}
			if !slices.Equal(s.Command, []string{"serve"}) {
				continue
			}
			servers++
			settings, err := config.Parse(s.Environment)
			if err != nil {
				t.Errorf("%s/%s: %v", site, name, err)
				continue
			}
			if settings.IsMain() != (site == "main") {
				t.Errorf("%s/%s takes itself for another kind of site", site, name)
			}
			if s.StopGracePeriod <= settings.ShutdownTimeout {
				t.Errorf("%s/%s is killed after %s, and has %s to stop", site, name, s.StopGracePeriod, settings.ShutdownTimeout)
			}
		}
	}
	if servers != 3 {
		t.Errorf("%d API servers, not one and two", servers)
	}
}

func TestComposeFilesHoldTogether(t *testing.T) {
	for _, site := range composeSites {
		c, _ := compose(t, site)
		for name, s := range c.Services {
			once := slices.Contains([]string{"migrate", "copy"}, name)
			if !once && (s.Restart != "unless-stopped" || len(s.Healthcheck.Test) < 2 || s.StopGracePeriod == 0) {
				t.Errorf("%s/%s is not started again, not looked after or not given time to stop", site, name)
			}
			for other, on := range s.DependsOn {
				o, there := c.Services[other]
				switch {
				case !there:
					t.Errorf("%s/%s waits for %s, which is not there", site, name, other)
				case on.Condition == "service_healthy" && len(o.Healthcheck.Test) == 0, on.Condition == "service_completed_successfully" && o.Restart != "":
					t.Errorf("%s/%s waits for what %s never becomes", site, name, other)
				}
			}
			for _, v := range s.Volumes {
				source, _, _ := strings.Cut(v, ":")
				_, volume := c.Volumes[source]
				_, err := os.Stat(filepath.Join("compose", site, source))
				if !volume && (err != nil || !strings.HasSuffix(v, ":ro")) {
					t.Errorf("%s/%s: %s is neither a volume nor a file to read", site, name, v)
				}
			}
			for _, p := range s.Ports {
				if strings.Count(p, ":") != 2 {
					t.Errorf("%s/%s: %s is open to the world", site, name, p)
				}
			}
		}
	}
}

// settings are the lines of a file of settings: name, separator, value.
func settings(text, separator string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, value, ok := strings.Cut(line, separator); ok && !strings.HasPrefix(line, "#") {
			found[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), "'")
		}
	}
	return found
}

func TestPostgresTakesItsSettings(t *testing.T) {
	binaries, err := sandbox.Find()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]map[string]string{}
	for _, name := range []string{"primary", "replica"} {
		path, err := filepath.Abs("postgres/" + name + ".conf")
		if err != nil {
			t.Fatal(err)
		}
		files[name] = settings(read(t, path), "=")
		for setting, want := range files[name] {
			// -C first, or root may not ask.
			out, err := exec.CommandContext(t.Context(), filepath.Join(binaries.Postgres, "postgres"), "-C", setting, "-D", t.TempDir(), "--config-file="+path).Output()
			if err != nil {
				t.Fatalf("%s: %s: %v %s", name, setting, err, stderr(err))
			}
			// Sizes and times come back in the setting's own unit.
			if got := strings.TrimSpace(string(out)); got != want && !regexp.MustCompile(`^\d+[a-zA-Z]+$`).MatchString(want) {
				t.Errorf("%s: %s is %q, not %q", name, setting, got, want)
			}
		}
	}
	for _, setting := range []string{"max_connections", "max_wal_senders", "max_worker_processes", "max_locks_per_transaction", "max_prepared_transactions"} {
		if p, r := files["primary"][setting], files["replica"][setting]; p == "" || p != r {
			t.Errorf("a replica whose %s is below the primary's does not start: %q and %q", setting, r, p)
		}
	}
}

func stderr(err error) string {
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

func TestRedisWithItsSettingsIsDurable(t *testing.T) {
	binaries, err := sandbox.Find()
	if err != nil {
		t.Fatal(err)
	}
	conf, err := filepath.Abs("redis/redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "redis.sock")
	// Its password comes as in compose/secondary.
	server := exec.CommandContext(t.Context(), binaries.Redis, conf, "--requirepass", "secret", "--port", "0", "--unixsocket", socket, "--dir", dir)
	var log bytes.Buffer
	server.Stdout, server.Stderr = &log, &log
	server.Cancel = func() error { return server.Process.Signal(syscall.SIGTERM) }
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	client, err := rdb.Open(rdb.Options{URL: "unix://:secret@" + socket, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	var d rdb.Durability
	for deadline := time.Now().Add(30 * time.Second); ; {
		if d, err = client.Durability(t.Context()); err == nil && !d.Server.Loading {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("Redis ended: %v\n%s", err, log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("Redis does not answer: %v", err)
		}
	}
	if !d.Safe() || d.Unknown != "" {
		t.Errorf("%v %s", d.Findings, d.Unknown)
	}
	if d.Server.MaxMemory == 0 {
		t.Error("its memory has no bound")
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Redis ended: %v\n%s", err, log.String())
	}
}

func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "opsdb")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/opsdb")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func TestTheImageIsStaticAndNotRoots(t *testing.T) {
	for _, line := range []string{"\nRUN CGO_ENABLED=0 go build -trimpath -o /opsdb ./cmd/opsdb\n", "\nUSER opsdb\n", "\nCMD [\"serve\"]\n"} {
		if !strings.Contains(read(t, "Dockerfile"), line) {
			t.Errorf("the Dockerfile has no line %q", line)
		}
	}
	_, image, _ := strings.Cut(read(t, "Dockerfile"), "\nFROM alpine")
	if got := regexp.MustCompile(`(?m)^(COPY|ADD) .*$`).FindAllString(image, -1); !slices.Equal(got, []string{"COPY --from=build /opsdb /usr/local/bin/opsdb"}) {
		t.Errorf("into the image go %q, and not the binary alone", got)
	}
	if !strings.Contains(read(t, "../.dockerignore"), "**/.env\n") {
		t.Error("secrets can become a layer of the image")
	}
}

// TestCommandsInFilesAndRunbookExist: of compose files, unit and Dockerfile, README and runbook.
func TestCommandsInFilesAndRunbookExist(t *testing.T) {
	program := build(t)
	commands := map[string]string{} // by where it stands
	for _, site := range composeSites {
		c, _ := compose(t, site)
		for name, s := range c.Services {
			if s.Image == "opsdb" {
				commands[strings.Join(s.Command, " ")] = site + "/" + name
			}
		}
	}
	for _, page := range []string{"../README.md", "../docs/operations.md", "systemd/opsdb@.service"} {
		for _, m := range regexp.MustCompile("(?:`|\\n|/bin/|&& )opsdb ([a-z][^`\\n|#&…;]*)").FindAllStringSubmatch(read(t, page), -1) {
			commands[m[1]] = page
		}
		for _, m := range regexp.MustCompile(`docker compose run [^\n]*?(?:api|migrate)(?:-1)? ([a-z][^\n|]*)`).FindAllStringSubmatch(read(t, page), -1) {
			commands[m[1]] = page
		}
	}
	if len(commands) < 12 {
		t.Errorf("%d commands only", len(commands))
	}
	for command, where := range commands {
		var words, flags []string
		for _, w := range strings.Fields(command) {
			if strings.HasPrefix(w, "--") {
				flags = append(flags, w)
			} else if len(flags) == 0 && regexp.MustCompile(`^[a-z]+$`).MatchString(w) {
				words = append(words, w)
			}
		}
		if wrong := unknown(t.Context(), program, words, flags); wrong != "" {
			t.Errorf("%s: opsdb %s: %s", where, command, wrong)
		}
	}
	for _, wrong := range [][]string{{"buffer", "exprot"}, {"srve"}} {
		if unknown(t.Context(), program, wrong, nil) == "" {
			t.Errorf("opsdb %v exists", wrong)
		}
	}
	if unknown(t.Context(), program, []string{"migrate", "grants"}, []string{"--sites"}) == "" {
		t.Error("migrate grants takes --sites")
	}
}

// unknown says what the program's help does not know of a command; behind the words of
// the command may stand one argument, where its usage has one.
func unknown(ctx context.Context, program string, words, flags []string) string {
	out, err := exec.CommandContext(ctx, program, append(slices.Clone(words), "--help")...).CombinedOutput()
	if err != nil {
		return string(out)
	}
	_, usage, _ := strings.Cut(string(out), "Usage:\n  opsdb ")
	usage, _, _ = strings.Cut(usage, "\n")
	shown := strings.Fields(usage)
	for i, w := range words {
		if i >= len(shown) || shown[i] != w && strings.ToUpper(shown[i]) != shown[i] {
			return "usage is opsdb " + usage
		}
	}
	for _, f := range flags {
		if !regexp.MustCompile(regexp.QuoteMeta(f) + `\b[^-s]`).MatchString(string(out)) {
			return "there is no flag " + f
		}
	}
	return ""
}

func TestUnitIsOneThatSystemdTakes(t *testing.T) {
	text := read(t, "systemd/opsdb@.service")
	section := ""
	stop := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case slices.Contains([]string{"[Unit]", "[Service]", "[Install]"}, line):
			section = line
		case section == "" || !regexp.MustCompile(`^[A-Z][A-Za-z]+=`).MatchString(line):
			t.Errorf("no line of a unit: %s", line)
		}
		if seconds, ok := strings.CutPrefix(line, "TimeoutStopSec="); ok {
			stop = seconds
		}
	}
	defaults, err := config.Parse(map[string]string{"SITE_NAME": "a", "SITE_TYPE": "main", "SITE_KEYS_DIR": "/", "MAIN_DB_URL": "postgres://a@b/c"})
	if err != nil {
		t.Fatal(err)
	}
	if limit, err := time.ParseDuration(stop + "s"); err != nil || limit <= defaults.ShutdownTimeout {
		t.Errorf("systemd kills after %s s, and the program has %s to stop", stop, defaults.ShutdownTimeout)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return // no systemd here: its form is all that can be looked at
	}
	// Where the program is installed does not matter here; that there is one does.
	unit := filepath.Join(t.TempDir(), "opsdb@.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(text, "/usr/local/bin/opsdb", "/bin/true", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
