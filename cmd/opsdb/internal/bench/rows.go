package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Rows that are there already when a measurement begins are made by PostgreSQL
// itself. The i-th execution has a time of its own, status and obs unit as a
// telescope's life would leave them: one in a hundred failed, most completed.
const (
	loadExecutions = `INSERT INTO executed_obs_unit (id, obs_unit_id, azimuth_range_id, pre_scheduled_slot_id, status, start_time, end_time, mean_azimuth_deg,
	mean_elevation_deg, pwv_mm, conditions, comment, recorded_by, origin_site_id, version, created_at, updated_at)
SELECT (lpad(to_hex(1577836800000 + i), 12, '0') || '7000' || '8' || lpad(to_hex(i), 15, '0'))::uuid, u.ids[1 + i % cardinality(u.ids)], NULL, NULL,
	(CASE WHEN i % 100 = 0 THEN 'failed' WHEN i % 100 < 5 THEN 'aborted' ELSE 'completed' END)::execution_status,
	'2020-01-01Z'::timestamptz + i * interval '15 s', '2020-01-01Z'::timestamptz + i * interval '15 s' + interval '9 min',
	i % 360, 20 + i % 67, (i % 400) / 100.0, '{"wind_m_s": 4.2}', 'night ' || i / 100, $3, $4, 1, now(), now()
FROM generate_series($1::bigint, $2::bigint - 1) i, (SELECT array_agg(id ORDER BY id) AS ids FROM obs_unit) u`
	loadFiles = `INSERT INTO raw_data_file (id, executed_obs_unit_id, instrument_module_id, raw_data_package_id, name, relative_path, file_type, size_bytes,
	checksum_algorithm, checksum, start_time, end_time, created_at, updated_at)
SELECT (lpad(to_hex(1577836800000 + i), 12, '0') || '7000' || '9' || lpad(to_hex(i), 15, '0'))::uuid,
	(lpad(to_hex(1577836800000 + i / $4), 12, '0') || '7000' || '8' || lpad(to_hex(i / $4), 15, '0'))::uuid, $3, NULL, i || '.g3', 'old/' || i || '.g3', 'g3', i,
	'xxh64', lpad(to_hex(i), 16, '0'), NULL, NULL, '2020-01-01Z'::timestamptz + i * interval '15 s', '2020-01-01Z'::timestamptz + i * interval '15 s'
FROM generate_series($1::bigint, $2::bigint - 1) i`
)

// filesEach is how many files each execution has that has any.
const filesEach = 1000

// executionID is the id of the i-th execution that loadExecutions makes.
func executionID(i int) string {
	return fmt.Sprintf("%08x-%04x-7000-8%03x-%012x", (1577836800000+i)>>16, (1577836800000+i)&0xffff, i>>48, i)
}

// load adds the rows from first up to last (exclusive), without their indexes and
// the checks of their foreign keys, and waits until the replica has all of it.
func (b *bench) load(ctx context.Context, table, insert string, first, last int, args ...any) error {
	return b.step(fmt.Sprintf("%s rows %s to %s", table, thousands(int64(first)), thousands(int64(last))), func() error {
		b.Stack.Link.SetRTT(0)
		defer b.Stack.Link.SetRTT(b.roundTrip())
		indexes, err := b.indexes(ctx, table)
		if err != nil {
			return err
		}
		err = pgx.BeginFunc(ctx, b.primary, func(tx pgx.Tx) error {
			for _, set := range []string{"session_replication_role = replica", "maintenance_work_mem = '512MB'", "synchronous_commit = off"} {
				if _, err := tx.Exec(ctx, "SET LOCAL "+set); err != nil {
					return err
				}
			}
			for name := range indexes {
				if _, err := tx.Exec(ctx, "DROP INDEX "+pgx.Identifier{name}.Sanitize()); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, insert, append([]any{first, last}, args...)...); err != nil {
				return err
			}
			for _, create := range indexes {
				if _, err := tx.Exec(ctx, create); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if _, err := b.primary.Exec(ctx, "VACUUM (ANALYZE) "+pgx.Identifier{table}.Sanitize()); err != nil {
			return err
		}
		return b.Stack.WaitForReplay(ctx)
	})
}

// indexes are the statements that make a table's indexes, by their names, without
// those of its constraints.
func (b *bench) indexes(ctx context.Context, table string) (map[string]string, error) {
	rows, err := b.primary.Query(ctx, `SELECT i.relname, pg_get_indexdef(x.indexrelid) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = $1::text::regclass AND NOT x.indisprimary AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid)`, table)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var name, create string
	_, err = pgx.ForEachRow(rows, []any{&name, &create}, func() error {
		out[name] = create
		return nil
	})
	return out, err
}

func (b *bench) loadExecutions(ctx context.Context, first, last int) error {
	return b.load(ctx, "executed_obs_unit", loadExecutions, first, last, b.user, b.mainSite)
}

func (b *bench) loadFiles(ctx context.Context, first, last int) error {
	return b.load(ctx, "raw_data_file", loadFiles, first, last, b.module, filesEach)
}

// clear empties the tables of what was observed, and the ledger.
func (b *bench) clear(ctx context.Context) error {
	_, err := b.primary.Exec(ctx, `TRUNCATE executed_obs_unit, applied_transaction CASCADE`)
	return errors.Join(err, b.Stack.WaitForReplay(ctx))
}
