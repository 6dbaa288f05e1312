#!lua flags=no-writes,allow-oom
-- One page of the transactions of a load, without what has replicated, each with its
-- state at this moment. Other pages are of other moments: who reads them follows the
-- changes since the load began, and takes `swept` from the last page.
-- ARGV: load, the seq after which, the last seq, how many.
-- Answers the newest change, `swept`, the last entry looked at (false: none), and per
-- transaction its entry, position, who discards it, dead letter, attempts.
if redis.call('GET', p .. 'load') ~= ARGV[1] then
  return redis.error_reply(stale)
end
local found, last = {}, false
for _, entry in ipairs(redis.call('XRANGE', transactions, '(' .. ARGV[2] .. '-0', ARGV[3] .. '-0', 'COUNT', ARGV[4])) do
  last = string.match(entry[1], '^(%d+)')
  if not redis.call('ZSCORE', replicated, last) then
    found[#found + 1] = {
      entry, redis.call('ZSCORE', applied, last), redis.call('HGET', discarded, last), redis.call('HGET', dead, last),
      redis.call('HGET', p .. 'attempts', last),
    }
  end
end
local counters = redis.call('MGET', p .. 'change', p .. 'swept')
return {counters[1], counters[2], last, found}
