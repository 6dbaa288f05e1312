package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// main is the least that a main site needs.
var mainSite = map[string]string{
	"SITE_NAME": "cologne", "SITE_TYPE": "main", "MAIN_DB_URL": "postgres://opsdb:hunter2@db.example.org/opsdb", "SITE_KEYS_DIR": "/etc/opsdb/keys",
}

func with(more map[string]string) map[string]string {
	values := maps.Clone(mainSite)
	maps.Copy(values, more)
	return values
}

func TestDefaults(t *testing.T) {
	c, err := Parse(mainSite)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, got, want any }{
		{"HTTP_ADDR", c.HTTPAddr, ":8000"},
		{"CRITICAL_OPERATIONS_BUFFER", c.BufferCritical, true},
		{"TRANSACTION_BUFFER_SIZE", c.BufferSize, 1000000},
		{"TRANSACTION_RETRY_ATTEMPTS", c.RetryAttempts, 3},
		{"TRANSACTION_RETRY_DELAY", c.RetryDelay, 5 * time.Second},
		{"BACKGROUND_PROCESSING_INTERVAL", c.ProcessInterval, time.Second},
		{"BUFFER_BATCH_SIZE", c.BatchSize, 1000},
		{"BUFFER_BATCH_BYTES", c.BatchBytes, Size(4 << 20)},
		{"HISTORY_RETENTION", c.Retention, time.Hour},
		{"BUFFER_DURABILITY", c.Durability, "strict"},
		{"PACKAGE_MAX_BYTES", c.PackageMaxBytes, Size(100_000_000_000)},
		{"LSN_TRACKING_ENABLED", c.LSNTracking, true},
		{"LSN_CHECK_INTERVAL", c.LSNInterval, 100 * time.Millisecond},
		{"LSN_TIMEOUT", c.LSNTimeout, 30 * time.Second},
		{"RATE_LIMIT", c.RateLimit, Rate(2000)},
		{"SHUTDOWN_TIMEOUT", c.ShutdownTimeout, 20 * time.Second},
		{"REQUEST_TIMEOUT", c.RequestTimeout, 30 * time.Second},
		{"LOG_LEVEL", c.LogLevel, "info"},
		{"LOG_FORMAT", c.LogFormat, "json"},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	_, err := Parse(map[string]string{
		"SITE_TYPE": "tertiary", "MAIN_DB_PORT": "99999", "REDIS_PORT": "many", "TRANSACTION_BUFFER_SIZE": "1e6", "TRANSACTION_RETRY_DELAY": "5",
		"BUFFER_BATCH_BYTES": "4 MegaBytes", "RATE_LIMIT": "fast", "LOG_LEVEL": "loud", "BUFFER_DURABILITY": "none", "HTTP_ADDR": "8000",
		"LSN_TRACKING_ENABLED": "maybe", "SECRET_KEY": "hunter2", "MAIN_DB_TYPE": "sqlite", "LOCAL_DB_TYPE": "postgresql", "GITHUB_CLIENT_ID": "abc",
		"FRONTEND_URL": "console", "TRUSTED_PROXIES": "10.0.0.0/8,proxy", "CORS_ORIGINS": "example.org", "REQUEST_TIMEOUT": "0s", "CACHE_REDIS_URL": "http://x",
	})
	var mistakes Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, line := range mistakes {
		name, _, _ := strings.Cut(line, ":")
		got = append(got, name)
	}
	slices.Sort(got)
	want := []string{"BACKEND_URL", "BUFFER_BATCH_BYTES", "BUFFER_DURABILITY", "CACHE_REDIS_URL", "CORS_ORIGINS", "FRONTEND_URL", "GITHUB_CLIENT_SECRET", "GITHUB_ORG_NAME", "HTTP_ADDR",
		"LOCAL_DB_TYPE", "LOG_LEVEL", "LSN_TRACKING_ENABLED", "MAIN_DB_PORT", "MAIN_DB_TYPE", "MAIN_DB_URL", "RATE_LIMIT", "REDIS_PORT", "REQUEST_TIMEOUT", "SECRET_KEY",
		"SITE_KEYS_DIR", "SITE_NAME", "SITE_TYPE", "TRANSACTION_BUFFER_SIZE", "TRANSACTION_RETRY_DELAY", "TRUSTED_PROXIES"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a secret is printed: %v", err)
	}
}

func TestSecondaryNeedsReplicaAndRedis(t *testing.T) {
	_, err := Parse(with(map[string]string{"SITE_TYPE": "secondary"}))
	for _, name := range []string{"LOCAL_DB_URL", "REDIS_URL"} {
		if err == nil || !strings.Contains(err.Error(), name+": is required") {
			t.Errorf("%s is not asked for: %v", name, err)
		}
	}
}

