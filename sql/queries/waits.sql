-- name: blocking_sessions
-- The sessions that hold the locks that the session of this pid waits for, or wait for them before it.
SELECT pid, coalesce(usename, 'unknown'), coalesce(nullif(application_name, ''), 'no name')
FROM pg_stat_activity
WHERE pid = ANY (pg_blocking_pids(%s))
ORDER BY pid;

-- name: migration_lock_holders
-- The sessions that hold the lock of migrations (`migrations_locked`).
SELECT s.pid, coalesce(s.usename, 'unknown'), coalesce(nullif(s.application_name, ''), 'no name')
FROM pg_locks AS l
JOIN pg_stat_activity AS s USING (pid)
WHERE l.relation = 'jobtrail_migrations'::regclass
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
ORDER BY s.pid;
