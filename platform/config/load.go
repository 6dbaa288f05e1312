package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/joho/godotenv"
)

// refused are variables of the original system that mean nothing here, and what
// took their place: ignoring them in silence would leave their owner in a wrong
// belief.
var refused = []struct{ name, instead string }{
	{"SECRET_KEY", "each site has its own key pair instead: SITE_KEYS_DIR and opsdb keys init"},
	{"MAIN_DB_TYPE", "the database is always PostgreSQL: MAIN_DB_URL or MAIN_DB_HOST name it"},
	{"LOCAL_DB_TYPE", "the database is always PostgreSQL: LOCAL_DB_URL or LOCAL_DB_HOST name it"},
}

// Mistakes are all that is wrong with the settings, one line each, every line
// beginning with the variable's name.
type Mistakes []string

// Error implements error.
func (m Mistakes) Error() string {
	return fmt.Sprintf("%d wrong settings:\n  %s", len(m), strings.Join(m, "\n  "))
}

// Load reads the settings from the environment and from .env in the working
// directory, the environment winning. Its error is Mistakes, unless .env cannot be
// read.
func Load() (*Config, error) {
	values, err := environment()
	if err != nil {
		return nil, err
	}
	// OpenTelemetry's SDK reads the environment by itself: what .env says of it must
	// be there too.
	for name, value := range values {
		if _, set := os.LookupEnv(name); !set && strings.HasPrefix(name, "OTEL_") {
			if err := os.Setenv(name, value); err != nil {
				return nil, fmt.Errorf("taking %s from .env: %w", name, err)
			}
		}
	}
	return Parse(values)
}

// MainURL is the connection URL of the primary alone, from the same variables, for
// commands that need no other setting; empty when they name none.
func MainURL() (string, error) {
	values, err := environment()
	if err != nil {
		return "", err
	}
	d := Database{
		URL: values["MAIN_DB_URL"], Host: values["MAIN_DB_HOST"], Port: 5432,
		User: values["MAIN_DB_USER"], Password: values["MAIN_DB_PASSWORD"], Name: values["MAIN_DB_NAME"],
	}
	if text := values["MAIN_DB_PORT"]; text != "" {
		if d.Port, err = strconv.Atoi(text); err != nil {
			return "", fmt.Errorf("MAIN_DB_PORT: %q is no port", text)
		}
	}
	d.derive()
	return d.URL, nil
}

// environment is the .env file of the working directory with the environment over it.
func environment() (map[string]string, error) {
	values, err := godotenv.Read(".env")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// godotenv's message repeats the line, which may hold a secret.
		return nil, errors.New("reading .env: it is not a list of NAME=value lines")
	}
	if values == nil {
		values = map[string]string{}
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		values[name] = value
	}
	return values, nil
}

// Parse reads the settings from the given variables; tests use it directly. An
// empty value counts as unset. Its error is Mistakes.
func Parse(values map[string]string) (*Config, error) {
	given := make(map[string]string, len(values))
	for name, value := range values {
		if strings.TrimSpace(value) != "" {
			given[name] = value
		}
	}
	var mistakes Mistakes
	for _, old := range refused {
		if _, set := given[old.name]; set {
			mistakes = append(mistakes, old.name+": is not used any more; "+old.instead)
		}
	}
	// The mapping of teams may be written as JSON, which the library cannot read.
	if err := teamMapping(given); err != nil {
		mistakes = append(mistakes, "GITHUB_TEAM_ROLE_MAPPING: "+err.Error())
	}
	c := &Config{}
	// A value that cannot be read is left out and the rest read again: so that all
	// mistakes come in one go, whatever depends on the others.
	for range len(settings(&Config{})) + 1 {
		err := env.ParseWithOptions(c, env.Options{Environment: given})
		if err == nil {
			break
		}
		found := parseMistakes(err, given)
		mistakes = append(mistakes, found...)
		if len(found) == 0 {
			return nil, fmt.Errorf("reading the settings: %w", err)
		}
		*c = Config{}
	}
	mistakes = append(mistakes, c.check(given, mistakes)...)
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	c.derive()
	return c, nil
}

