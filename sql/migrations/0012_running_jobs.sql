-- no transaction
-- The jobs that have been running the longest, of all tenants. A job that merely progresses touches no
-- index: `started_at` changes with the attempt.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_running ON jobs (started_at) WHERE state = 'processing';
