-- Functions that all scripts on dead letters share; this file is prepended to each of them.
-- A *letter* is an entry of the tenant's stream of dead letters. The *index* is a hash of the ids of
-- letters by the ids of the entries that they hold. A letter that is not in it cannot be found by its
-- entry, but nothing else fails. A key of another type is replaced by it.
local function index_of(index, entry)
  local id = redis.pcall('HGET', index, entry)
  if type(id) == 'table' then
    redis.pcall('DEL', index) -- not every user is allowed to do this
    return nil
  end
  return id or nil
end

local function letter_at(dead, id)
  return redis.call('XRANGE', dead, id, id)[1]
end

local function field(letter, name)
  for at = 1, #letter[2], 2 do
    if letter[2][at] == name then return letter[2][at + 1] end
  end
end

-- The id of the entry that a letter holds; where another program wrote the letter, the letter's id.
local function entry_of(letter) return field(letter, 'entry_id') or letter[1] end

local function was_rejected_by(letter, group)
  for at = 1, #letter[2], 2 do
    if letter[2][at] == 'group' and letter[2][at + 1] == group then return true end
  end
end

local function forget(dead, index, letter)
  redis.call('XDEL', dead, letter[1])
  local entry = entry_of(letter)
  if index_of(index, entry) == letter[1] then redis.call('HDEL', index, entry) end
end

-- Drop the oldest letters beyond the limits, at most `most` of them; the newest letter stays.
-- Returns the numbers of letters that were dropped for their bytes and for their age.
local function drop(dead, index, max_bytes, max_age_ms, most)
  local clock = redis.call('TIME')
  local oldest_ms = clock[1] * 1000 + math.floor(clock[2] / 1000) - max_age_ms
  local size = redis.pcall('MEMORY', 'USAGE', dead, 'SAMPLES', 0)
  local over = type(size) == 'number' and size - max_bytes or 0
  local by_bytes, by_age = 0, 0
  while by_bytes + by_age < most do
    local two = redis.call('XRANGE', dead, '-', '+', 'COUNT', 2)
    if #two < 2 then break end
    local old = tonumber(string.match(two[1][1], '^%d+')) < oldest_ms
    if not old and over <= 0 then break end
    for _, text in ipairs(two[1][2]) do over = over - #text end
    forget(dead, index, two[1])
    if old then by_age = by_age + 1 else by_bytes = by_bytes + 1 end
  end
  return by_bytes, by_age
end
