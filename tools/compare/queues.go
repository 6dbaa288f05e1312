package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// record is what is written: a number to tell order and losses by, and a payload of
// an execution's size.
type record struct {
	Seq     int    `json:"seq"`
	Payload string `json:"payload"`
}

// queue is what somebody would take instead: it accepts a record durably, and its
// workers write each into the primary.
type queue interface {
	enqueue(ctx context.Context, r record) error
	// work starts the workers, which run until the process ends.
	work(ctx context.Context) error
}

// serve runs a queue behind bare net/http until it is killed: POST / accepts a
// record, POST /work starts its workers. It is a process of its own, so that it can
// be killed.
func serve(ctx context.Context, kind string) error {
	workers, err := strconv.Atoi(os.Getenv("WORKERS"))
	if err != nil {
		return err
	}
	main, err := openPool(ctx, os.Getenv("MAIN_DB_URL"), workers)
	if err != nil {
		return err
	}
	insert := func(ctx context.Context, r record) error {
		_, err := main.Exec(ctx, `INSERT INTO compared (kind, seq, payload) VALUES ($1, $2, $3)`, os.Getenv("RUN"), r.Seq, r.Payload)
		return err
	}
	var q queue
	switch kind {
	case "naive":
		options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
		if err != nil {
			return err
		}
		q = &naive{redis.NewClient(options), insert}
	case "asynq":
		if q, err = newAsynq(workers, insert); err != nil {
			return err
		}
	case "river":
		if q, err = newRiver(ctx, workers, insert); err != nil {
			return err
		}
	default:
		return fmt.Errorf("no queue is called %q", kind)
	}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in record
		if err == nil {
			err = json.Unmarshal(body, &in)
		}
		if err == nil {
			err = q.enqueue(r.Context(), in)
		}
		answer(w, err)
	})
	mux.HandleFunc("POST /work", func(w http.ResponseWriter, r *http.Request) { answer(w, q.work(context.WithoutCancel(r.Context()))) })
	server := &http.Server{Addr: os.Getenv("HTTP_ADDR"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() {
		if err := server.Close(); err != nil {
			slog.Error("closing the server", "error", err)
		}
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// openPool opens connections to a primary, all of them at once: over a long line a
// cold one costs a second.
func openPool(ctx context.Context, url string, n int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns, config.MinConns = int32(n), int32(n)
	return pgxpool.NewWithConfig(ctx, config)
}

// naive is a Redis list and a loop: the oldest record is written in a transaction of
// its own, one round trip, and taken off the list afterwards.
type naive struct {
	redis  *redis.Client
	insert func(context.Context, record) error
}

func (n *naive) enqueue(ctx context.Context, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return n.redis.LPush(ctx, "naive", text).Err()
}

func (n *naive) work(ctx context.Context) error {
	go func() {
		for {
			if err := n.one(ctx); errors.Is(err, redis.Nil) {
				time.Sleep(10 * time.Millisecond)
			} else if err != nil {
				slog.Error("naive", "error", err)
				time.Sleep(time.Second)
			}
		}
	}()
	return nil
}

func (n *naive) one(ctx context.Context) error {
	text, err := n.redis.LIndex(ctx, "naive", -1).Result()
	if err != nil {
		return err
	}
	var r record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	if err := n.insert(ctx, r); err != nil {
		return err
	}
	return n.redis.RPop(ctx, "naive").Err()
}

// asynqQueue is hibiken/asynq as its documentation shows it, with its defaults.
type asynqQueue struct {
	client *asynq.Client
	server *asynq.Server
	insert func(context.Context, record) error
}

const taskKind = "write"

func newAsynq(workers int, insert func(context.Context, record) error) (*asynqQueue, error) {
	options, err := asynq.ParseRedisURI(os.Getenv("REDIS_URL"))
	if err != nil {
		return nil, err
	}
	return &asynqQueue{
		client: asynq.NewClient(options), insert: insert,
		server: asynq.NewServer(options, asynq.Config{Concurrency: workers, LogLevel: asynq.WarnLevel}),
	}, nil
}

func (q *asynqQueue) enqueue(ctx context.Context, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = q.client.EnqueueContext(ctx, asynq.NewTask(taskKind, text))
	return err
}

func (q *asynqQueue) work(context.Context) error {
	mux := asynq.NewServeMux()
	mux.HandleFunc(taskKind, func(ctx context.Context, t *asynq.Task) error {
		var r record
		if err := json.Unmarshal(t.Payload(), &r); err != nil {
			return err
		}
		return q.insert(ctx, r)
	})
	return q.server.Start(mux)
}

// Kind implements river.JobArgs.
func (record) Kind() string { return taskKind }

// riverQueue is riverqueue/river in a PostgreSQL at the site. Its default hour until
// a job whose worker died is taken up again is set to the shortest that its job
// timeout allows.
type riverQueue struct{ client *river.Client[pgx.Tx] }

type riverWorker struct {
	river.WorkerDefaults[record]
	insert func(context.Context, record) error
}

// Work implements river.Worker.
func (w *riverWorker) Work(ctx context.Context, job *river.Job[record]) error {
	return w.insert(ctx, job.Args)
}

func newRiver(ctx context.Context, workers int, insert func(context.Context, record) error) (*riverQueue, error) {
	site, err := openPool(ctx, os.Getenv("SITE_DB_URL"), 10)
	if err != nil {
		return nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(site), nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	all := river.NewWorkers()
	river.AddWorker(all, &riverWorker{insert: insert})
	client, err := river.NewClient(riverpgxv5.New(site), &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}, Workers: all,
		JobTimeout: 30 * time.Second, RescueStuckJobsAfter: riverRescue,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	return &riverQueue{client}, err
}

const riverRescue = time.Minute

func (q *riverQueue) enqueue(ctx context.Context, r record) error {
	_, err := q.client.Insert(ctx, r, nil)
	return err
}

func (q *riverQueue) work(ctx context.Context) error { return q.client.Start(ctx) }
