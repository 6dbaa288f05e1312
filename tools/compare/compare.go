package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// contender is one of those that are compared.
type contender interface {
	name() string
	// start begins with nothing accepted and no worker running.
	start(ctx context.Context, run string) error
	accept(ctx context.Context, seq int) error
	work(ctx context.Context) error
	// seqs are the records in the primary, in the order in which they got there.
	seqs(ctx context.Context) ([]int, error)
	kill(ctx context.Context) error // SIGKILL; a new process works on
	stop(ctx context.Context) error
	drain(s sizes) int // how many to drain
}

type comparison struct {
	stack  *stack
	size   sizes
	report report
	runs   int
}

// all measures everything; what cannot be measured does not keep the rest from it.
func (c *comparison) all(ctx context.Context) error {
	contenders := []contender{
		&product{stack: c.stack},
		&other{stack: c.stack, kind: "naive", title: "naive loop, one transaction a round trip", workers: 1},
		&other{stack: c.stack, kind: "asynq", title: "asynq, 50 workers", workers: 50},
		&other{stack: c.stack, kind: "river", title: "river, 50 workers", workers: 50},
		&other{stack: c.stack, kind: "asynq", title: "asynq, 1 worker", workers: 1},
		&other{stack: c.stack, kind: "river", title: "river, 1 worker", workers: 1},
	}
	var failed error
	rows := make([]row, len(contenders))
	var p50, p99, rate [][]float64 = make([][]float64, len(contenders)), make([][]float64, len(contenders)), make([][]float64, len(contenders))
	for round := range c.size.rounds {
		for i, who := range contenders {
			fmt.Printf("round %d of %d: %s …\n", round+1, c.size.rounds, who.name())
			rows[i].Name = who.name()
			a, b, r, err := c.round(ctx, who, &rows[i])
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", who.name(), err))
				if ctx.Err() != nil {
					return failed
				}
				continue
			}
			p50[i], p99[i], rate[i] = append(p50[i], a), append(p99[i], b), append(rate[i], r)
		}
	}
	for i, who := range contenders {
		rows[i].AcceptP50, rows[i].AcceptP99, rows[i].DrainRate = median(p50[i]), median(p99[i]), median(rate[i])
		if strings.HasSuffix(who.name(), "1 worker") {
			continue // as the ones with fifty, but slower
		}
		fmt.Printf("kill -9 in the middle: %s …\n", who.name())
		killed, err := c.killed(ctx, who)
		failed = errors.Join(failed, err)
		rows[i].Killed = killed
		if ctx.Err() != nil {
			return failed
		}
	}
	c.report.Rows = rows
	return failed
}

func (c *comparison) begin(ctx context.Context, who contender) error {
	c.runs++
	return who.start(ctx, fmt.Sprintf("run%d", c.runs))
}

// round measures accepting with no worker running, and then draining.
func (c *comparison) round(ctx context.Context, who contender, into *row) (p50, p99, rate float64, err error) {
	if err := c.begin(ctx, who); err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, who.stop(ctx)) }()
	var took []time.Duration
	n := who.drain(c.size)
	for seq := range c.size.accepts {
		began := time.Now()
		if err := who.accept(ctx, seq); err != nil {
			return 0, 0, 0, err
		}
		took = append(took, time.Since(began))
	}
	// With one worker, what the accepting has left would take minutes to drain: a
	// fresh start has only what is drained.
	if err := who.stop(ctx); err != nil {
		return 0, 0, 0, err
	}
	if err := c.begin(ctx, who); err != nil {
		return 0, 0, 0, err
	}
	if err := acceptMany(ctx, who, n); err != nil {
		return 0, 0, 0, err
	}
	began := time.Now()
	if err := who.work(ctx); err != nil {
		return 0, 0, 0, err
	}
	if err := arrived(ctx, who, n, 5*time.Minute); err != nil {
		return 0, 0, 0, fmt.Errorf("draining: %w", err)
	}
	rate = float64(n) / time.Since(began).Seconds()
	seqs, err := who.seqs(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	into.Drained += len(seqs)
	into.OutOfOrder += outOfOrder(seqs)
	return percentile(took, 0.5), percentile(took, 0.99), rate, nil
}

// killed kills the process in the middle of draining and waits for what it has left.
func (c *comparison) killed(ctx context.Context, who contender) (k *killed, err error) {
	if err := c.begin(ctx, who); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, who.stop(ctx)) }()
	n := min(c.size.kill, max(who.drain(c.size), 4))
	if err := acceptMany(ctx, who, n); err != nil {
		return nil, err
	}
	if err := who.work(ctx); err != nil {
		return nil, err
	}
	if err := arrived(ctx, who, n/4, time.Minute); err != nil {
		return nil, err
	}
	if err := who.kill(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	err = arrived(ctx, who, n, c.size.patience)
	k = &killed{Accepted: n, AllThere: err == nil, Seconds: time.Since(began).Seconds()}
	if err != nil && !errors.Is(err, errTooLong) {
		return nil, err
	}
	seqs, err := who.seqs(ctx)
	if err != nil {
		return nil, err
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(seqs)))
	k.Missing, k.Doubled, k.OutOfOrder = n-len(distinct), len(seqs)-len(distinct), outOfOrder(seqs)
	return k, nil
}

// acceptMany accepts n records in their order, the first before the second.
func acceptMany(ctx context.Context, who contender, n int) error {
	for seq := range n {
		if err := who.accept(ctx, seq); err != nil {
			return err
		}
	}
	return nil
}

