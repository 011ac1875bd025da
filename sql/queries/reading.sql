-- name: become_reader
-- Read as one tenant until the transaction ends; in a role that owns nothing, if this login may. Lists
-- are read in the order of an index, whatever the planner estimates for an unusual tenant: a sort or a
-- bitmap would read all rows of the tenant first.
SELECT set_config('app.tenant_id', %(tenant)s, true),
       set_config('statement_timeout', %(timeout_ms)s::text, true),
       set_config('enable_sort', 'off', true),
       set_config('enable_bitmapscan', 'off', true),
       set_config('enable_seqscan', 'off', true),
       (SELECT set_config('role', rolname, true) FROM pg_roles
        WHERE rolname = 'jobtrail_api'
          AND pg_has_role(oid, CASE WHEN current_setting('server_version_num')::integer >= 160000
                                    THEN 'SET' ELSE 'MEMBER' END));

-- name: bound_by_policies
-- True if row-level security applies to this login: it is no superuser and has no BYPASSRLS, the
-- policies are in force, and it has no policy for operators, which shows every row.
SELECT current_user,
       row_security_active('jobs') AND row_security_active('job_events')
       AND row_security_active('job_facets')
       AND NOT EXISTS (
           SELECT FROM pg_policy
           WHERE polrelid IN ('jobs'::regclass, 'job_events'::regclass, 'job_facets'::regclass)
             AND pg_get_expr(polqual, polrelid) = 'true'
             AND EXISTS (
                 SELECT FROM unnest(polroles) AS r (role)
                 WHERE CASE WHEN r.role = 0 THEN true ELSE pg_has_role(r.role, 'USAGE') END
             )
       );

-- name: begin
-- The rows that a list examines and those that it returns must be of the same snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY NOT DEFERRABLE;

-- name: commit
COMMIT;

-- name: alive
SELECT 1;

-- name: replica_age
-- How old the data of a replica is at most, in seconds; nothing where the server is a primary. While
-- it is connected and has applied all that it received, it is up to date. Otherwise its data is not
-- older than the last transaction that it applied, or than the checkpoint that it started from.
SELECT CASE
    WHEN NOT pg_is_in_recovery() THEN NULL
    WHEN EXISTS (SELECT FROM pg_stat_get_wal_receiver() AS receiver WHERE receiver.pid IS NOT NULL)
         AND pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn() THEN 0
    ELSE extract(epoch FROM clock_timestamp() - coalesce(
        pg_last_xact_replay_timestamp(), (pg_control_checkpoint()).checkpoint_time))
END::float8;

-- list: listed_row
j.id, j.attempt, j.state, j.status, j.job_type, j.labels::text, j.worker, j.progress::text,
       CASE WHEN j.result_bytes < %(result_limit)s THEN j.result::text END, j.result_bytes,
       j.error, j.code, j.created_at, j.started_at, j.updated_at, j.ended_at, j.listed_at

-- name: job
SELECT {listed_row}
FROM jobs AS j
WHERE tenant = %(tenant)s AND kind = %(kind)s AND id = %(id)s;

-- name: newest_reach
-- The last of the next candidates among all jobs; no row if fewer are left.
--
-- Here and below, kind (and state) have a range and lead the order, although they have only one value:
-- so only the index with this order can be used. With an equality, the planner may use another index, in
-- which any number of rows of other kinds or states may be in between.
SELECT listed_at, id
FROM jobs
WHERE tenant = %(tenant)s AND kind >= %(kind)s
  AND (kind, listed_at, id) < (%(kind)s, %(after_at)s::timestamptz, %(after_id)s)
ORDER BY kind DESC, listed_at DESC, id DESC
OFFSET %(scan)s - 1 LIMIT 1;

-- name: state_reach
-- The same among jobs in one state.
SELECT listed_at, id
FROM jobs
WHERE tenant = %(tenant)s AND (state, tenant, kind) >= (%(state)s, %(tenant)s, %(kind)s)
  AND (state, tenant, kind, listed_at, id)
      < (%(state)s, %(tenant)s, %(kind)s, %(after_at)s::timestamptz, %(after_id)s)
ORDER BY state DESC, kind DESC, listed_at DESC, id DESC
OFFSET %(scan)s - 1 LIMIT 1;

-- name: facet_reach
-- The same among jobs with one facet.
SELECT listed_at, id
FROM job_facets
WHERE tenant = %(tenant)s AND kind = %(kind)s AND name = %(name)s AND value = %(value)s
  AND (listed_at, id) < (%(after_at)s::timestamptz, %(after_id)s)
ORDER BY listed_at DESC, id DESC
OFFSET %(scan)s - 1 LIMIT 1;

-- name: updated_reach
-- True if more jobs than a page examines were updated since the beginning of the hour.
SELECT count(*) > %(scan)s
FROM (
    SELECT FROM jobs
    WHERE tenant = %(tenant)s AND kind <= %(kind)s
      AND (kind, updated_hour)
          >= (%(kind)s, date_bin('1 hour', %(updated_since)s::timestamptz, 'epoch'))
    ORDER BY kind, updated_hour
    LIMIT %(scan)s + 1
) AS candidates;

