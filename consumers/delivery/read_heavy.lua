-- Deliver as many new entries of a heavy stream as fit into so many bytes, at least one.
-- KEYS: the stream. ARGV: group, consumer, maximum number of entries, maximum number of bytes.
-- Returns the reply of XREADGROUP, and raises its errors.
local group, consumer = ARGV[1], ARGV[2]
local most, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])

local last
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if not groups.err then
  for _, row in ipairs(groups) do
    local facts = {}
    for at = 1, #row, 2 do facts[row[at]] = row[at + 1] end
    if facts['name'] == group then last = facts['last-delivered-id'] end
  end
end

local count = 0
while last and count < most and bytes > 0 do
  -- One at a time: each may be very large.
  local entry = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)[1]
  if not entry then break end
  last = entry[1]
  for _, text in ipairs(entry[2]) do bytes = bytes - #text end
  if bytes >= 0 or count == 0 then count = count + 1 end
end

return redis.call(
  'XREADGROUP', 'GROUP', group, consumer, 'COUNT', math.max(count, 1), 'STREAMS', KEYS[1], '>')
