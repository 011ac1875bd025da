-- Lease tenants that are ready.
-- KEYS: the ready and the leased queue. ARGV: the maximum number of tenants, the lease in
-- milliseconds, a tenant that was popped already ('' for none).
-- Returns the time at which the lease expires, and the tenants. Tenants of an expired lease are
-- marked ready again.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local expires = now + tonumber(ARGV[2])

for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[2], tenant)
  redis.call('ZADD', KEYS[1], 'NX', now, tenant)
end

local taken = {tostring(expires)}
local function lease(tenant)
  redis.call('ZADD', KEYS[2], expires, tenant)
  taken[#taken + 1] = tenant
end

if ARGV[3] ~= '' then
  redis.call('ZREM', KEYS[1], ARGV[3])
  lease(ARGV[3])
end
if tonumber(ARGV[1]) > 0 then
  local popped = redis.call('ZPOPMIN', KEYS[1], ARGV[1])
  for at = 1, #popped, 2 do lease(popped[at]) end
end
return taken
