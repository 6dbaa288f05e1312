#!lua flags=no-writes,allow-oom
-- Counters in one moment, with which a load begins; the pages follow. The newest
-- changes still say at which LSN a group was flushed.
-- ARGV: how many changes.
return {
  redis.call('MGET', p .. 'load', p .. 'seq', p .. 'change', p .. 'paused', p .. 'missing', p .. 'lost_tail'),
  redis.call('XREVRANGE', changes, '+', '-', 'COUNT', ARGV[1]),
}
