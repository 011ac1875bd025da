-- Set groups back to the beginning whose last delivered id is beyond every id of their stream.
-- No new entry would ever be delivered to them. KEYS: the stream. ARGV: the groups.
-- Returns the groups that were set back.
local function parts(id) return string.match(id, '^(%d+)-(%d+)$') end
-- Each part of an id has 64 bits, more than a Lua number holds: the one with more digits is greater.
local function less(a, b)
  local a1, a2 = parts(a)
  local b1, b2 = parts(b)
  if a1 == b1 then a1, b1 = a2, b2 end
  if #a1 ~= #b1 then return #a1 < #b1 end
  return a1 < b1
end
local function facts_of(row)
  local facts = {}
  for at = 1, #row, 2 do facts[row[at]] = row[at + 1] end
  return facts
end

local last = facts_of(redis.call('XINFO', 'STREAM', KEYS[1]))['last-generated-id']
local wanted, reset = {}, {}
for _, group in ipairs(ARGV) do wanted[group] = true end
for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = facts_of(row)
  if wanted[group['name']] and less(last, group['last-delivered-id']) then
    redis.call('XGROUP', 'SETID', KEYS[1], group['name'], '0')
    reset[#reset + 1] = group['name']
  end
end
return reset
