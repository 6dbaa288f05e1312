package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// flushRedis empties the queues' database of the stack's Redis.
func flushRedis(ctx context.Context, url string) error {
	options, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	return errors.Join(client.FlushDB(ctx).Err(), client.Close())
}

// clearRiver empties river's tables, if it has made them.
func clearRiver(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	var made bool
	err = conn.QueryRow(ctx, `SELECT to_regclass('river_job') IS NOT NULL`).Scan(&made)
	if err == nil && made {
		_, err = conn.Exec(ctx, `TRUNCATE river_job`)
	}
	return errors.Join(err, conn.Close(ctx))
}

// status is an answer that is no success.
type status struct{ code int }

// Error implements error.
func (s status) Error() string { return fmt.Sprintf("status %d", s.code) }

// answered tells whether a server answered at all.
func answered(err error) bool {
	var s status
	return err == nil || errors.As(err, &s)
}

// get reads JSON into out, nil for nothing.
func get(ctx context.Context, url, token string, out any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	text, readErr := io.ReadAll(response.Body)
	if err := errors.Join(readErr, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode > 299 {
		return status{response.StatusCode}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
