-- Move one entry from pending to the dead letters, both or neither.
-- KEYS: the stream, the dead letters, their index, the entries that operators have settled. ARGV:
-- group, entry id, the amount by which a trial raises the delivery counter, the limits of letters in
-- bytes and milliseconds, the maximum number of letters to drop, reason, detail, then the fields and
-- values of the entry.
-- An entry that another group has rejected stays one letter, which then names both groups. An entry
-- that was requeued or discarded before this group came to it is only acknowledged.
-- Returns the letter's id ('' where there is none), and the numbers of letters that were dropped for
-- their bytes and for their age. Returns nothing where the entry is not pending: it was settled
-- meanwhile, or the group was lost and will deliver it again.
local stream, dead, index, settled = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, entry = ARGV[1], ARGV[2]
local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1)
if pending.err or #pending == 0 then return false end

local function done(id, by_bytes, by_age)
  redis.call('XACK', stream, group, entry)
  return {id, by_bytes or 0, by_age or 0}
end

if type(redis.pcall('HGET', settled, entry)) == 'string' then return done('') end

local known = index_of(index, entry)
local old = known and letter_at(dead, known)
if old and entry_of(old) ~= entry then old = nil end
if old and was_rejected_by(old, group) then return done(known) end

local letter = {dead, '*'}
local function add(...)
  for _, part in ipairs({...}) do letter[#letter + 1] = part end
end
if old then
  for _, part in ipairs(old[2]) do add(part) end
else
  for at = 9, #ARGV do add(ARGV[at]) end
end
local clock = redis.call('TIME')
add('group', group, 'reason', ARGV[7], 'detail', ARGV[8])
add('deliveries', tostring(pending[1][4] % tonumber(ARGV[3])))
add('at', string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)))

-- First, because only this command can be refused: a script that fails undoes nothing.
local id = redis.call('XADD', unpack(letter))
if old then redis.call('XDEL', dead, known) end
redis.call('HSET', index, entry, id)
return done(id, drop(dead, index, tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])))
