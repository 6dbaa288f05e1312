package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/opsdb/opsdb/modules/auth"
	"github.com/opsdb/opsdb/modules/buffer"
	"github.com/opsdb/opsdb/modules/instruments"
	"github.com/opsdb/opsdb/modules/observations"
	"github.com/opsdb/opsdb/modules/planning"
	"github.com/opsdb/opsdb/modules/transfers"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/config"
	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/observe"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/rdb"
	"github.com/opsdb/opsdb/platform/txn"
)

// site is everything that one API process is made of. Here, and nowhere else, it
// is decided what a main and what a secondary site is.
type site struct {
	config   *config.Config
	log      *slog.Logger
	metrics  *observe.Metrics
	tracer   trace.Tracer // nil: no traces
	catalog  *txn.Catalog // of what may be buffered
	problems *problem.Catalog

	primary *pgxpool.Pool // for direct writes
	local   *pgxpool.Pool // for reads: the replica, at main the primary
	checks  *pgxpool.Pool // of the same database, for the checks of writes
	redis   *rdb.Client   // nil at main
	store   *pending.Store
	reader  *pending.Reader
	writer  txn.Writer  // of critical writes
	direct  *txn.Direct // of all others: they are carried out on the primary
	buffer  *buffer.Module
	uses    *auth.Uses
	keys    *auth.KeyRing
	access  *auth.AccessTokens
	logins  auth.Sessions
	checker *auth.Authenticator
	audit   *auth.Log
	id      int64 // of the site's row

	background sync.WaitGroup
	halt       context.CancelFunc
}

// problemSets are the problems of all modules, and which constraint means which.
var problemSets = []problem.Set{
	txn.Problems, observations.Problems, planning.Problems, instruments.Problems, transfers.Problems, auth.Problems, buffer.Problems,
	{Kinds: []*problem.Kind{beginning}},
}

// newCatalog knows every step that a buffer may hold.
func newCatalog() (*txn.Catalog, error) { return txn.NewCatalog(bufferedSteps()...) }

func bufferedSteps() []txn.Step {
	return slices.Concat(observations.Steps(), buffer.Steps(), auth.Steps())
}

// bufferedTables are the tables that have pending rows at a secondary site.
func bufferedTables() []pending.Table { return slices.Concat(observations.Tables(), auth.Tables()) }

// newDirectCatalog knows, beside those, the steps that are carried out on the primary
// alone. A Buffered writer does not know them, so that none can get into a buffer: their
// form may change with any version.
func newDirectCatalog() (*txn.Catalog, error) {
	return txn.NewCatalog(slices.Concat(bufferedSteps(), auth.DirectSteps())...)
}

// openSite opens the servers of the site and waits until what the site cannot do
// without has answered. A wrong answer refuses the start; one that comes later ends
// the process through fatal.
func openSite(ctx context.Context, c *config.Config, logger *slog.Logger, metrics *observe.Metrics, tracing *observe.Tracing, fatal context.CancelCauseFunc) (s *site, err error) {
	s = &site{config: c, log: logger, metrics: metrics, uses: auth.NewUses()}
	if tracing != nil {
		s.tracer = tracing.Tracer
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
			s = nil
		}
	}()
	if s.problems, err = problem.NewCatalog(problemSets...); err != nil {
		return s, err
	}
	if s.catalog, err = newCatalog(); err != nil {
		return s, err
	}
	if c.IsMain() {
		return s, s.openMain(ctx)
	}
	return s, s.openSecondary(ctx, fatal)
}