// parseMistakes says which variables have values of the wrong form, and takes them
// out of given. The library knows the struct's field only.
func parseMistakes(err error, given map[string]string) []string {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return nil
	}
	var found []string
	for _, one := range all.Errors {
		var parse env.ParseError
		if !errors.As(one, &parse) {
			continue
		}
		for _, s := range settings(&Config{}) {
			value, set := given[s.Name]
			if s.field.Name != parse.Name || s.field.Type != parse.Type || !set {
				continue
			}
			// Several fields share a name (MAIN_DB_PORT, REDIS_PORT): only those whose
			// own value cannot be read are to blame.
			if message := s.unreadable(value); message != "" {
				found = append(found, s.Name+": "+message)
				delete(given, s.Name)
			}
		}
	}
	return found
}

// unreadable returns why a value has the wrong form for its setting, or "".
func (s Setting) unreadable(value string) string {
	probe := reflect.New(s.field.Type)
	shown := strconv.Quote(value)
	if s.Secret {
		shown = "the value"
	}
	switch target := probe.Interface().(type) {
	case interface{ UnmarshalText([]byte) error }:
		if err := target.UnmarshalText([]byte(value)); err != nil {
			return shown + " " + err.Error()
		}
	case *time.Duration:
		if _, err := time.ParseDuration(value); err != nil {
			return shown + " is no duration like 5s or 100ms"
		}
	case *bool:
		if _, err := strconv.ParseBool(value); err != nil {
			return shown + " is neither true nor false"
		}
	case *int:
		if _, err := strconv.Atoi(value); err != nil {
			return shown + " is no whole number"
		}
	case *map[string]string:
		return shown + " is not of the form team:role,team:role"
	}
	return ""
}

func teamMapping(given map[string]string) error {
	const name = "GITHUB_TEAM_ROLE_MAPPING"
	text := given[name]
	if !strings.HasPrefix(text, "{") {
		return nil
	}
	delete(given, name)
	var mapping map[string]string
	if err := json.Unmarshal([]byte(text), &mapping); err != nil {
		return errors.New("is not a JSON object of team and role")
	}
	var pairs []string
	for team, role := range mapping {
		pairs = append(pairs, team+":"+role)
	}
	if len(pairs) > 0 {
		slices.Sort(pairs)
		given[name] = strings.Join(pairs, ",")
	}
	return nil
}

