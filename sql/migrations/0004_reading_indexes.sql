-- no transaction
-- Lists, newest first. None of these columns changes while a job merely progresses, so that such an
-- update stays within its page and touches no index.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_newest ON jobs (tenant, kind, listed_at, id);
-- next
-- Lists of one state; the state comes first so that the jobs of all tenants that are at work stand
-- together, which is where the reaper looks.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_by_state ON jobs (state, tenant, kind, listed_at, id);
-- next
-- What was updated lately.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_by_hour ON jobs (tenant, kind, updated_hour);
-- next
-- The reaper's own index contained the positions, which every event changes.
DROP INDEX CONCURRENTLY IF EXISTS jobs_at_work;
