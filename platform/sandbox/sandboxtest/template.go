package sandboxtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/opsdb/opsdb/platform/sandbox"
	"github.com/opsdb/opsdb/sql/demo"
)

// template is a migrated database that others are cloned from.
type template struct {
	name               string
	siteID, mainSiteID int64
}

// template makes, once, the database that others are cloned from. Its name
// carries a hash of the migrations.
func (s *stack) template(ctx context.Context, options []Option) (template, error) {
	var w want
	for _, option := range options {
		option(&w)
	}
	hash, err := sandbox.MigrationsHash()
	if err != nil {
		return template{}, err
	}
	name := "template_" + hash
	if w.seeded {
		name += "_seeded"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.templates[name]; ok {
		return known, nil
	}
	made, err := s.makeTemplate(ctx, name, w)
	if err != nil {
		return template{}, err
	}
	s.templates[name] = made
	return made, nil
}

// makeTemplate creates a database, migrates it, gives the roles their rights,
// and puts both sites into it.
func (s *stack) makeTemplate(ctx context.Context, name string, w want) (template, error) {
	if _, err := s.primary.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return template{}, err
	}
	if err := s.Migrate(ctx, name); err != nil {
		return template{}, err
	}
	if err := s.Grant(ctx, name); err != nil {
		return template{}, err
	}
	conn, err := pgx.Connect(ctx, s.Stack.Primary.URL(name))
	if err != nil {
		return template{}, err
	}
	made := template{name: name}
	err = fill(ctx, conn, w)
	if err == nil {
		err = conn.QueryRow(ctx, `SELECT (SELECT id FROM site WHERE short_name = $1), (SELECT id FROM site WHERE short_name = $2)`,
			SecondarySite, MainSite).Scan(&made.siteID, &made.mainSiteID)
	}
	// An open connection would make the template impossible to clone.
	return made, errors.Join(err, conn.Close(ctx))
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
