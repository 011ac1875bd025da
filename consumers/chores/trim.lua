-- Trim one log below what is safe, in one step: no read and no new group can come in between.
-- KEYS: the log, the set of registered groups. ARGV: the history's group, how long entries are kept
-- in milliseconds, how many entries go at most, about (0: only look).
-- Returns how many went, 1 where there is more to go, how many are left, then the groups that hold
-- entries back which are old enough to go. Nothing at all where there is no such log.
local function parts(id) return string.match(id, '^(%d+)-(%d+)$') end
-- Ids have 64 bits a part, which a number in here does not hold: longer digits are the greater.
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

local groups, registered = redis.call('SMEMBERS', KEYS[2]), {}
for _, group in ipairs(groups) do registered[group] = true end
if not registered[ARGV[1]] then
  -- No history is kept: nothing may go, whatever a group of that name once read.
  groups[#groups + 1] = ARGV[1]
  delivered[ARGV[1]] = nil
end

local floor, holding = limit, {}
for _, group in ipairs(groups) do
  local position, holds = delivered[group] or '0-0', false
  if delivered[group] and pending[group] then
    position = redis.call('XPENDING', KEYS[1], group)[2]
    holds = less(position, limit)
  elseif less(position, limit) then
    -- What it has had is no loss to it; what it has not had it holds back, if that is old enough.
    local next = redis.call('XRANGE', KEYS[1], '(' .. position, '(' .. limit, 'COUNT', 1)
    holds = #next > 0
  end
  if less(position, floor) then floor = position end
  if holds then holding[#holding + 1] = group end
end
table.sort(holding)

-- Whole nodes first, which is cheap and bounded; where none is left, the rest of one node.
local gone, more = 0, 0
if ARGV[3] ~= '0' then
  gone = redis.call('XTRIM', KEYS[1], 'MINID', '~', floor, 'LIMIT', ARGV[3])
  more = gone > 0 and 1 or 0
  if gone == 0 then gone = redis.call('XTRIM', KEYS[1], 'MINID', '=', floor) end
end
return {gone, more, redis.call('XLEN', KEYS[1]), unpack(holding)}
