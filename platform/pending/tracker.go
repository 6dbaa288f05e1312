package pending

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// marking and expiring go in slices, so that no script holds Redis up for long.
const (
	markSlice   = 2000
	expireSlice = 200
)

// MarkReplicated records that the replica's row of this site shows batch: every
// applied transaction of this view with a position up to it has replicated, and
// its pending rows go. load is View.Load from before the replica was asked. It
// returns those that went by this call; without any, Redis is not asked.
func (s *Store) MarkReplicated(ctx context.Context, load string, batch int64) ([]*Tx, error) {
	gone := s.Current().Applied(batch)
	var mine []*Tx
	for len(gone) > 0 {
		part := gone[:min(len(gone), markSlice)]
		gone = gone[len(part):]
		args := []any{load, batch, s.now().UnixMilli()}
		for _, t := range part {
			args = append(args, t.Seq)
		}
		marked, err := scripts.mark.Run(ctx, s.client, []string{s.prefix}, args...).Int()
		if err != nil {
			return mine, s.tracked("marking replicated transactions", err)
		}
		// Another process may have marked the first ones, with an older batch.
		mine = append(mine, part[len(part)-min(marked, len(part)):]...)
	}
	if len(mine) > 0 {
		s.followed(ctx)
	}
	return mine, nil
}

// Unsweep notices a replica that shows less than it did (crashed, rebuilt,
// following another primary): what is kept of the transactions above its batch is
// applied again, so that their rows are pending. Readers wait until then. It
// returns how many came back; those that have expired have to wait for the
// replica.
func (s *Store) Unsweep(ctx context.Context, load string, batch int64) (int, error) {
	n, err := scripts.unsweep.Run(ctx, s.client, []string{s.prefix}, load, batch).Int()
	if err != nil {
		return 0, s.tracked("putting rows back that the replica no longer shows", err)
	}
	s.followed(ctx)
	return n, nil
}

func (s *Store) tracked(doing string, err error) error {
	if errors.Is(stale(err), ErrStale) {
		return fmt.Errorf("%s: %w", doing, ErrStale)
	}
	return s.unavailable(doing, err)
}

// Expire forgets transactions that replicated longer than Options.Retention ago,
// in order of position, and returns how many. Call it now and then; each call
// does a bounded amount of work, so call it again while it returns some.
func (s *Store) Expire(ctx context.Context, now time.Time) (int, error) {
	load := s.Current().Load
	if load == "" {
		return 0, nil
	}
	until := now.Add(-s.opts.Retention).UnixMilli()
	oldest, err := s.client.ZRange(ctx, s.prefix+"applied", 0, expireSlice-1).Result()
	if err != nil {
		return 0, s.unavailable("looking for expired transactions", err)
	}
	if len(oldest) == 0 {
		return 0, nil
	}
	entries := make([]*redis.XMessageSliceCmd, len(oldest))
	times := make([]*redis.FloatCmd, len(oldest))
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, seq := range oldest {
			times[i] = p.ZScore(ctx, s.prefix+"replicated", seq)
		}
		return nil
	}); err != nil && !errors.Is(err, redis.Nil) {
		return 0, s.unavailable("looking for expired transactions", err)
	}
	for i, at := range times {
		if at.Err() != nil || int64(at.Val()) > until {
			oldest = oldest[:i]
			break
		}
	}
	if len(oldest) == 0 {
		return 0, nil
	}
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, seq := range oldest {
			entries[i] = p.XRange(ctx, s.prefix+"transactions", seq+"-0", seq+"-0")
		}
		return nil
	}); err != nil {
		return 0, s.unavailable("looking for expired transactions", err)
	}
	args := []any{load, until}
	for i, seq := range oldest {
		field, keys, err := s.kept(entries[i].Val())
		if err != nil {
			return 0, err
		}
		args = append(args, seq, field, len(keys))
		for _, k := range keys {
			args = append(args, k)
		}
	}
	n, err := scripts.expire.Run(ctx, s.client, []string{s.prefix}, args...).Int()
	if err != nil {
		return 0, s.tracked("forgetting expired transactions", err)
	}
	return n, nil
}

// kept says what goes with a stream entry: its idempotency field and the guards
// it set.
func (s *Store) kept(messages []redis.XMessage) (field string, keys []string, err error) {
	if len(messages) == 0 {
		return "", nil, nil // its entry is gone; the rest still has to go
	}
	e, err := entryOf(messageOf(messages[0]))
	if err != nil {
		return "", nil, err
	}
	t, err := decode(e.seq, e.head, e.body)
	if err != nil {
		return "", nil, err
	}
	changes, err := s.ChangesOf(t)
	if err != nil && !errors.Is(err, ErrUnknownKind) {
		return "", nil, err
	}
	keys, _ = guards(t, changes)
	return idempotencyField(t.Actor, t.IdempotencyKey, t.ID), keys, nil
}

// entry is one stored transaction as Redis gives it.
type entry struct {
	seq        int64
	head, body []byte
}

func entryOf(m message) (entry, error) {
	seq, err := idNumber(m.id)
	if err != nil {
		return entry{}, err
	}
	h, b := m.field("h"), m.field("b")
	if h == "" || b == "" {
		return entry{}, fmt.Errorf("reading transaction %d: its entry has no head or body", seq)
	}
	// One block of memory for both, which the view keeps and its rows alias.
	raw := append(append(make([]byte, 0, len(h)+len(b)), h...), b...)
	return entry{seq, raw[:len(h):len(h)], raw[len(h):]}, nil
}

// idNumber is the number in a stream id <number>-0.
func idNumber(id string) (int64, error) {
	for i := range len(id) {
		if id[i] == '-' {
			return strconv.ParseInt(id[:i], 10, 64)
		}
	}
	return 0, fmt.Errorf("reading a stream id: %q", id)
}
