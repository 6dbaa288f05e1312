package buffer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opsdb/opsdb/platform/lsn"
	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// outcome is a flush's answer, sorted by what is to be done.
type outcome struct {
	settled []pending.Settled
	failed  []pending.Failure
	fault   error
}

// add joins what came of further groups.
func (o *outcome) add(more outcome) {
	o.settled, o.failed = append(o.settled, more.settled...), append(o.failed, more.failed...)
	if more.fault != nil {
		o.fault = more.fault
	}
}

// sort reads the answers of the groups that are known to be committed. Of all
// others nothing is known: they stay where they are.
func (p *processor) sort(view pending.View, groups []txn.GroupAnswer, now time.Time) outcome {
	var o outcome
	for _, g := range groups {
		if !g.Committed {
			continue
		}
		for _, a := range g.Items {
			seq := a.Seq
			switch a.Outcome {
			case txn.Applied, txn.Discarded:
				state := pending.StateApplied
				if a.Outcome == txn.Discarded {
					state = pending.StateDiscarded
				}
				o.settled = append(o.settled, pending.Settled{Seq: seq, Position: g.Position, LSN: g.LSN, Outcome: state})
				delete(p.holding, seq)
			case txn.Refused:
				o.failed = append(o.failed, pending.Failure{Seq: seq, Problem: encodeProblem(a.Problem)})
				delete(p.holding, seq)
			case txn.Again:
				if !mayHold(a.Err) {
					o.fault = a.Err
					continue
				}
				h := p.holding[seq]
				h.tries++
				wait := pause{limit: againLimit, tries: h.tries}
				h.until = now.Add(wait.next())
				p.holding[seq] = h
			case txn.Postponed: // tried again at once; blocked first if the earlier one is dead
			}
		}
	}
	o.failed = p.withRetries(view, o.failed)
	return o
}

// mayHold says whether an error concerns one transaction for a moment: a lock, a
// deadlock. Anything else that is not the transaction's own fault is main's, and
// all others would meet it too.
func mayHold(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "40001", "40P01", "55P03", "57014":
		return true
	}
	return false
}

// settle stores what is known. A Redis that is away for a moment is waited for:
// giving up would send everything again.
func (p *processor) settle(ctx context.Context, s session, o outcome) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	wait := pause{limit: time.Second}
	for {
		err := s.Settle(bounded, o.settled)
		if err == nil {
			err = s.Fail(bounded, o.failed)
		}
		if err == nil {
			break
		}
		if errors.Is(err, pending.ErrStale) || !errors.Is(err, problem.PendingUnavailable) {
			return fmt.Errorf("settling a flush: %w", err)
		}
		select {
		case <-time.After(wait.next()):
		case <-bounded.Done():
			return fmt.Errorf("settling a flush: %w", err)
		}
	}
	if len(o.settled) > 0 {
		p.state.processed(len(o.settled), p.now())
		at, err := lsn.Parse(o.settled[len(o.settled)-1].LSN)
		if err != nil {
			at = 0 // the position was lost with the connection
		}
		p.flushed(at)
	}
	if n := len(o.failed); n > 0 {
		p.log.WarnContext(ctx, "transactions could not be applied and are dead letters now", "transactions", n, "first_seq", o.failed[0].Seq, "problem", string(o.failed[0].Problem))
	}
	return nil
}

// withRetries says of each failure when the processor tries again by itself.
func (p *processor) withRetries(view pending.View, failed []pending.Failure) []pending.Failure {
	now := p.now()
	for i := range failed {
		failed[i].At = now
		tx, ok := view.TxBySeq(failed[i].Seq)
		if ok && tx.Attempts+1 < p.retries {
			failed[i].NextTry = now.Add(p.delay)
		}
	}
	return failed
}

// retryDue puts dead letters back whose next try is due, by the mechanism that an
// operator has too: a missing parent may have arrived meanwhile. next is how long
// to the next one, 0 for none.
func (p *processor) retryDue(ctx context.Context, view pending.View) (retried bool, next time.Duration, err error) {
	now := p.now()
	var due []int64
	for _, tx := range view.Dead() {
		if tx.Dead == nil || tx.Dead.NextTry.IsZero() {
			continue
		}
		if wait := tx.Dead.NextTry.Sub(now); wait > 0 {
			next = shortest(next, wait)
		} else {
			due = append(due, tx.Seq)
		}
	}
	if len(due) == 0 {
		return false, next, nil
	}
	again, err := p.store.Retry(ctx, due...)
	if err != nil {
		return false, 0, fmt.Errorf("retrying dead letters: %w", err)
	}
	return len(again) > 0, next, nil
}
