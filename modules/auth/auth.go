// Package auth decides who is asking and what they may do: users with roles, roles with permissions, and API tokens
// that carry a user's rights or a part of them, and sessions, whose short-lived access tokens carry them all.
//
// The rule behind everything here: nobody gets in without a valid credential, and a cut link or a broken replica
// never locks out a telescope script that got in yesterday. So a credential that is wrong is refused (401), one that
// cannot be checked now is 503, and a secondary site remembers for a day what it has verified.
package auth

import (
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// Config is what the module works with.
type Config struct {
	// Reader reads the site's database: the primary at main, the replica at a secondary
	// site.
	Reader record.Reader
	// Direct carries writes out on the primary, from either site; without a link it is
	// main-unreachable. It knows DirectSteps.
	Direct txn.Writer
	// Keys are the keys of the site.
	Keys *KeyRing
}

// Module is the HTTP side of package auth.
type Module struct{ config Config }

// New returns the module.
func New(config Config) *Module { return &Module{config: config} }

// Register adds the operations of the module to the router.
func (m *Module) Register(r *api.Router) {
	registerMe(r, m)
	registerKeys(r, m)
}
