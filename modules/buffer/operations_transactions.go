package buffer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
)

var transactionFilters = api.NewFilters(
	api.Enum("state", "buffered", "applied", "failed", "blocked", "discarded"),
	api.String("operation"),
	api.Number("age_s").Doc("Seconds since it was accepted."),
)

type getTransactionInput struct {
	ID      uuid.UUID `path:"id" doc:"The transaction, as X-Transaction-Id gave it."`
	Wait    string    `query:"wait" enum:"applied,replicated" doc:"Holds the answer until the transaction is that far, or failed, blocked or discarded, or until timeout; without it the answer comes at once. At main applied satisfies both."`
	Timeout int       `query:"timeout" minimum:"0" maximum:"60" default:"30" doc:"How long to wait at most, seconds. When time is up the answer has the state reached."`
}

type transactionOutput struct{ Body Transaction }

type listTransactionsInput struct{ api.List }

type bufferedTransactionInput struct {
	ID uuid.UUID `path:"id" doc:"The transaction."`
}

type bufferedTransactionOutput struct{ Body BufferedTransaction }

type retryInput struct {
	api.Write
	ID uuid.UUID `path:"id" doc:"The dead letter."`
}

type writeInput struct{ api.Write }

// DeadLetterDiscard is why a dead letter is discarded.
type DeadLetterDiscard struct {
	Reason string `json:"reason" minLength:"1" maxLength:"2000" pattern:"\\S" doc:"Why, for those who ask later."`
}

type discardInput struct {
	api.Write
	ID   uuid.UUID `path:"id" doc:"The dead letter."`
	Body DeadLetterDiscard
}

// DeadLetterReplacement is what takes the place of a dead letter, and why.
type DeadLetterReplacement struct {
	Reason  string          `json:"reason" minLength:"1" maxLength:"2000" pattern:"\\S" doc:"Why, for those who ask later."`
	Request json.RawMessage `json:"request" doc:"What is to be different in the request that the dead letter came from: a JSON merge patch of it, or all of it. GET /buffer/transactions/{id} shows it as request."`
}

type replaceInput struct {
	api.Write
	ID   uuid.UUID `path:"id" doc:"The dead letter."`
	Body DeadLetterReplacement
}

type decisionOutput struct {
	api.Written
	Body DeadLetterDecision
}

// Requeued says what went back into the buffer.
type Requeued struct {
	Requeued int `json:"requeued" doc:"How many transactions went back: the dead letters and all they block."`
}

type requeuedOutput struct {
	api.Repeat
	Body Requeued
}

// Draining says whether the site's buffer is drained.
type Draining struct {
	Paused bool `json:"paused" doc:"Whether draining is paused; accepting goes on."`
}

type drainingOutput struct {
	api.Repeat
	Body Draining
}

