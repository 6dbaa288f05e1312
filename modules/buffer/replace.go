package buffer

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// Editor turns a stored transaction back into the request that it came from. The module
// whose transactions they are implements it.
type Editor interface {
	// Request is the body of the request that would make the transaction now, a JSON
	// object; nil when it came from none that can be edited.
	Request(of *pending.Transaction) (json.RawMessage, error)
	// Edit lays a JSON merge patch over that body and checks it as the operation would.
	// The function returned puts together the steps of a transaction that touches the
	// same records; it is nil where Request gives nil.
	Edit(of *pending.Transaction, patch json.RawMessage) (func(ctx context.Context, tx *txn.Builder) error, error)
}

// ReplaceDeadLetter puts an edited transaction in the place of the dead letter id, in one
// transaction that w buffers: the decision that the dead letter is never applied, and
// what the edited request does. What the dead letter holds back goes on once that is
// applied. The errors beside w's and those of the request's own checks are not-found,
// not-a-dead-letter and not-editable.
func ReplaceDeadLetter(ctx context.Context, w txn.Writer, catalog *txn.Catalog, editor Editor, req txn.Request, id uuid.UUID, reason string, patch json.RawMessage) (DeadLetterDecision, txn.Receipt, error) {
	req.Replaces = &id
	receipt, err := w.Write(ctx, req, func(ctx context.Context, tx *txn.Builder) error {
		dead, _, err := undecided(ctx, tx, catalog, id)
		if err != nil {
			return err
		}
		whole, err := dead.Transaction()
		if err != nil {
			return err
		}
		if editor == nil {
			return NotEditable.New("this server knows nothing of the request behind it")
		}
		build, err := editor.Edit(whole, patch)
		if err != nil {
			return inRequest(err)
		}
		if build == nil {
			return NotEditable.New("it is a %s", dead.Operation)
		}
		// A correction that was not checked would be no better than the mistake.
		if err := tx.Require(ctx, func(context.Context, *pending.Snapshot) error { return nil }); err != nil {
			return err
		}
		by := tx.ID()
		if err := decide(tx, catalog, dead, reason, req.Actor, &by); err != nil {
			return err
		}
		if err := tx.Replace(dead); err != nil {
			return err
		}
		if err := inRequest(build(ctx, tx)); err != nil {
			return err
		}
		if !tx.Checked() {
			return problem.ReplicaUnreachable.New("an edited transaction is checked against the site's replica, which cannot be read now")
		}
		return nil
	})
	if err != nil {
		return DeadLetterDecision{}, txn.Receipt{}, err
	}
	d, err := decisionOf(receipt, id)
	if err != nil {
		return DeadLetterDecision{}, txn.Receipt{}, err
	}
	if receipt.ValidateOnly {
		d.ReplacedBy = nil // it would be another one
	}
	return d, receipt, nil
}

// inRequest names the parts of an edited request by where they stand in the one that
// brought it: the checks are those of its operation, whose body it would be.
func inRequest(err error) error {
	var p *problem.Problem
	if !errors.As(err, &p) {
		return err
	}
	for i, f := range p.Errors {
		if rest, inBody := strings.CutPrefix(f.Location, "body"); inBody && !strings.HasPrefix(rest, ".request") {
			p.Errors[i].Location = "body.request" + rest
		}
	}
	return err
}

// replacedBy is the dead letter whose place a transaction takes, nil for none.
func replacedBy(tx *pending.Tx, catalog *txn.Catalog) (*uuid.UUID, error) {
	all, err := decisions(tx, catalog)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.ReplacedBy != nil && *d.ReplacedBy == tx.ID {
			return &d.TransactionID, nil
		}
	}
	return nil, nil
}

// requestOf shows what there is to edit of a transaction, nil for nothing.
func (m *Module) requestOf(tx *pending.Tx) (*json.RawMessage, error) {
	if m.config.Editor == nil {
		return nil, nil
	}
	whole, err := tx.Transaction()
	if err != nil {
		return nil, err
	}
	body, err := m.config.Editor.Request(whole)
	if err != nil || body == nil {
		return nil, err
	}
	return &body, nil
}
