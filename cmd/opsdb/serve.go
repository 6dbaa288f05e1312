package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/config"
	"github.com/opsdb/opsdb/platform/observe"
	"github.com/opsdb/opsdb/platform/problem"
)

// newServeCommand returns `opsdb serve`, the API server of a site.
func newServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the API server of this site",
		Long: `Run the API server of this site. Settings come from the environment and from a
.env file; opsdb config shows them, opsdb doctor tries them. A server that
answers wrongly refuses the start; one that cannot be reached is tried again
while /health says so.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load()
			if err != nil {
				return err
			}
			logger, err := observe.NewLogger(os.Stderr, c.LogLevel, c.LogFormat, c.SiteName)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, logger)
		},
	}
}

// serve runs the server until ctx ends, and then stops in order: no new requests,
// those under way finished, the processor's flush settled, connections closed.
func serve(ctx context.Context, c *config.Config, logger *slog.Logger) error {
	listener, err := net.Listen("tcp", c.HTTPAddr)
	if err != nil {
		return fmt.Errorf("listening at %s: %w", c.HTTPAddr, err)
	}
	metrics := observe.NewMetrics(c.SiteName, version())
	var tracing *observe.Tracing
	if c.Telemetry.Traces() {
		if tracing, err = observe.StartTracing(ctx, c.SiteName, version(), logger); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	var handler atomic.Value
	handler.Store(starting(c.SiteName))
	server := api.NewServer(c.HTTPAddr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.Load().(http.HandlerFunc)(w, r)
	}), logger)

	// Whatever ends the server ends the rest with it.
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			end(fmt.Errorf("serving at %s: %w", c.HTTPAddr, err))
		}
	}()
	if c.MetricsAddr != "" {
		go func() {
			if err := metrics.Serve(running, c.MetricsAddr, logger, nil); err != nil {
				end(fmt.Errorf("serving metrics at %s: %w", c.MetricsAddr, err))
			}
		}()
	}
	for _, setting := range unencrypted(c) {
		logger.Warn("connections of this setting may leave the machine unencrypted: sslmode=verify-full, rediss:// or a private network between the machines", "setting", setting)
	}
	logger.Info("opsdb begins", "version", version(), "type", c.SiteType, "addr", listener.Addr().String())

	s, err := openSite(running, c, logger, metrics, tracing, end)
	if err == nil {
		var router *api.Router
		if router, err = s.router(); err == nil {
			handler.Store(http.HandlerFunc(router.Handler().ServeHTTP))
			s.start(running)
			logger.Info("opsdb serves", "addr", listener.Addr().String())
			<-running.Done()
		}
	}
	cause := context.Cause(running)
	end(nil) // whatever still waits for a server to answer need not be waited for
	logger.Info("opsdb ends", "reason", cause)

	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownTimeout)
	defer cancel()
	stopErr := server.Shutdown(stopping)
	if errors.Is(stopErr, context.DeadlineExceeded) {
		stopErr = errors.Join(fmt.Errorf("requests were still under way after %s", c.ShutdownTimeout), server.Close())
	}
	if s != nil {
		stopErr = errors.Join(stopErr, s.stop(stopping))
	}
	if tracing != nil {
		if err := tracing.Stop(stopping); err != nil {
			logger.Warn("traces are lost", "error", err) // and nothing else is
		}
	}
	switch {
	case ctx.Err() != nil: // told to stop, at whatever moment
		return stopErr
	case err != nil:
		return errors.Join(err, stopErr)
	}
	return errors.Join(cause, stopErr)
}

// beginning is what every route but the liveness check answers before the site's
// own servers have answered for the first time.
var beginning = &problem.Kind{
	Code: "starting", Title: "The server is starting", Status: http.StatusServiceUnavailable, RetryAfter: 2 * time.Second,
	Doc: "The site's own PostgreSQL or Redis has not answered yet. Try again in a few seconds; /health/live answers already.",
}

// starting answers until the site is open.
func starting(site string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Site", site)
		if r.URL.Path == "/health/live" {
			w.Header().Set("Content-Type", "application/json")
			if _, err := w.Write([]byte(`{"status":"starting"}`)); err != nil {
				return // the client is gone
			}
			return
		}
		api.WriteProblem(w, r, beginning.New("the site's own servers have not answered yet"))
	}
}