-- name: page_of_newest
-- A page examines its candidates (the inner LIMIT) in the order of the list, and returns those that pass
-- all filters.
SELECT {listed_row}
FROM (
    SELECT * FROM jobs
    WHERE tenant = %(tenant)s AND kind >= %(kind)s
      AND (kind, listed_at, id) < (%(kind)s, %(after_at)s::timestamptz, %(after_id)s)
    ORDER BY kind DESC, listed_at DESC, id DESC
    LIMIT %(scan)s
) AS j
WHERE (%(state)s::text IS NULL OR j.state = %(state)s)
  AND (%(job_type)s::text IS NULL OR j.job_type = %(job_type)s)
  AND j.labels @> %(labels)s::jsonb
  AND (%(updated_since)s::timestamptz IS NULL OR j.updated_at >= %(updated_since)s::timestamptz)
ORDER BY j.kind DESC, j.listed_at DESC, j.id DESC
LIMIT %(limit)s;

-- name: page_of_state
SELECT {listed_row}
FROM (
    SELECT * FROM jobs
    WHERE tenant = %(tenant)s AND (state, tenant, kind) >= (%(state)s, %(tenant)s, %(kind)s)
      AND (state, tenant, kind, listed_at, id)
          < (%(state)s, %(tenant)s, %(kind)s, %(after_at)s::timestamptz, %(after_id)s)
    ORDER BY state DESC, kind DESC, listed_at DESC, id DESC
    LIMIT %(scan)s
) AS j
WHERE (%(job_type)s::text IS NULL OR j.job_type = %(job_type)s)
  AND j.labels @> %(labels)s::jsonb
  AND (%(updated_since)s::timestamptz IS NULL OR j.updated_at >= %(updated_since)s::timestamptz)
ORDER BY j.state DESC, j.kind DESC, j.listed_at DESC, j.id DESC
LIMIT %(limit)s;

-- name: page_of_facet
-- A facet without a row, or whose row differs from it, is no candidate.
SELECT {listed_row}
FROM (
    SELECT listed_at, id FROM job_facets
    WHERE tenant = %(tenant)s AND kind = %(kind)s AND name = %(name)s AND value = %(value)s
      AND (listed_at, id) < (%(after_at)s::timestamptz, %(after_id)s)
    ORDER BY listed_at DESC, id DESC
    LIMIT %(scan)s
) AS f,
LATERAL (
    SELECT * FROM jobs
    WHERE tenant = %(tenant)s AND kind = %(kind)s AND id = f.id
    LIMIT 1 -- so that the plan is a look-up by the key, whatever the planner estimates
) AS j
WHERE j.listed_at = f.listed_at
  AND (%(state)s::text IS NULL OR j.state = %(state)s)
  AND (%(job_type)s::text IS NULL OR j.job_type = %(job_type)s)
  AND j.labels @> %(labels)s::jsonb
  AND (%(updated_since)s::timestamptz IS NULL OR j.updated_at >= %(updated_since)s::timestamptz)
ORDER BY f.listed_at DESC, f.id DESC
LIMIT %(limit)s;

-- name: page_of_updated
-- For few candidates: all of them are read, and then sorted.
SELECT {listed_row}
FROM (
    SELECT * FROM jobs
    WHERE tenant = %(tenant)s AND kind <= %(kind)s
      AND (kind, updated_hour)
          >= (%(kind)s, date_bin('1 hour', %(updated_since)s::timestamptz, 'epoch'))
    ORDER BY kind, updated_hour
    LIMIT %(scan)s
) AS j
WHERE j.updated_at >= %(updated_since)s::timestamptz
  AND (j.listed_at, j.id) < (%(after_at)s::timestamptz, %(after_id)s)
  AND (%(state)s::text IS NULL OR j.state = %(state)s)
  AND (%(job_type)s::text IS NULL OR j.job_type = %(job_type)s)
  AND j.labels @> %(labels)s::jsonb
ORDER BY j.listed_at DESC, j.id DESC
LIMIT %(limit)s;

-- name: page_of_ids
-- For a caller with access to only these jobs: each is looked up by its key.
SELECT {listed_row}
FROM unnest(%(ids)s::text[]) AS o (id),
LATERAL (
    SELECT * FROM jobs
    WHERE tenant = %(tenant)s AND kind = %(kind)s AND id = o.id
    LIMIT 1
) AS j
WHERE (j.listed_at, j.id) < (%(after_at)s::timestamptz, %(after_id)s)
  AND (%(state)s::text IS NULL OR j.state = %(state)s)
  AND (%(job_type)s::text IS NULL OR j.job_type = %(job_type)s)
  AND j.labels @> %(labels)s::jsonb
  AND (%(updated_since)s::timestamptz IS NULL OR j.updated_at >= %(updated_since)s::timestamptz)
ORDER BY j.listed_at DESC, j.id DESC
LIMIT %(limit)s;

-- name: job_exists
SELECT true FROM jobs WHERE tenant = %(tenant)s AND kind = %(kind)s AND id = %(id)s;

-- name: events
-- A job's events in the order of their entries, by the index job_events_in_order.
SELECT entry_ms, entry_seq, event_id, type, attempt, at, event
FROM job_events
WHERE tenant = %(tenant)s AND kind = %(kind)s AND id = %(id)s
  AND (entry_ms, entry_seq, event_id)
      > (%(after_ms)s::bigint, %(after_seq)s::bigint, %(after_event)s)
ORDER BY entry_ms, entry_seq, event_id
LIMIT %(limit)s;
