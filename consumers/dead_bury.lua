-- Move one entry from pending to the dead letters, both or neither.
-- KEYS: the log, the dead letters. ARGV: group, entry id, deliveries that are one trial, then the
-- letter's fields and values, to which the count of deliveries is added.
-- Returns the letter's id; nothing where the entry is not pending: it was settled meanwhile, or the
-- group was lost and will deliver it again.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if pending.err or #pending == 0 then return false end
local letter = {KEYS[2], '*'}
for at = 4, #ARGV do letter[#letter + 1] = ARGV[at] end
letter[#letter + 1] = 'deliveries'
letter[#letter + 1] = tostring(pending[1][4] % tonumber(ARGV[3]))
-- First, because it alone can be refused: an error in here undoes nothing.
local id = redis.call('XADD', unpack(letter))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return id
