package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// looksEvery is how often a watcher of P4 asks: often enough for a bar of 10 ms, and
// not so often that the watching takes the processors from what is watched.
const looksEvery = 500 * time.Microsecond

// measureReplicated measures P4: how long after the site's replica shows a commit its
// transactions are replicated. Two watchers look: one at the replica for the site's
// commit number, one at Redis for the number up to which pending rows were dropped,
// which is raised by the script that makes transactions replicated.
func measureReplicated(ctx context.Context, b *bench) (out []Measurement, err error) {
	s, err := b.newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	replica, err := pgx.Connect(ctx, b.Stack.Replica.URL(b.Database))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, replica.Close(context.WithoutCancel(ctx))) }()

	d := &drainBench{site: s}
	for i, load := range []struct{ rounds, transactions int }{{b.size(100, 2), 1}, {b.size(12, 2), b.size(1000, 100)}} {
		var late []time.Duration
		if err := b.profiled(ctx, []string{"p4-1", "p4-1000"}[i], s.url, func() error {
			for range load.rounds {
				round, err := d.lateness(ctx, replica, load.transactions)
				if err != nil {
					return err
				}
				late = append(late, round...)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		what := fmt.Sprintf("from replayed to replicated, flushes of %s", thousands(int64(load.transactions)))
		p99, p50 := measured("P4", what+", p99", "ms", percentile(late, 0.99)), measured("P4", what+", p50", "ms", percentile(late, 0.5))
		p50.Rounds, p99.Rounds = len(late), len(late)
		out = append(out, p99.atMost(percentile(late, 0.99), 10, "≤ 10 ms"), p50)
	}
	backlog := b.size(5000, 200)
	confirmed, err := d.onePoll(ctx, backlog)
	if err != nil {
		return nil, err
	}
	want := float64(b.size(1000, 100))
	return append(out,
		measured("P4", fmt.Sprintf("transactions confirmed by one poll, of %s that the replica shows at once", thousands(int64(backlog))), "", float64(confirmed)).
			atLeast(float64(confirmed), want, fmt.Sprintf("≥ %s", thousands(int64(want))))), nil
}

// sighting is when a watcher saw a number for the first time.
type sighting struct {
	number int64
	at     time.Time
}

// watch looks until a number has reached the goal, and returns each rise.
func watch(ctx context.Context, ask func(context.Context) (int64, error), goal func() int64) ([]sighting, error) {
	var seen []sighting
	last := int64(-1)
	tick := time.NewTicker(looksEvery)
	defer tick.Stop()
	for ; ; <-tick.C {
		n, err := ask(ctx)
		if err != nil {
			return nil, err
		}
		if n > last {
			seen, last = append(seen, sighting{n, time.Now()}), n
		}
		if g := goal(); g > 0 && last >= g {
			return seen, nil
		}
	}
}

// lateness drains n transactions and returns, for each commit, the time from the
// replica's showing it to its being replicated.
func (d *drainBench) lateness(ctx context.Context, replica *pgx.Conn, n int) ([]time.Duration, error) {
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := d.pause(ctx); err != nil {
		return nil, err
	}
	if err := d.fill(ctx, n, d.unit); err != nil {
		return nil, err
	}
	if err := d.shows(ctx, d.url, n); err != nil {
		return nil, err
	}
	onReplica := func(ctx context.Context) (n int64, err error) {
		err = replica.QueryRow(ctx, `SELECT batch FROM site_status WHERE site = $1`, d.name).Scan(&n)
		return n, err
	}
	inRedis := func(ctx context.Context) (int64, error) { return d.number(ctx, "swept") }
	before, err := onReplica(ctx)
	if err != nil {
		return nil, err
	}
	// The last commit number is known once everything is drained.
	goals := make(chan int64, 1)
	drained := make(chan error, 1)
	var replayed, replicated []sighting
	watching := make(chan error, 2)
	for _, w := range []struct {
		ask  func(context.Context) (int64, error)
		into *[]sighting
	}{{onReplica, &replayed}, {inRedis, &replicated}} {
		goal := int64(0)
		go func() {
			var err error
			*w.into, err = watch(limited, w.ask, func() int64 {
				if goal == 0 {
					select {
					case goal = <-goals:
						goals <- goal // for the other watcher
					default:
					}
				}
				return goal
			})
			watching <- err
		}()
	}
	go func() {
		err := d.resume(limited)
		if err == nil {
			err = d.drainedTo(limited, 0, time.Minute)
		}
		var last []redis.Z
		if err == nil {
			last, err = d.redis.ZRevRangeWithScores(limited, d.key("applied"), 0, 0).Result()
		}
		if err == nil && len(last) == 0 {
			err = errors.New("nothing was applied")
		}
		if err == nil {
			goals <- int64(last[0].Score)
		} else {
			cancel()
		}
		drained <- err
	}()
	if err := errors.Join(<-drained, <-watching, <-watching); err != nil {
		return nil, err
	}
	var late []time.Duration
	at := 0
	for _, shown := range replayed {
		if shown.number <= before {
			continue
		}
		for replicated[at].number < shown.number {
			at++
		}
		late = append(late, max(0, replicated[at].at.Sub(shown.at)))
	}
	return late, nil
}

// number reads a number that the site keeps in Redis, 0 when it has none.
func (s *site) number(ctx context.Context, key string) (int64, error) {
	text, err := s.redis.Get(ctx, s.key(key)).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// onePoll applies n transactions while the replica does not replay, lets the server see
// all of them at once, and returns how many became replicated between two looks at Redis.
func (d *drainBench) onePoll(ctx context.Context, n int) (most int64, err error) {
	if err := d.Stack.Replica.PauseReplay(ctx); err != nil {
		return 0, err
	}
	paused := true
	defer func() {
		if paused {
			err = errors.Join(err, d.Stack.Replica.ResumeReplay(context.WithoutCancel(ctx)))
		}
	}()
	if err := d.pause(ctx); err != nil {
		return 0, err
	}
	if err := d.fill(ctx, n, d.unit); err != nil {
		return 0, err
	}
	if err := d.resume(ctx); err != nil {
		return 0, err
	}
	if err := d.drainedTo(ctx, 0, time.Minute); err != nil {
		return 0, err
	}
	count := func() (int64, error) { return d.redis.ZCard(ctx, d.key("replicated")).Result() }
	last, err := count()
	if err != nil {
		return 0, err
	}
	all := last + int64(n)
	// The server sleeps until the replica has replayed everything, or its polls would
	// confirm what had just been replayed: that is the replica's speed.
	if err := d.servers[0].Freeze(); err != nil {
		return 0, err
	}
	frozen := true
	defer func() {
		if frozen {
			err = errors.Join(err, d.servers[0].Thaw())
		}
	}()
	if err := d.Stack.Replica.ResumeReplay(ctx); err != nil {
		return 0, err
	}
	paused = false
	if err := d.Stack.WaitForReplay(ctx); err != nil {
		return 0, err
	}
	frozen = false
	if err := d.servers[0].Thaw(); err != nil {
		return 0, err
	}
	deadline := time.Now().Add(time.Minute)
	for last < all {
		now, err := count()
		if err != nil {
			return 0, err
		}
		most, last = max(most, now-last), now
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%d transactions are still not replicated", all-last)
		}
	}
	return most, nil
}
