package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/modules/auth/internal/db"
	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/record"
)

// AuditEvent is an entry of the audit log.
type AuditEvent struct {
	ID        uuid.UUID       `json:"id" doc:"The event's id."`
	At        time.Time       `json:"at" doc:"When it was recorded, by the site's clock; rising along the site's chain."`
	Site      string          `json:"site" doc:"The site where it happened."`
	UserID    *int64          `json:"user_id" doc:"Who did it; null when nobody was known."`
	TokenID   *int64          `json:"token_id" doc:"The API token it was done with."`
	Action    string          `json:"action" doc:"What was done." example:"token.revoke"`
	TableName string          `json:"table_name" doc:"The table of what it was done to, or nothing."`
	RowID     string          `json:"row_id" doc:"The id of what it was done to, or nothing."`
	Detail    json.RawMessage `json:"detail" doc:"What else is to be known."`
	RequestID string          `json:"request_id" doc:"The request, as the logs name it."`
	PrevHash  string          `json:"prev_hash" doc:"The hash of the site's event before; empty for the first one, unknown:<id> where the site could not know it."`
	Hash      string          `json:"hash" doc:"SHA-256 of all that stands here but the hash itself and sync."`
	Sync      *pending.Sync   `json:"sync" doc:"How far the event has come."`
}

var auditFilters = api.NewFilters(
	api.String("action"), api.String("site"), api.Int("user_id"), api.String("table_name"), api.String("row_id"), api.Time("at"),
)

type auditListInput = listInput

func registerAudit(r *api.Router, m *Module) {
	api.Register(r, api.Op{
		ID: "list-audit-events", Method: http.MethodGet, Path: "/audit", Permission: "read:audit", Tags: tags,
		Summary: "The audit log, newest first", Filters: auditFilters, Order: api.NewestFirst,
		Description: "Who logged in and out or was refused, who made, changed and revoked users, roles and tokens, and what operators decided about dead letters. `opsdb audit verify` finds an event that was changed or taken out.",
	}, m.listAuditEvents)
}

func (m *Module) listAuditEvents(ctx context.Context, in *auditListInput) (*api.PageOutput[AuditEvent], error) {
	var rows db.ListAuditEventsParams
	var count db.CountAuditEventsParams
	if err := record.Fill(in.List, &rows, &count); err != nil {
		return nil, err
	}
	if in.OverlayOptional() {
		ctx = pending.WithOverlayOptional(ctx)
	}
	page := auditPage(in.List)
	var out *api.PageOutput[AuditEvent]
	err := m.config.Reader.Read(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		overlay := s.Page(tableAudit, page)
		rows.Pending, rows.Replaced = overlayed(overlay)
		rows.PageSize = int32(page.Limit)
		rows.AfterTime, rows.AfterID = place(page.After)
		rows.BoundTime, rows.BoundID = place(overlay.Bound)
		found, err := db.New(s.DB).ListAuditEvents(ctx, rows)
		if err != nil {
			return fmt.Errorf("reading a page of the audit log: %w", err)
		}
		var last *api.SortKey
		switch {
		case len(found) > in.Limit:
			found = found[:in.Limit]
			last = &api.SortKey{Time: found[in.Limit-1].At, UUID: found[in.Limit-1].ID}
		case overlay.Bound != nil:
			last = &api.SortKey{Time: overlay.Bound.Time, UUID: overlay.Bound.ID}
		}
		items := make([]AuditEvent, 0, len(found))
		for _, row := range found {
			items = append(items, auditEvent(row, s.Sync(tableAudit, row.ID)))
		}
		var total *int64
		if in.Count {
			counted := s.Count(tableAudit, page)
			count.Pending, count.Replaced = overlayed(counted)
			n, err := db.New(s.DB).CountAuditEvents(ctx, count)
			if err != nil {
				return fmt.Errorf("counting the audit log: %w", err)
			}
			sum := n + counted.Counted
			total = &sum
		}
		out = api.NewPage(in.List, items, last, total)
		out.ReplayLSN = s.ReplayLSN
		out.SetOverlayUnavailable(s.OverlayUnavailable)
		return nil
	})
	return out, err
}

// auditPage is what Go can judge of the filters of the list.
func auditPage(in api.List) pending.Page {
	conditions, undecided := in.Values.Simple()
	page := pending.Page{Undecided: undecided, Limit: in.Limit + 1}
	for _, c := range conditions {
		page.Filters = append(page.Filters, pending.Filter(c))
	}
	if after, ok := in.After(); ok {
		page.After = &pending.Cursor{Time: after.Time, ID: after.UUID}
	}
	return page
}

// overlayed are the two parameters of a merged query. NULL would hide the whole table.
func overlayed(o pending.Overlay) (json.RawMessage, []uuid.UUID) {
	list, replaced := o.Pending, o.Replaced
	if list == nil {
		list = json.RawMessage("[]")
	}
	if replaced == nil {
		replaced = []uuid.UUID{}
	}
	return list, replaced
}

func place(c *pending.Cursor) (*time.Time, *uuid.UUID) {
	if c == nil {
		return nil, nil
	}
	return &c.Time, &c.ID
}

func auditEvent(row db.AuditEvent, sync pending.Sync) AuditEvent {
	return AuditEvent{
		ID: row.ID, At: row.At, Site: row.Site, UserID: row.UserID, TokenID: row.TokenID, Action: row.Action, TableName: row.TableName, RowID: row.RowID,
		Detail: row.Detail, RequestID: row.RequestID, PrevHash: row.PrevHash, Hash: row.Hash, Sync: sync.Shown(),
	}
}
