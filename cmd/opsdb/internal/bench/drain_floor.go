package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// drainFloor is the floor of P3: a raw pgx pipeline that sends the same statements
// in the same groups through the same link, and does nothing else.
type drainFloor struct {
	conn    *pgx.Conn
	head    *pgconn.StatementDescription
	ledger  *pgconn.StatementDescription
	start   *pgconn.StatementDescription
	control map[string]*pgconn.StatementDescription
	batch   int64
	seq     int64
}

const (
	floorSite   = "floor"
	floorHead   = `WITH changed AS (UPDATE site_status SET batch = $1, last_seq = greatest(last_seq, $2), last_applied_at = $3 WHERE site = $4 AND epoch = 0 AND batch = $5 RETURNING site) SELECT must_claim(count(*)) FROM changed`
	floorLedger = `INSERT INTO applied_transaction (id, site, seq, outcome, operation, actor, idempotency_key, request_digest, accepted_at, applied_at, changes) VALUES ($1, $2, $3, 'applied', 'start-executed-obs-unit', 'user:floor', $4, $5, $6, $6, $7)`
	floorStart  = `INSERT INTO executed_obs_unit (id, obs_unit_id, azimuth_range_id, pre_scheduled_slot_id, status, start_time, end_time, mean_azimuth_deg, mean_elevation_deg, pwv_mm, conditions, comment, recorded_by, origin_site_id, version, created_at, updated_at)
VALUES ($1, $2, NULL, NULL, 'running', $3, NULL, NULL, NULL, NULL, $4, $5, $6, $7, 1, $3, $3)`
)

// newDrainFloor connects through the link and prepares everything.
func newDrainFloor(ctx context.Context, linkURL string) (*drainFloor, error) {
	conn, err := pgx.Connect(ctx, linkURL)
	if err != nil {
		return nil, err
	}
	f := &drainFloor{conn: conn, control: map[string]*pgconn.StatementDescription{}}
	if _, err := conn.Exec(ctx, `INSERT INTO site_status (site) VALUES ($1) ON CONFLICT (site) DO UPDATE SET batch = 0, last_seq = 0`, floorSite); err != nil {
		return nil, err
	}
	for _, sql := range []string{"BEGIN", "SAVEPOINT s", "RELEASE SAVEPOINT s", "ROLLBACK TO SAVEPOINT s", "COMMIT"} {
		if f.control[sql], err = conn.Prepare(ctx, "c_"+sql, sql); err != nil {
			return nil, err
		}
	}
	for name, s := range map[string]**pgconn.StatementDescription{floorHead: &f.head, floorLedger: &f.ledger, floorStart: &f.start} {
		if *s, err = conn.Prepare(ctx, fmt.Sprintf("s_%p", s), name); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// floorChanges is what the ledger says of a start.
func floorChanges(id uuid.UUID, unit, site, user int64) string {
	return fmt.Sprintf(`[{"table":"executed_obs_unit","id":"%s","op":"create","columns":{"id":"%s","obs_unit_id":%d,"azimuth_range_id":null,"pre_scheduled_slot_id":null,`+
		`"status":"running","start_time":"2026-07-15T11:20:00Z","end_time":null,"mean_azimuth_deg":null,"mean_elevation_deg":null,"pwv_mm":null,"conditions":{"wind_m_s":4.2},`+
		`"comment":"benchmark","recorded_by":%d,"origin_site_id":%d,"version":1,"created_at":"2026-07-15T11:20:00.123456Z","updated_at":"2026-07-15T11:20:00.123456Z"}}]`,
		id, id, unit, user, site)
}

func (f *drainFloor) send(p *pgconn.Pipeline, s *pgconn.StatementDescription, args ...any) error {
	var b pgx.ExtendedQueryBuilder
	if err := b.Build(f.conn.TypeMap(), s, args); err != nil {
		return err
	}
	p.SendQueryPrepared(s.Name, b.ParamValues, b.ParamFormats, b.ResultFormats)
	return nil
}

// drain sends n starts of an obs unit, 1,000 in a round trip and 50 in a commit.
func (f *drainFloor) drain(ctx context.Context, n int, unit, site, user int64) error {
	const flush, group = 1000, 50
	for done := 0; done < n; done += flush {
		p := f.conn.PgConn().StartPipeline(ctx)
		var failed error
		put := func(s *pgconn.StatementDescription, args ...any) {
			if err := f.send(p, s, args...); err != nil && failed == nil {
				failed = err
			}
		}
		for first := done; first < min(n, done+flush); first += group {
			last := min(first+group, n, done+flush)
			now := time.Now().UTC()
			put(f.control["BEGIN"])
			put(f.head, f.batch+1, f.seq+int64(last-first), now, floorSite, f.batch)
			f.batch++
			put(f.control["SAVEPOINT s"])
			p.SendPipelineSync()
			for i := first; i < last; i++ {
				f.seq++
				id, err := uuid.NewV7()
				if err != nil {
					return err
				}
				if i > first {
					put(f.control["ROLLBACK TO SAVEPOINT s"])
				}
				put(f.ledger, id, floorSite, f.seq, fmt.Sprintf("floor-%s", id), id[:], now,
					floorChanges(id, unit, site, user))
				put(f.start, id, unit, now, `{"wind_m_s":4.2}`, "benchmark", user, site)
				put(f.control["RELEASE SAVEPOINT s"])
				put(f.control["SAVEPOINT s"])
				p.SendPipelineSync()
			}
			put(f.control["ROLLBACK TO SAVEPOINT s"])
			p.SendPipelineSync()
			put(f.control["COMMIT"])
			p.SendPipelineSync()
		}
		if failed != nil {
			return failed
		}
		if err := p.Flush(); err != nil {
			return err
		}
		if err := p.Close(); err != nil {
			return err
		}
	}
	return nil
}
