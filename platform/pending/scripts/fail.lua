#!lua flags=allow-oom
-- Makes dead letters of transactions that the database refused; only of what is
-- still in the buffer.
-- ARGV: epoch, load, then per transaction: seq, next try (unix time in
-- microseconds, 0 for none), problem, the attempt as one JSON object.
if fenced(ARGV[1], ARGV[2]) then
  return redis.error_reply(stale)
end
local want, last, count = {}, 0, 0
for i = 3, #ARGV, 4 do
  want[ARGV[i]] = true
  count = count + 1
  last = math.max(last, tonumber(ARGV[i]))
end
local found = take(want, count, last)
for i = 3, #ARGV, 4 do
  local seq = ARGV[i]
  if found[seq] then
    found[seq] = nil
    local n, before = string.match(redis.call('HGET', p .. 'attempts', seq) or '', '^(%d+)|(.*)$')
    n = tonumber(n or '0') + 1
    -- An operator who retries for ever must not fill Redis: beyond 64 kB only
    -- the newest try is kept, and the count.
    if before and #before < 65536 then
      before = before .. ','
    else
      before = ''
    end
    redis.call('HSET', p .. 'attempts', seq, n .. '|' .. before .. ARGV[i + 3])
    local value = '0|' .. ARGV[i + 1] .. '|' .. ARGV[i + 2]
    redis.call('HSET', dead, seq, value)
    emit('e', 'failed', 's', seq, 'n', n, 'd', value)
  end
end
return redis.status_reply('OK')