// arrived waits until n different records are in the primary.
func arrived(ctx context.Context, who contender, n int, limit time.Duration) error {
	return until(ctx, limit, func() (bool, error) {
		seqs, err := who.seqs(ctx)
		return len(slices.Compact(slices.Sorted(slices.Values(seqs)))) >= n, err
	})
}

// outOfOrder counts the records that came after a later one.
func outOfOrder(seqs []int) (n int) {
	latest := -1
	for _, seq := range seqs {
		if seq < latest {
			n++
		}
		latest = max(latest, seq)
	}
	return n
}

var payload = strings.Repeat("x", 600)

// product is opsdb: a start of an execution, with credential and validation.
type product struct {
	*stack
	run string
}

func (p *product) name() string { return "opsdb" }

func (p *product) start(ctx context.Context, run string) error {
	p.run = run
	return post(ctx, p.ObservatoryURL+"/buffer/pause", p.Admin, nil)
}

func (p *product) accept(ctx context.Context, seq int) error {
	return post(ctx, p.ObservatoryURL+"/executed_obs_units/start", p.Service,
		map[string]any{"obs_unit_id": 1, "comment": fmt.Sprintf("%s %d", p.run, seq)})
}

func (p *product) work(ctx context.Context) error {
	return post(ctx, p.ObservatoryURL+"/buffer/resume", p.Admin, nil)
}

// seqs: nothing is deleted meanwhile, so rows lie in the table as they came.
func (p *product) seqs(ctx context.Context) ([]int, error) {
	return p.ints(ctx, `SELECT split_part(comment, ' ', 2)::int FROM executed_obs_unit WHERE comment LIKE $1 ORDER BY ctid`, p.run+" %")
}

func (s *stack) ints(ctx context.Context, sql string, arg string) ([]int, error) {
	rows, err := s.primary.Query(ctx, sql, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []int
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}

// kill kills the API server, which the demo starts again.
func (p *product) kill(context.Context) error {
	text, err := os.ReadFile(filepath.Join(p.dir, "ready.json"))
	if err != nil {
		return err
	}
	var ready struct {
		Pids struct {
			Observatory []int `json:"api_observatory"`
		}
	}
	if err := json.Unmarshal(text, &ready); err != nil {
		return err
	}
	return syscall.Kill(ready.Pids.Observatory[0], syscall.SIGKILL)
}

// stop lets what is left drain.
func (p *product) stop(ctx context.Context) error {
	if err := until(ctx, time.Minute, func() (bool, error) { return p.work(ctx) == nil, nil }); err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	return until(ctx, time.Minute, func() (bool, error) {
		left, err := p.ints(ctx, `SELECT count(*)::int FROM executed_obs_unit WHERE comment LIKE $1`, p.run+" %")
		return err == nil && len(left) == 1 && p.empty(ctx), err
	})
}

// empty tells whether the observatory has nothing buffered.
func (p *product) empty(ctx context.Context) bool {
	var stats struct {
		Size *int `json:"size"`
	}
	return get(ctx, p.ObservatoryURL+"/buffer-stats", p.Admin, &stats) == nil && stats.Size != nil && *stats.Size == 0
}

func (p *product) drain(s sizes) int { return s.drain }

// other is one of the queues, as a process of this program.
type other struct {
	*stack
	kind, title string
	workers     int
	run, url    string
	process     *exec.Cmd
}

func (o *other) name() string { return o.title }

func (o *other) start(ctx context.Context, run string) error {
	o.run = run
	if err := o.forget(ctx); err != nil {
		return err
	}
	return o.spawn(ctx)
}

// forget empties the queue's storage.
func (o *other) forget(ctx context.Context) error {
	if err := flushRedis(ctx, o.queueRedis()); err != nil {
		return err
	}
	return clearRiver(ctx, o.siteDatabase())
}

func (o *other) spawn(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	o.url = "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	o.process = exec.Command(self, "serve", o.kind)
	o.process.Stdout, o.process.Stderr = os.Stderr, os.Stderr
	o.process.Env = append(os.Environ(), "RUN="+o.run, fmt.Sprintf("WORKERS=%d", o.workers), "HTTP_ADDR="+strings.TrimPrefix(o.url, "http://"),
		"MAIN_DB_URL="+o.throughLine(), "SITE_DB_URL="+o.siteDatabase(), "REDIS_URL="+o.queueRedis())
	if err := o.process.Start(); err != nil {
		return err
	}
	var last error
	if err := until(ctx, 30*time.Second, func() (bool, error) {
		last = get(ctx, o.url+"/", "", nil)
		return answered(last), nil
	}); err != nil {
		return errors.Join(err, last)
	}
	return nil
}

func (o *other) accept(ctx context.Context, seq int) error {
	return post(ctx, o.url+"/", "", record{seq, payload})
}

func (o *other) work(ctx context.Context) error { return post(ctx, o.url+"/work", "", nil) }

func (o *other) seqs(ctx context.Context) ([]int, error) {
	return o.ints(ctx, `SELECT seq FROM compared WHERE kind = $1 ORDER BY id`, o.run)
}

func (o *other) kill(ctx context.Context) error {
	if err := o.stop(ctx); err != nil {
		return err
	}
	if err := o.spawn(ctx); err != nil {
		return err
	}
	return o.work(ctx)
}

// stop kills the process; that it was killed is no error.
func (o *other) stop(context.Context) error {
	if o.process == nil {
		return nil
	}
	process := o.process
	o.process = nil
	if err := process.Process.Kill(); err != nil {
		return err
	}
	if err := process.Wait(); err != nil && process.ProcessState == nil {
		return err
	}
	return nil
}

func (o *other) drain(s sizes) int {
	if o.workers == 1 {
		return s.drainOne
	}
	return s.drainWide
}
