-- Add letters to the index that it does not have, and merge letters that hold the same entry.
-- An earlier version wrote one letter for each group.
-- KEYS: the dead letters, their index. ARGV: the id after which to continue ('-' for the first), the
-- maximum number of letters. Returns the id after which to continue; nothing after the last letter.
local dead, index = KEYS[1], KEYS[2]

local function merge(first, second)
  local letter = {dead, '*'}
  for _, part in ipairs(first[2]) do letter[#letter + 1] = part end
  local taking = false
  for at = 1, #second[2], 2 do
    local name, value = second[2][at], second[2][at + 1]
    if name == 'group' then taking = not was_rejected_by(first, value) end
    if taking and string.match('group reason detail deliveries at', name) then
      letter[#letter + 1], letter[#letter + 2] = name, value
    end
  end
  local id = redis.call('XADD', unpack(letter))
  redis.call('XDEL', dead, first[1], second[1])
  return id
end

local page = redis.call('XRANGE', dead, ARGV[1], '+', 'COUNT', ARGV[2])
for _, letter in ipairs(page) do
  local entry = entry_of(letter)
  local known = index_of(index, entry)
  local other = known and known ~= letter[1] and letter_at(dead, known)
  if other then
    redis.call('HSET', index, entry, merge(other, letter))
  elseif known ~= letter[1] then
    redis.call('HSET', index, entry, letter[1])
  end
end
return #page == tonumber(ARGV[2]) and '(' .. page[#page][1] or false
