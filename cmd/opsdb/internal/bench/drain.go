package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// drainBatch is how many transactions one round drains.
const drainBatch = 1000

const drainFloorText = "raw pgx pipeline, same statements, same groups, same link"

// measureDrain measures P3: how fast a backlog goes through the link, with and
// without transactions that cannot apply, and how long a direct write at main waits
// meanwhile. The floor sends the same statements in the same groups.
func measureDrain(ctx context.Context, b *bench) (out []Measurement, err error) {
	s, err := b.newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	floor, err := newDrainFloor(ctx, b.Stack.LinkURL(b.Database))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, floor.conn.Close(context.WithoutCancel(ctx))) }()
	d := &drainBench{site: s}
	n := b.size(drainBatch, 100)
	poisons := []int{1, n}
	var clean series
	poisoned := map[int]*series{poisons[0]: {}, poisons[1]: {}}
	var floorRate float64
	err = b.inTurns(func(bool) error {
		began := time.Now()
		err := floor.drain(ctx, n, b.unit, b.mainSite, b.user)
		floorRate = float64(n) / time.Since(began).Seconds()
		return err
	}, func(warm bool) error {
		none, err := d.drain(ctx, n, 0)
		if err != nil {
			return err
		}
		if !warm {
			clean.add(float64(n)/none.Seconds(), floorRate)
		}
		for _, some := range poisons {
			took, err := d.drain(ctx, n, some)
			if err != nil {
				return err
			}
			if !warm {
				poisoned[some].add(took.Seconds(), none.Seconds())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("drain over 250 ms, %s transactions", thousands(int64(n)))
	out = append(out,
		compared("P3", what, "tx/s", drainFloorText, clean).atLeast(Median(clean.ours), 2500, "≥ 2,500 tx/s"),
		compared("P3", what, "tx/s", drainFloorText, clean).atLeast(Median(clean.ratios), 0.9, "≥ 0.9 of the floor"))
	for _, some := range poisons {
		s := *poisoned[some]
		out = append(out, compared("P3", fmt.Sprintf("the same with %d of them poisoned", some), "s", "the same without poison", s).
			atMost(Median(s.ratios), 1.1, "≤ 1.1×"))
	}
	n = b.size(14_400, 500) // one every 6 s for a day
	backlog, err := d.drain(ctx, n, 0)
	if err != nil {
		return nil, err
	}
	wait, err := d.directWait(ctx)
	if err != nil {
		return nil, err
	}
	return append(out,
		measured("P3", fmt.Sprintf("a backlog of %s", thousands(int64(n))), "s", backlog.Seconds()).atMost(backlog.Seconds(), 8, "≤ 8 s"),
		measured("P3", "longest direct write at main to a row of the batch", "s", wait.Seconds()).atMost(wait.Seconds(), 0.3, "≤ 0.3 s")), nil
}

type drainBench struct {
	*site
	ids []string // of the executions that the last fill started
}

// fill adds n starts of an obs unit to the paused buffer.
func (d *drainBench) fill(ctx context.Context, n int, unit int64) error {
	body := d.startBody()
	body["obs_unit_id"] = unit
	first, err := d.capture(ctx, http.MethodPost, "/executed_obs_units/start", body, mutable{time: startMark})
	if err != nil {
		return err
	}
	d.ids = []string{first.was.row}
	for len(d.ids) < n {
		d.ids = append(d.ids, newID())
	}
	return copies(ctx, n-1, func(i int, m *mutable) {
		m.row = d.ids[i+1]
		m.time = pendingTime(i)
	}, first)
}

// drain buffers n starts, of which the first poisons are of a unit that is deleted
// at main before draining goes on, and returns how long the buffer takes to empty.
func (d *drainBench) drain(ctx context.Context, n, poisons int) (time.Duration, error) {
	if err := d.pause(ctx); err != nil {
		return 0, err
	}
	var doomed int64
	if poisons > 0 {
		err := d.primary.QueryRow(ctx, `INSERT INTO obs_unit (name, observing_program_id, source_id, obs_mode_id, instrument_id)
SELECT 'bench ' || gen_random_uuid(), observing_program_id, source_id, obs_mode_id, instrument_id FROM obs_unit WHERE id = $1 RETURNING id`, d.unit).Scan(&doomed)
		if err != nil {
			return 0, err
		}
		if err := d.Stack.WaitForReplay(ctx); err != nil {
			return 0, err
		}
		if err := d.fill(ctx, poisons, doomed); err != nil {
			return 0, err
		}
		if _, err := d.primary.Exec(ctx, `DELETE FROM obs_unit WHERE id = $1`, doomed); err != nil {
			return 0, err
		}
	}
	if n > poisons {
		if err := d.fill(ctx, n-poisons, d.unit); err != nil {
			return 0, err
		}
	}
	if err := d.shows(ctx, d.url, n); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := d.resume(ctx); err != nil {
		return 0, err
	}
	if err := d.drainedTo(ctx, 0, time.Minute); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if poisons > 0 {
		return took, d.forgetDead(ctx, doomed, poisons)
	}
	return took, nil
}

// forgetDead checks that the poisons became dead letters, and mends their cause, so
// that the next round begins with an empty buffer: the unit they miss is put back
// and all are retried.
func (d *drainBench) forgetDead(ctx context.Context, doomed int64, poisons int) error {
	dead, err := d.redis.HLen(ctx, d.key("dead_letters")).Result()
	if err != nil {
		return err
	}
	if int(dead) != poisons {
		return fmt.Errorf("%d dead letters, want the %d poisons", dead, poisons)
	}
	if _, err := d.primary.Exec(ctx, `INSERT INTO obs_unit (id, name, observing_program_id, source_id, obs_mode_id, instrument_id) OVERRIDING SYSTEM VALUE
SELECT $2::bigint, 'bench ' || gen_random_uuid(), observing_program_id, source_id, obs_mode_id, instrument_id FROM obs_unit WHERE id = $1`, d.unit, doomed); err != nil {
		return err
	}
	if err := d.operate(ctx, "/buffer/retry"); err != nil {
		return err
	}
	return d.drainedTo(ctx, 0, time.Minute)
}

// directWait is the longest that a direct write at main to rows of a flush had to
// wait: executions are started and applied, then finished at the site while main
// goes on writing to the same rows.
func (d *drainBench) directWait(ctx context.Context) (time.Duration, error) {
	n := d.size(drainBatch, 100)
	if _, err := d.drain(ctx, n, 0); err != nil {
		return 0, err
	}
	if err := d.Stack.WaitForReplay(ctx); err != nil {
		return 0, err
	}
	if err := d.pause(ctx); err != nil {
		return 0, err
	}
	first, err := d.finished(ctx, d.ids[0])
	if err != nil {
		return 0, err
	}
	if err := copies(ctx, n-1, func(i int, m *mutable) { m.row = d.ids[i+1] }, first); err != nil {
		return 0, err
	}
	if err := d.shows(ctx, d.url, n); err != nil {
		return 0, err
	}
	if err := d.resume(ctx); err != nil {
		return 0, err
	}
	var longest time.Duration
	for i := 0; ; i++ {
		began := time.Now()
		if _, err := d.primary.Exec(ctx, `UPDATE executed_obs_unit SET pwv_mm = 0.6 WHERE id = $1::uuid`, d.ids[(i*37)%len(d.ids)]); err != nil {
			return 0, err
		}
		longest = max(longest, time.Since(began))
		size, err := d.buffered(ctx)
		if err != nil || size == 0 {
			return longest, err
		}
	}
}

// finished captures the finish of an execution.
func (s *site) finished(ctx context.Context, execution string) (*stored, error) {
	return s.capture(ctx, http.MethodPut, "/executed_obs_units/"+execution+"/finish",
		map[string]any{"status": "completed", "end_time": finishMark, "pwv_mm": 0.6}, mutable{row: execution, time: startMark})
}
