package sandboxtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/sql/demo"
)

// makeTemplate creates a database, migrates it, gives the roles their
// rights, and puts both sites into it.
func (s *stack) makeTemplate(ctx context.Context, name string, w want) error {
	if err := s.Primary.Exec(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
		return err
	}
	if err := s.Migrate(ctx, name); err != nil {
		return err
	}
	if err := s.Grant(ctx, name); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.Primary.URL(name))
	if err != nil {
		return err
	}
	// An open connection would make the template impossible to clone.
	return errors.Join(fill(ctx, conn, w), conn.Close(ctx))
}

func fill(ctx context.Context, conn *pgx.Conn, w want) error {
	if w.seeded {
		return demo.Seed(ctx, conn)
	}
	_, err := conn.Exec(ctx, fmt.Sprintf(`
		WITH sites AS (
			INSERT INTO site (name, short_name, is_main) VALUES ('Cologne', '%s', true), ('CCAT observatory', '%s', false)
			RETURNING short_name
		)
		INSERT INTO site_status (site) SELECT short_name FROM sites`, MainSite, SecondarySite))
	if err != nil {
		return fmt.Errorf("adding the sites: %w", err)
	}
	return nil
}
