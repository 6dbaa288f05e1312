// Package planning owns what is to be observed: sources, observing programmes, their obs units with azimuth
// ranges and slots, and the configurations that units share. What was observed of it belongs to package observations; progress is joined here.
package planning

import (
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/record"
)

// Module is the HTTP side of package planning.
type Module struct {
	reader record.Reader
}

// New returns the module. It reads from the site's own database and, for progress, the site's pending executions.
func New(reader record.Reader) *Module { return &Module{reader: reader} }

// Register adds the operations of the module to the router.
func (m *Module) Register(r *api.Router) {
	registerSources(r, m)
	registerPrograms(r, m)
	registerObsUnits(r, m)
	registerConfigurations(r, m)
}