// openMain: writes go straight to the primary, reads come from it.
func (s *site) openMain(ctx context.Context) (err error) {
	c := s.config
	if s.primary, err = pg.OpenWriter(ctx, c.MainDB.URL, pg.Options{ApplicationName: "opsdb-" + c.SiteName}); err != nil {
		return err
	}
	if s.local, err = pg.OpenReader(ctx, c.MainDB.URL, pg.Options{ApplicationName: "opsdb " + c.SiteName + " reads"}); err != nil {
		return err
	}
	version, err := schemaVersion()
	if err != nil {
		return err
	}
	findings, err := pg.CheckUntilAnswered(ctx, s.primary, pg.Expectation{Primary: true, SchemaVersion: version, Privileges: writePrivileges()})
	if err != nil {
		return err
	}
	if err := s.judge(ctx, "primary", findings); err != nil {
		return err
	}
	if _, err := transfers.AddSite(ctx, s.primary, transfers.NewSite{ShortName: c.SiteName, Name: c.SiteName, Main: true}); err != nil {
		return fmt.Errorf("main's own row: %w", err)
	}
	if s.id, err = transfers.SiteID(ctx, s.primary, c.SiteName); err != nil {
		return err
	}
	if s.checks, err = pg.OpenChecks(ctx, c.MainDB.URL, pg.Options{ApplicationName: "opsdb " + c.SiteName + " checks"}); err != nil {
		return err
	}
	s.reader = pending.NewReader(s.local, nil, c.SiteName, pending.Limits{})
	s.reader.CheckOn(s.checks)
	if s.direct, err = s.openDirect(nil); err != nil {
		return err
	}
	s.writer = s.direct
	return s.openBuffer(ctx, nil)
}

// openSecondary: writes go to the site's Redis, reads are the replica's rows
// together with the pending ones.
func (s *site) openSecondary(ctx context.Context, fatal context.CancelCauseFunc) (err error) {
	c := s.config
	if s.primary, err = pg.OpenWriter(ctx, c.MainDB.URL, pg.Options{ApplicationName: "opsdb " + c.SiteName + " direct", MaxConns: 8}); err != nil {
		return err
	}
	if s.local, err = pg.OpenReader(ctx, c.LocalDB.URL, pg.Options{ApplicationName: "opsdb-" + c.SiteName}); err != nil {
		return err
	}
	if s.redis, err = rdb.Open(rdb.Options{URL: c.Redis.URL, Name: "opsdb-" + c.SiteName}); err != nil {
		return err
	}
	s.store, err = pending.Open(ctx, s.redis, pending.Options{
		Site: c.SiteName, Tables: bufferedTables(), Decoder: s.catalog, Capacity: c.BufferSize, Retention: c.Retention,
		Durability: pending.Durability(c.Durability), Logger: s.log,
	})
	if err != nil {
		return err
	}
	if s.id, err = s.siteID(ctx); err != nil {
		return err
	}
	s.background.Go(func() {
		if err := s.watchReplica(ctx); err != nil && ctx.Err() == nil {
			fatal(err)
		}
	})
	if s.checks, err = pg.OpenChecks(ctx, c.LocalDB.URL, pg.Options{ApplicationName: "opsdb " + c.SiteName + " checks"}); err != nil {
		return err
	}
	s.reader = pending.NewReader(s.local, s.store, c.SiteName, pending.Limits{})
	s.reader.CheckOn(s.checks)
	s.direct, err = s.openDirect(func(ctx context.Context, at lsn.Position) error {
		limited, cancel := context.WithTimeout(ctx, c.LSNTimeout)
		defer cancel()
		return s.buffer.WaitForReplay(limited, at)
	})
	if err != nil {
		return err
	}
	var direct *txn.Direct // of critical writes
	if !c.BufferCritical {
		direct = s.direct
	}
	s.writer = txn.NewBuffered(txn.BufferedConfig{
		Store: s.store, Reader: s.reader, Catalog: s.catalog, Problems: s.problems, Site: c.SiteName, SiteID: s.id, Direct: direct, Logger: s.log, Tracer: s.tracer,
		Ending: ctx.Done(),
	})
	return s.openBuffer(ctx, s.local)
}

// openDirect makes the writer of what is never buffered. replayed waits for the local
// replica; it is nil at main.
func (s *site) openDirect(replayed func(context.Context, lsn.Position) error) (*txn.Direct, error) {
	catalog, err := newDirectCatalog()
	if err != nil {
		return nil, err
	}
	return txn.NewDirect(txn.DirectConfig{
		Pool: s.primary, Reader: s.reader, Catalog: catalog, Problems: s.problems, Site: s.config.SiteName, SiteID: s.id,
		Replayed: replayed, Logger: s.log, Tracer: s.tracer,
	}), nil
}

