-- Return the entries of a range as XRANGE does, as many as fit into a number of bytes, at least one.
-- KEYS[1]: the stream
-- ARGV: start and end of the range, as XRANGE takes them; the most entries; the most bytes
local STEP = 16 -- entries in one XRANGE: each may be very large
local stream, start, last = KEYS[1], ARGV[1], ARGV[2]
local max_entries, bytes_left = tonumber(ARGV[3]), tonumber(ARGV[4])

local found = {}
while #found < max_entries do
  local page = redis.call('XRANGE', stream, start, last, 'COUNT', STEP)
  for _, entry in ipairs(page) do
    for _, text in ipairs(entry[2]) do bytes_left = bytes_left - #text end
    if #found == max_entries or (bytes_left < 0 and #found > 0) then return found end
    found[#found + 1] = entry
    start = '(' .. entry[1]
  end
  if #page < STEP then break end
end
return found
