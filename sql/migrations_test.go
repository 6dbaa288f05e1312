package sql_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	opsdbsql "github.com/opsdb/opsdb/sql"
)

func sqlState(err error) string {
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// catalogue describes everything in the schema, one line each.
const catalogue = `
	SELECT 'column ' || attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
	FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE r.relnamespace = 'public'::regnamespace AND r.relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped AND r.relname <> 'goose_db_version'
	UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
	FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 'goose_db_version'::regclass
	UNION ALL SELECT 'index ' || pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class r ON r.oid = indrelid
	WHERE r.relnamespace = 'public'::regnamespace AND r.relname <> 'goose_db_version'
	UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
	UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
	UNION ALL SELECT 'enum ' || enumtypid::regtype || ' ' || enumlabel || ' ' || enumsortorder FROM pg_enum
	UNION ALL SELECT 'view ' || viewname || ' ' || definition FROM pg_views WHERE schemaname = 'public'
	ORDER BY 1`

func TestMigrationsGoUpDownAndUpAgain(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	db := pair.Primary(t)
	provider := provide(t, pair.MainURL)
	ctx := sandboxtest.Context(t)
	first := list(t, db, catalogue)
	if len(first) < 500 {
		t.Fatalf("the catalogue has %d lines, expected the whole schema", len(first))
	}

	if _, err := provider.DownTo(ctx, 0); err != nil {
		t.Fatalf("down: %v", err)
	}
	if left := list(t, db, catalogue); len(left) > 0 {
		t.Errorf("left after going down: %v", left)
	}
	if _, err := provider.Up(ctx); err != nil {
		t.Fatalf("up again: %v", err)
	}
	if diff := cmp.Diff(first, list(t, db, catalogue)); diff != "" {
		t.Errorf("schema after up, down and up (-first +second):\n%s", diff)
	}
}

func provide(t *testing.T, url string) *goose.Provider {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	files, err := fs.Sub(opsdbsql.Migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

func TestGrantsAreEnoughAndNoMore(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	db := pair.Primary(t)

	var named []string
	for _, r := range opsdbsql.Rights {
		named = append(named, r.Table)
	}
	tables := list(t, db, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
		AND relname <> 'goose_db_version' ORDER BY relname COLLATE "C"`)
	if diff := cmp.Diff(tables, named); diff != "" {
		t.Errorf("tables and those with rights (-schema +rights):\n%s", diff)
	}

	logins := opsdbsql.DefaultLogins("alpha", "beta")
	logins.Main.Password = `it's \ "quoted"`
	logins.Main.Name = "granted_main"
	for i := range logins.Sites {
		for _, login := range []*opsdbsql.Login{&logins.Sites[i].Processor, &logins.Sites[i].Reader, &logins.Sites[i].Replication} {
			login.Name = strings.Replace(login.Name, "opsdb_", "granted_", 1)
		}
	}
	grants := opsdbsql.Grants(logins)
	pair.Exec(t, grants)
	rights := `SELECT grantee::regrole || ' ' || privilege_type || ' ' || c.relname FROM pg_class c, aclexplode(c.relacl)
		WHERE grantee::regrole::text LIKE 'opsdb%' AND relnamespace = 'public'::regnamespace ORDER BY 1`
	before := list(t, db, rights)
	pair.Exec(t, grants)
	if diff := cmp.Diff(before, list(t, db, rights)); diff != "" {
		t.Errorf("a second run changed rights:\n%s", diff)
	}

	for query, want := range map[string]string{
		"SELECT pg_has_role('granted_main', 'granted_alpha', 'USAGE')::text":                                                                                   "true",
		"SELECT pg_has_role('granted_main', 'granted_beta', 'USAGE')::text":                                                                                    "true",
		"SELECT pg_has_role('granted_alpha', 'granted_beta', 'USAGE')::text":                                                                                   "false",
		"SELECT pg_has_role('granted_alpha', 'granted_main', 'USAGE')::text":                                                                                   "false",
		"SELECT pg_has_role('granted_main', 'pg_read_all_stats', 'USAGE')::text":                                                                               "true",
		"SELECT pg_has_role('granted_alpha_read', 'pg_read_all_stats', 'USAGE')::text":                                                                         "true",
		"SELECT has_table_privilege('granted_alpha_read', 'site', 'SELECT')::text":                                                                             "true",
		"SELECT has_any_column_privilege('granted_alpha_read', 'site', 'UPDATE')::text":                                                                        "false",
		"SELECT has_table_privilege('granted_main', 'audit_event', 'INSERT')::text":                                                                            "true",
		"SELECT has_table_privilege('granted_main', 'audit_event', 'UPDATE')::text":                                                                            "false",
		"SELECT has_table_privilege('granted_main', 'audit_event', 'DELETE')::text":                                                                            "false",
		"SELECT has_table_privilege('granted_main', 'applied_transaction', 'DELETE')::text":                                                                    "false",
		"SELECT has_table_privilege('granted_main', 'applied_transaction', 'UPDATE')::text":                                                                    "false",
		"SELECT has_column_privilege('granted_main', 'applied_transaction', 'changes', 'UPDATE')::text":                                                        "true",
		"SELECT has_schema_privilege('granted_main', 'public', 'CREATE')::text":                                                                                "false",
		"SELECT rolreplication::text FROM pg_roles WHERE rolname = 'granted_beta_replication'":                                                                 "true",
		"SELECT bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)::text FROM pg_roles WHERE rolname LIKE 'granted%' OR rolname LIKE 'opsdb_%'": "false",
	} {
		if got := list(t, db, query); len(got) != 1 || got[0] != want {
			t.Errorf("%s = %v, want %s", query, got, want)
		}
	}
	t.Cleanup(func() {
		var drop strings.Builder
		for _, match := range regexp.MustCompile(`ALTER ROLE ("granted[^"]*")`).FindAllStringSubmatch(grants, -1) {
			drop.WriteString("DROP ROLE " + match[1] + ";")
		}
		if err := pair.Stack.Primary.Exec(context.Background(), pair.Database, drop.String()); err != nil {
			t.Errorf("dropping the test's roles: %v", err)
		}
	})
}

// TestTheLedgerIsWrittenOnce: a site's role fills in the changes of an entry without any, as a large transaction does, and
// rewrites none.
func TestTheLedgerIsWrittenOnce(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	db := sandboxtest.Pool(t, pair.MainRoleURL)
	ctx := sandboxtest.Context(t)
	if _, err := db.Exec(ctx, `INSERT INTO applied_transaction (id, site, outcome, operation, actor, accepted_at, applied_at, changes)
		VALUES ('01890000-0000-7000-8000-000000000001', 'main', 'applied', 'test', 'user:ada', now(), now(), '[]')`); err != nil {
		t.Fatal(err)
	}
	const fill = `UPDATE applied_transaction SET changes = '[{"table": "note"}]'`
	if _, err := db.Exec(ctx, fill); err != nil {
		t.Errorf("filling in what an entry has changed: %v", err)
	}
	if _, err := db.Exec(ctx, fill); sqlState(err) != "42501" {
		t.Errorf("rewriting it: %v, want insufficient privilege", err)
	}
}

// TestUnprivilegedWritesBumpVersions: the trigger writes what the role may not.
func TestUnprivilegedWritesBumpVersions(t *testing.T) {
	t.Parallel()
	pair := sandboxtest.New(t)
	db := sandboxtest.Pool(t, pair.MainRoleURL)
	ctx := sandboxtest.Context(t)
	if _, err := db.Exec(ctx, "INSERT INTO observatory (name, short_name) VALUES ('A', 'A')"); err != nil {
		t.Fatal(err)
	}
	if got := list(t, db, "SELECT version::text FROM table_version WHERE table_name = 'observatory'"); len(got) != 1 || got[0] == "0" {
		t.Errorf("version %v", got)
	}
	if _, err := db.Exec(ctx, "UPDATE table_version SET version = 0"); sqlState(err) != "42501" {
		t.Errorf("writing table_version: %v, want insufficient privilege", err)
	}
}
