-- Trim one stream as far as is safe, in one step: no read and no new group can come in between.
-- KEYS: the stream, the set of registered groups. ARGV: the history's group, the milliseconds for which
-- entries are kept, the approximate number of entries to remove at most (0 for a dry run). On a cluster
-- the set is at another node: the registered groups, as they were just before, follow in ARGV instead.
-- Returns the number of entries removed, 1 where more can be removed, the number left, then the groups
-- that hold back entries that are old enough to remove. Returns nothing where there is no such stream.
local function parts(id) return string.match(id, '^(%d+)-(%d+)$') end
-- Each part of an id has 64 bits, more than a Lua number holds: the one with more digits is greater.
local function less(a, b)
  local a1, a2 = parts(a)
  local b1, b2 = parts(b)
  if a1 == b1 then a1, b1 = a2, b2 end
  if #a1 ~= #b1 then return #a1 < #b1 end
  return a1 < b1
end

local rows = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if rows.err then return {} end
local delivered, pending = {}, {}
for _, row in ipairs(rows) do
  local facts = {}
  for at = 1, #row, 2 do facts[row[at]] = row[at + 1] end
  delivered[facts['name']] = facts['last-delivered-id']
  pending[facts['name']] = facts['pending'] > 0
end

local clock = redis.call('TIME')
local old = math.max(0, clock[1] * 1000 + math.floor(clock[2] / 1000) - tonumber(ARGV[2]))
local limit = string.format('%.0f-0', old)

local groups, registered = KEYS[2] and redis.call('SMEMBERS', KEYS[2]) or {unpack(ARGV, 4)}, {}
for _, group in ipairs(groups) do registered[group] = true end
if not registered[ARGV[1]] then
  -- No history is kept: nothing may be removed, whatever a group of that name once read.
  groups[#groups + 1] = ARGV[1]
  delivered[ARGV[1]] = nil
end

local floor, holding = limit, {}
for _, group in ipairs(groups) do
  local safe, holds = delivered[group] or '0-0', false
  if delivered[group] and pending[group] then
    safe = redis.call('XPENDING', KEYS[1], group)[2]
    holds = less(safe, limit)
  elseif less(safe, limit) then
    -- The group holds back an entry that it has not read, if the entry is old enough.
    local next = redis.call('XRANGE', KEYS[1], '(' .. safe, '(' .. limit, 'COUNT', 1)
    holds = #next > 0
  end
  if less(safe, floor) then floor = safe end
  if holds then holding[#holding + 1] = group end
end
table.sort(holding)

-- Complete nodes first, which is cheap and bounded; after them the rest of one node.
local removed, more = 0, 0
if ARGV[3] ~= '0' then
  removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', floor, 'LIMIT', ARGV[3])
  more = removed > 0 and 1 or 0
  if removed == 0 then removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', floor) end
end
return {removed, more, redis.call('XLEN', KEYS[1]), unpack(holding)}
