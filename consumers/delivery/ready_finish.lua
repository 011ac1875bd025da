-- End a lease.
-- KEYS: ready, leased. ARGV: the end of the lease, how many tenants have more to read, then those,
-- then the drained ones. Those with more go to the tail; what somebody else leased since stays his.
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
