// Package transfers owns where data lies and how it moves: sites, data locations and the routes between them, and the
// bundles, transfers, archive and staging jobs that use them.
package transfers

import (
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/record"
)

// Module is the HTTP side of package transfers.
type Module struct {
	reader record.Reader
}

// New returns the module. It reads from the site's own database.
func New(reader record.Reader) *Module { return &Module{reader: reader} }

// Register adds the operations of the module to the router.
func (m *Module) Register(r *api.Router) { registerPlaces(r, m) }
