-- name: blocking_sessions
-- The sessions that hold the locks that the session of this pid waits for, or wait for them before it.
SELECT pid, coalesce(usename, 'unknown'), coalesce(nullif(application_name, ''), 'no name')
FROM pg_stat_activity
WHERE pid = ANY (pg_blocking_pids(%s))
ORDER BY pid;
