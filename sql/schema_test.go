package sql_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// buffered are the tables whose rows a site queues: what it has queued and shown
// must be exactly what the primary stores.
var buffered = []string{
	"audit_event", "dead_letter_decision", "executed_obs_unit", "executed_obs_unit_module",
	"physical_copy", "raw_data_file", "raw_data_package", "raw_data_package_metadata",
}

// list returns the text rows of a query.
func list(t *testing.T, db *pgxpool.Pool, query string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(sandboxtest.Context(t), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// constraintName builds a name as PostgreSQL does: of 63 bytes at most, the
// longer of table and columns shortened first.
func constraintName(table, columns, suffix string) string {
	for len(table)+len(columns)+len(suffix)+2 > 63 {
		if len(table) > len(columns) {
			table = table[:len(table)-1]
		} else {
			columns = columns[:len(columns)-1]
		}
	}
	return table + "_" + columns + "_" + suffix
}

// TestConstraintsAreNamedByTheRule covers constraints and unique indexes, whose
// violation names the index: the API maps every name to a problem.
func TestConstraintsAreNamedByTheRule(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	rows, err := db.Query(sandboxtest.Context(t), `
		SELECT c.conname::text, r.relname::text, c.contype::text,
		       array(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (n, i)
		             JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.i)
		FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
		WHERE c.connamespace = 'public'::regnamespace AND r.relname <> 'goose_db_version' AND c.contype <> 'n'
		UNION ALL
		SELECT i.relname::text, r.relname::text, 'u',
		       array(SELECT coalesce(a.attname::text, 'name') FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (n, i)
		             LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.n AND k.n > 0 ORDER BY k.i)
		FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class r ON r.oid = x.indrelid
		WHERE x.indisunique AND i.relnamespace = 'public'::regnamespace AND r.relname <> 'goose_db_version'
		  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid AND c.contype IN ('p', 'u'))`)
	if err != nil {
		t.Fatal(err)
	}
	suffixes := map[string]string{"u": "key", "f": "fkey", "c": "check"}
	var name, table, kind string
	var columns []string
	count := 0
	_, err = pgx.ForEachRow(rows, []any{&name, &table, &kind, &columns}, func() error {
		count++
		want := table + "_pkey"
		if kind != "p" {
			suffix, ok := suffixes[kind]
			if !ok {
				return fmt.Errorf("%s has the unknown kind %q", name, kind)
			}
			want = constraintName(table, strings.Join(columns, "_"), suffix)
		}
		if name == want {
			return nil
		}
		// A CHECK may name the column that decides first.
		if slices.Sort(columns); kind == "c" {
			middle := strings.TrimSuffix(strings.TrimPrefix(name, table+"_"), "_check")
			for _, column := range columns {
				middle = strings.Replace(middle, column, "", 1)
			}
			if strings.Trim(middle, "_") == "" {
				return nil
			}
		}
		t.Errorf("%s is named %s, want %s", table, name, want)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 200 {
		t.Errorf("found %d constraints, expected the whole schema", count)
	}
}

func TestNoConstraintIsDeferred(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	if found := list(t, db, "SELECT conname::text FROM pg_constraint WHERE condeferrable"); len(found) > 0 {
		t.Errorf("deferrable constraints fail at COMMIT, where they name no step: %v", found)
	}
}

func TestBufferedTablesChangeNothingThatWasQueued(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	if found := list(t, db, "SELECT relname::text FROM pg_class WHERE relname = ANY ($1) AND relkind = 'r' ORDER BY 1", buffered); !slices.Equal(found, buffered) {
		t.Fatalf("buffered tables %v, want %v", found, buffered)
	}
	for what, query := range map[string]string{
		"default or generated value": `SELECT attrelid::regclass || '.' || attname FROM pg_attribute
			WHERE attrelid = ANY ($1::text[]::regclass[]) AND attnum > 0 AND NOT attisdropped AND (atthasdef OR attidentity <> '' OR attgenerated <> '')`,
		"trigger": `SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE tgrelid = ANY ($1::text[]::regclass[]) AND NOT tgisinternal`,
		"rule":    `SELECT ev_class::regclass || ' ' || rulename FROM pg_rewrite WHERE ev_class = ANY ($1::text[]::regclass[])`,
	} {
		if found := list(t, db, query, buffered); len(found) > 0 {
			t.Errorf("a buffered table has a %s: %v", what, found)
		}
	}
}

func TestEveryTableSaysWhenItsRowsWereMade(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	found := list(t, db, `SELECT r.relname::text FROM pg_class r
		WHERE r.relnamespace = 'public'::regnamespace AND r.relkind = 'r' AND r.relname <> 'goose_db_version'
		  AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attname = 'created_at' AND a.attnotnull AND a.atttypid = 'timestamptz'::regtype)`)
	if len(found) > 0 {
		t.Errorf("no created_at timestamptz NOT NULL in %v", found)
	}
	if found := list(t, db, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
		AND relname <> 'goose_db_version' AND obj_description(oid) IS NULL`); len(found) > 0 {
		t.Errorf("no comment on %v", found)
	}
}

// TestForeignKeysHaveAnIndex: without one a DELETE of the parent reads the whole child.
func TestForeignKeysHaveAnIndex(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	// The parents of these are never deleted and never asked from: an index would
	// only cost every write of the buffered path.
	unindexed := []string{
		"data_transfer.route_id",
		"data_transfer_route.destination_location_id", "data_transfer_route.origin_location_id",
		"executed_obs_unit.origin_site_id", "executed_obs_unit.recorded_by",
		"long_term_archive_transfer.origin_location_id",
		"obs_unit.line_id", "obs_unit.obs_mode_id",
		"raw_data_file.instrument_module_id", "raw_data_package.instrument_module_id",
		"staging_job.destination_location_id", "staging_job.origin_location_id",
	}
	found := list(t, db, `SELECT c.conrelid::regclass || '.' || a.attname FROM pg_constraint c
		JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
		WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace
		  AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.conrelid AND x.indkey[0] = c.conkey[1])
		ORDER BY 1`)
	if diff := cmp.Diff(unindexed, found); diff != "" {
		t.Errorf("foreign keys without an index (-want +got):\n%s", diff)
	}
}

func TestSiteStatusLeavesRoomForItsUpdates(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	if got := list(t, db, "SELECT unnest(reloptions) FROM pg_class WHERE relname = 'site_status'"); !slices.Equal(got, []string{"fillfactor=50"}) {
		t.Errorf("options %v, want fillfactor=50", got)
	}
}

func TestRolesHaveTheirPermissions(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	reads := []string{"observations", "files", "packages", "sources", "programs", "instruments", "transfers", "staging", "buffer", "history", "metrics", "audit"}
	with := func(action string, resources ...string) (out []string) {
		for _, r := range resources {
			out = append(out, action+":"+r)
		}
		return out
	}
	butAudit := with("read", reads[:len(reads)-1]...)
	want := map[string][]string{
		"admin":    slices.Concat(with("read", reads...), with("write", reads[:8]...), with("manage", "users", "buffer"), with("configure", "system")),
		"observer": slices.Concat(butAudit, with("write", "observations", "files", "packages", "sources", "programs", "instruments", "staging")),
		"viewer":   slices.Concat(butAudit, with("write", "staging")),
		"service":  slices.Concat(butAudit, with("write", "observations", "files", "packages", "transfers", "staging")),
	}
	got := map[string][]string{}
	for _, role := range list(t, db, "SELECT name FROM role") {
		got[role] = list(t, db, `SELECT p.name FROM role_permission rp JOIN role r ON r.id = rp.role_id
			JOIN permission p ON p.id = rp.permission_id WHERE r.name = $1 ORDER BY p.name`, role)
	}
	for _, permissions := range want {
		slices.Sort(permissions)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("permissions (-want +got):\n%s", diff)
	}
	if users := list(t, db, "SELECT username FROM app_user"); len(users) > 0 {
		t.Errorf("a new database has the users %v: nobody may be in it by default", users)
	}
}

func TestReferenceTablesCountTheirVersions(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	db := pair.Primary(t)
	version := func(table string) string {
		return strings.Join(list(t, db, "SELECT version::text FROM table_version WHERE table_name = $1", table), ",")
	}
	before := version("observatory")
	pair.Exec(t, "INSERT INTO observatory (name, short_name) VALUES ('A', 'A'), ('B', 'B')")
	if after := version("observatory"); after == before || after == "" {
		t.Errorf("version %q after one statement, was %q", after, before)
	}
	pair.Exec(t, "BEGIN; UPDATE observatory SET description = 'x'; ROLLBACK")
	if again := version("observatory"); again != "1" {
		t.Errorf("version %q after a rollback, want 1", again)
	}
	triggers := list(t, db, `SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal AND tgfoid = 'bump_table_version'::regproc ORDER BY 1`)
	counted := list(t, db, "SELECT table_name FROM table_version ORDER BY table_name")
	if diff := cmp.Diff(counted, triggers); diff != "" {
		t.Errorf("tables with a version and tables with a trigger (-counted +triggers):\n%s", diff)
	}
}

func TestMustChangeAndMustClaim(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	for call, want := range map[string]string{
		"must_change(1)": "", "must_change(0)": "OP001", "must_change(2)": "OP001", "must_change(NULL)": "OP001",
		"must_change(3, 3)": "", "must_change(2, 3)": "OP001", "must_claim(1)": "", "must_claim(0)": "OP002", "must_claim(NULL)": "OP002",
	} {
		_, err := db.Exec(sandboxtest.Context(t), "SELECT "+call)
		if got := sqlState(err); got != want {
			t.Errorf("%s: SQLSTATE %q, want %q", call, got, want)
		}
	}
}
