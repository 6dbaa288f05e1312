#!lua flags=no-writes,allow-oom
-- Counters and everything after a view's positions, in one moment: `swept` must
-- belong to the view, or rows could be missing from both it and an old
-- snapshot. A script and not a MULTI, which Redis refuses when it is full.
-- ARGV: last seq, how many entries, last change, how many changes.
local counters = redis.call('MGET', p .. 'load', p .. 'seq', p .. 'change', p .. 'swept', p .. 'paused', p .. 'missing', p .. 'lost_tail')
local entries = redis.call('XRANGE', transactions, '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])
local news = redis.call('XRANGE', changes, '(' .. ARGV[3] .. '-0', '+', 'COUNT', ARGV[4])
return {counters, entries, news}
