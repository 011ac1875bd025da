-- name: enter
-- Become the role that reads for operators, until the transaction ends, where this login may; read
-- only in any case, and for so long at most (milliseconds).
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

-- name: newest
-- The window: so many of the newest jobs from a place on, of which those wanted are given.
SELECT {listed_job}
FROM (
    SELECT * FROM jobs
    WHERE (listed_at, id, tenant, kind)
          < (%(at)s::timestamptz, %(id)s::text, %(tenant)s::text, %(kind)s::text)
    ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
    LIMIT %(window)s
) AS looked
WHERE (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(of_kind)s::text IS NULL OR kind = %(of_kind)s)
  AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
LIMIT %(limit)s;

-- name: newest_end
-- Where the window ends; nothing where there are no more jobs.
SELECT listed_at::text AS place, id, tenant, kind FROM jobs
WHERE (listed_at, id, tenant, kind)
      < (%(at)s::timestamptz, %(id)s::text, %(tenant)s::text, %(kind)s::text)
ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
LIMIT 1 OFFSET %(window)s - 1;

-- name: failed
-- As `newest`, of the failed ones alone.
SELECT {listed_job}
FROM (
    SELECT * FROM jobs
    WHERE state = 'failed'
      AND (listed_at, id, tenant, kind)
          < (%(at)s::timestamptz, %(id)s::text, %(tenant)s::text, %(kind)s::text)
    ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
    LIMIT %(window)s
) AS looked
WHERE (%(of_kind)s::text IS NULL OR kind = %(of_kind)s)
  AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
LIMIT %(limit)s;

-- name: failed_end
SELECT listed_at::text AS place, id, tenant, kind FROM jobs
WHERE state = 'failed'
  AND (listed_at, id, tenant, kind)
      < (%(at)s::timestamptz, %(id)s::text, %(tenant)s::text, %(kind)s::text)
ORDER BY listed_at DESC, id DESC, tenant DESC, kind DESC
LIMIT 1 OFFSET %(window)s - 1;

-- name: of_tenant
-- As `newest`, of one kind of one tenant's.
SELECT {listed_job}
FROM (
    SELECT * FROM jobs
    WHERE tenant = %(of_tenant)s AND kind = %(of_kind)s
      AND (listed_at, id) < (%(at)s::timestamptz, %(id)s::text)
    ORDER BY listed_at DESC, id DESC
    LIMIT %(window)s
) AS looked
WHERE (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
ORDER BY listed_at DESC, id DESC
LIMIT %(limit)s;

-- name: of_tenant_end
SELECT listed_at::text AS place, id, tenant, kind FROM jobs
WHERE tenant = %(of_tenant)s AND kind = %(of_kind)s
  AND (listed_at, id) < (%(at)s::timestamptz, %(id)s::text)
ORDER BY listed_at DESC, id DESC
LIMIT 1 OFFSET %(window)s - 1;

-- name: by_id
-- The window in the order of ids, of those that begin with a text. Ids are ASCII without a tilde.
SELECT {listed_job}
FROM (
    SELECT * FROM jobs
    WHERE id COLLATE "C" >= %(prefix)s::text AND id COLLATE "C" < %(prefix)s::text || '~'
      AND (id COLLATE "C", tenant COLLATE "C", kind COLLATE "C")
          > (%(id)s::text, %(tenant)s::text, %(kind)s::text)
    ORDER BY id COLLATE "C", tenant COLLATE "C", kind COLLATE "C"
    LIMIT %(window)s
) AS looked
WHERE (%(of_tenant)s::text IS NULL OR tenant = %(of_tenant)s)
  AND (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(of_kind)s::text IS NULL OR kind = %(of_kind)s)
  AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
ORDER BY id COLLATE "C", tenant COLLATE "C", kind COLLATE "C"
LIMIT %(limit)s;

-- name: by_id_end
SELECT listed_at::text AS place, id, tenant, kind FROM jobs
WHERE id COLLATE "C" >= %(prefix)s::text AND id COLLATE "C" < %(prefix)s::text || '~'
  AND (id COLLATE "C", tenant COLLATE "C", kind COLLATE "C")
      > (%(id)s::text, %(tenant)s::text, %(kind)s::text)
ORDER BY id COLLATE "C", tenant COLLATE "C", kind COLLATE "C"
LIMIT 1 OFFSET %(window)s - 1;

-- name: stalled
-- Jobs at work of which the log has not heard since that moment, the longest silent first.
SELECT tenant, kind, id, job_type, attempt, worker, progress::text, updated_at, heard_ms
FROM (
    SELECT *, split_part(positions ->> 'entry_id', '-', 1)::bigint AS heard_ms
    FROM jobs
    WHERE state = 'processing'
      AND split_part(positions ->> 'entry_id', '-', 1)::bigint < %(before)s
      AND split_part(positions ->> 'entry_id', '-', 1)::bigint >= %(ms)s
) AS silent
WHERE (heard_ms, tenant, kind, id)
      > (%(ms)s, %(tenant)s::text, %(kind)s::text, %(id)s::text)
ORDER BY heard_ms, tenant, kind, id
LIMIT %(limit)s;

-- name: count_stalled
-- How many there are, counted up to a limit.
SELECT count(*) FROM (
    SELECT FROM jobs
    WHERE state = 'processing'
      AND split_part(positions ->> 'entry_id', '-', 1)::bigint < %(before)s
    LIMIT %(limit)s
) AS silent;

-- name: job
-- One job; its result only where that is small, for this is asked for again and again.
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

-- name: deciding_events
-- What decides about a job: its latest events that are more than progress, its latest progress,
-- each up to a number, and how many there are of all.
(SELECT entry_ms, entry_seq, event, last_ms, last_seq, count(*) OVER ()
 FROM job_events
 WHERE (tenant, kind, id) = (%(tenant)s, %(kind)s, %(id)s) AND type <> 'progress'
 ORDER BY entry_ms DESC, entry_seq DESC
 LIMIT %(limit)s)
UNION ALL
(SELECT entry_ms, entry_seq, event, last_ms, last_seq, count(*) OVER ()
 FROM job_events
 WHERE (tenant, kind, id) = (%(tenant)s, %(kind)s, %(id)s) AND type = 'progress'
 ORDER BY entry_ms DESC, entry_seq DESC
 LIMIT %(limit)s);
