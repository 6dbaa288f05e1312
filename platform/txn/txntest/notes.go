// Package txntest gives tests of the write path a small domain of its own (notes
// that answer other notes), both sites wired to real servers, and the checks
// that every registered step has to pass.
package txntest

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// Schema makes the table of the notes and its function for pending rows.
const Schema = `
CREATE TABLE note (
    id uuid NOT NULL,
    parent_id uuid,
    body text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT note_pkey PRIMARY KEY (id),
    CONSTRAINT note_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES note (id),
    CONSTRAINT note_body_check CHECK (body <> 'poison')
);
CREATE FUNCTION note_pending(pending jsonb) RETURNS SETOF note LANGUAGE sql STABLE AS $$
    SELECT r.*
    FROM jsonb_to_recordset(pending) AS e (id uuid, "create" boolean, columns jsonb)
    LEFT JOIN note AS base ON base.id = e.id
    CROSS JOIN LATERAL jsonb_populate_record(base, e.columns) AS r
    WHERE e."create" OR base.id IS NOT NULL
$$;
GRANT SELECT, INSERT, UPDATE ON note TO opsdb_write;
GRANT SELECT ON note TO opsdb_read;
`

// Table declares the notes to the view of pending rows.
func Table() pending.Table {
	return pending.Table{Name: "note", Time: "created_at", Paths: []string{"parent_id"}, Fixed: []string{"parent_id"}}
}

// NoteClosed is what editing a note means that is not open.
var NoteClosed = &problem.Kind{Code: "note-closed", Title: "The note is closed", Status: 409, Doc: "Only open notes can be edited."}

// ParentMissing is what an unknown parent means.
var ParentMissing = &problem.Kind{Code: "parent-missing", Title: "There is no such note", Status: 422, Doc: "The note that is answered does not exist."}

// Poisoned is what the body "poison" means, which the primary refuses.
var Poisoned = &problem.Kind{Code: "note-poisoned", Title: "The note is poisoned", Status: 422, Doc: "The primary refuses it."}

// Problems are the problems of the notes.
var Problems = problem.Set{
	Kinds: []*problem.Kind{NoteClosed, ParentMissing, Poisoned},
	Constraints: map[string]problem.Constraint{
		"note_pkey":           {Kind: problem.IDTaken, Field: "body.id"},
		"note_parent_id_fkey": {Kind: ParentMissing, Field: "body.parent_id"},
		"note_body_check":     {Kind: Poisoned, Field: "body.body"},
	},
}

// Write creates a note.
type Write struct {
	ID        uuid.UUID  `json:"id"`
	ParentID  *uuid.UUID `json:"parent_id"`
	Body      string     `json:"body"`
	Status    string     `json:"status"`
	CreatedAt time.Time  `json:"created_at"`
}

// NewWrite makes an open note with the id and time that tx gives it.
func NewWrite(tx *txn.Builder, body string, parent *uuid.UUID) Write {
	return Write{ID: tx.NewID(), ParentID: parent, Body: body, Status: "open", CreatedAt: tx.Now()}
}

// Kind implements txn.Step.
func (Write) Kind() string { return "notes.write/1" }

// Apply implements txn.Step.
func (s Write) Apply(ctx context.Context, db txn.DBTX) error {
	_, err := db.Exec(ctx, `INSERT INTO note (id, parent_id, body, status, created_at) VALUES ($1, $2, $3, $4, $5)`,
		s.ID, s.ParentID, s.Body, s.Status, s.CreatedAt)
	return err
}

// Rows implements txn.Step.
func (s Write) Rows() []pending.Change {
	var references []pending.Key
	if s.ParentID != nil {
		references = append(references, pending.Key{Table: "note", ID: *s.ParentID})
	}
	return []pending.Change{txn.Create("note", s.ID, s, references...)}
}

// Edit sets the body of an open note, and closes it when Status says so.
type Edit struct {
	ID     uuid.UUID `json:"id"`
	Body   string    `json:"body"`
	Status string    `json:"status"`
}

// Kind implements txn.Step.
func (Edit) Kind() string { return "notes.edit/1" }

// Apply implements txn.Step.
func (s Edit) Apply(ctx context.Context, db txn.DBTX) error {
	_, err := db.Exec(ctx, `WITH changed AS (UPDATE note SET body = $2, status = $3 WHERE id = $1 AND status = 'open' RETURNING id)
		SELECT must_change(count(*)) FROM changed`, s.ID, s.Body, s.Status)
	return err
}

// Rows implements txn.Step.
func (s Edit) Rows() []pending.Change {
	return []pending.Change{txn.Update("note", s.ID, map[string]any{"body": s.Body, "status": s.Status})}
}

// Refusal implements txn.Refuser.
func (Edit) Refusal() *problem.Kind { return NoteClosed }

// Many creates many notes by one statement.
type Many struct {
	IDs       []uuid.UUID `json:"ids"`
	Bodies    []string    `json:"bodies"`
	CreatedAt time.Time   `json:"created_at"`
}

// Kind implements txn.Step.
func (Many) Kind() string { return "notes.write_many/1" }

// Apply implements txn.Step.
func (s Many) Apply(ctx context.Context, db txn.DBTX) error {
	_, err := db.Exec(ctx, `INSERT INTO note (id, body, status, created_at) SELECT u.id, u.body, 'open', $3::timestamptz
		FROM unnest($1::uuid[], $2::text[]) AS u (id, body)`, s.IDs, s.Bodies, s.CreatedAt)
	return err
}

// Rows implements txn.Step.
func (s Many) Rows() []pending.Change {
	changes := make([]pending.Change, len(s.IDs))
	for i, id := range s.IDs {
		changes[i] = txn.Create("note", id, Write{ID: id, Body: s.Bodies[i], Status: "open", CreatedAt: s.CreatedAt})
	}
	return changes
}

// Slices implements txn.Slicer.
func (s Many) Slices(max int) []txn.Step {
	var slices []txn.Step
	for from := 0; from < len(s.IDs); {
		to, size := from, 0
		for to < len(s.IDs) && (to == from || size+len(s.Bodies[to])+24 <= max) {
			size += len(s.Bodies[to]) + 24
			to++
		}
		slices = append(slices, Many{IDs: s.IDs[from:to], Bodies: s.Bodies[from:to], CreatedAt: s.CreatedAt})
		from = to
	}
	return slices
}

// Steps is one value of each step of the notes.
func Steps() []txn.Step { return []txn.Step{Write{}, Edit{}, Many{}} }
