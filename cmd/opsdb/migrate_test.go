package main

import (
	"bytes"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/opsdb/opsdb/platform/sandbox/sandboxtest"
	"github.com/opsdb/opsdb/sql"
)

// runMigrate runs `opsdb migrate` with args and returns what it prints.
func runMigrate(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := newMigrateCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(sandboxtest.Context(t))
	return out.String(), err
}

func TestMigrateUpDownStatus(t *testing.T) {
	pair := sandboxtest.New(t)
	url := "--url=" + pair.MainURL
	files, err := fs.Glob(sql.Migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	newest := path.Base(files[len(files)-1])
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"up", url}, "nothing to do"},
		{[]string{"down", url}, newest},
		{[]string{"status", url}, "missing              " + newest},
		{[]string{"up", url}, newest},
		{[]string{"down", "--to=0", url}, "00001_enums.sql"},
		{[]string{"down", url}, "nothing to do"},
		{[]string{"up", url}, "00001_enums.sql"},
	} {
		out, err := runMigrate(t, step.args...)
		if err != nil || !strings.Contains(out, step.want) {
			t.Fatalf("opsdb migrate %s printed %q (%v), want %q", step.args[0], out, err, step.want)
		}
	}
}

func TestMigrateDoesNotShowTheURL(t *testing.T) {
	t.Setenv("MAIN_DB_URL", "postgres://opsdb:geheim@127.0.0.1:1/opsdb")
	for _, args := range [][]string{{"--help"}, {"up", "--help"}, {"up"}} {
		out, err := runMigrate(t, args...)
		if err != nil {
			out += err.Error()
		}
		if strings.Contains(out, "geheim") {
			t.Errorf("opsdb migrate %v shows the password: %s", args, out)
		}
	}
}

func TestMigrateGrantsPrintsEachSite(t *testing.T) {
	out, err := runMigrate(t, "grants", "--site", "observatory", "--site", "cornell")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"opsdb_main", "opsdb_observatory", "opsdb_observatory_read", "opsdb_cornell_replication"} {
		if !strings.Contains(out, `ALTER ROLE "`+role+`" LOGIN`) {
			t.Errorf("no login role %s", role)
		}
	}
}
