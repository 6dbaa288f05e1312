package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// directConnections is how many clients write at main at once.
const directConnections = 16

// measureDirect measures P7: direct writes at main. The floor sends what such a
// write puts into the primary, from as many connections, past HTTP, validation and
// the look for the idempotency key. The second floor does that behind a bare
// net/http server and tells what HTTP alone costs.
func measureDirect(ctx context.Context, b *bench) (out []Measurement, err error) {
	writers, err := newDirectFloors(ctx, b.Stack.Primary.URL(b.Database), fmt.Sprintf("%d %d %d", b.unit, b.mainSite, b.user))
	if err != nil {
		return nil, err
	}
	defer func() {
		for range directConnections {
			err = errors.Join(err, (<-writers).conn.Close(context.WithoutCancel(ctx)))
		}
	}()
	url, process, err := b.startFloor(ctx, floorInsert)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stop(ctx, process)) }()
	n := b.size(8_000, 160)
	var raw, behindHTTP series
	var rawRate, httpRate float64
	err = b.inTurns(func(bool) error {
		began := time.Now()
		err := each(n, directConnections, func(int) error {
			w := <-writers
			defer func() { writers <- w }()
			return w.write(ctx)
		})
		rawRate = float64(n) / time.Since(began).Seconds()
		if err != nil {
			return err
		}
		httpRate, err = throughput(ctx, url, bare(b.start()), directConnections, n)
		return err
	}, func(warm bool) error {
		var rate float64
		err := b.profiled(ctx, "p7", b.MainURL, func() (err error) {
			rate, err = throughput(ctx, b.MainURL, b.start(), directConnections, n)
			return err
		})
		if err == nil && !warm {
			raw.add(rate, rawRate)
			behindHTTP.add(rate, httpRate)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("direct write at main, %d connections", directConnections)
	return []Measurement{
		compared("P7", what, "/s", "raw pgx with the same statements", raw).atLeast(Median(raw.ratios), 0.8, "≥ 0.8 of the floor"),
		compared("P7", what, "/s", "the same behind bare net/http", behindHTTP).noted("against the floor behind bare net/http"),
	}, nil
}

// directFloor writes what a direct write puts into the primary: the ledger's row, the
// execution, the commit, and the log's position after it, in one round trip.
type directFloor struct {
	conn             *pgx.Conn
	unit, site, user int64
}

// newDirectFloors opens the connections of a floor; row names obs unit, site and
// user of what is written.
func newDirectFloors(ctx context.Context, url, row string) (chan *directFloor, error) {
	writers := make(chan *directFloor, directConnections)
	for range directConnections {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, err
		}
		f := &directFloor{conn: conn}
		if _, err := fmt.Sscan(row, &f.unit, &f.site, &f.user); err != nil {
			return nil, fmt.Errorf("reading what to write from %q: %w", row, err)
		}
		writers <- f
	}
	return writers, nil
}

func (f *directFloor) write(ctx context.Context) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	batch.Queue(floorLedger, id, floorSite, nil, fmt.Sprintf("floor-%s", id), id[:], now, floorChanges(id, f.unit, f.site, f.user))
	batch.Queue(floorStart, id, f.unit, now, `{"wind_m_s":4.2}`, "benchmark", f.user, f.site)
	batch.Queue("COMMIT")
	batch.Queue("SELECT pg_current_wal_flush_lsn()::text, pg_walfile_name(pg_current_wal_flush_lsn())")
	return f.conn.SendBatch(ctx, batch).Close()
}
