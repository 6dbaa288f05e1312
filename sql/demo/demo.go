// Package demo is the demo data as plain SQL: real instruments, sources, programmes and nights, to try a stack with
// and to test with.
//
// The files are fixtures of the whole schema, as migrations are changes of the whole schema: they run in order of
// their names in one transaction, and none of them changes a row that is already there, so a second run adds nothing
// and undoes nothing that was done meanwhile.
package demo

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed *.sql
var files embed.FS

// Seed inserts the demo data in one transaction on the primary, whose schema must be migrated. Rows that exist
// already, by id or by name, are left as they are. Times "of the last days" are relative to the first run.
func Seed(ctx context.Context, conn *pgx.Conn) error {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return fmt.Errorf("listing the demo data: %w", err)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, name := range names {
			text, err := files.ReadFile(name)
			if err != nil {
				return fmt.Errorf("reading the demo data: %w", err)
			}
			// Many statements in one message need the simple protocol.
			if _, err := tx.Conn().PgConn().Exec(ctx, string(text)).ReadAll(); err != nil {
				return fmt.Errorf("seeding %s: %w", place(name, string(text), err), err)
			}
		}
		return nil
	})
}

// place says in which line of a file an error of PostgreSQL lies, where it tells.
func place(name, text string, err error) string {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Position < 1 || int(pgErr.Position) > len(text) {
		return name
	}
	return fmt.Sprintf("%s:%d", name, 1+strings.Count(text[:pgErr.Position-1], "\n"))
}
