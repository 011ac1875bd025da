-- name: enter
-- Use the role that reads for operators until the transaction ends, if this login may. The transaction
-- is read-only in any case, and has a time limit (milliseconds).
SELECT set_config('transaction_read_only', 'on', true),
       set_config('statement_timeout', %(milliseconds)s::text, true),
       set_config('timezone', 'UTC', true),
       (SELECT set_config('role', rolname, true) FROM pg_roles
        WHERE rolname = 'jobtrail_ops' AND pg_has_role(session_user, oid, 'MEMBER'));

-- name: health
SELECT current_setting('server_version'),
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),
       pg_database_size(current_database());

-- list: listed_job
tenant, kind, id, state, status, job_type, attempt, worker, code, left(error, 300),
       progress::text, created_at, updated_at, listed_at::text AS place

-- list: passing
(%(state)s::text IS NULL OR state = %(state)s)
  AND (%(of_kind)s::text IS NULL OR kind = %(of_kind)s)
  AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
  AND (%(worker)s::text IS NULL OR worker = %(worker)s)
  AND (%(code)s::text IS NULL OR code = %(code)s)
  AND (%(labels)s::jsonb IS NULL OR labels @> %(labels)s::jsonb)
  AND (%(part)s::text IS NULL OR strpos(id, %(part)s) > 0)

-- name: newest
-- The window: a number of the newest jobs after a cursor. Those that pass the filters are returned.
SELECT {listed_job}
FROM (
    SELECT * FROM jobs
    WHERE (listed_at, id, tenant, kind)
          < (%(at)s::timestamptz, %(id)s::text, %(tenant)s::text, %(kind)s::text)
      AND listed_at >= %(since)s::timestamptz
    ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
    LIMIT %(window)s
) AS examined
WHERE {passing}
ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
LIMIT %(limit)s;

-- name: newest_end
-- The end of the window; no row if there are no more jobs.
SELECT listed_at::text AS place, id, tenant, kind FROM jobs
WHERE (listed_at, id, tenant, kind)
      < (%(at)s::timestamptz, %(id)s::text, %(tenant)s::text, %(kind)s::text)
  AND listed_at >= %(since)s::timestamptz
ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
LIMIT 1 OFFSET %(window)s - 1;

-- name: failed
-- The same as `newest`, among failed jobs.
SELECT {listed_job}
FROM (
    SELECT * FROM jobs
    WHERE state = 'failed'
      AND (listed_at, id, tenant, kind)
          < (%(at)s::timestamptz, %(id)s::text, %(tenant)s::text, %(kind)s::text)
      AND listed_at >= %(since)s::timestamptz
    ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
    LIMIT %(window)s
) AS examined
WHERE {passing}
ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
LIMIT %(limit)s;

-- name: failed_end
SELECT listed_at::text AS place, id, tenant, kind FROM jobs
WHERE state = 'failed'
  AND (listed_at, id, tenant, kind)
      < (%(at)s::timestamptz, %(id)s::text, %(tenant)s::text, %(kind)s::text)
  AND listed_at >= %(since)s::timestamptz
ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
LIMIT 1 OFFSET %(window)s - 1;

-- name: of_tenant
-- The same as `newest`, among the jobs of one kind and tenant.
SELECT {listed_job}
FROM (
    SELECT * FROM jobs
    WHERE tenant = %(of_tenant)s AND kind = %(of_kind)s
      AND (listed_at, id) < (%(at)s::timestamptz, %(id)s::text)
      AND listed_at >= %(since)s::timestamptz
    ORDER BY listed_at DESC, id DESC
    LIMIT %(window)s
) AS examined
WHERE {passing}
ORDER BY listed_at DESC, id DESC
LIMIT %(limit)s;

-- name: of_tenant_end
SELECT listed_at::text AS place, id, tenant, kind FROM jobs
WHERE tenant = %(of_tenant)s AND kind = %(of_kind)s
  AND (listed_at, id) < (%(at)s::timestamptz, %(id)s::text)
  AND listed_at >= %(since)s::timestamptz
ORDER BY listed_at DESC, id DESC
LIMIT 1 OFFSET %(window)s - 1;

