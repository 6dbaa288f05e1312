package pending

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
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

// Expire forgets transactions that had replicated for Options.Retention when the
// primary was last heard of, in the order in which they were applied, and returns how
// many. A primary that is out of reach may have lost them, and they are needed once
// more when it answers. Call it now and then; each call does a bounded amount of work,
// so call it again while it returns some.
func (s *Store) Expire(ctx context.Context, heard time.Time) (int, error) {
	load := s.Current().Load
	if load == "" {
		return 0, nil
	}
	until := heard.Add(-s.opts.Retention).UnixMilli()
	oldest, err := s.expired(ctx, until)
	if err != nil || len(oldest) == 0 {
		return 0, err
	}
	args := []any{load, until}
	for _, e := range oldest {
		args = append(args, e.seq, e.field, len(e.guards))
		for _, guard := range e.guards {
			args = append(args, guard)
		}
	}
	n, err := scripts.expire.Run(ctx, s.client, []string{s.prefix}, args...).Int()
	if err != nil {
		return 0, s.tracked("forgetting expired transactions", err)
	}
	return n, nil
}

// expiring is a transaction that may be forgotten, with what goes with its entry: its
// idempotency field and the guards it set.
type expiring struct {
	position   float64
	place, seq int64
	field      string
	guards     []string
}

// expired are the oldest transactions that had replicated by then, in the order in which
// they were applied: by position, and within a commit by place and seq. They are whole
// commits but for the newest entry, which stays.
func (s *Store) expired(ctx context.Context, until int64) ([]expiring, error) {
	applied, err := s.client.ZRangeWithScores(ctx, s.prefix+"applied", 0, expireSlice-1).Result()
	if err != nil {
		return nil, s.unavailable("looking for expired transactions", err)
	}
	out := make([]expiring, len(applied))
	for i, z := range applied {
		out[i].position = z.Score
		if out[i].seq, err = strconv.ParseInt(fmt.Sprint(z.Member), 10, 64); err != nil {
			return nil, fmt.Errorf("reading the seq of an applied transaction: %w", err)
		}
	}
	times := make([]*redis.FloatCmd, len(out))
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, e := range out {
			times[i] = p.ZScore(ctx, s.prefix+"replicated", strconv.FormatInt(e.seq, 10))
		}
		return nil
	}); err != nil && !errors.Is(err, redis.Nil) {
		return nil, s.unavailable("looking for expired transactions", err)
	}
	// The last commit of a full slice may go on behind it and is left for later; it never
	// fills one, since it holds at most 50 transactions and the targets of as many discards.
	end := math.Inf(1)
	if len(out) == expireSlice {
		end = out[expireSlice-1].position
	}
	for i, at := range times {
		if at.Err() != nil || int64(at.Val()) > until {
			end = min(end, out[i].position)
		}
	}
	out = slices.DeleteFunc(out, func(e expiring) bool { return e.position >= end })
	entries := make([]*redis.XMessageSliceCmd, len(out))
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, e := range out {
			id := strconv.FormatInt(e.seq, 10) + "-0"
			entries[i] = p.XRange(ctx, s.prefix+"transactions", id, id)
		}
		return nil
	}); err != nil {
		return nil, s.unavailable("looking for expired transactions", err)
	}
	for i := range out {
		if err := s.readExpiring(&out[i], entries[i].Val()); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b expiring) int {
		return cmp.Or(cmp.Compare(a.position, b.position), cmp.Compare(a.place, b.place), cmp.Compare(a.seq, b.seq))
	})
	return out, nil
}

// readExpiring reads what a stream entry tells of a transaction. One that is gone already
// leaves the rest, which still has to go.
func (s *Store) readExpiring(out *expiring, messages []redis.XMessage) error {
	out.place = out.seq
	if len(messages) == 0 {
		return nil
	}
	e, err := entryOf(messageOf(messages[0]))
	if err != nil {
		return err
	}
	t, err := decode(e.seq, e.head, e.body)
	if err != nil {
		return err
	}
	changes, err := s.ChangesOf(t)
	if err != nil && !errors.Is(err, ErrUnknownKind) {
		return err
	}
	if t.Place != 0 {
		out.place = t.Place
	}
	out.field = idempotencyField(t.Actor, t.IdempotencyKey, t.ID)
	out.guards, _ = guards(t, changes) // the others it only looked at
	return nil
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
