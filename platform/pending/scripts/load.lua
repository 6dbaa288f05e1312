#!lua flags=no-writes,allow-oom
-- Counters and the states of all transactions, in one moment. The newest changes
-- still say at which LSN a group was flushed.
-- ARGV: how many changes.
return {
  redis.call('MGET', p .. 'load', p .. 'seq', p .. 'change', p .. 'swept', p .. 'paused', p .. 'missing', p .. 'lost_tail'),
  redis.call('ZRANGE', applied, 0, -1, 'WITHSCORES'),
  redis.call('ZRANGE', replicated, 0, -1),
  redis.call('HGETALL', discarded),
  redis.call('HGETALL', dead),
  redis.call('HGETALL', p .. 'attempts'),
  redis.call('XREVRANGE', changes, '+', '-', 'COUNT', ARGV[1]),
}