func (s *site) openBuffer(ctx context.Context, replica *pgxpool.Pool) (err error) {
	c := s.config
	log := auth.LogConfig{Writer: s.writer, Joint: s.store == nil, Site: c.SiteName, Logger: s.log}
	if s.store != nil {
		log.Capacity = c.BufferSize
	}
	s.audit = auth.NewLog(log)
	s.buffer, err = buffer.New(buffer.Config{
		Site: c.SiteName, URL: c.BackendURL, Version: version(), Store: s.store, Writer: s.writer, Reader: s.reader, Replica: replica, Primary: s.primary, PrimaryURL: c.MainDB.URL,
		Editor: s.observations().Editor(), Catalog: s.catalog, Problems: s.problems, Capacity: c.BufferSize, BatchSize: c.BatchSize, BatchBytes: int(c.BatchBytes),
		RetryAttempts: c.RetryAttempts, RetryDelay: c.RetryDelay, Interval: c.ProcessInterval, LSNInterval: c.LSNInterval, NoLSN: !c.LSNTracking,
		Logger: s.log, Tracer: s.tracer, Ending: ctx.Done(), Audit: s.decided,
	})
	return err
}

// decided tells the audit log what an operator has decided about the buffer: about a transaction, or "" about all of it.
func (s *site) decided(ctx context.Context, action, transaction string, detail map[string]any) {
	e := auth.Event{Action: action, Row: transaction, Detail: detail}
	if transaction != "" {
		e.Table = "applied_transaction"
	}
	s.audit.Record(ctx, e)
}

