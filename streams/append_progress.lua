-- Append a `progress` event, unless the log is full.
-- KEYS: the log, what it was last found to take, the hash of what was shed, and then the ready
-- queues to mark. ARGV: the most bytes that the log may take, the tenant, the time in milliseconds,
-- the field's name, the event.
-- Returns the entry's id, or nil where the event was shed and counted.

-- A log of so many entries is measured each time; a longer one once a second, and again when it has
-- grown by a tenth: going through all its nodes takes 1 ms for 100 MB. In between, its bytes go by
-- its number of entries.
local SHORT, GROWN, MEASURE_MS = 1000, 1.1, 1000
-- What an entry may add where it begins a new node, the node's own keeping included.
local NODE, KEEPING = 4096, 512

local log, measured = KEYS[1], KEYS[2]

local function bytes()
  local entries = redis.call('XLEN', log)
  if entries > SHORT then
    local found = redis.pcall('GET', measured)
    -- Whatever else stands at that key is no measurement; measuring again replaces it.
    local known = type(found) == 'string' and found or ''
    local then_entries, then_bytes = string.match(known, '^(%d+) (%d+)$')
    if then_entries and entries <= then_entries * GROWN then
      return then_bytes * entries / then_entries
    end
  end
  -- All of its nodes: an estimate by a few of them can be a quarter of what large results take.
  local found = redis.call('MEMORY', 'USAGE', log, 'SAMPLES', 0) or 0
  if entries > SHORT then
    redis.call('SET', measured, string.format('%d %d', entries, found), 'PX', MEASURE_MS)
  end
  return found
end

local tenant, event = ARGV[2], ARGV[5]
if bytes() + math.max(#event, NODE) + KEEPING > tonumber(ARGV[1]) then
  redis.call('HINCRBY', KEYS[3], tenant, 1)
  return false
end
local entry_id = redis.call('XADD', log, '*', ARGV[4], event)
for at = 4, #KEYS do
  redis.call('ZADD', KEYS[at], 'NX', ARGV[3], tenant)
end
return entry_id
