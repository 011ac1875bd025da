-- Drop letters beyond the limits.
-- KEYS: the dead letters, their index. ARGV: bytes, milliseconds, maximum number of letters.
-- Returns the numbers of letters that were dropped for their bytes and for their age.
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return {0, 0} end
return {drop(KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))}
