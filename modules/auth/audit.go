package auth

import (
	"context"

	"github.com/opsdb/opsdb/platform/txn"
)

// Event is something that the audit log tells: who did what to which row.
type Event struct {
	// Action is what was done, `<thing>.<verb>`: user.create, token.revoke, login.
	Action string
	// UserID and TokenID are who did it, where that is not who sent the request: a login
	// that succeeds has a user of its own.
	UserID, TokenID *int64
	// Table and Row name what it was done to; both may be empty.
	Table, Row string
	// Detail is what else is to be known, never a secret. Its values are text, whole
	// numbers, truth values and lists of these.
	Detail map[string]any
}

// Recorder keeps the audit log of a site.
type Recorder interface {
	// Record returns when the event is kept; what it cannot keep it logs, for what has
	// been done has been done.
	Record(ctx context.Context, e Event)
	// Joint tells whether Write keeps the event in the transaction that it tells of.
	Joint() bool
	// Write carries a transaction out by a writer to the primary, together with the event
	// of it if the log is Joint. event is called when build has returned, and no sooner.
	Write(ctx context.Context, by txn.Writer, request txn.Request, event func() Event, build func(ctx context.Context, tx *txn.Builder) error) (txn.Receipt, error)
}

// told carries a transaction out on the primary, with its event where that goes there too;
// the others are for record.
func (m *Module) told(ctx context.Context, request txn.Request, event func() Event, build func(ctx context.Context, tx *txn.Builder) error) (txn.Receipt, error) {
	if m.config.Audit == nil || request.ValidateOnly {
		return m.config.Direct.Write(ctx, request, build)
	}
	return m.config.Audit.Write(ctx, m.config.Direct, request, event, build)
}

// record tells the audit log of a write that was carried out now, if told has not.
func (m *Module) record(ctx context.Context, receipt txn.Receipt, event func() Event) {
	if m.config.Audit != nil && !m.config.Audit.Joint() && !receipt.Replayed && !receipt.ValidateOnly {
		m.config.Audit.Record(ctx, event())
	}
}
