package demo_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/sql/demo"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func TestSeedFillsEveryTable(t *testing.T) {
	t.Parallel()
	db := seeded(t)
	want := map[string]int{
		"observatory": 1, "telescope": 1, "site": 3, "site_status": 3, "instrument": 3, "instrument_module": 7, "spectral_line": 6,
		"instrument_module_configuration": 5, "source": 33, "obs_mode": 9, "observing_program": 9, "sub_observing_program": 4,
		"observation_configuration": 10, "obs_unit": 19, "obs_unit_module_configuration": 25, "obs_unit_azimuth_range": 10, "pre_scheduled_slot": 1,
		"data_location": 10, "data_transfer_route": 4, "app_user": 6, "user_role": 6,
		"executed_obs_unit": 17, "executed_obs_unit_module": 23, "raw_data_package": 7, "raw_data_package_metadata": 7,
		"raw_data_file": 4*18 + 3*18 + 2*64, "data_transfer_package": 3, "data_transfer": 4, "long_term_archive_transfer": 5,
		"staging_job": 3, "staging_job_package": 5, "transfer_log": 5, "physical_copy": 254 + 12 + 4,
	}
	got := map[string]int{}
	for table := range want {
		got[table] = number[int](t, db, "SELECT count(*) FROM "+table)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows of the demo data (-want +got):\n%s", diff)
	}
	for _, column := range []string{
		"status FROM physical_copy", "status FROM executed_obs_unit", "state FROM raw_data_package", "kind FROM source",
		"location_type FROM data_location", "storage_type FROM data_location", "route_type FROM data_transfer_route", "kind FROM physical_copy",
	} {
		missing := number[string](t, db, fmt.Sprintf(`
			SELECT coalesce(string_agg(v, ', '), '') FROM (
				SELECT unnest(enum_range(NULL::%[1]s))::text AS v EXCEPT SELECT %[2]s::text FROM %[3]s
			) m`, enumOf(t, db, column), columnOf(column), tableOf(column)))
		if missing != "" {
			t.Errorf("the demo data shows no %s with %s", column, missing)
		}
	}
}

