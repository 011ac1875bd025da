-- Put a dead letter's entry back into its log, and mark the tenant ready.
-- KEYS: the log, the dead letters, then every group's ready queue. ARGV: the letter's id, the
-- tenant, then the entry's fields and values. Returns the new entry id; nothing where the letter is
-- gone: somebody else requeued or discarded it.
if #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 0 then return false end
local entry = {KEYS[1], '*'}
for at = 3, #ARGV do entry[#entry + 1] = ARGV[at] end
-- First, because it can be refused: an error in here undoes nothing.
local id = redis.call('XADD', unpack(entry))
redis.call('XDEL', KEYS[2], ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for at = 3, #KEYS do redis.call('ZADD', KEYS[at], 'NX', now, ARGV[2]) end
return id
