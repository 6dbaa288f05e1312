#!lua flags=allow-oom
-- Records that the replica shows these transactions: their pending rows go, and
-- `swept` rises, so that no reader uses a snapshot that shows less.
-- ARGV: load, the replica's batch, unix time in milliseconds, then the seqs.
-- Answers how many went.
if redis.call('GET', p .. 'load') ~= ARGV[1] then
  return redis.error_reply(stale)
end
local batch, swept = tonumber(ARGV[2]), tonumber(redis.call('GET', p .. 'swept') or '0')
local done = {}
for i = 4, #ARGV do
  local position = tonumber(redis.call('ZSCORE', applied, ARGV[i]) or 'inf')
  if position <= batch and redis.call('ZADD', replicated, 'NX', ARGV[3], ARGV[i]) == 1 then
    swept = math.max(swept, position)
    done[#done + 1] = ARGV[i]
  end
end
if #done > 0 then
  redis.call('SET', p .. 'swept', text(swept))
  emit('e', 'replicated', 's', table.concat(done, ','))
end
return #done
