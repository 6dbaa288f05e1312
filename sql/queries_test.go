package sql_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
)

// owners says which package's queries write a table; all may read it.
var owners = map[string][]string{
	"instruments": {"observatory", "telescope", "instrument", "instrument_module", "spectral_line", "instrument_module_configuration"},
	"planning": {"source", "obs_mode", "observing_program", "sub_observing_program", "observation_configuration", "obs_unit",
		"obs_unit_module_configuration", "obs_unit_azimuth_range", "pre_scheduled_slot"},
	"observations": {"executed_obs_unit", "executed_obs_unit_module", "raw_data_file", "raw_data_package", "raw_data_package_metadata", "physical_copy"},
	"transfers": {"site", "data_location", "data_transfer_route", "data_transfer_package", "data_transfer", "long_term_archive_transfer",
		"staging_job", "staging_job_package", "transfer_log"},
	"auth":   {"app_user", "role", "permission", "user_role", "role_permission", "api_token", "user_preference", "session", "signing_key", "audit_event"},
	"buffer": {"applied_transaction", "site_status", "dead_letter_decision"},
	// Written by triggers alone.
	"": {"table_version"},
}

// mayInsert are the packages that may make a row of another's table, since it
// must come in the same commit as a row of their own. Never change one.
var mayInsert = map[string][]string{
	"site_status": {"transfers"},
}

// partOf names packages of the platform that write for a module.
var partOf = map[string]string{"txn": "buffer"}

// query is one named query of sql/queries.
type query struct {
	file, owner, name, command, text string
	exempt                           string // rules it is exempt from, see sqlc.yaml
}

var (
	header  = regexp.MustCompile(`^-- name: (\w+) :(\w+)`)
	comment = regexp.MustCompile(`(?m)--.*$`)
	written = regexp.MustCompile(`(?i)\b(insert\s+into|update|delete\s+from|merge\s+into|truncate)\s+(?:only\s+)?"?(\w+)"?(?:\s+(?:as\s+)?(\w+))?`)
	asks    = regexp.MustCompile(`(?i)\b(now|random|setseed|nextval|currval|lastval|gen_random_uuid|uuid_generate_v\d|uuidv[47]|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|txid_current|pg_current_xact_id)\s*\(|\b(current_timestamp|current_date|current_time|localtimestamp|localtime|current_user|session_user|default)\b`)
	checked = regexp.MustCompile(`(?i)\bmust_(change|claim)\s*\(`)
)

