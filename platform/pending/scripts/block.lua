#!lua flags=allow-oom
-- Takes transactions that wait for a dead letter out of the buffer, if it still
-- is one; otherwise they stay, or nobody would ever release them.
-- ARGV: epoch, load, then per transaction, by rising seq: seq, blocked by.
if fenced(ARGV[1], ARGV[2]) then
  return redis.error_reply(stale)
end
local want, last, count = {}, 0, 0
for i = 3, #ARGV, 2 do
  want[ARGV[i]] = true
  count = count + 1
  last = math.max(last, tonumber(ARGV[i]))
end
local found = take(want, count, last)
local done, stay = {}, {}
for i = 3, #ARGV, 2 do
  local seq, by = ARGV[i], ARGV[i + 1]
  if found[seq] then
    if is_dead(by) then
      redis.call('HSET', dead, seq, by .. '|0|')
      done[#done + 1] = seq .. ':' .. by
    else
      stay[#stay + 1] = seq
    end
    found[seq] = nil
  end
end
put(stay)
if #done > 0 then
  emit('e', 'blocked', 's', table.concat(done, ','))
end
return redis.status_reply('OK')