func (m *Module) registerTransactions(r *api.Router) {
	tags := []string{"operations", "buffer"}
	api.Register(r, api.Op{
		ID: "get-transaction", Method: http.MethodGet, Path: "/transactions/{id}", Permission: api.AnyUser, Tags: tags, Stream: true,
		Summary:     "What became of a transaction",
		Description: "Answers the actor that sent it, and everyone with `read:buffer`; for others it does not exist. At main the ledger answers; at a secondary site the buffer, and then the replica's ledger.",
	}, m.getTransaction)
	api.Register(r, api.Op{
		ID: "list-buffered-transactions", Method: http.MethodGet, Path: "/buffer/transactions", Permission: "read:buffer", Tags: tags,
		Summary: "Everything not replicated yet, oldest first, dead letters included", Filters: transactionFilters, Order: api.ByID,
		Problems: []*problem.Kind{NoBufferHere},
	}, m.listTransactions)
	api.Register(r, api.Op{
		ID: "get-buffered-transaction", Method: http.MethodGet, Path: "/buffer/transactions/{id}", Permission: "read:buffer", Tags: tags,
		Summary: "One transaction that is not replicated yet, with its steps", Problems: []*problem.Kind{NoBufferHere},
	}, m.getBuffered)
	repeat := "The `Idempotency-Key` is kept in the site's Redis for 30 days and counts at this site only; it is lost with that Redis. Refusals are not kept."
	api.Register(r, api.Op{
		ID: "retry-transaction", NoValidateOnly: true, Method: http.MethodPost, Path: "/buffer/transactions/{id}/retry", Permission: "manage:buffer", Tags: tags, Status: http.StatusAccepted,
		Summary:     "Try a dead letter again, with all it blocks",
		Description: "They go back into the buffer in their old order, without any check against the replica. " + repeat,
		Problems:    []*problem.Kind{NoBufferHere, NotADeadLetter, problem.NotFound},
	}, m.retryOne)
	api.Register(r, api.Op{
		ID: "discard-transaction", Method: http.MethodPost, Path: "/buffer/transactions/{id}/discard", Permission: "manage:buffer", Critical: true, Tags: tags,
		Summary: "Decide that a dead letter is never applied",
		Description: "That one alone: what it blocks stays blocked until it is retried or discarded. Its rows leave every read at once. The decision is a buffered transaction itself; " +
			"when main has applied the dead letter meanwhile, its ledger wins and the decision says so. Discarding it again gives the first decision.",
		Problems: []*problem.Kind{NoBufferHere, NotADeadLetter, problem.NotFound},
	}, m.discardOne)
	api.Register(r, api.Op{
		ID: "replace-transaction", Method: http.MethodPost, Path: "/buffer/transactions/{id}/replace", Permission: "manage:buffer", Critical: true, Tags: tags, MaxBody: api.BulkMaxBody,
		Summary: "Correct a dead letter and try it again",
		Description: "The request that the dead letter came from is taken with what the body changes of it, and checked as its operation checks it, against what is true without the dead letter and without what builds on it. " +
			"A new transaction takes the dead letter's place in the order; its records keep their ids and times, and what the dead letter held back goes on once it is applied. " +
			"The dead letter itself is never applied: when main has it already, the new transaction becomes a dead letter, `dead-letter-applied`.",
		Problems: []*problem.Kind{NoBufferHere, NotADeadLetter, NotEditable, problem.NotFound, problem.ReplicaUnreachable},
	}, m.replaceOne)
	api.Register(r, api.Op{
		ID: "retry-all-transactions", NoValidateOnly: true, Method: http.MethodPost, Path: "/buffer/retry", Permission: "manage:buffer", Tags: tags, Status: http.StatusAccepted,
		Summary: "Try all dead letters again", Description: repeat, Problems: []*problem.Kind{NoBufferHere},
	}, m.retryAll)
	api.Register(r, api.Op{
		ID: "pause-buffer", NoValidateOnly: true, Method: http.MethodPost, Path: "/buffer/pause", Permission: "manage:buffer", Tags: tags,
		Summary: "Stop draining", Description: "Accepting goes on. It holds for all processes of the site and survives restarts. " + repeat, Problems: []*problem.Kind{NoBufferHere},
	}, func(ctx context.Context, in *writeInput) (*drainingOutput, error) {
		return m.setPaused(ctx, in.Write, true)
	})
	api.Register(r, api.Op{
		ID: "resume-buffer", NoValidateOnly: true, Method: http.MethodPost, Path: "/buffer/resume", Permission: "manage:buffer", Tags: tags,
		Summary: "Go on draining", Description: repeat, Problems: []*problem.Kind{NoBufferHere},
	}, func(ctx context.Context, in *writeInput) (*drainingOutput, error) {
		return m.setPaused(ctx, in.Write, false)
	})
}