var siteName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// check returns what is wrong with values that have the right form.
func (c *Config) check(given map[string]string, before Mistakes) Mistakes {
	var found Mistakes
	wrong := func(name, format string, args ...any) {
		for _, line := range before {
			if strings.HasPrefix(line, name+":") {
				return // one line a variable
			}
		}
		found = append(found, name+": "+fmt.Sprintf(format, args...))
	}
	for _, s := range settings(c) {
		if s.Required && given[s.Name] == "" {
			wrong(s.Name, "is required: %s", lowerFirst(firstSentence(s.Doc)))
		}
	}
	if c.SiteName != "" && !siteName.MatchString(c.SiteName) {
		wrong("SITE_NAME", "%q is no short name: lower-case letters, digits, - and _, beginning with a letter", c.SiteName)
	}
	if c.SiteType != "" && c.SiteType != Main && c.SiteType != Secondary {
		wrong("SITE_TYPE", "%q is neither main nor secondary", c.SiteType)
	}
	c.MainDB.check("MAIN_DB", true, wrong)
	c.LocalDB.check("LOCAL_DB", c.SiteType == Secondary, wrong)
	switch {
	case c.Redis.URL != "":
		redisURL("REDIS_URL", c.Redis.URL, wrong)
	case c.Redis.Host == "" && c.SiteType == Secondary:
		wrong("REDIS_URL", "is required at a secondary site (or REDIS_HOST): the buffer's Redis")
	}
	port("REDIS_PORT", c.Redis.Port, wrong)
	if c.Redis.DB < 0 {
		wrong("REDIS_DB", "is negative")
	}
	if c.CacheRedisURL != "" {
		redisURL("CACHE_REDIS_URL", c.CacheRedisURL, wrong)
		if c.Redis.URL != "" && sameRedis(c.CacheRedisURL, c.Redis.URL) {
			wrong("CACHE_REDIS_URL", "is the buffer's own database: the cache needs another one")
		}
	}
	listenAddr("HTTP_ADDR", c.HTTPAddr, wrong)
	if c.MetricsAddr != "" {
		listenAddr("METRICS_ADDR", c.MetricsAddr, wrong)
	}
	atLeast("TRANSACTION_BUFFER_SIZE", c.BufferSize, 1, wrong)
	atLeast("TRANSACTION_RETRY_ATTEMPTS", c.RetryAttempts, 1, wrong)
	atLeast("BUFFER_BATCH_SIZE", c.BatchSize, 1, wrong)
	atLeast("BUFFER_BATCH_BYTES", int(c.BatchBytes), 1024, wrong)
	atLeast("PACKAGE_MAX_BYTES", int(c.PackageMaxBytes), 1, wrong)
	for name, d := range map[string]time.Duration{
		"BACKGROUND_PROCESSING_INTERVAL": c.ProcessInterval, "LSN_CHECK_INTERVAL": c.LSNInterval, "LSN_TIMEOUT": c.LSNTimeout,
		"SHUTDOWN_TIMEOUT": c.ShutdownTimeout, "REQUEST_TIMEOUT": c.RequestTimeout, "HISTORY_RETENTION": c.Retention,
	} {
		if d <= 0 {
			wrong(name, "must be longer than nothing")
		}
	}
	if c.RetryDelay < 0 {
		wrong("TRANSACTION_RETRY_DELAY", "is negative")
	}
	if c.Durability != "strict" && c.Durability != "relaxed" {
		wrong("BUFFER_DURABILITY", "%q is neither strict nor relaxed", c.Durability)
	}
	c.GitHub.check(wrong)
	if c.GitHub.ClientID != "" {
		for name, address := range map[string]string{"BACKEND_URL": c.BackendURL, "FRONTEND_URL": c.FrontendURL} {
			if address == "" {
				wrong(name, "is required with GITHUB_CLIENT_ID: a login goes through it")
			}
		}
	}
	c.Telemetry.check(wrong)
	for name, text := range map[string]string{
		"FRONTEND_URL": c.FrontendURL, "BACKEND_URL": c.BackendURL,
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.Telemetry.Endpoint, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.Telemetry.TracesEndpoint,
	} {
		webURL(name, text, wrong)
	}
	if strings.Contains(c.FrontendURL, "#") {
		wrong("FRONTEND_URL", "has a fragment, which is where a login puts its code")
	}
	for _, origin := range c.CORSOrigins {
		webURL("CORS_ORIGINS", origin, wrong)
	}
	for _, proxy := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(proxy); err != nil {
			if _, err := netip.ParseAddr(proxy); err != nil {
				wrong("TRUSTED_PROXIES", "%q is neither an address nor a network", proxy)
			}
		}
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(c.LogLevel)) {
		wrong("LOG_LEVEL", "%q is none of debug, info, warn, error", c.LogLevel)
	}
	if !slices.Contains([]string{"json", "text"}, strings.ToLower(c.LogFormat)) {
		wrong("LOG_FORMAT", "%q is neither json nor text", c.LogFormat)
	}
	slices.Sort(found)
	return found
}

type report func(name, format string, args ...any)

func (d Database) check(prefix string, required bool, wrong report) {
	switch {
	case d.URL != "":
		u, err := url.Parse(d.URL)
		// A multi-host URL has ports in a form that net/url refuses; a keyword list
		// is no URL at all. pgx judges both when it connects.
		if err == nil && u.Scheme != "postgres" && u.Scheme != "postgresql" && !strings.Contains(d.URL, "=") {
			wrong(prefix+"_URL", "is no URL like postgres://user:password@host/database")
		}
	case d.Host != "":
		if d.User == "" {
			wrong(prefix+"_USER", "is required with %s_HOST", prefix)
		}
		if d.Name == "" {
			wrong(prefix+"_NAME", "is required with %s_HOST", prefix)
		}
	case required:
		wrong(prefix+"_URL", "is required (or %s_HOST, _PORT, _USER, _PASSWORD, _NAME)", prefix)
	}
	port(prefix+"_PORT", d.Port, wrong)
}

func (g GitHub) check(wrong report) {
	if g.ClientID == "" {
		if g.ClientSecret != "" {
			wrong("GITHUB_CLIENT_ID", "is required with GITHUB_CLIENT_SECRET")
		}
		return
	}
	if g.ClientSecret == "" {
		wrong("GITHUB_CLIENT_SECRET", "is required with GITHUB_CLIENT_ID")
	}
	if g.Organisation == "" {
		wrong("GITHUB_ORG_NAME", "is required with GITHUB_CLIENT_ID: only its members may log in")
	}
	webURL("GITHUB_BASE_URL", g.BaseURL, wrong)
	webURL("GITHUB_API_URL", g.APIURL, wrong)
}

