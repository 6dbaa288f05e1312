package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/spf13/cobra"

	opsdbsql "github.com/opsdb/opsdb/sql"
)

// newMigrateCommand returns `opsdb migrate`, which brings the primary's schema
// to the version this binary was built with, and prints the rights of the
// database roles. Replicas follow by replication.
func newMigrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the primary's schema up to date, and print the rights of the database roles",
		Long: `Bring the primary's schema up to date. The role that connects must own the
schema; the API servers' own roles do not. The migrations are plain SQL in
sql/migrations: the stock goose command applies them too.`,
		Args: cobra.NoArgs,
	}
	url := primaryFlag(cmd)

	cmd.AddCommand(&cobra.Command{
		Use:   "up",
		Short: "Apply all migrations that are missing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMigrations(cmd.Context(), *url, func(p *goose.Provider) error {
				results, err := p.Up(cmd.Context())
				return printMigrations(cmd.OutOrStdout(), results, err)
			})
		},
	}, &cobra.Command{
		Use:   "status",
		Short: "List the migrations and when each was applied",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMigrations(cmd.Context(), *url, func(p *goose.Provider) error {
				return printStatus(cmd.Context(), cmd.OutOrStdout(), p)
			})
		},
	}, newMigrateDownCommand(url), newMigrateGrantsCommand())
	return cmd
}

func newMigrateDownCommand(url *string) *cobra.Command {
	var to int64
	down := &cobra.Command{
		Use:   "down",
		Short: "Take back the newest migration, with the data it holds",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withMigrations(cmd.Context(), *url, func(p *goose.Provider) error {
				if cmd.Flags().Changed("to") {
					results, err := p.DownTo(cmd.Context(), to)
					return printMigrations(cmd.OutOrStdout(), results, err)
				}
				result, err := p.Down(cmd.Context())
				if errors.Is(err, goose.ErrNoNextVersion) {
					err = nil
				}
				var results []*goose.MigrationResult
				if result != nil {
					results = append(results, result)
				}
				return printMigrations(cmd.OutOrStdout(), results, err)
			})
		},
	}
	down.Flags().Int64Var(&to, "to", 0, "take back everything above this version instead (0: everything)")
	return down
}

func newMigrateGrantsCommand() *cobra.Command {
	var sites []string
	grants := &cobra.Command{
		Use:   "grants",
		Short: "Print SQL that makes the database roles and gives each its rights",
		Long: `Print SQL that makes the roles of the API servers, processors, readers and
replication, with no right that they do not need. A superuser runs it in the
migrated database, and again after each migration:

  opsdb migrate grants --site observatory | psql "$SUPERUSER_URL"

It sets no passwords; use \password in psql. Roles: opsdb_main for the main
site's API servers, and for each secondary site opsdb_SITE (MAIN_DB_URL there),
opsdb_SITE_read (LOCAL_DB_URL) and opsdb_SITE_replication.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), opsdbsql.Grants(opsdbsql.DefaultLogins(sites...)))
			return err
		},
	}
	grants.Flags().StringSliceVar(&sites, "site", nil, "short name of a secondary site (may be repeated)")
	return grants
}

// withMigrations hands the embedded migrations, bound to the database at url, to
// fn. An advisory lock makes a second migration wait for the first.
func withMigrations(ctx context.Context, url string, fn func(*goose.Provider) error) (err error) {
	if url, err = primaryURL(url); err != nil {
		return err
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		return fmt.Errorf("reading the connection URL: %w", err)
	}
	defer func() {
		if closeErr := db.Close(); err == nil {
			err = closeErr
		}
	}()
	ping, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := db.PingContext(ping); err != nil {
		return fmt.Errorf("connecting to the primary: %w", err)
	}
	files, err := fs.Sub(opsdbsql.Migrations, "migrations")
	if err != nil {
		return fmt.Errorf("reading the embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("preparing the migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("reading the embedded migrations: %w", err)
	}
	return fn(provider)
}

func printMigrations(w io.Writer, results []*goose.MigrationResult, err error) error {
	for _, r := range results {
		if _, printErr := fmt.Fprintf(w, "%-4s %s (%s)\n", r.Direction, filepath.Base(r.Source.Path), r.Duration.Round(time.Millisecond)); printErr != nil {
			return printErr
		}
	}
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	if len(results) == 0 {
		_, err = fmt.Fprintln(w, "nothing to do")
	}
	return err
}

func printStatus(ctx context.Context, w io.Writer, p *goose.Provider) error {
	status, err := p.Status(ctx)
	if err != nil {
		return fmt.Errorf("reading the applied migrations: %w", err)
	}
	for _, s := range status {
		applied := "missing"
		if s.State == goose.StateApplied {
			applied = s.AppliedAt.UTC().Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(w, "%-20s %s\n", applied, filepath.Base(s.Source.Path)); err != nil {
			return err
		}
	}
	return nil
}
