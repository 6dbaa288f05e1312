#!lua flags=allow-oom
-- Takes the next epoch for a processor's new connection. Answers it and the
-- load it belongs to.
local load = redis.call('GET', p .. 'load')
if not load then
  return redis.error_reply(stale)
end
return {redis.call('INCR', p .. 'epoch'), load}
