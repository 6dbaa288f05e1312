package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// The floors that are servers run as processes of their own, as the product does.
const (
	floorLPush  = "lpush"  // one LPUSH of the body
	floorInsert = "insert" // the statements of a direct write
)

// startFloor starts a floor's server.
func (b *bench) startFloor(ctx context.Context, kind string) (url string, process *sandbox.Process, err error) {
	b.sites++
	env := []string{"REDIS_URL=" + b.Stack.Redis.DatabaseURL(1), "MAIN_DB_URL=" + b.Stack.Primary.URL(b.Database),
		fmt.Sprintf("FLOOR_ROW=%d %d %d", b.unit, b.mainSite, b.user)}
	return b.run(ctx, fmt.Sprintf("floor_%s_%d", kind, b.sites), []string{"bench", "floor", kind}, env, func(ctx context.Context, url string) error {
		return call(ctx, http.MethodPost, url+"/", "", []byte("{}"), nil)
	})
}

// ServeFloor serves a floor at HTTP_ADDR until ctx ends: nothing but net/http and
// the work itself.
func ServeFloor(ctx context.Context, kind string) error {
	var work func(context.Context, []byte) error
	switch kind {
	case floorLPush:
		options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
		if err != nil {
			return err
		}
		client := redis.NewClient(options)
		work = func(ctx context.Context, body []byte) error { return client.LPush(ctx, "floor", body).Err() }
	case floorInsert:
		writers, err := newDirectFloors(ctx, os.Getenv("MAIN_DB_URL"), os.Getenv("FLOOR_ROW"))
		if err != nil {
			return err
		}
		work = func(ctx context.Context, _ []byte) error {
			w := <-writers
			defer func() { writers <- w }()
			return w.write(ctx)
		}
	default:
		return fmt.Errorf("no floor is called %q", kind)
	}
	server := &http.Server{Addr: os.Getenv("HTTP_ADDR"), ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = work(r.Context(), body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		// About as much as the product answers.
		if _, err := w.Write(body[:min(len(body), 1024)]); err != nil {
			return // the client is gone
		}
	})}
	context.AfterFunc(ctx, func() {
		if err := server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
