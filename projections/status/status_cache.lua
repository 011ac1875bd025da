-- Compare and set the documents of many jobs, and add what changed to the feeds of their tenants.
--
-- ARGV[1] is 'tombstones' if tombstones of ended jobs are compared and written, else ''. ARGV[2] is the
-- command that publishes changes. Then, for each tenant:
--   KEYS: its feed, and for each of its jobs those of KEY below
--   ARGV: the number of its jobs, and for each of them those of VALUE below
-- Returns the indexes (from 1, over all tenants) of the jobs that another writer has written since
-- they were read. Those are left unchanged.

-- Keys of a job, by their offset. The tombstone is left out without 'tombstones'.
local KEY = { status = 0, progress = 1, tombstone = 2 }
-- Arguments of a job, by their offset. Those of the tombstone are left out without 'tombstones'.
local VALUE = {
  found_status = 0, -- the status document that the writer read; '' for none
  status = 1, -- the new one; '' to leave it, '-' to remove all keys of the job
  progress = 2, -- the new progress document; '' to leave it, '-' to remove it
  seconds = 3, -- time to live; '0' for no end
  feed_name = 4, -- the job in the feed; '' if answers do not change
  found_tombstone = 5, -- the tombstone that the writer read; '' for none, '*' for not read
  tombstone = 6, -- the new one; '' to leave it
}
-- The time that a tombstone lives longer than the documents of its job.
local TOMBSTONE_SECONDS = 604800
-- The least time that a feed lives after its last change, and the jobs that it keeps.
local FEED_SECONDS, FEED_JOBS = 3600, 10000
local lost, feeds, changed = {}, {}, {}
local call, format = redis.call, string.format

-- Return whether an error reply says that the key has a value of another type. Such a value is replaced:
-- an error here would keep the changes of other jobs from their feeds. Any other error, such as that
-- of a user that may not run the command, concerns all jobs and must be raised.
local function is_of_other_type(reply)
  return string.find(reply.err, '^WRONGTYPE') ~= nil
end

local function get(key)
  local found = redis.pcall('GET', key)
  if type(found) ~= 'table' then return found or '' end
  if not is_of_other_type(found) then call('GET', key) end -- raises the error
  return ''
end

local function put(key, value, seconds)
  if seconds ~= '0' then
    call('SET', key, value, 'EX', seconds)
  else
    call('SET', key, value)
  end
end

local function renew(key, seconds)
  if seconds ~= '0' then
    call('EXPIRE', key, seconds)
  else
    call('PERSIST', key)
  end
end

-- Add the changes of one tenant to its feed, at offsets that never decrease: the server's clock in
-- microseconds, or the next offset if the clock is behind the last one.
local function add_to_feed(feed, names, now)
  local newest = redis.pcall('ZREVRANGE', feed, 0, 0, 'WITHSCORES')
  if newest.err then
    if not is_of_other_type(newest) then call('ZREVRANGE', feed, 0, 0) end -- raises the error
    call('DEL', feed)
  end
  local last = tonumber(newest[2] or 0)
  local first = math.max(now, last + 1)
  local scored, messages = {}, {}
  for index, name in ipairs(names) do
    local offset = format('%.0f', first + index - 1)
    scored[index * 2 - 1], scored[index * 2] = offset, name
    messages[index] = offset .. ' ' .. name
  end
  call('ZADD', feed, unpack(scored))
  -- Renewing and trimming the feed once a second is enough; hence `+ 1`. Both cost more than ZADD.
  if math.floor(last / 1000000) ~= math.floor(now / 1000000) then
    call('EXPIRE', feed, FEED_SECONDS + 1)
    if last > 0 then call('ZREMRANGEBYRANK', feed, 0, -FEED_JOBS - 1) end
  end
  call(ARGV[2], feed, table.concat(messages, ' '))
end

local tombstones = ARGV[1] == 'tombstones'
local keys_each, values_each = tombstones and 3 or 2, tombstones and 7 or 5

-- Return whether the keys of a job are still what its writer read. Of the documents only the status
-- is compared: it has the entry id of the progress document. Loss of the progress document alone is
-- not noticed here, so the writer must read both keys.
local function is_unchanged(key, value)
  if get(KEYS[key + KEY.status]) ~= ARGV[value + VALUE.found_status] then return false end
  if not tombstones then return true end
  local found = ARGV[value + VALUE.found_tombstone]
  return found == '*' or get(KEYS[key + KEY.tombstone]) == found
end

-- Return whether the write of a job changes a document.
local function is_change(value)
  return ARGV[value + VALUE.status] ~= '' or ARGV[value + VALUE.progress] ~= ''
end

-- Write the keys of a job.
local function write(key, value)
  local status, progress = KEYS[key + KEY.status], KEYS[key + KEY.progress]
  local new_status, new_progress = ARGV[value + VALUE.status], ARGV[value + VALUE.progress]
  local seconds = ARGV[value + VALUE.seconds]
  if new_status == '-' then
    call('DEL', unpack(KEYS, key, key + keys_each - 1))
    return
  end
  if new_status == '' then renew(status, seconds) else put(status, new_status, seconds) end
  if new_progress == '' then
    renew(progress, seconds)
  elseif new_progress == '-' then
    call('DEL', progress)
  else
    put(progress, new_progress, seconds)
  end
  if tombstones and ARGV[value + VALUE.tombstone] ~= '' then
    local new_tombstone = ARGV[value + VALUE.tombstone]
    call('SET', KEYS[key + KEY.tombstone], new_tombstone, 'EX', seconds + TOMBSTONE_SECONDS)
  end
end

local job_keys, job_values = {}, {}
local key, value, job = 1, 3, 0
while key <= #KEYS do
  local feed, last, names = KEYS[key], job + tonumber(ARGV[value]), {}
  key, value = key + 1, value + 1
  while job < last do
    job = job + 1
    if is_unchanged(key, value) then
      job_keys[#job_keys + 1], job_values[#job_values + 1] = key, value
      local name = ARGV[value + VALUE.feed_name]
      if name ~= '' and is_change(value) then names[#names + 1] = name end
    else
      lost[#lost + 1] = job
    end
    key, value = key + keys_each, value + values_each
  end
  if #names > 0 then
    feeds[#feeds + 1], changed[#changed + 1] = feed, names
  end
end

-- The feeds come first: after an error, such as that of a user that may not run a command, the writes
-- are tried again. A change may then be in the feed twice. If the documents came first, they would
-- not differ any more, and the feed would lack the change.
if #feeds > 0 then
  local time = call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  for index, feed in ipairs(feeds) do add_to_feed(feed, changed[index], now) end
end
for index, first in ipairs(job_keys) do write(first, job_values[index]) end

return lost
