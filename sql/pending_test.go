package sql_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// Ids of the rows the tests of the pending functions begin with.
const (
	storedUnit    = "019817a0-0000-7000-8000-000000000001"
	newUnit       = "019817a0-0000-7000-8000-000000000002"
	missingUnit   = "019817a0-0000-7000-8000-000000000003"
	storedPackage = "019817a0-0000-7000-8000-000000000011"
	storedFile    = "019817a0-0000-7000-8000-000000000021"
	storedCopy    = "019817a0-0000-7000-8000-000000000031"
)

// observed is one row of everything an execution needs, and one execution with a
// package, a file and a copy.
const observed = `
	INSERT INTO site (name, short_name) VALUES ('A', 'a');
	INSERT INTO observatory (name, short_name) VALUES ('A', 'A');
	INSERT INTO telescope (observatory_id, name, short_name, latitude_deg, longitude_deg, altitude_m) SELECT id, 'T', 'T', 0, 0, 0 FROM observatory;
	INSERT INTO instrument (telescope_id, name, kind) SELECT id, 'I', 'camera' FROM telescope;
	INSERT INTO instrument_module (instrument_id, name) SELECT id, 'M' FROM instrument;
	INSERT INTO instrument_module_configuration (instrument_module_id, name) SELECT id, 'C' FROM instrument_module;
	INSERT INTO source (name, kind, ra_deg, dec_deg) VALUES ('S', 'fixed', 1, 1);
	INSERT INTO obs_mode (name, pattern) VALUES ('otf', 'otf');
	INSERT INTO observing_program (name, short_name, kind) VALUES ('P', 'P', 'science');
	INSERT INTO obs_unit (name, observing_program_id, source_id, obs_mode_id, instrument_id)
		SELECT 'U', p.id, s.id, m.id, i.id FROM observing_program p, source s, obs_mode m, instrument i;
	INSERT INTO data_location (site_id, name, location_type, storage_type, path) SELECT max(id), 'disk', 'source', 'disk', '/data' FROM site;
	INSERT INTO executed_obs_unit (id, obs_unit_id, status, start_time, conditions, comment, origin_site_id, version, created_at, updated_at)
		SELECT '` + storedUnit + `', u.id, 'running', '2026-07-15 11:20Z', '{"wind": 3}', 'stored', s.id, 1, '2026-07-15 11:20Z', '2026-07-15 11:20Z'
		FROM obs_unit u, site s WHERE s.short_name = 'a';
	INSERT INTO raw_data_package (id, executed_obs_unit_id, instrument_module_id, sequence, name, relative_path, file_count, status, state, retry_count, version, created_at, updated_at)
		SELECT '` + storedPackage + `', '` + storedUnit + `', id, 1, 'p.tar', 'p.tar', 1, 'pending', 'waiting', 0, 1, '2026-07-15 11:30Z', '2026-07-15 11:30Z' FROM instrument_module;
	INSERT INTO raw_data_package_metadata (raw_data_package_id, metadata, created_at, updated_at) VALUES ('` + storedPackage + `', '{"a": 1}', '2026-07-15 11:30Z', '2026-07-15 11:30Z');
	INSERT INTO raw_data_file (id, executed_obs_unit_id, instrument_module_id, name, relative_path, file_type, size_bytes, checksum_algorithm, checksum, created_at, updated_at)
		SELECT '` + storedFile + `', '` + storedUnit + `', id, 'f', 'd/f', 'g3', 10, 'sha256', 'aa', '2026-07-15 11:30Z', '2026-07-15 11:30Z' FROM instrument_module;
	INSERT INTO physical_copy (id, kind, raw_data_file_id, data_location_id, path, status, retry_count, version, created_at, updated_at)
		SELECT '` + storedCopy + `', 'raw_data_file', '` + storedFile + `', id, '/data/f', 'present', 0, 1, '2026-07-15 11:30Z', '2026-07-15 11:30Z' FROM data_location WHERE name = 'disk'`

