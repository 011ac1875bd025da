-- Compare and set the documents of many jobs, and tell their tenants' feeds what changed.
-- ARGV[1] is 'marks' where the marks of ended jobs are seen to, else ''. Then, for each tenant:
--   KEYS: its feed, and for each of its jobs the status, the progress, and with 'marks' the mark
--   ARGV: the number of its jobs, and for each
--     the status document that its writer had read ('' for none)
--     the new status ('' to leave it, '-' to remove all of the job's keys)
--     the new progress ('' to leave it, '-' to remove it)
--     seconds to live ('0' for no end)
--     its name in the feed ('' where readers would see no difference)
--     with 'marks', the mark that its writer had read ('' for none, '*' for not read)
--     with 'marks', the new mark ('' to leave it)
-- Returns the indexes (from 1, over all tenants) of the jobs that somebody else wrote meanwhile; they
-- are untouched.
-- How much longer than its job's documents a mark lives.
local MARK_SECONDS = 604800
-- How long a feed outlives its last change, at least, and the jobs that it keeps.
local FEED_SECONDS, FEED_JOBS = 3600, 10000
local lost, feeds, changed = {}, {}, {}
local call, format = redis.call, string.format

-- Whatever else stands at a document's key counts as no document, and is replaced: an error in here
-- would keep other jobs' changes from being told.
local function get(key)
  local found = redis.pcall('GET', key)
  return type(found) == 'string' and found or ''
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

-- The changes of one tenant, under positions that never go back: the server's clock in microseconds,
-- or what follows the last position where the clock is behind that.
local function tell(feed, names, now)
  local newest = redis.pcall('ZREVRANGE', feed, 0, 0, 'WITHSCORES')
  -- Not a feed: it is made anew, from now on.
  if newest.err then call('DEL', feed) end
  local last = tonumber(newest[2] or 0)
  local first = math.max(now, last + 1)
  local scored, told = {}, {}
  for index, name in ipairs(names) do
    local position = format('%.0f', first + index - 1)
    scored[index * 2 - 1], scored[index * 2] = position, name
    told[index] = position .. ' ' .. name
  end
  call('ZADD', feed, unpack(scored))
  -- Once in a second of its changes is enough for both.
  if math.floor(last / 1000000) ~= math.floor(now / 1000000) then
    call('EXPIRE', feed, FEED_SECONDS + 1)
    if last > 0 then call('ZREMRANGEBYRANK', feed, 0, -FEED_JOBS - 1) end
  end
  call('PUBLISH', feed, table.concat(told, ' '))
end

local marks = ARGV[1] == 'marks'
local keys_each, values_each = marks and 3 or 2, marks and 7 or 5

-- Whether the keys of a job are still what its writer had read. Of the documents only the status is
-- compared: it names the entry of the progress document. A progress document that expired alone is
-- noticed by the writer's MGET, which must therefore stay.
local function stands(key, value)
  return get(KEYS[key]) == ARGV[value] and
    (not marks or ARGV[value + 5] == '*' or get(KEYS[key + 2]) == ARGV[value + 5])
end

-- Write a job's keys; returns whether any of them changed.
local function write(key, value)
  local status, progress, seconds = KEYS[key], KEYS[key + 1], ARGV[value + 3]
  local new_status, new_progress = ARGV[value + 1], ARGV[value + 2]
  if new_status == '-' then
    call('DEL', unpack(KEYS, key, key + keys_each - 1))
    return true
  end
  if new_status == '' then renew(status, seconds) else put(status, new_status, seconds) end
  if new_progress == '' then
    renew(progress, seconds)
  elseif new_progress == '-' then
    call('DEL', progress)
  else
    put(progress, new_progress, seconds)
  end
  if marks and ARGV[value + 6] ~= '' then
    call('SET', KEYS[key + 2], ARGV[value + 6], 'EX', seconds + MARK_SECONDS)
  end
  return new_status ~= '' or new_progress ~= ''
end

local key, value, job = 1, 2, 0
while key <= #KEYS do
  local feed, last, names = KEYS[key], job + tonumber(ARGV[value]), {}
  key, value = key + 1, value + 1
  while job < last do
    job = job + 1
    if not stands(key, value) then
      lost[#lost + 1] = job
    elseif write(key, value) and ARGV[value + 4] ~= '' then
      names[#names + 1] = ARGV[value + 4]
    end
    key, value = key + keys_each, value + values_each
  end
  if #names > 0 then
    feeds[#feeds + 1], changed[#changed + 1] = feed, names
  end
end

if #feeds > 0 then
  local time = call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  for index, feed in ipairs(feeds) do tell(feed, changed[index], now) end
end

return lost
