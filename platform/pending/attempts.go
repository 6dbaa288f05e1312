package pending

import (
	"context"
	"strconv"
)

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