// row returns the only row of a query as JSON, nil for none.
func row(t *testing.T, db *pgxpool.Pool, query string, args ...any) map[string]any {
	t.Helper()
	found := list(t, db, "SELECT to_jsonb(r)::text FROM ("+query+") r", args...)
	if len(found) == 0 {
		return nil
	}
	if len(found) > 1 {
		t.Fatalf("%d rows, want one at most: %v", len(found), found)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(found[0]), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPendingExecutions(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	db := pair.Primary(t)
	pair.Exec(t, observed)
	stored := row(t, db, "SELECT * FROM executed_obs_unit")

	created := map[string]any{}
	for column, value := range stored {
		created[column] = value
	}
	created["id"], created["comment"], created["pwv_mm"], created["conditions"] = newUnit, "pending", 0.5, map[string]any{"wind": json.Number("5.0")}
	overlaid := map[string]any{}
	for column, value := range stored {
		overlaid[column] = value
	}
	overlaid["status"], overlaid["end_time"], overlaid["version"] = "completed", "2026-07-15T11:29:00+00:00", 2.0

	for name, tc := range map[string]struct {
		id      string
		create  bool
		columns any
		want    map[string]any
	}{
		"a create that is not stored yet": {newUnit, true, created, created},
		"a create that has replicated":    {storedUnit, true, overlaid, overlaid},
		"an update of a stored row": {storedUnit, false,
			map[string]any{"status": "completed", "end_time": "2026-07-15T11:29:00Z", "version": 2}, overlaid},
		"an update whose row is gone": {missingUnit, false, map[string]any{"comment": "late"}, nil},
	} {
		pending, err := json.Marshal([]any{map[string]any{"id": tc.id, "create": tc.create, "columns": tc.columns}})
		if err != nil {
			t.Fatal(err)
		}
		got := row(t, db, "SELECT * FROM executed_obs_unit_pending($1::text::jsonb)", string(pending))
		// Through JSON, so that both sides have the same kinds of numbers.
		want, err := json.Marshal(tc.want)
		if err != nil {
			t.Fatal(err)
		}
		var normal map[string]any
		if err := json.Unmarshal(want, &normal); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(normal, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := list(t, db, "SELECT id::text FROM executed_obs_unit_pending('[]')"); len(got) != 0 {
		t.Errorf("nothing pending shows %v", got)
	}
}

func TestPendingRowsOfTheOtherTables(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	db := pair.Primary(t)
	pair.Exec(t, observed)
	for table, tc := range map[string]struct{ key, id, column, old, changed string }{
		"raw_data_package":          {"id", storedPackage, "status", "pending", "completed"},
		"raw_data_package_metadata": {"raw_data_package_id", storedPackage, "ivoa_collection", "", "ccat"},
		"raw_data_file":             {"id", storedFile, "raw_data_package_id", "", storedPackage},
		"physical_copy":             {"id", storedCopy, "status", "present", "deleted"},
	} {
		show := "SELECT coalesce(" + tc.column + "::text, '') FROM " + table + "_pending($1::text::jsonb)"
		update := `[{"id": "` + tc.id + `", "create": false, "columns": {"` + tc.column + `": "` + tc.changed + `"}}]`
		if got := list(t, db, show, update); len(got) != 1 || got[0] != tc.changed {
			t.Errorf("%s: an update shows %v, want %s", table, got, tc.changed)
		}
		empty := strings.Replace(update, `{"`+tc.column+`": "`+tc.changed+`"}`, "{}", 1)
		if got := list(t, db, show, empty); len(got) != 1 || got[0] != tc.old {
			t.Errorf("%s: an update of nothing shows %v, want %q", table, got, tc.old)
		}
		if got := list(t, db, show, strings.Replace(update, tc.id, missingUnit, 1)); len(got) != 0 {
			t.Errorf("%s: an update whose row is gone shows %v", table, got)
		}
		create := `[{"id": "` + newUnit + `", "create": true, "columns": {"` + tc.key + `": "` + newUnit + `", "` + tc.column + `": "` + tc.changed + `"}}]`
		if got := list(t, db, show, create); len(got) != 1 || got[0] != tc.changed {
			t.Errorf("%s: a create shows %v, want %s", table, got, tc.changed)
		}
	}

	modules := `[{"id": "` + missingUnit + `", "create": true, "columns": {"executed_obs_unit_id": "` + newUnit + `", "instrument_module_configuration_id": 7, "created_at": "2026-07-15T11:20:00Z"}},
		{"id": "` + missingUnit + `", "create": false, "columns": {}}]`
	if got := list(t, db, "SELECT executed_obs_unit_id || ' ' || instrument_module_configuration_id FROM executed_obs_unit_module_pending($1::text::jsonb)", modules); len(got) != 1 || got[0] != newUnit+" 7" {
		t.Errorf("executed_obs_unit_module: %v", got)
	}
}

// TestPendingFunctionsAreInlined: called as functions, each row would cost more
// and no filter would reach inside.
func TestPendingFunctionsAreInlined(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	functions := list(t, db, "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE '%\\_pending' ORDER BY 1")
	if len(functions) != 7 {
		t.Errorf("functions %v, want seven", functions)
	}
	for _, function := range functions {
		plan := strings.Join(list(t, db, "EXPLAIN SELECT * FROM "+function+"('[]'::jsonb) p"), "\n")
		if strings.Contains(plan, "Function Scan on "+function) || !strings.Contains(plan, "jsonb_populate_record") {
			t.Errorf("%s is not inlined:\n%s", function, plan)
		}
	}
}
