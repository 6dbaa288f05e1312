#!lua
-- Stores one new transaction: idempotency, capacity, load, guards, seq; then
-- stream, list, idempotency, guards. The order is the protocol: a repeated
-- request must find its first attempt whatever else holds now.
-- ARGV: load, last seq of the view, capacity (-1: exempt), idempotency field,
-- request digest, head, body, n, m, n guards to set, m to look at, then the
-- possible blockers.
local load, seen, capacity, field, digest, head, body = unpack(ARGV, 1, 7)
local sets, looks = tonumber(ARGV[8]), tonumber(ARGV[9])
local first = redis.call('HGET', p .. 'idempotency', field)
if first then
  return {'existing', first}
end
capacity = tonumber(capacity)
if capacity >= 0 and redis.call('LLEN', buffer) + redis.call('HLEN', dead) >= capacity then
  return {'full'}
end
if redis.call('GET', p .. 'load') ~= load then
  return {'stale'}
end
seen = tonumber(seen)
local guards = 9 + sets + looks
for i = 10, guards, chunk do
  for _, newest in ipairs(redis.call('HMGET', p .. 'guard', unpack(ARGV, i, math.min(i + chunk - 1, guards)))) do
    if newest and tonumber(newest) > seen then
      return {'stale'}
    end
  end
end
local n = redis.call('INCR', p .. 'seq')
local seq = text(n)
redis.call('XADD', transactions, seq .. '-0', 'h', head, 'b', body)
local by = '0'
for i = guards + 1, #ARGV do
  if is_dead(ARGV[i]) then
    by = ARGV[i]
    break
  end
end
if by == '0' then
  redis.call('LPUSH', buffer, '{"seq":' .. seq .. ',' .. head .. '}')
else
  redis.call('HSET', dead, seq, by .. '|0|')
  emit('e', 'blocked', 's', seq .. ':' .. by)
end
redis.call('HSET', p .. 'idempotency', field, seq .. ':' .. digest)
for i = 10, 9 + sets do
  redis.call('HSET', p .. 'guard', ARGV[i], seq)
end
return {'ok', n, tonumber(by)}
