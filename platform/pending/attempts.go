package pending

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Kept returns what the site keeps of a transaction that may have left the view:
// the commit that holds it, 0 when that is not known (any more), and its failed
// tries, oldest first.
func (s *Store) Kept(ctx context.Context, seq int64) (position int64, tries []Attempt, err error) {
	field := strconv.FormatInt(seq, 10)
	var score *redis.FloatCmd
	var text *redis.StringCmd
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		score, text = p.ZScore(ctx, s.prefix+"applied", field), p.HGet(ctx, s.prefix+"attempts", field)
		return nil
	}); err != nil && !errors.Is(err, redis.Nil) {
		return 0, nil, s.unavailable("reading what is kept of a transaction", err)
	}
	if text.Val() != "" {
		tries, err = attempts(text.Val())
	}
	return int64(score.Val()), tries, err
}

// AttemptsOf lists the failed tries of several transactions, oldest first, by
// seq, in one round trip. One without any is missing.
func (s *Store) AttemptsOf(ctx context.Context, seqs ...int64) (map[int64][]Attempt, error) {
	out := make(map[int64][]Attempt, len(seqs))
	if len(seqs) == 0 {
		return out, nil
	}
	fields := make([]string, len(seqs))
	for i, seq := range seqs {
		fields[i] = strconv.FormatInt(seq, 10)
	}
	values, err := s.client.HMGet(ctx, s.prefix+"attempts", fields...).Result()
	if err != nil {
		return nil, s.unavailable("reading the attempts of transactions", err)
	}
	for i, v := range values {
		text, ok := v.(string)
		if !ok {
			continue
		}
		list, err := attempts(text)
		if err != nil {
			return nil, err
		}
		out[seqs[i]] = list
	}
	return out, nil
}
