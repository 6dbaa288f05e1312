#!lua flags=allow-oom
-- Takes or renews the lease of the active processor.
-- ARGV: holder, milliseconds. Answers 1 when the holder has it.
local holder = redis.call('GET', p .. 'processor')
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', p .. 'processor', ARGV[1], 'PX', ARGV[2])
return 1
