package observations_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/modules/observations"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/pg"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/platform/txn"
)

func goldenFile(kind string) string {
	return filepath.Join("testdata", "steps", strings.ReplaceAll(kind, "/", "-")+".json")
}

// golden reads the stored form of a step as it was when it was released.
func golden(t *testing.T, kind string) []json.RawMessage {
	t.Helper()
	content, err := os.ReadFile(goldenFile(kind))
	if err != nil {
		t.Fatalf("every step has a golden file: %v", err)
	}
	var samples []json.RawMessage
	if err := json.Unmarshal(content, &samples); err != nil {
		t.Fatal(err)
	}
	return samples
}

// A released kind never changes: what a buffer somewhere still holds must mean the
// same to every later program, and come out of it as it went in.
func TestGoldenStepsStayReadable(t *testing.T) {
	t.Parallel()
	catalog, err := txn.NewCatalog(observations.Steps()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range catalog.Kinds() {
		for i, sample := range golden(t, kind) {
			step, err := catalog.Decode(pending.Step{Kind: kind, Data: sample})
			if err != nil {
				t.Errorf("%s, sample %d: %v", kind, i, err)
				continue
			}
			encoded, err := catalog.Encode(step)
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			if err := json.Compact(&want, sample); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), string(encoded.Data)); diff != "" {
				t.Errorf("%s, sample %d (-released +now):\n%s", kind, i, diff)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join("testdata", "steps", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(catalog.Kinds()) {
		t.Errorf("%d golden files for %d kinds: a released kind is never removed", len(files), len(catalog.Kinds()))
	}
}

// What the pending rows show of a step is what the primary stores when it is
// applied: for every registered step, in the order of its golden samples.
func TestPendingRowsEqualAppliedRows(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	ctx := sandboxtest.Context(t)
	conn, err := pgx.Connect(ctx, s.MainURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	pg.RegisterCodecs(conn.TypeMap())

	if _, err := conn.Exec(ctx, "SET session_replication_role = replica"); err != nil {
		t.Fatal(err) // the samples' parents are made up: foreign keys are not what is tested
	}
	for _, kind := range order {
		for i, sample := range golden(t, kind) {
			step, err := s.catalog.Decode(pending.Step{Kind: kind, Data: sample})
			if err != nil {
				t.Fatal(err)
			}
			pieces := []txn.Step{step}
			if slicer, ok := step.(txn.Slicer); ok {
				pieces = slicer.Slices(100)
				if len(pieces) < 2 {
					t.Errorf("%s: %d rows are not sliced", kind, len(step.Rows()))
				}
			}
			changes := step.Rows()
			want := make([]map[string]any, len(changes))
			for n, c := range changes {
				want[n] = shown(t, conn, c)
			}
			for _, piece := range pieces {
				if err := piece.Apply(ctx, conn); err != nil {
					t.Fatalf("%s, sample %d: %v", kind, i, err)
				}
			}
			for n, c := range changes {
				if diff := cmp.Diff(want[n], stored(t, conn, c)); diff != "" {
					t.Errorf("%s, sample %d, row %d (-pending +applied):\n%s", kind, i, n, diff)
				}
			}
			refuser, refuses := step.(txn.Refuser)
			if !refuses {
				continue
			}
			// A second time the state is another one.
			if kind == "executed_obs_units.patch/1" {
				continue
			}
			var refused *pgconn.PgError
			if err := pieces[0].Apply(ctx, conn); !errors.As(err, &refused) || refused.Code != "OP001" {
				t.Errorf("%s, sample %d, a second time: got %v, want OP001", kind, i, err)
			}
			if refuser.Refusal() == nil {
				t.Errorf("%s says no problem", kind)
			}
		}
	}
	if got, want := len(order), len(observations.Steps()); got != want {
		t.Errorf("%d kinds are tried, %d are registered", got, want)
	}
}

// order is one in which the samples can be applied.
var order = []string{
	"executed_obs_units.start/1", "executed_obs_units.add_module/1", "executed_obs_units.patch/1", "executed_obs_units.finish/1",
	"raw_data_files.create/1", "raw_data_files.create_many/1", "physical_copies.create_for_file/1", "physical_copies.create_for_files/1",
	"raw_data_packages.create/1", "raw_data_packages.set_metadata/1", "raw_data_files.link/1", "raw_data_packages.finalize/1",
}

// shown is a row as the pending function shows it before the step is applied.
func shown(t *testing.T, conn *pgx.Conn, c pending.Change) map[string]any {
	t.Helper()
	argument := fmt.Sprintf(`[{"id": %q, "create": %t, "columns": %s}]`, c.ID, c.Op == pending.OpCreate, c.Columns)
	return row(t, conn, fmt.Sprintf("SELECT to_jsonb(r) FROM %s_pending($1::jsonb) r", c.Table), argument)
}

// stored is the row as it is stored afterwards.
func stored(t *testing.T, conn *pgx.Conn, c pending.Change) map[string]any {
	t.Helper()
	switch c.Table {
	case "executed_obs_unit_module":
		var key observations.AddModule
		if err := json.Unmarshal(c.Columns, &key); err != nil {
			t.Fatal(err)
		}
		return row(t, conn, "SELECT to_jsonb(r) FROM executed_obs_unit_module r WHERE executed_obs_unit_id = $1 AND instrument_module_configuration_id = $2",
			key.ExecutedObsUnitID, key.InstrumentModuleConfigurationID)
	case "raw_data_package_metadata":
		return row(t, conn, "SELECT to_jsonb(r) FROM raw_data_package_metadata r WHERE raw_data_package_id = $1", c.ID)
	}
	return row(t, conn, fmt.Sprintf("SELECT to_jsonb(r) FROM %s r WHERE id = $1", c.Table), c.ID)
}

func row(t *testing.T, conn *pgx.Conn, sql string, args ...any) map[string]any {
	t.Helper()
	var encoded []byte
	if err := conn.QueryRow(sandboxtest.Context(t), sql, args...).Scan(&encoded); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var o map[string]any
	if err := json.Unmarshal(encoded, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// Every constraint of this module's tables means a problem, and every meaning is of
// a constraint that exists.
func TestEveryConstraintHasAProblem(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	conn, err := pgx.Connect(sandboxtest.Context(t), s.MainURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var tables []string
	for _, table := range observations.Tables() {
		tables = append(tables, table.Name)
	}
	rows, err := conn.Query(sandboxtest.Context(t), `
		SELECT conname::text FROM pg_constraint WHERE conrelid = ANY ($1::text[]::regclass[]) AND contype IN ('c', 'f', 'p', 'u', 'x')
		UNION
		SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = ANY ($1::text[]::regclass[]) AND i.indisunique`, tables)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 30 {
		t.Fatalf("only %d constraints found", len(names))
	}
	left := map[string]problem.Constraint{}
	for name, meaning := range observations.Problems.Constraints {
		left[name] = meaning
	}
	for _, name := range names {
		if _, ok := left[name]; !ok {
			t.Errorf("constraint %s means no problem", name)
		}
		delete(left, name)
	}
	for name := range left {
		t.Errorf("there is no constraint %s", name)
	}
}

// Clients are generated from these names: they never change.
func TestOperationsAndSchemasKeepTheirNames(t *testing.T) {
	t.Parallel()
	router, err := api.New(api.Options{Site: "observatory"})
	if err != nil {
		t.Fatal(err)
	}
	observations.New(observations.Config{}).Register(router)
	document := router.OpenAPI()
	schemas := document.Components.Schemas.Map()
	for _, name := range []string{
		"ExecutedObsUnit", "ExecutedObsUnitStart", "ExecutedObsUnitFinish", "ExecutedObsUnitPatch", "ExecutedObsUnitPage", "ExecutedObsUnitDetail",
		"RawDataFile", "RawDataFileCreate", "RawDataFilePage", "RawDataFileDetail", "RawDataFileBulkResult",
		"RawDataPackage", "RawDataPackageCreate", "RawDataPackageFinalize", "RawDataPackagePage", "RawDataPackageDetail",
	} {
		if schemas[name] == nil {
			t.Errorf("schema %s is missing", name)
		}
	}
	found := map[string]string{}
	for path, item := range document.Paths {
		if item.Get != nil {
			found[item.Get.OperationID] = "GET " + path
		}
		if item.Post != nil {
			found[item.Post.OperationID] = "POST " + path
		}
		if item.Put != nil {
			found[item.Put.OperationID] = "PUT " + path
		}
		if item.Patch != nil {
			found[item.Patch.OperationID] = "PATCH " + path
		}
	}
	for id, want := range map[string]string{
		"start-executed-obs-unit":             "POST /executed_obs_units/start",
		"finish-executed-obs-unit":            "PUT /executed_obs_units/{id}/finish",
		"update-executed-obs-unit":            "PATCH /executed_obs_units/{id}",
		"list-executed-obs-units":             "GET /executed_obs_units",
		"get-executed-obs-unit":               "GET /executed_obs_units/{id}",
		"list-executed-obs-units-of-obs-unit": "GET /obs_unit/{id}/executed_obs_units",
		"create-raw-data-file":                "POST /raw_data_files",
		"create-raw-data-files":               "POST /raw_data_files/bulk",
		"list-raw-data-files":                 "GET /raw_data_files",
		"get-raw-data-file":                   "GET /raw_data_files/{id}",
		"create-raw-data-package":             "POST /raw_data_package",
		"finalize-raw-data-package":           "PUT /raw_data_package/{id}/finalize",
		"list-raw-data-packages":              "GET /raw_data_package",
		"get-raw-data-package":                "GET /raw_data_package/{id}",
	} {
		if found[id] != want {
			t.Errorf("operation %s: got %q, want %q", id, found[id], want)
		}
	}
}

func problemType(t *testing.T, stored json.RawMessage) string {
	t.Helper()
	var p struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(stored, &p); err != nil {
		t.Fatal(err)
	}
	return p.Type
}
