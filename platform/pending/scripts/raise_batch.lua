#!lua flags=allow-oom
-- Reserves numbers for the commits of one flush: kept before they are sent, so
-- that a number in flight is never given out again.
-- ARGV: epoch, load, how many. Answers the first.
if fenced(ARGV[1], ARGV[2]) then
  return redis.error_reply(stale)
end
local batch = tonumber(redis.call('GET', p .. 'batch') or '0')
redis.call('SET', p .. 'batch', text(batch + tonumber(ARGV[3])))
return text(batch + 1)
