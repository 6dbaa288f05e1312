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

// Recorder keeps the audit log of a site. Record returns when the event is kept; what it
// cannot keep it logs, for what has been done has been done.
type Recorder interface {
	Record(ctx context.Context, e Event)
}

// record tells the audit log of a write that was carried out now.
func (m *Module) record(ctx context.Context, receipt txn.Receipt, e Event) {
	if m.config.Audit != nil && !receipt.Replayed && !receipt.ValidateOnly {
		m.config.Audit.Record(ctx, e)
	}
}
