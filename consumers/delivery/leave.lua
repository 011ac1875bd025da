-- Delete a consumer from a group if nothing is pending for it. Both in one step: an entry that is
-- delivered in between, for a read that was given up, would be lost with the consumer.
-- KEYS: the stream. ARGV: group, consumer.
-- Returns 1 if the consumer was deleted, else 0; raises the errors of XPENDING.
local group, consumer = ARGV[1], ARGV[2]
if #redis.call('XPENDING', KEYS[1], group, '-', '+', 1, consumer) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], group, consumer)
return 1
