-- no transaction
-- The reaper's look-up: jobs at work, by when the log last heard of them (the server's clock, for a
-- producer's may be wrong).
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_at_work
ON jobs ((split_part(positions ->> 'entry_id', '-', 1)::bigint))
WHERE state = 'processing';
