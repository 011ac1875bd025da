-- Remove a letter for all groups: append its entry to the stream again, or discard it.
-- KEYS: the stream, the dead letters, their index, the entries that operators have settled, then every
-- group's ready queue (none on a cluster). ARGV: the letter's entry, the letter's id as it was read, the
-- tenant, the number of groups, the groups, then the fields and values to append (none: discard).
-- Returns the new entry id, or '' after discarding. Returns nothing where the letter is gone: it was
-- requeued or discarded meanwhile.
-- The number of settled entries remembered for groups that have not come to them, and the seconds.
local SETTLED, SETTLED_SECONDS = 10000, 604800
local stream, dead, index, settled = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local entry, tenant, groups = ARGV[1], ARGV[3], tonumber(ARGV[4])

-- Another group may have rejected the entry meanwhile, which replaced the letter.
local known = index_of(index, entry)
local letter = known and letter_at(dead, known) or letter_at(dead, ARGV[2])
if not letter or entry_of(letter) ~= entry then return false end

-- Whether a group has yet to settle the entry: it would write a letter again.
local function is_awaited()
  local rows = redis.pcall('XINFO', 'GROUPS', stream)
  if rows.err then return false end
  local delivered = {}
  for _, row in ipairs(rows) do
    local facts = {}
    for at = 1, #row, 2 do facts[row[at]] = row[at + 1] end
    delivered[facts['name']] = facts['last-delivered-id']
  end
  for at = 5, 4 + groups do
    local last = delivered[ARGV[at]] or '0-0'
    local waiting = redis.pcall('XRANGE', stream, '(' .. last, entry, 'COUNT', 1)
    if not waiting.err and #waiting > 0 then return true end
    if delivered[ARGV[at]] then
      local pending = redis.pcall('XPENDING', stream, ARGV[at], entry, entry, 1)
      if not pending.err and #pending > 0 then return true end
    end
  end
  return false
end

local id = ''
if #ARGV > 4 + groups then
  local again = {stream, '*'}
  for at = 5 + groups, #ARGV do again[#again + 1] = ARGV[at] end
  -- First, because only this command can be refused: a script that fails undoes nothing.
  id = redis.call('XADD', unpack(again))
end
forget(dead, index, letter)
if letter[1] ~= ARGV[2] then redis.call('XDEL', dead, ARGV[2]) end
if is_awaited() then
  local length = redis.pcall('HLEN', settled)
  if type(length) == 'number' and length < SETTLED then
    redis.call('HSET', settled, entry, id)
    redis.call('EXPIRE', settled, SETTLED_SECONDS)
  end
end
if id ~= '' then
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  for at = 5, #KEYS do redis.call('ZADD', KEYS[at], 'NX', now, tenant) end
end
return id