-- name: by_id
-- The window in the order of ids, of those with a prefix. Ids are ASCII without a tilde.
SELECT {listed_job}
FROM (
    SELECT * FROM jobs
    WHERE id COLLATE "C" >= %(prefix)s::text AND id COLLATE "C" < %(prefix)s::text || '~'
      AND (id COLLATE "C", tenant COLLATE "C", kind COLLATE "C")
          > (%(id)s::text, %(tenant)s::text, %(kind)s::text)
    ORDER BY id COLLATE "C", tenant COLLATE "C", kind COLLATE "C"
    LIMIT %(window)s
) AS examined
WHERE (%(of_tenant)s::text IS NULL OR tenant = %(of_tenant)s)
  AND listed_at >= %(since)s::timestamptz AND listed_at < %(until)s::timestamptz
  AND {passing}
ORDER BY id COLLATE "C", tenant COLLATE "C", kind COLLATE "C"
LIMIT %(limit)s;

-- name: by_id_end
SELECT listed_at::text AS place, id, tenant, kind FROM jobs
WHERE id COLLATE "C" >= %(prefix)s::text AND id COLLATE "C" < %(prefix)s::text || '~'
  AND (id COLLATE "C", tenant COLLATE "C", kind COLLATE "C")
      > (%(id)s::text, %(tenant)s::text, %(kind)s::text)
ORDER BY id COLLATE "C", tenant COLLATE "C", kind COLLATE "C"
LIMIT 1 OFFSET %(window)s - 1;

-- list: failure_columns
tenant COLLATE "C" AS tenant, kind, id, state, job_type COLLATE "C" AS job_type,
       worker COLLATE "C" AS worker, labels, code COLLATE "C" AS code,
       left(error, 200) COLLATE "C" AS text, listed_at, coalesce(ended_at, updated_at) AS failed_at

-- list: failure_groups
matching AS MATERIALIZED (
    SELECT *, regexp_replace(text, '[0-9]+', '#', 'g') AS form FROM examined
    WHERE state = 'failed'
      AND (%(of_tenant)s::text IS NULL OR tenant = %(of_tenant)s)
      AND (%(prefix)s::text IS NULL OR starts_with(id, %(prefix)s))
      AND listed_at >= %(since)s::timestamptz AND listed_at < %(until)s::timestamptz
      AND {passing}
)
SELECT code, CASE WHEN min(text) = max(text) THEN min(text) ELSE form END, count(*),
       count(DISTINCT tenant), min(failed_at), max(failed_at),
       count(DISTINCT job_type), min(job_type), count(DISTINCT worker), min(worker),
       (SELECT count(*) FROM examined), (SELECT min(listed_at) FROM examined)
FROM matching
GROUP BY GROUPING SETS ((), (code, form))
ORDER BY grouping(form) DESC, count(*) DESC, max(failed_at) DESC
LIMIT %(limit)s

-- name: failures
-- The failed jobs that pass the filters, among a number of the newest failed jobs: all of them in the
-- first row, then by code and text, in which numbers are `#` where they differ.
WITH examined AS MATERIALIZED (
    SELECT {failure_columns} FROM jobs
    WHERE state = 'failed' AND listed_at >= %(since)s::timestamptz AND listed_at < %(until)s::timestamptz
    ORDER BY listed_at DESC, id DESC
    LIMIT %(window)s
),
{failure_groups};

-- name: failures_of_tenant
-- The same, among the newest failed jobs of a tenant.
WITH examined AS MATERIALIZED (
    SELECT newest.*
    FROM unnest(%(kinds)s::text[]) AS of(kind)
    CROSS JOIN LATERAL (
        SELECT {failure_columns} FROM jobs
        WHERE state = 'failed' AND tenant = %(of_tenant)s AND jobs.kind = of.kind
          AND listed_at >= %(since)s::timestamptz AND listed_at < %(until)s::timestamptz
        ORDER BY listed_at DESC, id DESC
        LIMIT %(window)s
    ) AS newest
    ORDER BY listed_at DESC, id DESC
    LIMIT %(window)s
),
{failure_groups};

-- name: failures_by_id
-- The same, among the first jobs in the order of ids, of those with a prefix.
WITH examined AS MATERIALIZED (
    SELECT {failure_columns} FROM jobs
    WHERE id COLLATE "C" >= %(prefix)s::text AND id COLLATE "C" < %(prefix)s::text || '~'
    ORDER BY id COLLATE "C"
    LIMIT %(window)s
),
{failure_groups};

-- list: longest_running
SELECT *, split_part(positions ->> 'entry_id', '-', 1)::bigint AS heard_ms
    FROM jobs
    WHERE state = 'processing'
    ORDER BY started_at
    LIMIT %(examined)s

