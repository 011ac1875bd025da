-- name: in_the_way
-- The sessions that hold, or are before us in the queue for, what the session of that pid waits for.
SELECT pid, coalesce(usename, 'unknown'), coalesce(nullif(application_name, ''), 'no name')
FROM pg_stat_activity
WHERE pid = ANY (pg_blocking_pids(%s))
ORDER BY pid;
