#!lua flags=allow-oom
-- What a new connection learned from its claim. A number, of main or of the site's replica,
-- that is above all that we have given out means that Redis has forgotten. A number below our highest
-- settled position means that main has lost commits: every settled transaction
-- above it, replicated ones too, goes back before anything else is sent, to be
-- found again or applied again. The next numbers begin above everything that was
-- ever sent, also by a Redis that has forgotten it: hence the clock.
-- What it found is kept for every process to see, for a week and for an hour: the
-- answer may be lost, or its process die.
-- ARGV: epoch, load, the claim's batch, its last_seq, unix time in
-- microseconds, the highest number that the replica has shown, then the dead letters
-- that the ledger has.
-- Answers {batch, alarm, the seqs of a lost tail}.
if fenced(ARGV[1], ARGV[2]) then
  return redis.error_reply(stale)
end
local claim, now, shown = tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local batch = tonumber(redis.call('GET', p .. 'batch') or '0')
local alarm = math.max(claim, shown) > batch and 1 or 0
if alarm == 1 then
  redis.call('SET', p .. 'missing', text(now), 'EX', 604800)
end
local lost = {}
for _, seq in ipairs(redis.call('ZRANGEBYSCORE', applied, '(' .. ARGV[3], '+inf')) do
  if unsettle(seq) then
    lost[#lost + 1] = seq
  end
end
put(lost)
if #lost > 0 then
  redis.call('SET', p .. 'lost_tail', text(now), 'EX', 3600)
  emit('e', 'reload')
end
batch = text(math.max(batch, claim, shown, now))
redis.call('SET', p .. 'batch', batch)
if tonumber(redis.call('GET', p .. 'seq') or '0') < tonumber(ARGV[4]) then
  redis.call('SET', p .. 'seq', ARGV[4])
end
local again, set = {}, {}
for i = 7, #ARGV do
  if is_dead(ARGV[i]) then
    again[#again + 1] = ARGV[i]
    set[ARGV[i]] = true
  end
end
for _, seq in ipairs(#again > 0 and held(set) or {}) do
  again[#again + 1] = seq
end
requeue(again)
return {batch, alarm, lost}