func queries(t *testing.T) []query {
	t.Helper()
	var out []query
	err := filepath.WalkDir("queries", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".sql" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		owner := filepath.Base(filepath.Dir(path))
		if module, ok := partOf[owner]; ok {
			owner = module
		}
		for line := range strings.Lines(string(content)) {
			if match := header.FindStringSubmatch(line); match != nil {
				out = append(out, query{file: path, owner: owner, name: match[1], command: match[2]})
				continue
			}
			if len(out) == 0 || out[len(out)-1].file != path {
				continue // comments above the first query
			}
			q := &out[len(out)-1]
			if rule, ok := strings.CutPrefix(line, "-- @sqlc-vet-disable "); ok {
				q.exempt += rule
			}
			q.text += comment.ReplaceAllString(line, "")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found %d queries, expected all of sql/queries", len(out))
	}
	return out
}

// write is one table that a query writes.
type write struct{ verb, table string }

func (q query) writes() []write {
	var out []write
	for _, match := range written.FindAllStringSubmatch(q.text, -1) {
		verb := strings.ToUpper(strings.Fields(match[1])[0])
		table := strings.ToLower(match[2])
		// ON CONFLICT DO UPDATE SET writes the INSERT's table; FOR UPDATE OF locks.
		if verb == "UPDATE" && (table == "set" || table == "of" || table == "skip" || table == "nowait") {
			if table == "set" && len(out) > 0 {
				out = append(out, write{verb, out[len(out)-1].table})
			}
			continue
		}
		out = append(out, write{verb, table})
	}
	return out
}

func TestATableHasOneOwner(t *testing.T) {
	t.Parallel()
	db := sandboxtest.New(t).Primary(t)
	ownerOf := map[string]string{}
	for owner, tables := range owners {
		for _, table := range tables {
			if other, twice := ownerOf[table]; twice {
				t.Errorf("%s is owned by %s and %s", table, owner, other)
			}
			ownerOf[table] = owner
		}
	}
	for _, table := range list(t, db, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'goose_db_version'`) {
		if _, ok := ownerOf[table]; !ok {
			t.Errorf("%s has no owner", table)
		}
	}
	for _, q := range queries(t) {
		for _, w := range q.writes() {
			owner, known := ownerOf[w.table]
			switch {
			case !known:
				t.Errorf("%s: %s writes %s, which is no table of the schema", q.file, q.name, w.table)
			case owner == q.owner, w.verb == "INSERT" && slices.Contains(mayInsert[w.table], q.owner):
			default:
				t.Errorf("%s: %s has an %s of %s, which belongs to %q", q.file, q.name, w.verb, w.table, owner)
			}
		}
	}
}

func TestWritesStandInTheirFile(t *testing.T) {
	t.Parallel()
	for _, q := range queries(t) {
		if len(q.writes()) > 0 && filepath.Base(q.file) != "writes.sql" {
			t.Errorf("%s: %s writes; it belongs into writes.sql", q.file, q.name)
		}
	}
}

// TestNoWriteHidesInGo: a write in a Go string would escape every rule here.
func TestNoWriteHidesInGo(t *testing.T) {
	t.Parallel()
	hidden := regexp.MustCompile(`(?i)["\x60]\s*(with\s[^"\x60]*)?\b(insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s)`)
	for _, root := range []string{"../modules", "../platform"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() {
				// Generated from sql/queries, or for tests alone.
				if strings.HasSuffix(path, "/internal/db") || strings.HasSuffix(path, "test") || entry.Name() == "sandbox" {
					return fs.SkipDir
				}
				return nil
			}
			if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if found := hidden.FindString(string(content)); found != "" {
				t.Errorf("%s writes by a statement of its own, %q; it belongs into sql/queries/<package>/writes.sql", path, found)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestWritesAreDeterministic is wider than the vet rule: no query of a
// writes.sql may ask the server for anything, whether it writes itself or not.
func TestWritesAreDeterministic(t *testing.T) {
	t.Parallel()
	for _, q := range queries(t) {
		if len(q.writes()) == 0 || strings.Contains(q.exempt, "writes-are-deterministic") {
			continue
		}
		if found := asks.FindString(q.text); found != "" {
			t.Errorf("%s: %s asks the server for %s; ids and times come from the builder", q.file, q.name, found)
		}
	}
}

func TestChangesOfNothingFail(t *testing.T) {
	t.Parallel()
	for _, q := range queries(t) {
		changes := slices.ContainsFunc(q.writes(), func(w write) bool { return w.verb != "INSERT" })
		if strings.Contains(strings.ToLower(q.text), "on conflict") {
			// An upsert always has its row.
			changes = false
		}
		if changes && !checked.MatchString(q.text) && !strings.Contains(q.exempt, "writes-must-change") {
			t.Errorf("%s: %s changes rows without must_change", q.file, q.name)
		}
	}
}

// TestQueriesAreAcceptedByTheServer prepares every statement sqlc generated:
// sqlc's own parser takes some that PostgreSQL does not.
func TestQueriesAreAcceptedByTheServer(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	db := pair.Primary(t)
	constant := regexp.MustCompile("(?s)const \\w+ = `-- name: (\\w+) :\\w+\n(.*?)`")
	var files []string
	for _, pattern := range []string{"../modules/*/internal/db/*.sql.go", "../platform/*/internal/db/*.sql.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	conn, err := db.Acquire(sandboxtest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	count := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range constant.FindAllStringSubmatch(string(content), -1) {
			count++
			// pgx would close the portal of a failed prepare by itself.
			if _, err := conn.Conn().Prepare(sandboxtest.Context(t), "", match[2]); err != nil {
				t.Errorf("%s: %s: %v", file, match[1], err)
			}
		}
	}
	if count < 20 {
		t.Errorf("prepared %d statements of %d files, expected all", count, len(files))
	}
}

// TestTheWriteRoleMayDoWhatQueriesDo compares the queries with the rights that
// opsdb migrate grants prints.
func TestTheWriteRoleMayDoWhatQueriesDo(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	db := pair.Primary(t)
	for _, q := range queries(t) {
		for _, w := range q.writes() {
			allowed := fmt.Sprintf("SELECT has_any_column_privilege('opsdb_write', '%s', '%s')::text", w.table, w.verb)
			if w.verb == "DELETE" || w.verb == "TRUNCATE" {
				allowed = fmt.Sprintf("SELECT has_table_privilege('opsdb_write', '%s', '%s')::text", w.table, w.verb)
			}
			if got := list(t, db, allowed); len(got) != 1 || got[0] != "true" {
				t.Errorf("%s: %s needs %s on %s, which opsdb migrate grants does not give", q.file, q.name, w.verb, w.table)
			}
		}
	}
}
