-- Return entries of a range, as XRANGE does, so many as fit into some bytes, at least one.
-- KEYS: the stream. ARGV: where the range starts and the last id, in the words of XRANGE, how many
-- entries at most, how many bytes.
local STEP = 16 -- read at once: each may be very large

local start, most, bytes = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local found = {}
while #found < most do
  local page = redis.call('XRANGE', KEYS[1], start, ARGV[2], 'COUNT', STEP)
  for _, entry in ipairs(page) do
    for _, text in ipairs(entry[2]) do bytes = bytes - #text end
    if #found == most or (bytes < 0 and #found > 0) then return found end
    found[#found + 1] = entry
    start = '(' .. entry[1]
  end
  if #page < STEP then break end
end
return found
