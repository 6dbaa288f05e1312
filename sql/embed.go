// Package sql holds what the PostgreSQL side of opsdb is made of: the
// migrations that make the schema, and the rights of the database roles that
// opsdb's processes connect as.
package sql

import "embed"

// Migrations holds the goose migrations of the whole schema in the folder
// "migrations". They are plain SQL: the stock goose command applies them too.
//
//go:embed migrations/*.sql
var Migrations embed.FS
