#!lua flags=allow-oom
-- Forgets transactions that replicated long ago, in the order in which they were
-- applied, with everything kept of them. The newest entry stays: it tells how far the stream
-- went.
-- ARGV: load, the latest time of replication (unix time in milliseconds), then
-- per transaction, in that order: seq, idempotency field, n, n guards.
-- Answers how many went.
if redis.call('GET', p .. 'load') ~= ARGV[1] then
  return redis.error_reply(stale)
end
local newest = redis.call('XREVRANGE', transactions, '+', '-', 'COUNT', 1)[1]
newest = newest and string.match(newest[1], '^(%d+)')
local n, i = 0, 3
while i <= #ARGV do
  local seq, field, guards = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local at, position = redis.call('ZSCORE', replicated, seq), redis.call('ZSCORE', applied, seq)
  if at and position then
    local oldest = redis.call('ZRANGE', applied, 0, 0, 'WITHSCORES')[2]
    if tonumber(at) > tonumber(ARGV[2]) or seq == newest or tonumber(oldest) < tonumber(position) then
      break
    end
    redis.call('XDEL', transactions, seq .. '-0')
    redis.call('ZREM', applied, seq)
    redis.call('ZREM', replicated, seq)
    redis.call('HDEL', p .. 'attempts', seq)
    redis.call('HDEL', discarded, seq)
    local first = redis.call('HGET', p .. 'idempotency', field)
    if first and string.match(first, '^(%d+):') == seq then
      redis.call('HDEL', p .. 'idempotency', field)
    end
    for j = i + 3, i + 2 + guards do
      if redis.call('HGET', p .. 'guard', ARGV[j]) == seq then
        redis.call('HDEL', p .. 'guard', ARGV[j])
      end
    end
    local expired = tonumber(redis.call('GET', p .. 'expired') or '0')
    redis.call('SET', p .. 'expired', text(math.max(expired, tonumber(position))))
    n = n + 1
  end
  i = i + 3 + guards
end
return n
