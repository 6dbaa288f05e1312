// Command schema prints the whole schema as the migrations make it: what
// sql/schema.sql holds to be read and diffed. It starts a PostgreSQL of its own
// in a temporary folder and leaves nothing behind.
//
// Usage: go run ./tools/schema > sql/schema.sql
package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	opsdbsql "github.com/opsdb/opsdb/sql"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	bin, err := binaries()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "opsdb-schema-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() {
		if removeErr := os.RemoveAll(dir); err == nil {
			err = removeErr
		}
	}()
	owner, err := serverOwner(dir)
	if err != nil {
		return err
	}

	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
		cmd.Dir = dir
		// A fixed locale: pg_dump orders and words its output by it.
		cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "PGTZ=UTC")
		cmd.SysProcAttr = owner
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := command("initdb", "-D", data, "-U", "opsdb", "-A", "trust", "-E", "UTF8", "--no-sync").CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// A Unix socket in the private folder needs no free port.
	options := "-k " + dir + " -c listen_addresses='' -c fsync=off"
	if out, err := command("pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o", options, "start").CombinedOutput(); err != nil {
		return fmt.Errorf("starting PostgreSQL: %w\n%s", err, out)
	}
	defer func() {
		// Not command: an interrupt has ended its context, and the server must still go.
		stop := exec.Command(filepath.Join(bin, "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
		stop.SysProcAttr = owner
		stop.Dir = dir
		if out, stopErr := stop.CombinedOutput(); stopErr != nil && err == nil {
			err = fmt.Errorf("stopping PostgreSQL: %w\n%s", stopErr, out)
		}
	}()

	if err := migrate(ctx, "host="+dir+" user=opsdb dbname=postgres sslmode=disable"); err != nil {
		return err
	}
	dump := command("pg_dump", "-h", dir, "-U", "opsdb", "--schema-only", "--no-owner", "--no-privileges",
		"--exclude-table=goose_db_version", "--exclude-table=goose_db_version_id_seq", "postgres")
	var stderr bytes.Buffer
	dump.Stderr = &stderr
	out, err := dump.Output()
	if err != nil {
		return fmt.Errorf("pg_dump: %w\n%s", err, stderr.Bytes())
	}
	if _, err := os.Stdout.WriteString(normalise(string(out))); err != nil {
		return fmt.Errorf("writing the schema: %w", err)
	}
	return nil
}

// binaries returns the folder of PostgreSQL's server programs.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		// Through links: a folder of links need not hold every program.
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", fmt.Errorf("finding PostgreSQL's programs: %w", err)
		}
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("no initdb in PATH or /usr/lib/postgresql: install the PostgreSQL server")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// serverOwner gives dir to the user the server must run as when we are root,
// since PostgreSQL refuses to run as root.
func serverOwner(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("finding a user for PostgreSQL: %w", err)
		}
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("reading the uid of %s: %w", account.Username, err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("reading the gid of %s: %w", account.Username, err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, fmt.Errorf("giving the folder to %s: %w", account.Username, err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

func migrate(ctx context.Context, dsn string) (err error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	defer func() {
		if closeErr := db.Close(); err == nil {
			err = closeErr
		}
	}()
	files, err := fs.Sub(opsdbsql.Migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	return nil
}

// normalise takes out of pg_dump's text what depends on the server's or
// pg_dump's version rather than on the migrations.
func normalise(dump string) string {
	var out strings.Builder
	out.WriteString("-- Generated by tools/schema from sql/migrations; do not edit.\n")
	blank := false
	for line := range strings.Lines(dump) {
		line = strings.TrimRight(line, " \n")
		switch {
		case strings.HasPrefix(line, "SET "), strings.HasPrefix(line, "SELECT pg_catalog.set_config"),
			strings.HasPrefix(line, "-- Dumped "), strings.HasPrefix(line, "-- PostgreSQL database dump"),
			strings.HasPrefix(line, `\restrict`), strings.HasPrefix(line, `\unrestrict`), line == "--":
			continue
		case line == "":
			blank = true
			continue
		}
		// pg_dump heads each object with its name and owner.
		if strings.HasPrefix(line, "-- Name: ") {
			line, _, _ = strings.Cut(line, "; Schema: ")
		}
		if blank {
			out.WriteByte('\n')
			blank = false
		}
		out.WriteString(line)
		out.WriteByte('\n')
	}
	return out.String()
}
