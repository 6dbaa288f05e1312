// Package observations is what was observed: executed obs units, the raw data
// files that instruments write meanwhile, where those files lie, and the packages
// they are put into. All of it is written at the telescope while it happens, so
// every write here is a critical operation: at a secondary site it is buffered,
// and every read there shows it at once.
package observations

import (
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/txn"
)

// Config is what the module needs. Writer and Reader decide together which site
// this is; nothing here asks.
type Config struct {
	Writer txn.Writer
	Reader *pending.Reader
	// Site is the short name of the site that answers, shown with what is filed here.
	Site string
	// PackageMaxBytes is how many bytes the files of a new package may have together.
	PackageMaxBytes int64
}

// Module holds the operations of observations. It is safe for concurrent use.
type Module struct {
	writer   txn.Writer
	reader   *pending.Reader
	site     string
	maxBytes int64
}

// New returns the module. Writer and Reader stay the caller's to close.
func New(c Config) *Module {
	return &Module{writer: c.Writer, reader: c.Reader, site: c.Site, maxBytes: c.PackageMaxBytes}
}
