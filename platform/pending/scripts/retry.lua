#!lua flags=allow-oom
-- Puts dead letters back into the buffer by seq, with everything they hold back.
-- What is not dead stays as it is.
-- ARGV: the seqs; none for all. Answers what went back.
local again, set = {}, {}
for _, seq in ipairs(#ARGV > 0 and ARGV or redis.call('HKEYS', dead)) do
  if not set[seq] and is_dead(seq) then
    again[#again + 1] = seq
    set[seq] = true
  end
end
for _, seq in ipairs(#again > 0 and held(set) or {}) do
  again[#again + 1] = seq
end
requeue(again)
return again
