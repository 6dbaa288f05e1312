#!lua flags=allow-oom
-- Puts everything that is still kept back into the buffer, except dead letters
-- and discarded targets, when `load` is not of this run of Redis: what was
-- settled may be settled in a past that the primary has lost, and the ledger
-- sorts out what is there. New epoch: a processor's numbers are of another life.
-- ARGV: a random token. Answers the load that holds now.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local load = redis.call('GET', p .. 'load')
if load and string.sub(load, 1, #run + 1) == run .. ':' then
  return load
end
local back, was = {}, redis.call('ZRANGE', applied, 0, -1)
for _, seq in ipairs(was) do
  if unsettle(seq) and redis.call('HEXISTS', dead, seq) == 0 then
    back[#back + 1] = seq
  end
end
put(back)
-- The list holds the rest already. If it does not, it is built anew.
if redis.call('LLEN', buffer) + redis.call('HLEN', dead) + redis.call('HLEN', discarded) ~= redis.call('XLEN', transactions) then
  redis.call('DEL', buffer)
  local from = '-'
  while true do
    local entries = redis.call('XRANGE', transactions, from, '+', 'COUNT', 200)
    for _, e in ipairs(entries) do
      local seq = string.match(e[1], '^(%d+)')
      if redis.call('HEXISTS', dead, seq) == 0 and redis.call('HEXISTS', discarded, seq) == 0 then
        redis.call('LPUSH', buffer, '{"seq":' .. seq .. ',' .. e[2][2] .. '}')
      end
      from = '(' .. e[1]
    end
    if #entries < 200 then break end
  end
end
redis.call('INCR', p .. 'epoch')
load = run .. ':' .. ARGV[1]
redis.call('SET', p .. 'load', load)
emit('e', 'reload')
return load
