package pending

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/opsdb/opsdb/platform/problem"
)

// OperatorRequest is a request of an operator with an Idempotency-Key.
type OperatorRequest struct {
	Actor, Key string
	Digest     []byte // of route and body
}

// operatorKeys is how long the key of an operator's request is kept.
const operatorKeys = 30 * 24 * time.Hour

// once makes a script of another one that acts once for each key of an operator.
// What came of it is kept in `operator_key:<digest of actor and key>`, a string
// with an expiry, as `<request digest>:<count>`: in the same script as the act, so
// that a repeat never acts again and a crash never leaves a key without its act.
// A key that the actor has used for a pending write counts as used too.
//
// ARGV: name of the key, idempotency field, request digest, expiry in seconds,
// then those of the other script.
func once(name string) *redis.Script {
	flags, act, _ := strings.Cut(scriptText(name), "\n")
	return redis.NewScript(flags + "\n" + scriptText("prelude") + `
local kept, field, digest, expiry, ARGV = p .. 'operator_key:' .. ARGV[1], ARGV[2], ARGV[3], ARGV[4], {unpack(ARGV, 5)}
local first = redis.call('GET', kept)
if first then return {'existing', first} end
if redis.call('HEXISTS', p .. 'idempotency', field) == 1 then return {'existing', 'write:0'} end
local function act()
` + act + `
end
local answer = act()
local record = digest .. ':' .. (answer.ok and 0 or #answer)
redis.call('SET', kept, record, 'EX', expiry)
return {'done', record}
`)
}

var retryOnce, pauseOnce = once("retry"), once("pause")

// RetryOnce is Retry for a request with a key. It returns how many went back, and
// whether that was an earlier request's doing.
func (s *Store) RetryOnce(ctx context.Context, r OperatorRequest, dead ...int64) (n int, repeated bool, err error) {
	args := make([]any, len(dead))
	for i, seq := range dead {
		args[i] = seq
	}
	return s.runOnce(ctx, retryOnce, r, args...)
}

// PauseOnce is Pause, or Resume, for a request with a key. It returns whether an
// earlier request has done that; it is then not done again.
func (s *Store) PauseOnce(ctx context.Context, r OperatorRequest, paused bool) (repeated bool, err error) {
	on := "0"
	if paused {
		on = "1"
	}
	_, repeated, err = s.runOnce(ctx, pauseOnce, r, on)
	return repeated, err
}

// Operated looks for what came of an earlier request with the same key, before
// what it was about is looked for: that may have replicated since.
func (s *Store) Operated(ctx context.Context, r OperatorRequest) (n int, repeated bool, err error) {
	name, _ := r.names()
	record, err := s.client.Get(ctx, s.prefix+"operator_key:"+name).Result()
	if errors.Is(err, redis.Nil) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, s.unavailable("looking for an operator's key", err)
	}
	n, err = r.read(record)
	return n, err == nil, err
}

func (r OperatorRequest) names() (name, field string) {
	field = idempotencyField(r.Actor, &r.Key, uuid.Nil)
	return hex.EncodeToString([]byte(field)), field
}

// read returns what came of the request that a record is about, and
// idempotency-key-reused when that was another one.
func (r OperatorRequest) read(record string) (int, error) {
	digest, count, _ := strings.Cut(record, ":")
	if digest != hex.EncodeToString(r.Digest) {
		return 0, problem.IdempotencyKeyReused.Field("header.Idempotency-Key", r.Key, "was used before for another request")
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		return 0, fmt.Errorf("reading what came of an operator's request: %w", err)
	}
	return n, nil
}

func (s *Store) runOnce(ctx context.Context, script *redis.Script, r OperatorRequest, args ...any) (n int, repeated bool, err error) {
	name, field := r.names()
	all := append([]any{name, field, hex.EncodeToString(r.Digest), int64(operatorKeys.Seconds())}, args...)
	reply, err := script.Run(ctx, s.client, []string{s.prefix}, all...).StringSlice()
	if err != nil {
		return 0, false, s.unavailable("doing what an operator asks for", err)
	}
	if len(reply) != 2 {
		return 0, false, fmt.Errorf("doing what an operator asks for: unexpected answer %q", reply)
	}
	s.followed(ctx)
	n, err = r.read(reply[1])
	return n, reply[0] == "existing", err
}
