package main

import (
	"database/sql"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	opsdbsql "github.com/opsdb/opsdb/sql"
)

// nextMigration changes a buffered table as the next version of the product might.
const nextMigration = `-- +goose Up
ALTER TABLE executed_obs_unit ADD COLUMN humidity double precision NOT NULL DEFAULT 0;
ALTER TABLE executed_obs_unit ADD CONSTRAINT executed_obs_unit_humidity_check CHECK (humidity >= 0);
CREATE INDEX executed_obs_unit_humidity_idx ON executed_obs_unit (humidity);
-- +goose Down
ALTER TABLE executed_obs_unit DROP COLUMN humidity;
`

// TestMigrationWithPendingTransactions: main is migrated while the observatory has
// transactions of the schema before in its buffer, and both sites serve. Nothing is
// refused for good: the buffer drains into the new schema, the replica gets it by
// replication, and the reads of the site show rows of the old shape over it.
func TestMigrationWithPendingTransactions(t *testing.T) {
	const full = 300
	d := startDemo(t, "--no-night", "--rtt", "20", "--observatory-apis", "2")
	ready := d.ready()
	setLink(t, ready, map[string]any{"up": false})
	nights := newObservers(t, ready, 4)
	d.wait(time.Minute, "pending transactions", func() bool { return nights.size() >= full })

	// Readers of both sites, all the while.
	reading := make(chan struct{})
	var readers sync.WaitGroup
	for _, base := range []string{ready.MainURL, ready.ObservatoryURLs[0], ready.ObservatoryURLs[1]} {
		readers.Go(func() {
			client := apiClient{base: base, token: ready.Viewer}
			for n := 0; ; n++ {
				select {
				case <-reading:
					return
				default:
				}
				path := []string{"/executed_obs_units?limit=50", "/executed_obs_units?status=completed&limit=50", "/executed_obs_units?limit=1&count=true"}[n%3]
				if err := client.get(t.Context(), path, nil); err != nil && t.Context().Err() == nil {
					t.Errorf("%s%s: %v", base, path, err)
					return
				}
			}
		})
	}
	end := sync.OnceFunc(func() { close(reading); readers.Wait() })
	t.Cleanup(end)

	migrateFurther(t, ready.MainDBURL)
	if got := hasHumidity(t, ready.ReplicaDBURL); got {
		t.Fatal("the replica has the new schema although the link is down")
	}
	d.wait(30*time.Second, "more pending transactions", func() bool { return nights.size() >= full+100 })
	// The schema first, while everything is pending; then the buffer.
	setLink(t, ready, map[string]any{"up": true, "lines": []string{"replication"}})
	d.wait(30*time.Second, "the new schema at the replica", func() bool { return hasHumidity(t, ready.ReplicaDBURL) })
	shown := nights.count()
	d.wait(time.Minute, "observations over the new schema", func() bool { return nights.count() > shown+20 })
	setLink(t, ready, map[string]any{"up": true})
	d.wait(2*time.Minute, "an empty buffer", func() bool { return nights.size() < 20 })
	end() // these do not go to the other process, as clients should
	// The rest of an upgrade: the processes one by one.
	for i := range ready.ObservatoryURLs {
		d.replace(ready, i, nights)
	}
	nights.stop()
	nights.checkDatabases(d)

	// An older program is content with a newer schema.
	cmd := exec.CommandContext(t.Context(), buildProgram(t), "doctor")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "SITE_NAME="+mainSite, "SITE_TYPE=main", "MAIN_DB_URL="+ready.MainDBURL, "SITE_KEYS_DIR="+filepath.Join(ready.DataDir, "keys", mainSite))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "schema is at version 90001") {
		t.Errorf("opsdb doctor on the newer schema: %v\n%s", err, out)
	}
	// What it makes now is what the new schema makes of it.
	if _, err := (apiClient{base: ready.MainURL, token: ready.Service}).send(t.Context(), http.MethodPost, "/executed_obs_units/start",
		map[string]any{"obs_unit_id": nights.unit}, nil); err != nil {
		t.Error(err)
	}
}

// migrateFurther applies the next version's migration as an administrator does, with
// goose and a folder of files.
func migrateFurther(t *testing.T, url string) {
	t.Helper()
	dir := t.TempDir()
	files, err := fs.Sub(opsdbsql.Migrations, "migrations")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "90001_humidity.sql"), []byte(nextMigration), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS(dir))
	if err == nil {
		_, err = provider.Up(t.Context())
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// hasHumidity reports whether a server has the schema of nextMigration.
func hasHumidity(t *testing.T, url string) (has bool) {
	t.Helper()
	err := withPrimary(t.Context(), url, func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'executed_obs_unit'::regclass AND attname = 'humidity')").Scan(&has)
	})
	if err != nil {
		t.Fatal(err)
	}
	return has
}