func (t Telemetry) check(wrong report) {
	if t.Protocol != "http/protobuf" {
		wrong("OTEL_EXPORTER_OTLP_PROTOCOL", "%q is not http/protobuf, the only one there is", t.Protocol)
	}
	if t.TracesExporter != "otlp" && t.TracesExporter != "none" {
		wrong("OTEL_TRACES_EXPORTER", "%q is neither otlp nor none", t.TracesExporter)
	}
	samplers := []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}
	if !slices.Contains(samplers, t.Sampler) {
		wrong("OTEL_TRACES_SAMPLER", "%q is none of %s", t.Sampler, strings.Join(samplers, ", "))
	}
	if ratio, err := strconv.ParseFloat(t.SamplerArg, 64); strings.HasSuffix(t.Sampler, "ratio") && (err != nil || ratio < 0 || ratio > 1) {
		wrong("OTEL_TRACES_SAMPLER_ARG", "%q is no number from 0 to 1", t.SamplerArg)
	}
}

func port(name string, n int, wrong report) {
	if n < 1 || n > 65535 {
		wrong(name, "%d is no port", n)
	}
}

func atLeast(name string, n, least int, wrong report) {
	if n < least {
		wrong(name, "must be at least %d", least)
	}
}

func listenAddr(name, addr string, wrong report) {
	_, service, err := net.SplitHostPort(addr)
	if err != nil {
		wrong(name, "%q is no address like :8000 or 127.0.0.1:8000", addr)
		return
	}
	if n, err := strconv.Atoi(service); err != nil || n < 0 || n > 65535 {
		wrong(name, "%q has no port between 0 and 65535", addr)
	}
}

func webURL(name, text string, wrong report) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		wrong(name, "is no address like https://example.org")
	}
}

func redisURL(name, text string, wrong report) {
	u, err := url.Parse(text)
	if err != nil || !slices.Contains([]string{"redis", "rediss", "unix", "redis+sentinel"}, u.Scheme) || (u.Host == "" && u.Scheme != "unix") {
		wrong(name, "is no URL like redis://host:6379/0")
		return
	}
	if name == "REDIS_URL" && (u.Scheme == "redis+sentinel" || strings.Contains(u.Host, ",")) {
		wrong(name, "names Sentinels or several hosts: failing over to an asynchronous copy loses acknowledged writes")
	}
}

func sameRedis(a, b string) bool {
	place := func(text string) string {
		u, err := url.Parse(text)
		if err != nil {
			return text
		}
		host, db := u.Host, strings.Trim(u.Path, "/")
		if u.Port() == "" {
			host += ":6379"
		}
		if db == "" {
			db = "0"
		}
		return host + "/" + db
	}
	return place(a) == place(b)
}

// derive makes URLs of parts, so that the rest of the product knows URLs only.
func (c *Config) derive() {
	c.MainDB.derive()
	c.LocalDB.derive()
	if c.Redis.URL == "" && c.Redis.Host != "" {
		u := url.URL{Scheme: "redis", Host: net.JoinHostPort(c.Redis.Host, strconv.Itoa(c.Redis.Port)), Path: "/" + strconv.Itoa(c.Redis.DB)}
		if c.Redis.Password != "" {
			u.User = url.UserPassword("", c.Redis.Password)
		}
		c.Redis.URL = u.String()
	}
}

func (d *Database) derive() {
	if d.URL != "" || d.Host == "" {
		return
	}
	u := url.URL{Scheme: "postgres", Host: net.JoinHostPort(d.Host, strconv.Itoa(d.Port)), Path: "/" + d.Name, User: url.User(d.User)}
	if strings.HasPrefix(d.Host, "/") {
		// A folder of sockets has no place in the host of a URL.
		u.Host, u.RawQuery = "", url.Values{"host": {d.Host}, "port": {strconv.Itoa(d.Port)}}.Encode()
	}
	if d.Password != "" {
		u.User = url.UserPassword(d.User, d.Password)
	}
	d.URL = u.String()
}

// firstSentence cuts a documentation to what fits into one line.
func firstSentence(s string) string {
	end := len(s)
	for _, stop := range []string{". ", "; ", " ("} {
		if i := strings.Index(s, stop); i >= 0 && i < end {
			end = i
		}
	}
	return strings.TrimSuffix(s[:end], ".")
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
