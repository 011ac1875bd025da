-- Drop letters beyond the bytes or the age that they are kept for.
-- KEYS: the dead letters, their index. ARGV: bytes, milliseconds, how many at most.
-- Returns how many were dropped for their bytes, and how many for their age.
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return {0, 0} end
return {drop(KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))}
