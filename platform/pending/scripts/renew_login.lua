#!lua
-- Puts the next secret of a login in the place of the presented one.
-- ARGV: id of the login, hash presented, next hash, now and grace (milliseconds).
local login, presented, following, now, grace = p .. 'login:' .. ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local secret, previous, turned, expires = unpack(redis.call('HMGET', login, 'secret', 'previous', 'turned', 'expires'))
if not secret or now >= tonumber(expires) then
  return 'refused'
end
if secret == presented then
  redis.call('HSET', login, 'secret', following, 'previous', presented, 'turned', text(now))
  return 'renewed'
end
if previous ~= presented then
  return 'refused'
end
if now - tonumber(turned) < grace then
  return 'repeated'
end
redis.call('DEL', login)
redis.call('INCR', p .. 'logins_ended')
return 'reused'
