#!lua flags=allow-oom
-- Stores a transaction that discards dead letters, with what the accept script
-- does, and takes them out at once: they are sent by nobody and shown by nobody,
-- whatever becomes of the transaction. What they hold back stays where it is. A
-- target that is no dead letter any more makes the whole stale: look again. Those
-- that one of the targets has discarded itself come along.
-- ARGV: n, n targets, then those of the accept script, which follows as accept().
local targets, ours = {}, {}
for i = 2, 1 + tonumber(ARGV[1]) do
  targets[#targets + 1] = ARGV[i]
  ours[ARGV[i]] = true
end
local all, ARGV = ARGV, {}
for i = 2 + #targets, #all do
  ARGV[#ARGV + 1] = all[i]
end
local function accept()
-- accept.lua
end
-- The key first, as always: a repeat finds targets that are dead no more.
if redis.call('HEXISTS', p .. 'idempotency', ARGV[4]) == 0 then
  for _, seq in ipairs(targets) do
    if not is_dead(seq) and not ours[redis.call('HGET', discarded, seq) or ''] then
      return {'stale'}
    end
  end
end
local answer = accept()
if answer[1] == 'ok' then
  local by = text(answer[2])
  for _, seq in ipairs(targets) do
    redis.call('HDEL', dead, seq)
    redis.call('HSET', discarded, seq, by)
  end
  emit('e', 'discarded', 'b', by, 's', table.concat(targets, ','))
end
return answer
