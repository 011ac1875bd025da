-- End a lease.
-- KEYS: the ready and the leased queue. ARGV: the time at which the lease expires, the number of
-- tenants that have more to read, those tenants, then the tenants that have been read to the end.
-- Tenants with more to read are marked at the tail. A lease that another consumer took since stays.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local more = tonumber(ARGV[2])
for at = 3, #ARGV do
  local tenant = ARGV[at]
  if at - 2 <= more then redis.call('ZADD', KEYS[1], 'NX', now, tenant) end
  local held = redis.call('ZSCORE', KEYS[2], tenant)
  if held and tonumber(held) == tonumber(ARGV[1]) then redis.call('ZREM', KEYS[2], tenant) end
end
return 0
