// Package pg opens PostgreSQL for opsdb: pools for reading and writing, the
// processor's own connection over the long link, one set of codecs for all of
// them, and the checks that a server is what its site needs.
package pg

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// connectTimeout bounds one attempt to connect: beyond it a server that holds
// packets without answering counts as unreachable.
const connectTimeout = 5 * time.Second

// Options of a pool.
type Options struct {
	// ApplicationName is what pg_stat_activity shows. Direct writes of a
	// secondary must not share the processor's: it ends its namesakes.
	ApplicationName string
	// MaxConns bounds the pool; 0 means four a CPU, at least 8.
	MaxConns int32
	// Tracer sees every query; may be nil.
	Tracer pgx.QueryTracer
	// Params are further run-time parameters; they win over the pool's own.
	Params map[string]string
}

// OpenWriter returns a pool for direct writes at the primary. A write that waits
// 3 s for a row lock fails with 55P03 rather than holding its client. Nothing is
// connected yet: an unreachable server is no error here. The caller closes it.
func OpenWriter(ctx context.Context, url string, o Options) (*pgxpool.Pool, error) {
	return open(ctx, url, o, map[string]string{
		"lock_timeout":                        "3s",
		"idle_in_transaction_session_timeout": "15s",
		"tcp_user_timeout":                    "15s",
		"client_connection_check_interval":    "2s",
	})
}

// OpenReader returns a pool for reading, which refuses to write. Every statement
// is planned for its own values: a generic plan of one with optional filters
// cannot use the index that fits. Nothing is connected yet, as with OpenWriter.
func OpenReader(ctx context.Context, url string, o Options) (*pgxpool.Pool, error) {
	return open(ctx, url, o, map[string]string{
		"plan_cache_mode":               "force_custom_plan",
		"default_transaction_read_only": "on",
	})
}

// OpenChecks returns a pool for the few fixed queries that writes are checked with,
// at the site's replica or at main. None of them has optional filters, so one generic plan a
// connection serves them all: planning would cost more than answering. Nothing is
// connected yet, as with OpenWriter.
func OpenChecks(ctx context.Context, url string, o Options) (*pgxpool.Pool, error) {
	return open(ctx, url, o, map[string]string{
		"plan_cache_mode":               "force_generic_plan",
		"default_transaction_read_only": "on",
		// Several queries of one pipeline without a BEGIN are one snapshot.
		"default_transaction_isolation": "repeatable read",
	})
}

func open(ctx context.Context, url string, o Options, params map[string]string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// pgx hides the password in this error.
		return nil, fmt.Errorf("reading the database URL: %w", err)
	}
	config.MaxConns = o.MaxConns
	if config.MaxConns == 0 {
		config.MaxConns = max(8, 4*int32(runtime.NumCPU()))
	}
	prepare(config.ConnConfig, o.ApplicationName, params, o.Params)
	if params["default_transaction_read_only"] == "on" {
		acceptPrimary(config.ConnConfig)
	}
	config.ConnConfig.Tracer = o.Tracer
	codecs := &codecs{}
	config.AfterConnect = codecs.register
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("opening the pool: %w", err)
	}
	return pool, nil
}

// acceptPrimary lets a connection that is read-only by its own choice satisfy
// target_session_attrs=read-write, which a URL of several hosts has: what counts is
// that the server takes writes, and not that this connection would.
func acceptPrimary(config *pgx.ConnConfig) {
	validate := config.ValidateConnect
	if validate == nil {
		return
	}
	config.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		err := validate(ctx, conn)
		if errors.Is(err, pgconn.ErrReadOnlyConnection) {
			return pgconn.ValidateConnectTargetSessionAttrsPrimary(ctx, conn)
		}
		return err
	}
}

// prepare gives a connection's configuration its dialer, its limits and its
// run-time parameters, the later sets winning.
func prepare(config *pgx.ConnConfig, applicationName string, params ...map[string]string) {
	config.ConnectTimeout = connectTimeout
	config.DialFunc = dialer().DialContext
	config.RuntimeParams["application_name"] = applicationName
	config.RuntimeParams["timezone"] = "UTC"
	for _, set := range params {
		for name, value := range set {
			config.RuntimeParams[name] = value
		}
	}
}
