-- Append a `progress` event, unless the stream has reached its maximum size.
-- KEYS: the stream, its last measurement, the hash of the numbers of shed events, and the ready
-- queues; on a cluster only the first two, which share a slot, and the caller counts and marks. ARGV:
-- the maximum size in bytes, the tenant, the time in milliseconds, the name of the field, the event.
-- Returns the entry id, or nil if the event was shed.

-- A stream of up to SHORT entries is measured each time. A longer one is measured once in MEASURE_MS
-- and again when it has grown by a tenth, because measuring visits all its nodes (1 ms for 100 MB).
-- In between, its size is estimated by its number of entries.
local SHORT, GROWN, MEASURE_MS = 1000, 1.1, 1000
-- Memory that an entry may need if it begins a new node, and the overhead of the node.
local NODE, OVERHEAD = 4096, 512

local stream, measured = KEYS[1], KEYS[2]

local function bytes()
  local entries = redis.call('XLEN', stream)
  if entries > SHORT then
    local found = redis.pcall('GET', measured)
    -- Any other value at that key is ignored, and replaced by the next measurement.
    local known = type(found) == 'string' and found or ''
    local then_entries, then_bytes = string.match(known, '^(%d+) (%d+)$')
    if then_entries and entries <= then_entries * GROWN then
      return then_bytes * entries / then_entries
    end
  end
  -- All nodes: with large results, an estimate by some of them can be a quarter of the size.
  local found = redis.call('MEMORY', 'USAGE', stream, 'SAMPLES', 0) or 0
  if entries > SHORT then
    redis.call('SET', measured, string.format('%d %d', entries, found), 'PX', MEASURE_MS)
  end
  return found
end

local tenant, event = ARGV[2], ARGV[5]
if bytes() + math.max(#event, NODE) + OVERHEAD > tonumber(ARGV[1]) then
  if KEYS[3] then redis.call('HINCRBY', KEYS[3], tenant, 1) end
  return false
end
local entry_id = redis.call('XADD', stream, '*', ARGV[4], event)
for index = 4, #KEYS do
  redis.call('ZADD', KEYS[index], 'NX', ARGV[3], tenant)
end
return entry_id
