-- Compare and set the documents of many jobs.
-- A job takes 3 keys (status, progress, ended mark) and 6 arguments: the status document and the
-- mark that its writer had read ('' for none), the new status ('' to leave it), the new progress
-- ('' to leave it, '-' to remove it), seconds to live (0 for no end), the new mark ('' for none).
-- Returns the positions (from 1) of the jobs that somebody else wrote meanwhile; they are untouched.
-- How much longer than its job's documents a mark lives.
local MARK_SECONDS = 604800
local lost = {}

local function put(key, value, seconds)
  if seconds > 0 then
    redis.call('SET', key, value, 'EX', seconds)
  else
    redis.call('SET', key, value)
  end
end

local function renew(key, seconds)
  if seconds > 0 then
    redis.call('EXPIRE', key, seconds)
  else
    redis.call('PERSIST', key)
  end
end

for job = 1, #KEYS / 3 do
  local status, progress, ended = KEYS[job * 3 - 2], KEYS[job * 3 - 1], KEYS[job * 3]
  local at = (job - 1) * 6
  local seconds = tonumber(ARGV[at + 5])
  if (redis.call('GET', status) or '') ~= ARGV[at + 1] or
     (ARGV[at + 2] ~= '*' and (redis.call('GET', ended) or '') ~= ARGV[at + 2]) then
    lost[#lost + 1] = job
  else
    if ARGV[at + 3] == '' then renew(status, seconds) else put(status, ARGV[at + 3], seconds) end
    if ARGV[at + 4] == '' then
      renew(progress, seconds)
    elseif ARGV[at + 4] == '-' then
      redis.call('DEL', progress)
    else
      put(progress, ARGV[at + 4], seconds)
    end
    if ARGV[at + 6] ~= '' then redis.call('SET', ended, ARGV[at + 6], 'EX', seconds + MARK_SECONDS) end
  end
end

return lost
