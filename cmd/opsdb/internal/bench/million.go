package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// measureMillion measures P6: a buffer that is filled up to its capacity of a million
// writes: what it takes of Redis and of the process, whether accepting stays as it
// was, that it refuses the first write too many, and that it drains.
func measureMillion(ctx context.Context, b *bench) (out []Measurement, err error) {
	capacity := b.size(1_000_000, 1_000)
	requests := b.size(1000, 30) * (b.Rounds + 1)
	full, err := b.newSite(ctx, fmt.Sprintf("TRANSACTION_BUFFER_SIZE=%d", capacity))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, full.close(ctx), b.clear(context.WithoutCancel(ctx))) }()
	empty, err := b.newAccept(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, empty.close(ctx)) }()
	if err := full.pause(ctx); err != nil {
		return nil, err
	}
	before, err := full.redisMemory(ctx)
	if err != nil {
		return nil, err
	}
	filled := max(1, capacity-requests-100)
	if err := b.step(fmt.Sprintf("%s buffered writes, shown by the server", thousands(int64(filled))), func() error {
		return b.profiled(ctx, "p6", full.url, func() error { return full.fillStarts(ctx, filled) })
	}); err != nil {
		return nil, err
	}
	after, err := full.redisMemory(ctx)
	if err != nil {
		return nil, err
	}
	rss, heap, err := full.processMemory(ctx)
	if err != nil {
		return nil, err
	}
	perMillion := func(bytes float64) float64 { return bytes / float64(filled) * 1e6 / 1e9 }
	out = append(out,
		measured("P6", "Redis memory of 1,000,000 buffered writes", "GB", perMillion(after-before)).atMost(perMillion(after-before), 1.5, "≤ 1.5 GB"),
		measured("P6", "resident memory of the process with them", "GB", rss/1e9).atMost(rss/1e9, 1, "≤ 1 GB"),
		measured("P6", "of it heap in use", "GB", heap/1e9))

	var p50, p99 series
	var e50, e99 float64
	n := requests / (b.Rounds + 1)
	err = b.inTurns(func(bool) error {
		took, err := latencies(ctx, empty.url, b.start(), n)
		e50, e99 = percentile(took, 0.5), percentile(took, 0.99)
		return err
	}, func(warm bool) error {
		took, err := latencies(ctx, full.url, b.start(), n)
		if err == nil && !warm {
			p50.add(percentile(took, 0.5), e50)
			p99.add(percentile(took, 0.99), e99)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	// "Unchanged" within what two rounds of one and the same server differ by.
	out = append(out,
		compared("P6", "buffered POST with the full buffer, p50", "ms", "an empty buffer", p50).atMost(Median(p50.ratios), 1.2, "unchanged (≤ 1.2×)"),
		compared("P6", "buffered POST with the full buffer, p99", "ms", "an empty buffer", p99))

	refused, err := full.fillUp(ctx, capacity)
	if err != nil {
		return nil, err
	}
	beyond := measured("P6", "writes buffered beyond the capacity before one is refused", "", float64(refused)).noted("503 buffer-full with Retry-After")
	ok := refused == 0
	beyond.Bar, beyond.Met = "0", &ok
	if err := b.Stack.Link.Up(); err != nil {
		return nil, err
	}
	rate, err := full.drainAll(ctx, capacity)
	if err != nil {
		return nil, err
	}
	lost, err := full.compare(ctx, capacity-1) // one is the audit log's event of the pause
	if err != nil {
		return nil, err
	}
	all := measured("P6", fmt.Sprintf("rows missing or too many after draining %s writes", thousands(int64(capacity))), "", float64(lost))
	ok2 := lost == 0
	all.Bar, all.Met = "0", &ok2
	return append(out, beyond,
		measured("P6", "drain from full over 250 ms, the first minute", "tx/s", rate).atLeast(rate, 2500, "drains (P3: ≥ 2,500 tx/s)"), all), nil
}

// redisMemory is what Redis uses for its data.
func (s *site) redisMemory(ctx context.Context) (float64, error) {
	text, err := s.redis.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	_, after, ok := strings.Cut(text, "used_memory:")
	if !ok {
		return 0, errors.New("redis does not tell its memory")
	}
	value, _, _ := strings.Cut(after, "\r\n")
	return strconv.ParseFloat(value, 64)
}

// processMemory is what the site's first server takes: resident, and heap in use.
func (s *site) processMemory(ctx context.Context) (rss, heap float64, err error) {
	m, err := metrics(ctx, s.url, s.Admin, "go_memstats_heap_inuse_bytes", "process_resident_memory_bytes")
	if err != nil {
		return 0, 0, err
	}
	return m["process_resident_memory_bytes"], m["go_memstats_heap_inuse_bytes"], nil
}

// fillUp adds copies up to the capacity and returns how many writes are still
// accepted then, which must be refused with a time to come back.
func (s *site) fillUp(ctx context.Context, capacity int) (accepted int, err error) {
	size, err := s.buffered(ctx)
	if err != nil {
		return 0, err
	}
	first, err := s.started(ctx)
	if err != nil {
		return 0, err
	}
	if err := copies(ctx, capacity-size-1, func(i int, m *mutable) { m.row = newID() }, first); err != nil {
		return 0, err
	}
	for range 5 {
		err := call(ctx, http.MethodPost, s.url+"/executed_obs_units/start", s.Service, s.startBody(), nil)
		var refused *refusal
		switch {
		case err == nil:
			accepted++
		case errors.As(err, &refused) && refused.status == http.StatusServiceUnavailable && refused.header.Get("Retry-After") != "" &&
			strings.Contains(refused.detail, "buffer-full"):
		default:
			return 0, fmt.Errorf("a write beyond the capacity: %w", err)
		}
	}
	return accepted, nil
}

// drainAll drains the full buffer: a minute over the long line, which gives the rate,
// and the rest over a short one, since it would only repeat the same.
func (s *site) drainAll(ctx context.Context, n int) (rate float64, err error) {
	err = s.step("draining from full", func() error {
		if err := s.resume(ctx); err != nil {
			return err
		}
		began := time.Now()
		left, err := s.drainFor(ctx, time.Minute)
		rate = float64(n-left) / time.Since(began).Seconds()
		if err != nil {
			return err
		}
		s.Stack.Link.SetRTT(0)
		defer s.Stack.Link.SetRTT(s.roundTrip())
		return s.drainedTo(ctx, 0, 15*time.Minute)
	})
	return rate, err
}

// drainFor waits for a time, or until the buffer is empty, and returns what is left.
func (s *site) drainFor(ctx context.Context, limit time.Duration) (left int, err error) {
	over := time.After(limit)
	for {
		if left, err = s.buffered(ctx); err != nil || left == 0 {
			return left, err
		}
		select {
		case <-ctx.Done():
			return left, ctx.Err()
		case <-over:
			return left, nil
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// compare counts the site's rows at the primary, and the ledger's but for events of the
// audit log, and returns by how many they differ from n.
func (s *site) compare(ctx context.Context, n int) (int, error) {
	var rows, ledger int
	if err := s.primary.QueryRow(ctx, `SELECT (SELECT count(*) FROM executed_obs_unit WHERE origin_site_id = $1),
(SELECT count(*) FROM applied_transaction WHERE site = $2 AND operation <> 'record-audit-event')`, s.id, s.name).Scan(&rows, &ledger); err != nil {
		return 0, err
	}
	return max(abs(n-rows), abs(n-ledger)), nil
}

func abs(n int) int { return max(n, -n) }
