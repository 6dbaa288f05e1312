// Package config reads the settings of a site: environment variables, and a .env
// file in the working directory below them, into one struct. Every mistake is
// reported at once, by the variable's name; secrets are never printed. The struct's
// tags are the documentation: docs/configuration.md and `opsdb config` come from
// them.
package config

import (
	"time"
)

// Site types.
const (
	Main      = "main"
	Secondary = "secondary"
)

// Config is every setting of a process. Of the tags, env names the variable,
// envDefault is its default, doc says what it means, and secret keeps the value out
// of everything that is printed. A required one has no default.
type Config struct {
	SiteName string `env:"SITE_NAME" required:"true" doc:"The site's short name, as in the table site; part of every Redis key. A secondary whose row is missing in its replica refuses to start and names opsdb site add; main creates its own row."`
	SiteType string `env:"SITE_TYPE" required:"true" doc:"main or secondary."`

	HTTPAddr    string `env:"HTTP_ADDR" envDefault:":8000" doc:"Where the API listens."`
	MetricsAddr string `env:"METRICS_ADDR" doc:"A separate listener for /metrics, without a credential; empty: none."`

	MainDB  Database `envPrefix:"MAIN_DB_" doc:"the primary"`
	LocalDB Database `envPrefix:"LOCAL_DB_" doc:"the site's replica (secondary only)"`
	Redis   Redis    `envPrefix:"REDIS_"`

	CacheRedisURL string `env:"CACHE_REDIS_URL" secret:"true" doc:"Not used yet. Redis of the cache, redis:// or rediss://, another database or server than the buffer's; Sentinel works. Empty: no cache."`

	BufferCritical  bool          `env:"CRITICAL_OPERATIONS_BUFFER" envDefault:"true" doc:"false: critical writes go to main as others do; pending ones drain first."`
	BufferSize      int           `env:"TRANSACTION_BUFFER_SIZE" envDefault:"1000000" doc:"How many transactions the buffer takes; full is 503 buffer-full."`
	RetryAttempts   int           `env:"TRANSACTION_RETRY_ATTEMPTS" envDefault:"3" doc:"Tries of one transaction that its own data made fail; a lost link never counts."`
	RetryDelay      time.Duration `env:"TRANSACTION_RETRY_DELAY" envDefault:"5s" doc:"Between these tries."`
	ProcessInterval time.Duration `env:"BACKGROUND_PROCESSING_INTERVAL" envDefault:"1s" doc:"Fallback only: accepting wakes the processor at once."`
	BatchSize       int           `env:"BUFFER_BATCH_SIZE" envDefault:"1000" doc:"Transactions the processor sends in one round trip, at most."`
	BatchBytes      Size          `env:"BUFFER_BATCH_BYTES" envDefault:"4MiB" doc:"Bytes the processor sends in one round trip, at most."`
	Retention       time.Duration `env:"HISTORY_RETENTION" envDefault:"1h" doc:"How long a replicated transaction can still be re-sent after a failover: it is kept until main has answered for this long since."`
	Durability      string        `env:"BUFFER_DURABILITY" envDefault:"strict" doc:"strict, or relaxed: relaxed starts on a Redis that may lose acknowledged writes, and /health says so."`

	PackageMaxBytes Size `env:"PACKAGE_MAX_BYTES" envDefault:"100 GB" doc:"The largest raw data package."`

	LSNTracking bool          `env:"LSN_TRACKING_ENABLED" envDefault:"true" doc:"false stops LSN polling only; commit numbers go on."`
	LSNInterval time.Duration `env:"LSN_CHECK_INTERVAL" envDefault:"100ms" doc:"The longest pause of the tracker: while a batch is unconfirmed it polls every 1-2 ms, backing off."`
	LSNTimeout  time.Duration `env:"LSN_TIMEOUT" envDefault:"30s" doc:"How long a request waits for the replica, at most."`

	GitHub GitHub `envPrefix:"GITHUB_"`

	FrontendURL string `env:"FRONTEND_URL" doc:"The page where a login ends, with #code=… after it; its origin may use sessions."`
	BackendURL  string `env:"BACKEND_URL" doc:"The address of this API as browsers call it: GitHub sends logins back to /github/callback below it, exactly as it is registered there."`
	SiteKeysDir string `env:"SITE_KEYS_DIR" required:"true" doc:"The folder of the site's signing keys (opsdb keys init, rotate)."`

	TrustedProxies []string `env:"TRUSTED_PROXIES" doc:"Addresses or networks whose X-Forwarded-For counts, separated by commas."`
	CORSOrigins    []string `env:"CORS_ORIGINS" doc:"Origins of browsers that may call the API, separated by commas."`
	RateLimit      Rate     `env:"RATE_LIMIT" envDefault:"2000/s" doc:"Requests per credential; critical writes of service users are never limited. 0: no limit."`

	Demo bool `env:"DEMO_MODE" envDefault:"false" doc:"true gives a token to everybody who asks (POST /api/demo/create-demo-token): for opsdb demo, never for a site that anybody depends on."`

	LogLevel  string `env:"LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error, in any case."`
	LogFormat string `env:"LOG_FORMAT" envDefault:"json" doc:"json, or text for people."`

	Telemetry Telemetry `envPrefix:"OTEL_"`

	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"20s" doc:"How long requests and the processor have to finish when the server is told to stop."`
	RequestTimeout  time.Duration `env:"REQUEST_TIMEOUT" envDefault:"30s" doc:"How long a request may take; waits and streams are exempt."`
}

// Database names one PostgreSQL server, by a URL or by its parts; the URL wins.
type Database struct {
	URL      string `env:"URL" secret:"true" doc:"Connection URL of %s; several hosts with target_session_attrs=read-write work."`
	Host     string `env:"HOST" doc:"Host of %s, instead of the URL."`
	Port     int    `env:"PORT" envDefault:"5432" doc:"Port of %s, with HOST."`
	User     string `env:"USER" doc:"Role at %s, with HOST."`
	Password string `env:"PASSWORD" secret:"true" doc:"Password at %s, with HOST."`
	Name     string `env:"NAME" doc:"Database at %s, with HOST."`
}

// Redis names the buffer's Redis server, by a URL or by its parts; the URL wins.
type Redis struct {
	URL      string `env:"URL" secret:"true" doc:"The buffer's Redis (secondary only), redis:// or rediss://. No Sentinel here: failing over to an asynchronous copy loses acknowledged writes."`
	Host     string `env:"HOST" doc:"Host of the buffer's Redis, instead of the URL."`
	Port     int    `env:"PORT" envDefault:"6379" doc:"Port of the buffer's Redis, with HOST."`
	DB       int    `env:"DB" envDefault:"0" doc:"Database number of the buffer's Redis, with HOST."`
	Password string `env:"PASSWORD" secret:"true" doc:"Password of the buffer's Redis, with HOST."`
}

// GitHub is what login with GitHub needs; it is off when ClientID is empty.
type GitHub struct {
	ClientID        string            `env:"CLIENT_ID" doc:"The OAuth application (its client id) for login with GitHub; off when unset. BACKEND_URL and FRONTEND_URL are required with it."`
	ClientSecret    string            `env:"CLIENT_SECRET" secret:"true" doc:"Its secret."`
	Organisation    string            `env:"ORG_NAME" doc:"Organisation whose members may log in."`
	TeamRoleMapping map[string]string `env:"TEAM_ROLE_MAPPING" doc:"Team (by slug) to role: observers:observer,admins:admin, or a JSON object. Each login gives the roles of the teams anew; roles granted by hand stay."`
	BaseURL         string            `env:"BASE_URL" doc:"GitHub's address, when it is not https://github.com."`
	APIURL          string            `env:"API_URL" doc:"GitHub's API address, when it is not https://api.github.com."`
}

// Telemetry are the standard variables of OpenTelemetry that say where traces go.
// Its SDK reads these and the others of its specification (OTEL_BSP_…,
// OTEL_EXPORTER_OTLP_CERTIFICATE …) by itself.
type Telemetry struct {
	Endpoint       string `env:"EXPORTER_OTLP_ENDPOINT" doc:"Collector that traces go to, as http://host:4318; empty: there are no traces, and they cost nothing. The other standard OTEL names apply too."`
	TracesEndpoint string `env:"EXPORTER_OTLP_TRACES_ENDPOINT" doc:"The same for traces alone, with its path: http://host:4318/v1/traces."`
	Headers        string `env:"EXPORTER_OTLP_HEADERS" secret:"true" doc:"Headers for the collector: name=value, separated by commas."`
	Protocol       string `env:"EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf" doc:"http/protobuf is the only one."`
	TracesExporter string `env:"TRACES_EXPORTER" envDefault:"otlp" doc:"none turns traces off."`
	Sampler        string `env:"TRACES_SAMPLER" envDefault:"parentbased_always_on" doc:"Which requests are traced, for instance parentbased_traceidratio."`
	SamplerArg     string `env:"TRACES_SAMPLER_ARG" doc:"The sampler's argument: with a ratio sampler the part that is kept, 0 to 1."`
	ServiceName    string `env:"SERVICE_NAME" envDefault:"opsdb" doc:"service.name of the traces."`
	Resource       string `env:"RESOURCE_ATTRIBUTES" doc:"Further attributes of all traces: name=value, separated by commas."`
	Disabled       bool   `env:"SDK_DISABLED" envDefault:"false" doc:"true turns traces off."`
}

// Traces reports whether there are traces.
func (t Telemetry) Traces() bool {
	return (t.Endpoint != "" || t.TracesEndpoint != "") && t.TracesExporter == "otlp" && !t.Disabled
}

// IsMain reports whether the process belongs to the main site.
func (c *Config) IsMain() bool { return c.SiteType == Main }
