-- Compare and set the documents of many jobs, and tell their tenants' feeds what changed.
-- A job takes 4 keys (status, progress, ended mark, its tenant's feed) and 7 arguments: the status
-- document and the mark that its writer had read ('' for none, mark '*' for not read), the new status
-- ('' to leave it, '-' to remove all three), the new progress ('' to leave it, '-' to remove it),
-- seconds to live (0 for no end), the new mark ('' for none), and its name in the feed ('' where readers
-- would see no difference).
-- Returns the positions (from 1) of the jobs that somebody else wrote meanwhile; they are untouched.
-- How much longer than its job's documents a mark lives.
local MARK_SECONDS = 604800
-- How long a feed outlives its last change, at least, and the jobs that it keeps.
local FEED_SECONDS, FEED_JOBS = 3600, 10000
local lost, feeds, fed = {}, {}, {}
local call, format = redis.call, string.format

-- Whatever else stands at a document's key counts as no document, and is replaced: an error in here
-- would keep other jobs' changes from being told.
local function get(key)
  local found = redis.pcall('GET', key)
  return type(found) == 'string' and found or ''
end

local function put(key, value, seconds)
  if seconds > 0 then
    call('SET', key, value, 'EX', seconds)
  else
    call('SET', key, value)
  end
end

local function renew(key, seconds)
  if seconds > 0 then
    call('EXPIRE', key, seconds)
  else
    call('PERSIST', key)
  end
end

local function changed(feed, name)
  local names = fed[feed]
  if names then
    names[#names + 1] = name
  else
    fed[feed] = {name}
    feeds[#feeds + 1] = feed
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

for job = 1, #KEYS / 4 do
  local at = (job - 1) * 4
  local status, progress, ended = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3]
  local given = (job - 1) * 7
  local new_status, new_progress = ARGV[given + 3], ARGV[given + 4]
  local seconds, mark, name = tonumber(ARGV[given + 5]), ARGV[given + 6], ARGV[given + 7]
  if get(status) ~= ARGV[given + 1] or
     (ARGV[given + 2] ~= '*' and get(ended) ~= ARGV[given + 2]) then
    lost[#lost + 1] = job
  elseif new_status == '-' then
    call('DEL', status, progress, ended)
    changed(KEYS[at + 4], name)
  else
    if new_status == '' then renew(status, seconds) else put(status, new_status, seconds) end
    if new_progress == '' then
      renew(progress, seconds)
    elseif new_progress == '-' then
      call('DEL', progress)
    else
      put(progress, new_progress, seconds)
    end
    if mark ~= '' then call('SET', ended, mark, 'EX', seconds + MARK_SECONDS) end
    if name ~= '' and (new_status ~= '' or new_progress ~= '') then changed(KEYS[at + 4], name) end
  end
end

if #feeds > 0 then
  local time = call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  for _, feed in ipairs(feeds) do tell(feed, fed[feed], now) end
end

return lost
