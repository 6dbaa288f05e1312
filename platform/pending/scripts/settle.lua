#!lua flags=allow-oom
-- Records that transactions are in the database (or, by the ledger, discarded),
-- each with the number of the commit that holds it. One that was a dead letter
-- releases what it blocked, or that would wait for ever. What is settled already
-- stays as it is. The target of a discard is settled with it: as discarded, or as
-- replaced, which releases what the target blocked.
-- ARGV: epoch, load, then per group: position, LSN, outcome (applied, discarded,
-- replaced), n, n seqs.
if fenced(ARGV[1], ARGV[2]) then
  return redis.error_reply(stale)
end
local want, count, last = {}, 0, 0
local i = 3
while i <= #ARGV do
  local n = tonumber(ARGV[i + 3])
  for j = i + 4, i + 3 + n do
    if not want[ARGV[j]] then
      want[ARGV[j]] = true
      count = count + 1
      last = math.max(last, tonumber(ARGV[j]))
    end
  end
  i = i + 4 + n
end
local found, freed, free = take(want, count, last), {}, false
i = 3
while i <= #ARGV do
  local position, lsn, outcome, n = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local done = {}
  for j = i + 4, i + 3 + n do
    local seq = ARGV[j]
    local was_dead = redis.call('HDEL', dead, seq) == 1
    local target = outcome ~= 'applied' and redis.call('HEXISTS', discarded, seq) == 1
      and tonumber(redis.call('ZSCORE', applied, seq) or '0') ~= tonumber(position)
    if found[seq] or was_dead or target then
      found[seq] = nil
      redis.call('ZADD', applied, position, seq)
      if outcome ~= 'applied' then
        redis.call('HSETNX', discarded, seq, '0')
        if outcome == 'replaced' then
          freed[seq] = true
          free = true
        end
      else
        redis.call('HDEL', discarded, seq)
        if was_dead then
          freed[seq] = true
          free = true
        end
      end
      done[#done + 1] = seq
    end
  end
  if #done > 0 then
    emit('e', outcome == 'applied' and outcome or 'discarded', 'p', position, 'l', lsn, 's', table.concat(done, ','))
  end
  i = i + 4 + n
end
if free then
  requeue(held(freed))
end
return redis.status_reply('OK')
