#!lua flags=allow-oom
-- A replica that shows less than it did: the kept transactions above its batch
-- are applied again, so that their rows are pending. What has expired has to
-- wait for the replica, so `swept` never goes below it.
-- ARGV: load, the replica's batch. Answers how many came back.
if redis.call('GET', p .. 'load') ~= ARGV[1] then
  return redis.error_reply(stale)
end
local batch, swept = tonumber(ARGV[2]), tonumber(redis.call('GET', p .. 'swept') or '0')
if batch >= swept then
  return 0
end
local n = 0
for _, seq in ipairs(redis.call('ZRANGEBYSCORE', applied, '(' .. ARGV[2], '+inf')) do
  n = n + redis.call('ZREM', replicated, seq)
end
local lower = math.max(batch, tonumber(redis.call('GET', p .. 'expired') or '0'))
if lower < swept or n > 0 then
  redis.call('SET', p .. 'swept', text(math.min(lower, swept)))
  emit('e', 'reload')
end
return n