-- name: stalled
-- Among a number of the longest running jobs, those whose stream has no later entry since a time, the
-- longest silent first. An index by that entry would have to change with each progress of a job.
SELECT tenant, kind, id, job_type, attempt, worker, progress::text, updated_at, heard_ms
FROM ({longest_running}) AS examined
WHERE heard_ms < %(before)s
  AND (heard_ms, tenant, kind, id)
      > (%(ms)s, %(tenant)s::text, %(kind)s::text, %(id)s::text)
ORDER BY heard_ms, tenant, kind, id
LIMIT %(limit)s;

-- name: count_stalled
-- Their number, and that of the examined jobs.
SELECT count(*) FILTER (WHERE heard_ms < %(before)s), count(*) FROM ({longest_running}) AS examined;

-- name: job
-- One job; with its result only if that is small, because this is read often.
SELECT tenant, kind, id, state, status, job_type, attempt, worker, code, error, progress::text,
       CASE WHEN result_bytes <= %(result_bytes)s THEN result::text END, result_bytes, labels,
       created_at, started_at, updated_at, ended_at, positions ->> 'entry_id'
FROM jobs
WHERE (tenant, kind, id) = (%(tenant)s, %(kind)s, %(id)s);

-- name: result
SELECT result::text FROM jobs WHERE (tenant, kind, id) = (%(tenant)s, %(kind)s, %(id)s);

-- name: history
SELECT entry_ms, entry_seq, event, landings FROM job_events
WHERE (tenant, kind, id) = (%(tenant)s, %(kind)s, %(id)s)
  AND (entry_ms, entry_seq) > (%(ms)s::bigint, %(seq)s::bigint)
ORDER BY entry_ms, entry_seq
LIMIT %(limit)s;

-- name: first_events
-- The first events of a job, each with its last entry.
SELECT entry_ms, entry_seq, event, last_ms, last_seq FROM job_events
WHERE (tenant, kind, id) = (%(tenant)s, %(kind)s, %(id)s)
ORDER BY entry_ms, entry_seq
LIMIT %(limit)s;

-- name: ids_from
-- The ids that begin with a text, then those that follow it.
SELECT tenant, kind, id, state FROM jobs
WHERE id COLLATE "C" >= %(id)s::text
ORDER BY id COLLATE "C"
LIMIT %(limit)s;

-- name: ids_before
SELECT tenant, kind, id, state FROM jobs
WHERE id COLLATE "C" < %(id)s::text
ORDER BY id COLLATE "C" DESC
LIMIT %(limit)s;

-- name: tenants
-- The names of all tenants, up to a number: one look at the index for each, and not one for each job.
WITH RECURSIVE names AS (
    (SELECT tenant FROM jobs ORDER BY tenant LIMIT 1)
    UNION ALL
    SELECT (SELECT tenant FROM jobs WHERE tenant > names.tenant ORDER BY tenant LIMIT 1)
    FROM names WHERE names.tenant IS NOT NULL
)
SELECT tenant FROM names WHERE tenant IS NOT NULL LIMIT %(limit)s;

-- name: deciding_events
-- The events that decide the state of a job: its latest events other than progress and its latest
-- progress, each up to a number, with the number of all of these; and the event that decided its row.
(SELECT entry_ms, entry_seq, event, last_ms, last_seq, count(*) OVER (), false
 FROM job_events
 WHERE (tenant, kind, id) = (%(tenant)s, %(kind)s, %(id)s) AND type <> 'progress'
 ORDER BY entry_ms DESC, entry_seq DESC
 LIMIT %(limit)s)
UNION ALL
(SELECT entry_ms, entry_seq, event, last_ms, last_seq, count(*) OVER (), true
 FROM job_events
 WHERE (tenant, kind, id) = (%(tenant)s, %(kind)s, %(id)s) AND type = 'progress'
 ORDER BY entry_ms DESC, entry_seq DESC
 LIMIT %(limit)s)
UNION ALL
(SELECT h.entry_ms, h.entry_seq, h.event, h.last_ms, h.last_seq, NULL, NULL
 FROM jobs AS j
 JOIN job_events AS h ON (h.tenant, h.kind, h.id) = (j.tenant, j.kind, j.id)
     AND h.entry_ms = split_part(j.positions ->> 'entry_id', '-', 1)::bigint
     AND h.entry_seq = split_part(j.positions ->> 'entry_id', '-', 2)::bigint
 WHERE (j.tenant, j.kind, j.id) = (%(tenant)s, %(kind)s, %(id)s));
