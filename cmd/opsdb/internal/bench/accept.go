package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opsdb/opsdb/platform/sandbox"
)

const lpushFloor = "bare net/http + one LPUSH of the same bytes, same Redis"

// acceptBench is a site whose link is down, as in an outage, and the floor beside
// it.
type acceptBench struct {
	*site
	floor   string
	process *sandbox.Process
}

func (b *bench) newAccept(ctx context.Context) (*acceptBench, error) {
	s, err := b.newSite(ctx)
	if err != nil {
		return nil, err
	}
	url, process, err := b.startFloor(ctx, floorLPush)
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	if err := s.pause(ctx); err != nil {
		return nil, errors.Join(err, b.stop(ctx, process), s.close(ctx))
	}
	b.Stack.Link.Down()
	return &acceptBench{site: s, floor: url, process: process}, nil
}

func (a *acceptBench) close(ctx context.Context) error {
	return errors.Join(a.Stack.Link.Up(), a.stop(ctx, a.process), a.site.close(ctx))
}

// bare is a request to the floor with the same body.
func bare(r request) request {
	return request{method: r.method, path: "/", body: r.body, want: 201}
}

// measureAccept measures P1: a buffered POST with credential, validation and
// idempotency key. The link is down: an outage is when it matters.
func measureAccept(ctx context.Context, b *bench) (out []Measurement, err error) {
	a, err := b.newAccept(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.close(ctx)) }()
	p50, p99, err := a.measure(ctx, a.url)
	if err != nil {
		return nil, err
	}
	return []Measurement{
		compared("P1", "buffered POST, p50, 1 client", "ms", lpushFloor, p50).atMost(Median(p50.ratios), 1.3, "≤ 1.3×"),
		compared("P1", "buffered POST, p99, 1 client", "ms", lpushFloor, p99).atMost(Median(p99.ratios), 2, "≤ 2×"),
	}, nil
}

// measure takes turns between the floor and the server at url, one client each.
func (a *acceptBench) measure(ctx context.Context, url string) (p50, p99 series, err error) {
	r, n := a.start(), a.size(1000, 30)
	var floor50, floor99 float64
	err = a.inTurns(func(bool) error {
		took, err := latencies(ctx, a.floor, bare(r), n)
		floor50, floor99 = percentile(took, 0.5), percentile(took, 0.99)
		return err
	}, func(warm bool) error {
		var took []time.Duration
		err := a.profiled(ctx, "p1", url, func() (err error) {
			took, err = latencies(ctx, url, r, n)
			return err
		})
		if err == nil && !warm {
			p50.add(percentile(took, 0.5), floor50)
			p99.add(percentile(took, 0.99), floor99)
		}
		return err
	})
	return p50, p99, err
}

// measureThroughput measures P2: the same request from 64 connections at once, and
// what one costs in allocations.
func measureThroughput(ctx context.Context, b *bench) (out []Measurement, err error) {
	a, err := b.newAccept(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.close(ctx)) }()
	r, n := b.start(), b.size(20_000, 640)
	const connections = 64
	var rate series
	var floorRate float64
	var allocated []float64
	err = b.inTurns(func(bool) (err error) {
		floorRate, err = throughput(ctx, a.floor, bare(r), connections, n)
		return err
	}, func(warm bool) error {
		before, err := a.mallocs(ctx)
		if err != nil {
			return err
		}
		var perSecond float64
		err = a.profiled(ctx, "p2", a.url, func() (err error) {
			perSecond, err = throughput(ctx, a.url, r, connections, n)
			return err
		})
		if err != nil {
			return err
		}
		after, err := a.mallocs(ctx)
		if err == nil && !warm {
			rate.add(perSecond, floorRate)
			allocated = append(allocated, (after-before)/float64(n/connections*connections))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	allocations := measured("P2", "heap allocations a request, of the whole process", "", Median(allocated))
	allocations.Rounds = len(allocated)
	return []Measurement{
		compared("P2", fmt.Sprintf("buffered POST, %d connections", connections), "/s", lpushFloor, rate).atLeast(Median(rate.ratios), 0.5, "≥ 0.5 of the floor"),
		allocations.atMost(Median(allocated), 60, "≤ 60"),
	}, nil
}

// mallocs is how many heap objects the site's server has allocated in its life.
func (s *site) mallocs(ctx context.Context) (float64, error) {
	m, err := metrics(ctx, s.url, s.Admin, "go_memstats_mallocs_total")
	return m["go_memstats_mallocs_total"], err
}
