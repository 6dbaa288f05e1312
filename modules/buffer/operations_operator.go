package buffer

import (
	"context"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/api"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/record"
	"github.com/opsdb/opsdb/platform/txn"
)

// operatorRequest is what makes a request of an operator safe to repeat; false
// when it has no key.
func operatorRequest(ctx context.Context, in api.Write) (pending.OperatorRequest, bool) {
	r := in.Request(ctx)
	return pending.OperatorRequest{Actor: r.Actor, Key: r.Key, Digest: r.Digest}, r.Key != ""
}

func (m *Module) retryOne(ctx context.Context, in *retryInput) (*requeuedOutput, error) {
	if request, keyed := operatorRequest(ctx, in.Write); keyed && !m.main() {
		// First of all: what was retried may have replicated and be gone by now.
		n, repeated, err := m.config.Store.Operated(ctx, request)
		if err != nil || repeated {
			return requeued(n, repeated), err
		}
	}
	tx, _, err := m.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !tx.State.Dead() {
		return nil, NotADeadLetter.New("the transaction is %s; only failed and blocked ones can be tried again", tx.State)
	}
	return m.retry(ctx, in.Write, in.ID.String(), tx.Seq)
}

func (m *Module) retryAll(ctx context.Context, in *writeInput) (*requeuedOutput, error) {
	if m.main() {
		return nil, noBufferHere()
	}
	return m.retry(ctx, in.Write, "")
}

// retry puts dead letters back into the buffer: all of them, or the one that transaction
// and seqs name.
func (m *Module) retry(ctx context.Context, in api.Write, transaction string, seqs ...int64) (*requeuedOutput, error) {
	var n int
	var repeated bool
	var err error
	if request, keyed := operatorRequest(ctx, in); keyed {
		n, repeated, err = m.config.Store.RetryOnce(ctx, request, seqs...)
	} else {
		var again []int64
		again, err = m.config.Store.Retry(ctx, seqs...)
		n = len(again)
	}
	if err != nil {
		return nil, err
	}
	if !repeated {
		if n > 0 {
			m.figures.decisions.WithLabelValues(decisionRetry).Inc()
		}
		m.decided(ctx, "dead_letter.retry", transaction, "dead letters were put back into the buffer", "transactions", n)
	}
	return requeued(n, repeated), nil
}

func requeued(n int, repeated bool) *requeuedOutput {
	out := &requeuedOutput{Body: Requeued{Requeued: n}}
	out.SetReplayed(repeated)
	return out
}

func (m *Module) discardOne(ctx context.Context, in *discardInput) (*decisionOutput, error) {
	if m.main() {
		return nil, noBufferHere()
	}
	d, receipt, err := DiscardDeadLetter(ctx, m.config.Writer, m.config.Catalog, record.Request(ctx, in.Write), in.ID, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	if !receipt.Replayed && !receipt.ValidateOnly {
		m.figures.decisions.WithLabelValues(decisionDiscard).Inc()
		m.decided(ctx, "dead_letter.discard", in.ID.String(), "a dead letter was discarded", "transaction_id", in.ID.String(), "reason", in.Body.Reason)
	}
	return m.decision(ctx, in.Write, d, receipt), nil
}

func (m *Module) replaceOne(ctx context.Context, in *replaceInput) (*decisionOutput, error) {
	if m.main() {
		return nil, noBufferHere()
	}
	d, receipt, err := ReplaceDeadLetter(ctx, m.config.Writer, m.config.Catalog, m.config.Editor, record.Request(ctx, in.Write), in.ID, in.Body.Reason, in.Body.Request)
	if err != nil {
		return nil, err
	}
	if !receipt.Replayed && !receipt.ValidateOnly {
		m.figures.decisions.WithLabelValues(decisionReplace).Inc()
		m.decided(ctx, "dead_letter.replace", in.ID.String(), "a dead letter was replaced", "transaction_id", in.ID.String(), "replaced_by", receipt.TransactionID.String(), "reason", in.Body.Reason)
	}
	return m.decision(ctx, in.Write, d, receipt), nil
}

// decision answers with a decision, after the wait that the client wants.
func (m *Module) decision(ctx context.Context, in api.Write, d DeadLetterDecision, receipt txn.Receipt) *decisionOutput {
	if in.Wait() > 0 && receipt.TransactionID != uuid.Nil {
		receipt = m.config.Writer.Wait(ctx, receipt, in.Wait())
		d.Sync = receipt.Sync.Shown()
	}
	out := &decisionOutput{Body: d}
	switch {
	case receipt.TransactionID != uuid.Nil:
		out.TransactionID = receipt.TransactionID.String()
		out.SetReplayed(receipt.Replayed)
	case d.Sync != nil && d.Sync.TransactionID != nil: // decided before, by another request
		out.TransactionID = d.Sync.TransactionID.String()
	}
	return out
}

func (m *Module) setPaused(ctx context.Context, in api.Write, paused bool) (*drainingOutput, error) {
	if m.main() {
		return nil, noBufferHere()
	}
	var repeated bool
	var err error
	if request, keyed := operatorRequest(ctx, in); keyed {
		repeated, err = m.config.Store.PauseOnce(ctx, request, paused)
	} else if paused {
		err = m.config.Store.Pause(ctx)
	} else {
		err = m.config.Store.Resume(ctx)
	}
	if err != nil {
		return nil, err
	}
	if !repeated {
		action := "buffer.resume"
		if paused {
			action = "buffer.pause"
		}
		m.decided(ctx, action, "", "draining was switched", "paused", paused)
	}
	out := &drainingOutput{Body: Draining{Paused: paused}}
	out.SetReplayed(repeated)
	return out, nil
}

// decided logs a decision of an operator, and tells the audit log. args are names and
// values in turn.
func (m *Module) decided(ctx context.Context, action, transaction, what string, args ...any) {
	if m.config.Audit != nil {
		detail := map[string]any{}
		for i := 0; i+1 < len(args); i += 2 {
			if name, ok := args[i].(string); ok {
				detail[name] = args[i+1]
			}
		}
		m.config.Audit(ctx, action, transaction, detail)
	}
	m.acted(ctx, what, args...)
}

// acted logs what an operator has done.
func (m *Module) acted(ctx context.Context, what string, args ...any) {
	if p, ok := api.PrincipalFrom(ctx); ok {
		args = append(args, "actor", p.Actor())
	}
	m.log.InfoContext(ctx, what, args...)
}
