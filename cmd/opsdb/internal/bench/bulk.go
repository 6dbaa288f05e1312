package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/platform/sandbox"
)

// measureBulk measures P8: a bulk of 10,000 files, accepted at the site against one
// LPUSH of the same bytes, and applied through the link against one COPY of the same
// rows.
func measureBulk(ctx context.Context, b *bench) (out []Measurement, err error) {
	s, err := b.newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	url, process, err := b.startFloor(ctx, floorLPush)
	if err != nil {
		return nil, err
	}
	defer func(p *sandbox.Process) { err = errors.Join(err, b.stop(ctx, p)) }(process)
	n := b.size(10_000, 200)
	f := &copyFloor{execution: newID(), module: b.module, n: n}
	if f.far, err = pgx.Connect(ctx, b.Stack.LinkURL(b.Database)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.far.Close(context.WithoutCancel(ctx))) }()
	// The execution is there already: files alone are measured.
	if err := call(ctx, http.MethodPost, b.MainURL+"/executed_obs_units/start", b.Service, map[string]any{"obs_unit_id": b.unit, "id": f.execution}, nil); err != nil {
		return nil, err
	}
	if err := b.Stack.WaitForReplay(ctx); err != nil {
		return nil, err
	}

	var accepted, applied, direct series
	var floorAccepted, floorApplied, floorDirect float64
	var body []byte
	seconds := func(do func() error) (float64, error) {
		began := time.Now()
		err := do()
		return time.Since(began).Seconds(), err
	}
	post := func(url, path string, body []byte, token string) (float64, error) {
		r := request{method: http.MethodPost, path: path, token: token, keyed: token != "", body: body, want: http.StatusCreated}
		took, err := latencies(ctx, url, r, 1)
		return percentile(took, 0.5) / 1000, err
	}
	err = b.inTurns(func(bool) (err error) {
		if body, err = bulkBody(f.execution, b.module, n); err != nil {
			return err
		}
		if floorAccepted, err = post(url, "/", body, ""); err != nil {
			return err
		}
		if floorApplied, err = seconds(func() error { return f.copy(ctx, f.far) }); err != nil {
			return err
		}
		floorDirect, err = seconds(func() error { return f.copy(ctx, b.primary) })
		return err
	}, func(warm bool) error {
		if err := s.pause(ctx); err != nil {
			return err
		}
		var took float64
		err := b.profiled(ctx, "p8-accept", s.url, func() (err error) {
			took, err = post(s.url, "/raw_data_files/bulk", body, b.Service)
			return err
		})
		if err != nil {
			return err
		}
		tookApplying, err := seconds(func() error {
			if err := s.resume(ctx); err != nil {
				return err
			}
			return s.drainedTo(ctx, 0, time.Minute)
		})
		if err != nil {
			return err
		}
		if body, err = bulkBody(f.execution, b.module, n); err != nil {
			return err
		}
		tookDirect, err := post(b.MainURL, "/raw_data_files/bulk", body, b.Service)
		if err == nil && !warm {
			// Rates, as the bar speaks of a part of the floor's.
			accepted.add(float64(n)/took, float64(n)/floorAccepted)
			applied.add(float64(n)/tookApplying, float64(n)/floorApplied)
			direct.add(float64(n)/tookDirect, float64(n)/floorDirect)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("bulk of %s files, ", thousands(int64(n)))
	const bar = "≥ 0.6 of the floor"
	return []Measurement{
		compared("P8", what+"accepted at the site", "files/s", lpushFloor, accepted).atLeast(Median(accepted.ratios), 0.6, bar),
		compared("P8", what+"applied over 250 ms", "files/s", "one COPY of the same rows through the same link", applied).atLeast(Median(applied.ratios), 0.6, bar),
		compared("P8", what+"written at main", "files/s", "one COPY of the same rows", direct).noted("validated, with a ledger entry of all rows"),
	}, nil
}

// copyFloor is the floor of a bulk: one COPY of as many rows.
type copyFloor struct {
	execution string
	module    int64
	n         int
	far       *pgx.Conn // through the link
}

func (f *copyFloor) copy(ctx context.Context, conn *pgx.Conn) error {
	var text bytes.Buffer
	prefix := newID()
	now := time.Now().UTC().Format(time.RFC3339Nano)
	for i := range f.n {
		fmt.Fprintf(&text, "%s\t%s\t%d\t\\N\ta.g3\t%s/%d.g3\tg3\t1500000000\txxh64\t00112233aabbccdd\t\\N\t\\N\t%s\t%s\n", newID(), f.execution, f.module, prefix, i, now, now)
	}
	_, err := conn.PgConn().CopyFrom(ctx, &text, `COPY raw_data_file (id, executed_obs_unit_id, instrument_module_id, raw_data_package_id, name, relative_path, file_type,
size_bytes, checksum_algorithm, checksum, start_time, end_time, created_at, updated_at) FROM STDIN`)
	return err
}