// siteID finds the id of the site's own row: the replica knows it, and Redis keeps it
// for a start without a replica. It waits until one of them answers.
func (s *site) siteID(ctx context.Context) (int64, error) {
	for {
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		id, err := transfers.SiteID(asking, s.local, s.config.SiteName)
		cancel()
		switch {
		case err == nil:
			if err := s.store.SetSiteID(ctx, id); errors.Is(err, pending.ErrRenamed) {
				return 0, err
			} else if err != nil {
				s.log.WarnContext(ctx, "the site's id could not be kept for a start without the replica", "error", err)
			}
			return id, nil
		case errors.Is(err, transfers.ErrUnknownSite):
			return 0, fmt.Errorf("the replica has no site %q: add it at main with `opsdb site add %s`", s.config.SiteName, s.config.SiteName)
		}
		if id, kept := s.store.SiteID(ctx); kept == nil && id != 0 {
			s.log.WarnContext(ctx, "the replica does not answer; starting without it", "error", err)
			return id, nil
		}
		s.log.WarnContext(ctx, "waiting for the replica, or for a Redis that knows this site", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// watchReplica checks the replica as soon as it answers.
func (s *site) watchReplica(ctx context.Context) error {
	version, err := schemaVersion()
	if err != nil {
		return err
	}
	findings, err := pg.CheckUntilAnswered(ctx, s.local, pg.Expectation{SchemaVersion: version, Privileges: readPrivileges()})
	if err != nil {
		return err
	}
	return s.judge(ctx, "replica", findings)
}

// judge logs what is not as it should be, and returns what refuses a start.
func (s *site) judge(ctx context.Context, server string, findings pg.Findings) error {
	for _, f := range findings {
		if !f.OK && !f.Fatal {
			s.log.WarnContext(ctx, "the "+server+" is not as it should be", "finding", f.Name, "detail", f.Detail)
		}
	}
	if err := findings.Err(); err != nil {
		return fmt.Errorf("the %s is not fit for this site: %w", server, err)
	}
	return nil
}

// router builds the API of the site.
func (s *site) router() (*api.Router, error) {
	c := s.config
	s.keys = auth.NewKeyRing(auth.KeyRingOptions{Dir: c.SiteKeysDir, Site: c.SiteName, DB: s.local, Logger: s.log})
	s.access = auth.NewAccessTokens(c.SiteName, s.keys, nil)
	credentials := auth.AuthenticatorOptions{DB: s.local, Uses: s.uses, AccessTokens: s.access, Logger: s.log}
	if s.store != nil {
		s.logins, credentials.Credentials, credentials.Denied = s.store, s.store, s.store
	} else {
		s.logins = auth.NewSessionTable(c.SiteName, s.primary, nil)
	}
	credentials.Sessions = s.logins
	s.checker = auth.NewAuthenticator(credentials)
	router, err := api.New(api.Options{
		Site: c.SiteName, Version: apiVersion, Authenticator: s.checker, Problems: s.problems, Logger: s.log,
		Observe: func(a api.Answered) { s.metrics.Answered(a.Operation, a.Method, a.Status, a.Took) },
		Refused: s.audit.Refused, Guessing: s.audit.Guessing,
		Tracer: s.tracer, Metrics: s.metrics.Handler(), RequestTimeout: c.RequestTimeout, LSNTimeout: c.LSNTimeout, Replayed: s.buffer.Replayed, RateLimit: float64(c.RateLimit),
		Origins: c.CORSOrigins, TrustedProxies: c.TrustedProxies,
	})
	if err != nil {
		return nil, err
	}
	if c.GitHub.ClientID != "" {
		if _, err := s.keys.Signing(); err != nil {
			return nil, fmt.Errorf("logins need a key of this site (opsdb keys init): %w", err)
		}
	}
	register(router, s)
	return router, nil
}

func (s *site) observations() *observations.Module {
	return observations.New(observations.Config{
		Writer: s.writer, Reader: s.reader, Site: s.config.SiteName, PackageMaxBytes: int64(s.config.PackageMaxBytes),
	})
}

func (s *site) auth() *auth.Module {
	c := s.config
	return auth.New(auth.Config{
		Site: c.SiteName, Reader: s.reader, Direct: s.direct, Critical: s.writer, DB: s.local, Credentials: s.checker, Keys: s.keys, AccessTokens: s.access, Sessions: s.logins,
		GitHub: newGitHub(c, s.log), FrontendURL: c.FrontendURL, BackendURL: c.BackendURL, Audit: s.audit, Demo: c.Demo, Logger: s.log,
	})
}

// newGitHub is the GitHub that people log in with, nil when none is configured.
func newGitHub(c *config.Config, logger *slog.Logger) *auth.GitHub {
	if c.GitHub.ClientID == "" {
		return nil
	}
	return auth.NewGitHub(auth.GitHubOptions{
		ClientID: c.GitHub.ClientID, ClientSecret: c.GitHub.ClientSecret, Organisation: c.GitHub.Organisation, TeamRoles: c.GitHub.TeamRoleMapping,
		BaseURL: c.GitHub.BaseURL, APIURL: c.GitHub.APIURL, CallbackURL: strings.TrimRight(c.BackendURL, "/") + "/github/callback", Logger: logger,
	})
}

// register adds every operation of the product to a router.
func register(r *api.Router, s *site) {
	s.observations().Register(r)
	planning.New(s.reader).Register(r)
	instruments.New(s.reader).Register(r)
	transfers.New(s.reader).Register(r)
	s.auth().Register(r)
	s.buffer.Register(r)
}

// start begins the work behind the operations.
func (s *site) start(ctx context.Context) {
	prometheus.WrapRegistererWith(prometheus.Labels{"site": s.config.SiteName}, s.metrics.Registry).MustRegister(s.buffer)
	s.buffer.Start(ctx)
	var sink auth.UseSink = auth.NewUseTable(s.primary)
	if s.store != nil {
		sink = s.store
	}
	counting, halt := context.WithCancel(context.WithoutCancel(ctx))
	s.halt = halt
	if s.store != nil {
		s.background.Go(func() { auth.ForwardUses(counting, s.store, auth.NewUseTable(s.primary), time.Minute, s.log) })
	}
	s.background.Go(func() { s.checker.Follow(counting) })
	s.background.Go(func() { s.uses.Run(counting, sink, 10*time.Second, s.log) })
}

// stop ends the work in order; what the processor has sent is settled.
func (s *site) stop(ctx context.Context) error {
	err := s.buffer.Stop(ctx)
	if s.halt != nil {
		s.halt()
	}
	s.background.Wait()
	return errors.Join(err, s.close())
}

func (s *site) close() error {
	var err error
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	if s.redis != nil {
		err = errors.Join(err, s.redis.Close())
	}
	for _, pool := range []*pgxpool.Pool{s.checks, s.local, s.primary} {
		if pool != nil {
			pool.Close()
		}
	}
	return err
}

// apiVersion is the version of the API, which the document carries: the same from
// every build that offers the same operations.
const apiVersion = "0.1.0"

// describe returns a router with every operation and nothing behind them: the
// document needs no server and no setting.
func describe() (*api.Router, error) {
	catalog, err := problem.NewCatalog(problemSets...)
	if err != nil {
		return nil, err
	}
	r, err := api.New(api.Options{Version: apiVersion, Problems: catalog, Metrics: http.NotFoundHandler()})
	if err != nil {
		return nil, err
	}
	register(r, &site{config: &config.Config{Demo: true}, buffer: &buffer.Module{}})
	return r, nil
}
