package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// acceptRequests is how many requests one round sends, one after the other.
const acceptRequests = 500

// benchAccept measures P1: a buffered POST, with credential, validation and
// idempotency key, against a bare net/http server that does one LPUSH of the same
// bytes into the same Redis. The link is down: an outage is when it matters.
func benchAccept(ctx context.Context, d *demo, rounds int) ([]measurement, error) {
	floor, stop, err := startFloor(ctx, d)
	if err != nil {
		return nil, err
	}
	defer stop()
	d.stack.Link.Down()
	body := []byte(`{"obs_unit_id":1,"start_time":"2026-07-15T11:20:00Z","conditions":{"wind_m_s":4.2},"comment":"benchmark"}`)
	ours := request{url: d.url(1) + "/executed_obs_units/start", token: d.tokens.Service, body: body}
	bare := request{url: floor, body: body}
	var p50, p99 series
	for round := range rounds + 1 {
		floorTook, err := sendSeries(ctx, bare, round)
		if err != nil {
			return nil, fmt.Errorf("the floor: %w", err)
		}
		oursTook, err := sendSeries(ctx, ours, round)
		if err != nil {
			return nil, err
		}
		if round == 0 {
			continue // both warm up
		}
		p50.add(percentile(oursTook, 0.5), percentile(floorTook, 0.5))
		p99.add(percentile(oursTook, 0.99), percentile(floorTook, 0.99))
	}
	if err := d.stack.Link.Up(); err != nil {
		return nil, err
	}
	if err := d.drained(ctx, 2*time.Minute); err != nil {
		return nil, err
	}
	const what = "bare net/http + one LPUSH of the same bytes, same Redis"
	return []measurement{
		{ID: "P1", What: "buffered POST, p50, 1 client", Unit: "ms", Floor: what, Ours: median(p50.ours), FloorValue: median(p50.floor),
			Ratio: median(p50.ratios), Rounds: rounds, Bar: "≤ 1.3", Met: median(p50.ratios) <= 1.3},
		{ID: "P1", What: "buffered POST, p99, 1 client", Unit: "ms", Floor: what, Ours: median(p99.ours), FloorValue: median(p99.floor),
			Ratio: median(p99.ratios), Rounds: rounds, Bar: "≤ 2", Met: median(p99.ratios) <= 2},
	}, nil
}

// request is what a series repeats.
type request struct {
	url, token string
	body       []byte
}

// sendSeries sends one request after the other and returns how long each took.
func sendSeries(ctx context.Context, r request, round int) ([]time.Duration, error) {
	took := make([]time.Duration, 0, acceptRequests)
	for i := range acceptRequests {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(r.body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		if r.token != "" {
			req.Header.Set("Authorization", "Bearer "+r.token)
			req.Header.Set("Idempotency-Key", fmt.Sprintf("bench-%d-%d-%d", os.Getpid(), round, i))
		}
		began := time.Now()
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		text, readErr := io.ReadAll(answer.Body)
		took = append(took, time.Since(began))
		if err := errors.Join(readErr, answer.Body.Close()); err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusCreated {
			return nil, fmt.Errorf("%s: %d %s", r.url, answer.StatusCode, text)
		}
	}
	return took, nil
}

// startFloor starts the floor's server as a process of its own, as the product is.
func startFloor(ctx context.Context, d *demo) (url string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	command := sandbox.Command{Path: self, Args: []string{"bench", "floor"}, Env: []string{
		"REDIS_URL=" + d.stack.Redis.DatabaseURL(1), "HTTP_ADDR=" + addr,
	}}
	process, err := d.stack.Run(ctx, "floor", command, func(ctx context.Context) error {
		_, err := apiClient{base: "http://" + addr}.send(ctx, http.MethodPost, "/", nil, nil)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return "http://" + addr + "/", func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := process.Stop(ending); err != nil {
			d.log.Warn("ending the floor's server", "error", err)
		}
	}, nil
}

// drained waits until nothing is left in the observatory's buffer.
func (d *demo) drained(ctx context.Context, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		size, err := d.bufferSize(limited)
		if err == nil && size == 0 {
			return nil
		}
		select {
		case <-limited.Done():
			return errors.Join(errors.New("the buffer still holds "+strconv.Itoa(size)+" transactions"), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}
