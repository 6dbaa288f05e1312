package buffer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// held is a transaction that an error kept in the buffer for a while, through no
// fault of its own: a lock, a deadlock.
type held struct {
	tries int
	until time.Time
}

// selection is what one flush will send, and what was found out on the way.
type selection struct {
	groups  [][]*txn.Item
	blocked []pending.Blocking
	refused []pending.Failure
	// unknown is set when the next transaction has a step of a kind that this
	// program does not know.
	unknown error
	// wait is how long nothing of what is held may be tried.
	wait time.Duration
}

// preparer makes a transaction ready to be sent; a *txn.Link is one.
type preparer interface {
	Prepare(ctx context.Context, tx *pending.Transaction) (*txn.Item, error)
}

// limits are those of one flush.
type limits struct{ count, bytes int }

// selectFlush chooses the oldest transactions that may be sent. Blocked ones are
// found transitively: what is found blocked here blocks what comes after it. What
// is held keeps back what depends on it, or order would be lost.
func selectFlush(ctx context.Context, view pending.View, l preparer, limit limits, holding map[int64]held, now time.Time) (selection, error) {
	var s selection
	var blocked, waiting, chosen txn.Dependencies
	ids := map[int64]uuid.UUID{}
	bytes := 0
	var group []*txn.Item
	groupSize := 0
	for _, tx := range view.Buffered(limit.count+2*len(holding), limit.bytes) {
		if tx.Unknown != nil {
			s.unknown = tx.Unknown
			break
		}
		by := view.Blockers(tx.Changes, tx.Place)
		by = append(by, blocked.Of(tx.Seq, tx.Changes)...)
		if len(by) > 0 {
			s.blocked = append(s.blocked, pending.Blocking{Seq: tx.Seq, By: by[0]})
			blocked.Add(tx.Seq, tx.Changes)
			continue
		}
		h, isHeld := holding[tx.Seq]
		if isHeld && h.until.After(now) || len(waiting.Of(tx.Seq, tx.Changes)) > 0 {
			waiting.Add(tx.Seq, tx.Changes)
			if isHeld {
				s.wait = shortest(s.wait, h.until.Sub(now))
			}
			continue
		}
		if len(ids) >= limit.count {
			break
		}
		whole, err := tx.Transaction()
		if err != nil {
			return s, fmt.Errorf("reading transaction %d: %w", tx.Seq, err)
		}
		item, err := l.Prepare(ctx, whole)
		var refused *problem.Problem
		switch {
		case errors.Is(err, pending.ErrUnknownKind):
			s.unknown = err
		case errors.As(err, &refused):
			s.refused = append(s.refused, pending.Failure{Seq: tx.Seq, Problem: encodeProblem(refused)})
			blocked.Add(tx.Seq, tx.Changes)
			continue
		case err != nil:
			return s, err
		}
		if s.unknown != nil {
			break
		}
		if len(ids) > 0 && (item.Large() || bytes+item.Bytes() > limit.bytes) {
			break
		}
		for _, earlier := range chosen.Of(tx.Seq, tx.Changes) {
			item.Earlier = append(item.Earlier, ids[earlier])
		}
		if len(group) == groupCount || len(group) > 0 && groupSize+item.Bytes() > groupBytes {
			s.groups = append(s.groups, group)
			group, groupSize = nil, 0
		}
		group = append(group, item)
		groupSize += item.Bytes()
		bytes += item.Bytes()
		ids[tx.Seq] = tx.ID
		chosen.Add(tx.Seq, tx.Changes)
		if item.Large() {
			break
		}
	}
	if len(group) > 0 {
		s.groups = append(s.groups, group)
	}
	return s, nil
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