func TestPartsBecomeURLs(t *testing.T) {
	c, err := Parse(map[string]string{
		"SITE_NAME": "observatory", "SITE_TYPE": "secondary", "SITE_KEYS_DIR": "/k",
		"MAIN_DB_HOST": "db", "MAIN_DB_USER": "ops", "MAIN_DB_PASSWORD": "p@ss/w:rd ", "MAIN_DB_NAME": "opsdb",
		"LOCAL_DB_HOST": "/run/postgresql", "LOCAL_DB_PORT": "5433", "LOCAL_DB_USER": "ops", "LOCAL_DB_NAME": "opsdb",
		"REDIS_HOST": "localhost", "REDIS_DB": "3", "REDIS_PASSWORD": "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.MainDB.URL, c.LocalDB.URL, c.Redis.URL}
	want := []string{"postgres://ops:p%40ss%2Fw%3Ard%20@db:5432/opsdb", "postgres://ops@/opsdb?host=%2Frun%2Fpostgresql&port=5433", "redis://:x@localhost:6379/3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	c, err := Parse(with(map[string]string{
		"MAIN_DB_PASSWORD": "hunter2", "REDIS_URL": "rediss://user:hunter2@redis:6380/1?x=hunter2", "GITHUB_CLIENT_ID": "id", "GITHUB_CLIENT_SECRET": "hunter2", "GITHUB_ORG_NAME": "org",
		"BACKEND_URL": "https://ops.example.org", "FRONTEND_URL": "https://ops.example.org/console/",
		"LOCAL_DB_URL": "host=a password=hunter2",
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Settings() {
		if strings.Contains(s.Value, "hunter2") {
			t.Errorf("%s prints its secret: %s", s.Name, s.Value)
		}
		if s.Name == "REDIS_URL" && s.Value != "rediss://user:********@redis:6380/1" {
			t.Errorf("REDIS_URL is shown as %q", s.Value)
		}
	}
}

func TestEnvironmentWinsOverFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	file := "SITE_NAME=fromfile\nSITE_TYPE=main\nMAIN_DB_URL=postgres://a/b\nSITE_KEYS_DIR=/k\nLOG_LEVEL=WARN\n"
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SITE_NAME", "fromenv")
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if c.SiteName != "fromenv" || c.LogLevel != "WARN" {
		t.Errorf("site %q, level %q", c.SiteName, c.LogLevel)
	}
}

func TestABrokenFileDoesNotPrintItsSecrets(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("PASSWORD 'hunter2\n=\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestSizesAndRates(t *testing.T) {
	for text, want := range map[string]Size{"4MiB": 4 << 20, "100 GB": 100e9, "4096": 4096, "1.5KiB": 1536, "2tb": 2e12, "7 B": 7} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q is %d (%v), want %d", text, s, err, want)
		}
		var back Size
		if err := back.UnmarshalText([]byte(s.String())); err != nil || back != s {
			t.Errorf("%q is written %q and read back as %d", text, s, back)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "4 MegaBytes", "1e", "NaN", "9999999TiB", "0x10"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %d", text, s)
		}
	}
	for text, want := range map[string]Rate{"2000/s": 2000, "600/m": 10, "0": 0, "1.5": 1.5} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%q is %v (%v), want %v", text, r, err, want)
		}
	}
	for _, text := range []string{"", "x/s", "5/day", "-1/s", "Inf"} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %v", text, r)
		}
	}
}

func TestTeamMapping(t *testing.T) {
	want := map[string]string{"admins": "admin", "obs": "observer"}
	for _, text := range []string{"admins:admin,obs:observer", `{"admins": "admin", "obs": "observer"}`} {
		c, err := Parse(with(map[string]string{"GITHUB_TEAM_ROLE_MAPPING": text}))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.GitHub.TeamRoleMapping); diff != "" {
			t.Error(diff)
		}
	}
	for _, text := range []string{"{", `{"a": 1}`, "admins"} {
		if _, err := Parse(with(map[string]string{"GITHUB_TEAM_ROLE_MAPPING": text})); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestMarkdownListsEverySetting(t *testing.T) {
	text := Markdown()
	for _, name := range []string{"SITE_NAME", "MAIN_DB_URL", "LOCAL_DB_PASSWORD", "REDIS_URL", "GITHUB_ORG_NAME", "REQUEST_TIMEOUT", "SECRET_KEY"} {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("%s is missing", name)
		}
	}
	for _, s := range settings(&Config{}) {
		if s.Doc == "" || strings.Contains(s.Doc, "%") {
			t.Errorf("%s has the documentation %q", s.Name, s.Doc)
		}
	}
}

func TestMainURLIsMadeOfItsParts(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, value := range map[string]string{
		"MAIN_DB_URL": "", "MAIN_DB_HOST": "db.example", "MAIN_DB_PORT": "5433", "MAIN_DB_USER": "opsdb_main", "MAIN_DB_PASSWORD": "p@ss", "MAIN_DB_NAME": "ops",
	} {
		t.Setenv(name, value)
	}
	if got, err := MainURL(); err != nil || got != "postgres://opsdb_main:p%40ss@db.example:5433/ops" {
		t.Errorf("of its parts: %q, %v", got, err)
	}
	t.Setenv("MAIN_DB_URL", "postgres://elsewhere/ops")
	if got, err := MainURL(); err != nil || got != "postgres://elsewhere/ops" {
		t.Errorf("the URL wins: %q, %v", got, err)
	}
	t.Setenv("MAIN_DB_URL", "")
	t.Setenv("MAIN_DB_PORT", "five")
	if _, err := MainURL(); err == nil {
		t.Error("a port that is none passes")
	}
}

func TestTracesAreOffUntilACollectorIsNamed(t *testing.T) {
	for name, test := range map[string]struct {
		given map[string]string
		want  bool
	}{
		"nothing":  {nil, false},
		"endpoint": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, true},
		"traces":   {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, true},
		"disabled": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_SDK_DISABLED": "true"}, false},
		"none":     {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, false},
	} {
		c, err := Parse(with(test.given))
		if err != nil || c.Telemetry.Traces() != test.want {
			t.Errorf("%s: %v, %v", name, err, c)
		}
	}
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "zipkin", "OTEL_TRACES_SAMPLER": "some",
	} {
		if _, err := Parse(with(map[string]string{name: value})); err == nil || !strings.Contains(err.Error(), name+":") {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	if _, err := Parse(with(map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"})); err == nil || !strings.Contains(err.Error(), "OTEL_TRACES_SAMPLER_ARG:") {
		t.Errorf("a ratio of 7: %v", err)
	}
}
