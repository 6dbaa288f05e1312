#!lua flags=allow-oom
-- Lifts `epoch` to the primary's, after a claim that was refused although no
-- other processor has taken an epoch here.
-- ARGV: epoch, load, the primary's epoch.
if fenced(ARGV[1], ARGV[2]) then
  return redis.error_reply(stale)
end
if tonumber(ARGV[3]) > tonumber(ARGV[1]) then
  redis.call('SET', p .. 'epoch', ARGV[3])
end
return redis.status_reply('OK')
