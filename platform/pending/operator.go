package pending

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Retry puts dead letters, each with all it blocks, back into the buffer by seq,
// without any check against the replica; none given means all. It returns what
// went back: what is not dead is left alone.
func (s *Store) Retry(ctx context.Context, dead ...int64) ([]int64, error) {
	args := make([]any, len(dead))
	for i, seq := range dead {
		args[i] = seq
	}
	reply, err := scripts.retry.Run(ctx, s.client, []string{s.prefix}, args...).Slice()
	if err != nil {
		return nil, s.unavailable("retrying dead letters", err)
	}
	out, err := seqs(reply)
	if err != nil {
		return nil, fmt.Errorf("retrying dead letters: %w", err)
	}
	s.followed(ctx)
	return out, nil
}

// Pause stops the draining at this site, in every process and across restarts;
// accepting goes on.
func (s *Store) Pause(ctx context.Context) error { return s.pause(ctx, "1") }

// Resume ends a Pause.
func (s *Store) Resume(ctx context.Context) error { return s.pause(ctx, "0") }

func (s *Store) pause(ctx context.Context, on string) error {
	if err := scripts.pause.Run(ctx, s.client, []string{s.prefix}, on).Err(); err != nil {
		return s.unavailable("pausing or resuming the buffer", err)
	}
	s.followed(ctx)
	return nil
}

// Lease takes or renews the right to be the site's active processor for ttl. It
// only saves work: two processors at once are harmless.
func (s *Store) Lease(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	got, err := scripts.lease.Run(ctx, s.client, []string{s.prefix}, holder, ttl.Milliseconds()).Int()
	if err != nil {
		return false, s.unavailable("taking the processor's lease", err)
	}
	return got == 1, nil
}

// ReleaseLease gives the lease back, so that another process need not wait.
func (s *Store) ReleaseLease(ctx context.Context, holder string) error {
	if err := scripts.release.Run(ctx, s.client, []string{s.prefix}, holder).Err(); err != nil {
		return s.unavailable("giving the processor's lease back", err)
	}
	return nil
}

// Attempts lists the failed tries of a transaction, oldest first.
func (s *Store) Attempts(ctx context.Context, seq int64) ([]Attempt, error) {
	text, err := s.client.HGet(ctx, s.prefix+"attempts", strconv.FormatInt(seq, 10)).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, s.unavailable("reading the attempts of a transaction", err)
	}
	return attempts(text)
}

// attempts reads a value of the hash `attempts`: "<count>|<objects>".
func attempts(text string) ([]Attempt, error) {
	_, list, _ := strings.Cut(text, "|")
	var out []Attempt
	if err := json.Unmarshal([]byte("["+list+"]"), &out); err != nil {
		return nil, fmt.Errorf("reading the attempts of a transaction: %w", err)
	}
	return out, nil
}

// Stats are sizes that only Redis knows.
type Stats struct {
	// Buffered is the length of the buffer; DeadLetters counts failed and blocked
	// ones; Kept counts every stored transaction, replicated ones included.
	Buffered, DeadLetters, Kept int64
	// Batch is the highest commit number sent, Swept the highest one whose rows
	// were dropped.
	Batch, Swept int64
	// UsedMemory and MaxMemory are Redis's, in bytes; MaxMemory is 0 without a
	// limit.
	UsedMemory, MaxMemory int64
	// LastWriteFailed is set when Redis could not write its file.
	LastWriteFailed bool
	Version         string
}

// Stats asks Redis for its sizes.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var buffered, dead, kept *redis.IntCmd
	var counters *redis.SliceCmd
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		buffered, dead, kept = p.LLen(ctx, s.prefix+"transaction_buffer"), p.HLen(ctx, s.prefix+"dead_letters"), p.XLen(ctx, s.prefix+"transactions")
		counters = p.MGet(ctx, s.prefix+"batch", s.prefix+"swept")
		return nil
	}); err != nil {
		return Stats{}, s.unavailable("reading the buffer's sizes", err)
	}
	server, err := s.client.Server(ctx)
	if err != nil {
		return Stats{}, s.unavailable("reading the buffer's sizes", err)
	}
	c := counters.Val()
	return Stats{
		Buffered: buffered.Val(), DeadLetters: dead.Val(), Kept: kept.Val(), Batch: number(c[0]), Swept: number(c[1]),
		UsedMemory: server.UsedMemory, MaxMemory: server.MaxMemory, LastWriteFailed: server.LastWriteFailed, Version: server.Version,
	}, nil
}

// number reads a counter, 0 when it is missing.
func number(v any) int64 {
	text, _ := v.(string)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// moment reads a time, unix microseconds; zero when it is missing.
func moment(v any) time.Time {
	if v == nil {
		return time.Time{}
	}
	return time.UnixMicro(number(v))
}

// Credential returns what was kept for the hash of a token, nil when nothing is
// or its time is over. It is used only while the replica cannot be read.
func (s *Store) Credential(ctx context.Context, hash string) (json.RawMessage, error) {
	text, err := s.client.HGet(ctx, s.prefix+"credentials", hash).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, s.unavailable("reading a kept credential", err)
	}
	until, document, ok := cut(text)
	if !ok || s.now().Unix() >= until {
		return nil, nil
	}
	return json.RawMessage(document), nil
}

// CredentialKeys are the hashes for which something was kept, also what has outlived its time.
func (s *Store) CredentialKeys(ctx context.Context) ([]string, error) {
	keys, err := s.client.HKeys(ctx, s.prefix+"credentials").Result()
	if err != nil {
		return nil, s.unavailable("listing the kept credentials", err)
	}
	return keys, nil
}

// KeepCredential keeps a verified credential for ttl.
func (s *Store) KeepCredential(ctx context.Context, hash string, document json.RawMessage, ttl time.Duration) error {
	value := strconv.FormatInt(s.now().Add(ttl).Unix(), 10) + ":" + string(document)
	if err := s.client.HSet(ctx, s.prefix+"credentials", hash, value).Err(); err != nil {
		return s.unavailable("keeping a credential", err)
	}
	return nil
}

// DropCredential forgets a credential that was revoked.
func (s *Store) DropCredential(ctx context.Context, hash string) error {
	if err := s.client.HDel(ctx, s.prefix+"credentials", hash).Err(); err != nil {
		return s.unavailable("forgetting a credential", err)
	}
	return nil
}
