-- What every script begins with. All keys of a site share one prefix; the names
-- below are the keys. Seqs are strings throughout: Lua's numbers print 1e+15.
local p = KEYS[1]
local buffer, transactions, changes = p .. 'transaction_buffer', p .. 'transactions', p .. 'changes'
local applied, replicated, dead, discarded = p .. 'applied', p .. 'replicated', p .. 'dead_letters', p .. 'discarded'

local chunk = 4000 -- below the limit of unpack

-- fenced: another processor has taken an epoch since, or Redis was restarted.
local function fenced(epoch, load)
  return redis.call('GET', p .. 'epoch') ~= epoch or redis.call('GET', p .. 'load') ~= load
end

local stale = 'STALE another processor or another Redis'

-- text writes a whole number below 2^53 in full.
local function text(n)
  return string.format('%.0f', n)
end

-- emit tells every process of a change of state. The numbers have no gap: one
-- who misses one reloads.
local function emit(...)
  local n = redis.call('INCR', p .. 'change')
  redis.call('XADD', changes, 'MAXLEN', '~', 10000, n .. '-0', ...)
end

local function seq_of(line)
  return string.match(line, '^{"seq":(%d+)')
end

-- push_old puts lines, oldest first, back at the old end of the buffer.
local function push_old(lines)
  local n = #lines
  while n > 0 do
    local part = {}
    for i = n, math.max(1, n - chunk + 1), -1 do
      part[#part + 1] = lines[i]
    end
    redis.call('RPUSH', buffer, unpack(part))
    n = n - chunk
  end
end

-- where finds the place of a seq in the buffer by halving: the index, from the
-- newest on, of the first line that is not newer, and that line; false when all are.
local function where(seq)
  local low, high, found = 0, redis.call('LLEN', buffer), false
  while low < high do
    local middle = math.floor((low + high) / 2)
    local line = redis.call('LINDEX', buffer, middle)
    if tonumber(seq_of(line)) > seq then
      low = middle + 1
    else
      high, found = middle, line
    end
  end
  return low, found
end

-- A few lines that are far from the old end are each looked for; more of them, and
-- those at the old end, are reached by taking off all that is older.
local few, near = 500, 1000

-- take removes the lines of the wanted seqs (a set of count members, the newest
-- of which is last) from the buffer and returns the set of those that were
-- there. What is settled is the oldest, so this rarely meets another line.
local function take(want, count, last)
  local found, kept, left, beyond = {}, {}, count, false
  while left > 0 and not beyond do
    local lines = redis.call('RPOP', buffer, math.min(left, chunk))
    if not lines then break end
    local before = left
    for _, line in ipairs(lines) do
      local seq = seq_of(line)
      if want[seq] then
        found[seq] = line
        left = left - 1
      else
        kept[#kept + 1] = line
      end
      beyond = beyond or tonumber(seq) >= last
    end
    if left == before and left <= few then break end
  end
  push_old(kept)
  if left == 0 or beyond then return found end
  for seq in pairs(want) do
    if not found[seq] then
      local at, line = where(tonumber(seq))
      if line and seq_of(line) == seq then
        redis.call('LREM', buffer, at * 2 < redis.call('LLEN', buffer) and 1 or -1, line)
        found[seq] = line
      end
    end
  end
  return found
end

-- line builds the buffer's line of a transaction from its entry, false when the
-- entry is gone.
local function line_of(seq)
  local e = redis.call('XRANGE', transactions, seq .. '-0', seq .. '-0')[1]
  return e and '{"seq":' .. seq .. ',' .. e[2][2] .. '}'
end

local function by_number(a, b)
  return tonumber(a) < tonumber(b)
end

-- put inserts transactions into the buffer by seq; one that is there already
-- stays there once.
local function put(seqs)
  table.sort(seqs, by_number)
  local n = #seqs
  while n > 0 and #seqs <= few do
    local at, older = where(tonumber(seqs[n]))
    if redis.call('LLEN', buffer) - at <= near then break end
    local line = seq_of(older) ~= seqs[n] and line_of(seqs[n])
    if line then
      redis.call('LINSERT', buffer, 'BEFORE', older, line)
    end
    n = n - 1
  end
  if n == 0 then return end
  local last = tonumber(seqs[n])
  local older, beyond = {}, false
  while not beyond do
    local lines = redis.call('RPOP', buffer, 100)
    if not lines then break end
    for _, line in ipairs(lines) do
      older[#older + 1] = line
      beyond = beyond or tonumber(seq_of(line)) > last
    end
  end
  local merged, i = {}, 1
  for j = 1, n do
    local seq = seqs[j]
    while older[i] and tonumber(seq_of(older[i])) < tonumber(seq) do
      merged[#merged + 1] = older[i]
      i = i + 1
    end
    if not (older[i] and seq_of(older[i]) == seq) then
      merged[#merged + 1] = line_of(seq) or nil
    end
  end
  while older[i] do
    merged[#merged + 1] = older[i]
    i = i + 1
  end
  push_old(merged)
end

-- is_dead: a dead letter that nobody decided to discard.
local function is_dead(seq)
  return redis.call('HEXISTS', dead, seq) == 1 and redis.call('HEXISTS', discarded, seq) == 0
end

-- unsettle takes back that a transaction is settled, in whatever state it is, and
-- says whether it belongs into the buffer again. One that is discarded does not:
-- its discard does, and settles it again. Where only the ledger said so it stays
-- as it is, for nothing would settle it.
local function unsettle(seq)
  local by = redis.call('HGET', discarded, seq)
  if by == '0' then return false end
  redis.call('ZREM', applied, seq)
  redis.call('ZREM', replicated, seq)
  return not by
end

-- blocker reads who holds a dead letter back, '0' for one that failed itself.
local function blocker(value)
  return string.match(value, '^(%d+)|')
end

-- held returns the dead letters that the given ones (a set) hold back,
-- transitively, without those themselves.
local function held(set)
  local all, by = redis.call('HGETALL', dead), {}
  for i = 1, #all, 2 do
    local b = blocker(all[i + 1])
    if b ~= '0' then
      by[b] = by[b] or {}
      table.insert(by[b], all[i])
    end
  end
  local out, seen, todo = {}, {}, {}
  for seq in pairs(set) do
    seen[seq] = true
    todo[#todo + 1] = seq
  end
  while #todo > 0 do
    for _, seq in ipairs(by[table.remove(todo)] or {}) do
      if not seen[seq] and redis.call('HEXISTS', discarded, seq) == 0 then
        seen[seq] = true
        out[#out + 1] = seq
        todo[#todo + 1] = seq
      end
    end
  end
  return out
end

-- requeue puts dead letters back into the buffer.
local function requeue(seqs)
  if #seqs == 0 then return end
  for _, seq in ipairs(seqs) do
    redis.call('HDEL', dead, seq)
  end
  put(seqs)
  emit('e', 'queued', 's', table.concat(seqs, ','))
end
