-- Arrays are sent in binary format (%b), in which no value is escaped and parsed.

-- name: plan_by_keys
-- Rows are looked up by their keys and places, whatever the planner estimates. For a small table, or
-- one without statistics, it would read all rows for each batch.
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;

-- name: lock_jobs
-- Lock the rows of these jobs in key order, so that writers never deadlock, and read them. With the
-- bounds, the order and LIMIT, the look-up uses the primary key. With an equality it may use another
-- index with the same first columns, as long as the table has no statistics.
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
-- A locked row stays at its place (ctid). The key is compared as well, so that a wrong place changes
-- nothing; with IS NOT DISTINCT FROM, which no index supports, so that the row is found by its place.
-- The places are an array of tid: a cast in the condition is not leakproof, so that row-level security
-- would prevent the Tid Scan.
UPDATE jobs AS j
SET {job_changes}
FROM unnest({job_arrays}, %b::tid[]) AS n ({job_columns}, place)
WHERE j.ctid = n.place
  AND (j.tenant, j.kind, j.id) IS NOT DISTINCT FROM (n.tenant, n.kind, n.id);

-- name: insert_jobs
-- Insert the jobs that had no row; after a conflict, another writer has inserted a row first. In key
-- order, so that two writers with the same new jobs wait for each other and never deadlock.
INSERT INTO jobs ({job_columns}, listed_at)
SELECT {job_values}, n.created_at
FROM unnest({job_arrays}) AS n ({job_columns})
ORDER BY n.tenant, n.kind, n.id
ON CONFLICT DO NOTHING;

-- name: server
-- The cluster, and the timeline that it writes: a promotion begins a new one. The last checkpoint would
-- have the new timeline only later.
SELECT format('%s/%s', system_identifier, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))
FROM pg_control_system();
