// Package instruments owns what observes: observatories, telescopes, instruments, their modules, the spectral lines
// these are tuned to and the configurations they are used in. Little of it changes in a night but availability.
package instruments

import (
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/record"
)

// Module is the HTTP side of package instruments.
type Module struct {
	reader record.Reader
}

// New returns the module. It reads from the site's own database.
func New(reader record.Reader) *Module { return &Module{reader: reader} }

// Register adds the operations of the module to the router.
func (m *Module) Register(r *api.Router) {
	registerTelescopes(r, m)
	registerInstruments(r, m)
}
