-- name: plan_by_keys
-- Rows are looked up by their keys and places, whatever the planner guesses: without statistics, or
-- of a small table, it would read all rows once a batch.
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;

-- name: lock_jobs
-- Lock the rows of these jobs in key order, so that writers never deadlock, and read them. The bounds,
-- the order and LIMIT keep the look-up one by the primary key: as an equality it may go by another
-- index that begins alike, as long as the table has no statistics.
SELECT {state_row}, j.place
FROM (
    SELECT * FROM unnest(%b::text[], %b::text[], %b::text[]) AS w (tenant, kind, id)
    ORDER BY tenant, kind, id
) AS wanted,
LATERAL (
    SELECT *, ctid::text AS place FROM jobs AS j
    WHERE (j.tenant, j.kind, j.id) >= (wanted.tenant, wanted.kind, wanted.id)
      AND (j.tenant, j.kind, j.id) <= (wanted.tenant, wanted.kind, wanted.id)
    ORDER BY j.tenant, j.kind, j.id
    LIMIT 1
    FOR UPDATE
) AS j;

-- name: update_jobs
-- A locked row stays at its place. The key is compared beside it, so that a wrong place changes
-- nothing; IS NOT DISTINCT FROM, which no index serves, so that the place is what the row is found by.
-- The places are an array of tid: a cast in the condition is not leakproof, and row-level security
-- would prevent the Tid Scan.
UPDATE jobs AS j
SET {job_changes}
FROM unnest({job_arrays}, %b::tid[]) AS n ({job_columns}, place)
WHERE j.ctid = n.place
  AND (j.tenant, j.kind, j.id) IS NOT DISTINCT FROM (n.tenant, n.kind, n.id);

-- name: insert_jobs
-- Insert those that no row stood for when we looked; a conflict is another writer's new row.
INSERT INTO jobs ({job_columns}, listed_at)
SELECT {job_values}, n.created_at
FROM unnest({job_arrays}) AS n ({job_columns})
ORDER BY n.tenant, n.kind, n.id
ON CONFLICT DO NOTHING;

-- name: server
-- Which cluster this is, and on which timeline it writes: a promotion begins another one. What the
-- last checkpoint says would come late.
SELECT format('%s/%s', system_identifier, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))
FROM pg_control_system();