// getTransaction waits if it is asked to, and shows the transaction.
func (m *Module) getTransaction(ctx context.Context, in *getTransactionInput) (*transactionOutput, error) {
	limit := time.NewTimer(time.Duration(in.Timeout) * time.Second)
	defer limit.Stop()
	for {
		var changed <-chan struct{}
		if !m.main() {
			changed = m.config.Store.Watch()
		}
		t, err := m.transaction(ctx, in.ID)
		if err != nil && (in.Wait == "" || !passes(err)) {
			return nil, err
		}
		if err != nil {
			// Who waits can wait for the replica too.
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-limit.C:
			case <-m.config.Ending:
			case <-ctx.Done():
			}
			return nil, err
		}
		if in.Wait == "" || reached(t.State, in.Wait) || m.main() {
			return &transactionOutput{Body: t}, nil
		}
		select {
		case <-changed:
		case <-limit.C:
			return &transactionOutput{Body: t}, nil
		case <-m.config.Ending:
			return &transactionOutput{Body: t}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// passes says whether an error of the replica may be gone in a moment.
func passes(err error) bool {
	return errors.Is(err, problem.ReplicaUnreachable) || errors.Is(err, problem.ReplicaBehind)
}

// reached says whether a state ends a wait.
func reached(state pending.State, want string) bool {
	switch state {
	case pending.StateBuffered:
		return false
	case pending.StateApplied:
		return want == "applied"
	}
	return true
}

// transaction finds a transaction: in the buffer first, then in the ledger of the
// same snapshot. Whom it does not concern learns nothing of it.
func (m *Module) transaction(ctx context.Context, id uuid.UUID) (Transaction, error) {
	var t Transaction
	found := false
	err := m.config.Reader.Read(ctx, func(ctx context.Context, s *pending.Snapshot) error {
		tx, ok := s.View.Tx(id)
		if ok {
			found = true
			var err error
			t, err = m.show(ctx, s.View, tx)
			return err
		}
		row, known, err := ledgerEntry(ctx, s, id)
		if err != nil || !known {
			return err
		}
		found = true
		if t, err = m.fromLedger(row); err != nil {
			return err
		}
		return m.kept(ctx, &t)
	})
	if passes(err) {
		m.log.DebugContext(ctx, "the replica cannot tell about a transaction", "error", err)
		view, pendingErr := m.config.Reader.PendingOnly(ctx)
		if pendingErr != nil {
			return t, pendingErr
		}
		tx, ok := view.Tx(id)
		if !ok {
			return t, err
		}
		found = true
		t, err = m.show(ctx, view, tx)
	}
	if err != nil {
		return t, err
	}
	principal, known := api.PrincipalFrom(ctx)
	if !found || !known || principal.Actor() != t.Actor && !principal.Can("read:buffer") {
		return t, problem.NotFound.Field("path.id", id.String(), "there is no such transaction")
	}
	return t, nil
}

// show is a pending transaction with its attempts.
func (m *Module) show(ctx context.Context, view pending.View, tx *pending.Tx) (Transaction, error) {
	var attempts []pending.Attempt
	if tx.Attempts > 0 {
		var err error
		if attempts, err = m.config.Store.Attempts(ctx, tx.Seq); err != nil {
			return Transaction{}, err
		}
	}
	t, err := transactionOf(m.config.Site, view, tx, attempts)
	if err == nil && tx.State == pending.StateDiscarded {
		t.Decision, err = decisionIn(view, m.config.Catalog, tx)
	}
	if err == nil && tx.Place != tx.Seq {
		t.Replaces, err = replacedBy(tx, m.config.Catalog)
	}
	return t, err
}

// listTransactions shows what is pending, oldest first.
func (m *Module) listTransactions(ctx context.Context, in *listTransactionsInput) (*api.PageOutput[Transaction], error) {
	if m.main() {
		return nil, noBufferHere()
	}
	view, err := m.config.Store.CatchUp(ctx)
	if err != nil {
		return nil, err
	}
	after, _ := in.After()
	match := m.matching(in.Values)
	var page []*pending.Tx
	more := false
	view.Ascend(after.Int+1, func(tx *pending.Tx) bool {
		if !match(tx) {
			return true
		}
		if more = len(page) == in.Limit; more {
			return false
		}
		page = append(page, tx)
		return true
	})
	items, err := m.items(ctx, view, page)
	if err != nil {
		return nil, err
	}
	var last *api.SortKey
	if more {
		last = &api.SortKey{Int: page[len(page)-1].Seq}
	}
	return api.NewPage(in.List, items, last, m.total(in, view, match)), nil
}

func (m *Module) items(ctx context.Context, view pending.View, page []*pending.Tx) ([]Transaction, error) {
	var tried []int64
	for _, tx := range page {
		if tx.Attempts > 0 {
			tried = append(tried, tx.Seq)
		}
	}
	attempts, err := m.config.Store.AttemptsOf(ctx, tried...)
	if err != nil {
		return nil, err
	}
	items := make([]Transaction, len(page))
	for i, tx := range page {
		if items[i], err = transactionOf(m.config.Site, view, tx, attempts[tx.Seq]); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// matching makes the filters of a list one condition.
func (m *Module) matching(values api.Values) func(*pending.Tx) bool {
	conditions, _ := values.Simple()
	now := m.config.Clock()
	return func(tx *pending.Tx) bool {
		for _, c := range conditions {
			switch {
			case c.Column == "state" && !oneOf(c.Values, string(tx.State)),
				c.Column == "operation" && !oneOf(c.Values, tx.Operation),
				c.Column == "age_s" && !within(c, now.Sub(tx.AcceptedAt).Seconds()):
				return false
			}
		}
		return true
	}
}

func oneOf(values []any, s string) bool {
	for _, v := range values {
		if v == s {
			return true
		}
	}
	return false
}

func within(c api.Condition, age float64) bool {
	for _, v := range c.Values {
		limit, ok := v.(float64)
		if ok && (c.Op == "min" && age < limit || c.Op == "max" && age > limit) {
			return false
		}
	}
	return true
}

func (m *Module) total(in *listTransactionsInput, view pending.View, match func(*pending.Tx) bool) *int64 {
	if !in.Count {
		return nil
	}
	var n int64
	view.Ascend(0, func(tx *pending.Tx) bool {
		if match(tx) {
			n++
		}
		return true
	})
	return &n
}

// getBuffered shows one pending transaction with everything it carries.
func (m *Module) getBuffered(ctx context.Context, in *bufferedTransactionInput) (*bufferedTransactionOutput, error) {
	tx, view, err := m.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	t, err := m.show(ctx, view, tx)
	if err != nil {
		return nil, err
	}
	out := &bufferedTransactionOutput{Body: BufferedTransaction{Transaction: t}}
	caller, _ := api.PrincipalFrom(ctx)
	var hidden bool
	if out.Body.IdempotencyKey, out.Body.Steps, hidden, err = m.stepsOf(tx, caller.Can); err != nil || hidden {
		return out, err
	}
	if out.Body.Request, err = m.requestOf(tx); err != nil {
		return nil, err
	}
	out.Body.Versions, err = m.versionsOf(ctx, tx)
	return out, err
}

func (m *Module) find(ctx context.Context, id uuid.UUID) (*pending.Tx, pending.View, error) {
	if m.main() {
		return nil, pending.View{}, noBufferHere()
	}
	view, err := m.config.Store.CatchUp(ctx)
	if err != nil {
		return nil, view, err
	}
	tx, ok := view.Tx(id)
	if !ok {
		return nil, view, problem.NotFound.Field("path.id", id.String(), "no such transaction is pending; GET /transactions/{id} tells what became of it")
	}
	return tx, view, nil
}
