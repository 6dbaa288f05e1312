#!lua flags=allow-oom
-- Gives the lease back, if the holder still has it.
-- ARGV: holder.
if redis.call('GET', p .. 'processor') == ARGV[1] then
  redis.call('DEL', p .. 'processor')
end
return redis.status_reply('OK')
