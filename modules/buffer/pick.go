package buffer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/opsdb/opsdb/platform/pending"
	"github.com/opsdb/opsdb/platform/problem"
	"github.com/opsdb/opsdb/platform/txn"
)

// The sizes of one commit at the primary. Small ones keep row locks there short
// on a slow line: a direct write at main waits for one group, not for a flush.
const (
	groupCount = 50
	groupBytes = 64 << 10
)

// passedOver is how many transactions a flush looks at beyond those that it may send:
// what is held, or waits for what is held, must not keep back what is independent, but
// looking at all of a long buffer each time would.
const passedOver = 20_000

// held is a transaction that an error kept in the buffer for a while, through no
// fault of its own: a lock, a deadlock.
type held struct {
	tries int
	until time.Time
}

// selection is what one flush will send, and what was found out on the way. It is
// made from the stored transactions alone, so that the commits are counted before
// any of them is encoded.
type selection struct {
	groups  [][]*pending.Tx
	earlier map[int64][]uuid.UUID // by seq: what it depends on in the same flush
	bytes   int                   // on the line, about
	blocked []pending.Blocking
	// unknown is set when the next transaction has a step of a kind that this
	// program does not know, or may wait for a dead letter that has.
	unknown error
	// wait is how long nothing of what is held may be tried.
	wait time.Duration
}

// limits are those of one flush.
type limits struct{ count, bytes int }

// onLine is about what a transaction needs on the line: its values go there twice,
// for its rows and for the ledger.
func onLine(tx *pending.Tx) int {
	bytes := 256
	for i := range tx.Changes {
		bytes += 2 * len(tx.Changes[i].Columns)
	}
	return bytes
}

// selectFlush chooses the oldest transactions that may be sent. Blocked ones are
// found transitively: what is found blocked here blocks what comes after it. What
// is held keeps back what depends on it, or order would be lost.
func selectFlush(view pending.View, limit limits, holding map[int64]held, now time.Time) selection {
	s := selection{earlier: map[int64][]uuid.UUID{}}
	var blocked, waiting, chosen txn.Dependencies
	ids := map[int64]uuid.UUID{}
	var group []*pending.Tx
	groupSize := 0
	seen := 0
	unread := view.UnknownDead()
	for tx := range view.Buffered() {
		if seen++; seen > limit.count+passedOver || len(s.blocked) > limit.count {
			break
		}
		if tx.Unknown != nil {
			s.unknown = tx.Unknown
			break
		}
		if unread != nil && tx.Place > unread.Place {
			s.unknown = unread.Unknown
			break
		}
		by := view.Blockers(tx.Changes, tx.Place)
		by = append(by, blocked.Of(tx.Place, tx.Changes)...)
		if len(by) > 0 {
			s.blocked = append(s.blocked, pending.Blocking{Seq: tx.Seq, By: by[0]})
			blocked.Add(tx.Seq, tx.Place, tx.Changes)
			continue
		}
		h, isHeld := holding[tx.Seq]
		if isHeld && h.until.After(now) || len(waiting.Of(tx.Place, tx.Changes)) > 0 {
			waiting.Add(tx.Seq, tx.Place, tx.Changes)
			if isHeld {
				s.wait = shortest(s.wait, h.until.Sub(now))
			}
			continue
		}
		size := onLine(tx)
		large := size > groupBytes
		if len(ids) >= limit.count || len(ids) > 0 && (large || s.bytes+size > limit.bytes) {
			break
		}
		for _, earlier := range chosen.Of(tx.Place, tx.Changes) {
			s.earlier[tx.Seq] = append(s.earlier[tx.Seq], ids[earlier])
		}
		if len(group) == groupCount || len(group) > 0 && groupSize+size > groupBytes {
			s.groups = append(s.groups, group)
			group, groupSize = nil, 0
		}
		group = append(group, tx)
		groupSize += size
		s.bytes += size
		ids[tx.Seq] = tx.ID
		chosen.Add(tx.Seq, tx.Place, tx.Changes)
		if large {
			break
		}
	}
	if len(group) > 0 {
		s.groups = append(s.groups, group)
	}
	return s
}

// preparer makes a transaction ready to be sent; a *txn.Link is one.
type preparer interface {
	Prepare(ctx context.Context, tx *pending.Transaction) (*txn.Item, error)
}

// encoding makes the groups of a selection ready, one while the one before it is on
// its way, and keeps what was found out.
type encoding struct {
	selection
	refused []pending.Failure // a value cannot be sent
	kept    []pending.Blocking
	// err is why it ended early: a transaction cannot be read.
	err error
}

// ready gives the groups in order. A transaction that cannot be sent is left out,
// and so is what depends on it.
func (e *encoding) ready(ctx context.Context, l preparer) iter.Seq[[]*txn.Item] {
	return func(yield func([]*txn.Item) bool) {
		var out txn.Dependencies
		for _, group := range e.groups {
			items := make([]*txn.Item, 0, len(group))
			for _, tx := range group {
				if by := out.Of(tx.Place, tx.Changes); len(by) > 0 {
					e.kept = append(e.kept, pending.Blocking{Seq: tx.Seq, By: by[0]})
					out.Add(tx.Seq, tx.Place, tx.Changes)
					continue
				}
				item, err := prepare(ctx, l, tx)
				var refused *problem.Problem
				switch {
				case errors.As(err, &refused):
					e.refused = append(e.refused, pending.Failure{Seq: tx.Seq, Problem: encodeProblem(refused)})
					out.Add(tx.Seq, tx.Place, tx.Changes)
					continue
				case err != nil:
					// Nothing of this group: what follows it must not go before it.
					e.err = err
					return
				}
				item.Earlier = e.earlier[tx.Seq]
				items = append(items, item)
			}
			if !yield(items) {
				return
			}
		}
	}
}

func prepare(ctx context.Context, l preparer, tx *pending.Tx) (*txn.Item, error) {
	whole, err := tx.Transaction()
	if err != nil {
		return nil, fmt.Errorf("reading transaction %d: %w", tx.Seq, err)
	}
	return l.Prepare(ctx, whole)
}

// encodeProblem is the problem as a dead letter keeps it.
func encodeProblem(p *problem.Problem) json.RawMessage {
	data, err := json.Marshal(p)
	if err != nil {
		// Only a value that a problem shows can be what JSON cannot hold.
		data = []byte(fmt.Sprintf(`{"type":%q,"title":%q,"status":%d,"errors":[],"error_count":0}`, p.Type, p.Title, p.Status))
	}
	return data
}

// shortest is the smaller of two durations of which 0 means none.
func shortest(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
