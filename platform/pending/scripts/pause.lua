#!lua flags=allow-oom
-- Stops or resumes draining for every process of the site.
-- ARGV: 1 or 0.
local paused = redis.call('EXISTS', p .. 'paused')
if ARGV[1] == '1' and paused == 0 then
  redis.call('SET', p .. 'paused', '1')
  emit('e', 'paused', 'v', '1')
elseif ARGV[1] == '0' and paused == 1 then
  redis.call('DEL', p .. 'paused')
  emit('e', 'paused', 'v', '0')
end
return redis.status_reply('OK')