func TestSeedAgainChangesNothing(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	ctx := sandboxtest.Context(t)
	conn, err := pgx.Connect(ctx, pair.MainURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := demo.Seed(ctx, conn); err != nil {
		t.Fatal(err)
	}
	// What users did since must stay as well.
	if _, err := conn.Exec(ctx, `
		UPDATE executed_obs_unit SET status = 'completed', end_time = start_time + interval '1 hour', comment = 'done' WHERE status = 'running';
		UPDATE obs_unit SET available = false WHERE name = 'OrionA-280';
		UPDATE source SET notes = 'mine' WHERE name = 'Orion A';
		UPDATE app_user SET is_active = false WHERE username = 'svc-chai'`); err != nil {
		t.Fatal(err)
	}
	db := pair.Primary(t)
	before := content(t, db)
	began := time.Now()
	if err := demo.Seed(ctx, conn); err != nil {
		t.Fatalf("seeding again on the same connection: %v", err)
	}
	t.Logf("a second run takes %v", time.Since(began))
	if diff := cmp.Diff(before, content(t, db)); diff != "" {
		t.Errorf("a second run changed (-before +after):\n%s", diff)
	}
}

func TestSeededFilesHaveTheirRealNames(t *testing.T) {
	t.Parallel()
	db := seeded(t)
	var got []string
	rows, err := db.Query(sandboxtest.Context(t), `
		SELECT f.relative_path || ' ' || f.size_bytes FROM raw_data_file f JOIN raw_data_package p ON p.id = f.raw_data_package_id
		WHERE p.name = 'OrionA-280_20260715T112000Z_Mod280_001.tar' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	var want []string
	for feedline := range 18 {
		board, drone := feedline/4+1, feedline%4+1
		want = append(want, fmt.Sprintf("17841/rfsoc%02d_drone%d/r%02dd%d_1784114400_000.g3 1214300160", board, drone, board, drone))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files of the first Orion A scan (-want +got):\n%s", diff)
	}
	if n := number[int](t, db, "SELECT count(*) FROM raw_data_package p WHERE size_bytes <> (SELECT sum(size_bytes) FROM raw_data_file f WHERE f.raw_data_package_id = p.id)"); n != 0 {
		t.Errorf("%d packages differ in size from their files", n)
	}
}

// TestSeedObeysTheInvariants holds the demo data against the rules of copies, each written as a query for what breaks it.
func TestSeedObeysTheInvariants(t *testing.T) {
	t.Parallel()
	db := seeded(t)
	const archived = `EXISTS (SELECT FROM physical_copy c JOIN data_location l ON l.id = c.data_location_id
		WHERE c.raw_data_package_id = p.id AND c.status = 'present' AND c.verified_at IS NOT NULL AND l.location_type = 'long_term_archive')`
	for rule, query := range map[string]string{
		"archived means a verified present copy at an archive": `SELECT count(*) FROM raw_data_package p WHERE (p.state = 'archived') <> ` + archived,
		"no copy of what is not archived is on its way out": `SELECT count(*) FROM raw_data_package p WHERE NOT ` + archived + ` AND EXISTS (
			SELECT FROM physical_copy c JOIN data_location l ON l.id = c.data_location_id
			WHERE l.location_type IN ('source', 'buffer') AND c.status NOT IN ('present', 'staged')
			  AND (c.raw_data_package_id = p.id OR c.raw_data_file_id IN (SELECT id FROM raw_data_file f WHERE f.raw_data_package_id = p.id)))`,
		"no processing copy of an active job's package is on its way out": `SELECT count(*) FROM physical_copy c
			JOIN data_location l ON l.id = c.data_location_id
			JOIN staging_job_package sp ON sp.raw_data_package_id = c.raw_data_package_id
			JOIN staging_job j ON j.id = sp.staging_job_id AND j.destination_location_id = l.id
			WHERE j.active AND l.location_type = 'processing' AND c.status NOT IN ('present', 'staged')`,
		"no archive copy is on its way out": `SELECT count(*) FROM physical_copy c JOIN data_location l ON l.id = c.data_location_id
			WHERE l.location_type = 'long_term_archive' AND c.status <> 'present'`,
		"a file may go only after its package left the buffers": `SELECT count(*) FROM physical_copy c JOIN raw_data_file f ON f.id = c.raw_data_file_id
			WHERE c.status <> 'present' AND EXISTS (SELECT FROM physical_copy o JOIN data_location l ON l.id = o.data_location_id
				WHERE o.raw_data_package_id = f.raw_data_package_id AND l.location_type IN ('source', 'buffer') AND o.status <> 'deleted')`,
		"sub-millimetre at 800 GHz only in dry air": `SELECT count(*) FROM executed_obs_unit e
			JOIN executed_obs_unit_module m ON m.executed_obs_unit_id = e.id
			JOIN instrument_module_configuration c ON c.id = m.instrument_module_configuration_id WHERE c.name LIKE 'HFA%' AND e.pwv_mm >= 0.6`,
	} {
		if n := number[int](t, db, query); n != 0 {
			t.Errorf("%s: broken %d times", rule, n)
		}
	}
}

func TestSeedKeepsMappingParametersAsGiven(t *testing.T) {
	t.Parallel()
	db := seeded(t)
	got := number[string](t, db, "SELECT mapping_parameters::text FROM obs_unit WHERE name = 'DSS-ECDFS'")
	want := `{"name": "ECDFS_pong", "angle": 170.0, "width": 5.0, "height": 6.7, "spacing": 0.5, "num_terms": 5, "onsky_velocity": 0.5}`
	if got != want {
		t.Errorf("mapping parameters of DSS-ECDFS\n got %s\nwant %s", got, want)
	}
}

func TestSeedLeavesAnotherMainSiteAlone(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	pair.Exec(t, "DELETE FROM site; INSERT INTO site (name, short_name, is_main) VALUES ('Bonn', 'bonn', true)")
	ctx := sandboxtest.Context(t)
	conn, err := pgx.Connect(ctx, pair.MainURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := demo.Seed(ctx, conn); err != nil {
		t.Fatal(err)
	}
	if got := number[string](t, pair.Primary(t), "SELECT string_agg(short_name, ',') FROM site WHERE is_main"); got != "bonn" {
		t.Errorf("main sites after seeding: %s", got)
	}
	if n := number[int](t, pair.Primary(t), "SELECT count(*) FROM data_location"); n != 10 {
		t.Errorf("%d data locations", n)
	}
}

func seeded(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return sandboxtest.New(t, sandboxtest.Seeded()).Primary(t)
}

func number[T any](t *testing.T, db *pgxpool.Pool, query string) T {
	t.Helper()
	var n T
	if err := db.QueryRow(sandboxtest.Context(t), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// content digests every table whose rows somebody made; table_version counts statements, whether they change a row or not.
func content(t *testing.T, db *pgxpool.Pool) map[string]string {
	t.Helper()
	rows, err := db.Query(sandboxtest.Context(t), `
		SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('table_version', 'goose_db_version')`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	for _, table := range tables {
		digests[table] = number[string](t, db, fmt.Sprintf("SELECT count(*) || ' ' || md5(coalesce(string_agg(r::text, chr(10) ORDER BY r::text), '')) FROM %s r", table))
	}
	return digests
}

func columnOf(s string) string { var c, from, table string; fmt.Sscan(s, &c, &from, &table); return c }

func tableOf(s string) string {
	var c, from, table string
	fmt.Sscan(s, &c, &from, &table)
	return table
}

func enumOf(t *testing.T, db *pgxpool.Pool, s string) string {
	return number[string](t, db, fmt.Sprintf("SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = '%s'::regclass AND attname = '%s'", tableOf(s), columnOf(s)))
}
