-- list: now
SELECT * FROM job_figures WHERE tenant = '' AND bin = '-infinity'
    UNION ALL
    SELECT * FROM job_figure_changes WHERE tenant = '' AND bin = '-infinity'

-- list: lately
SELECT * FROM job_figures WHERE tenant = '' AND bin >= %(since)s::timestamptz
    UNION ALL
    SELECT * FROM job_figure_changes WHERE tenant = '' AND bin >= %(since)s::timestamptz

-- list: took
SELECT * FROM job_figures
    WHERE tenant = '' AND figure = 'took'
      AND bin > %(since)s::timestamptz - interval '10 minutes' AND bin < %(since)s
    UNION ALL
    SELECT * FROM job_figure_changes
    WHERE tenant = '' AND figure = 'took'
      AND bin > %(since)s::timestamptz - interval '10 minutes' AND bin < %(since)s

-- name: figures
-- Figures of all jobs, now (`lately` is false) and since a time: first those of all types together (no
-- type), then those of each type, the largest first. Durations are those of up to ten minutes more.
SELECT bin > '-infinity' AS lately, kind, job_type, figure, detail, sum(n)::bigint AS n
FROM (
    {now}
    UNION ALL
    {lately}
    UNION ALL
    {took}
) AS f
GROUP BY GROUPING SETS ((1, figure), (1, kind, job_type, figure, detail))
HAVING sum(n) > 0
ORDER BY GROUPING(kind) DESC, n DESC
LIMIT %(limit)s;

-- name: recent
-- For each type with failures since a time: how many jobs were done and failed since a later time, and the
-- latest minute with a failure, in milliseconds since 1970.
SELECT kind, job_type,
       greatest(sum(n) FILTER (WHERE figure = 'done' AND bin >= %(recent)s), 0)::bigint AS done,
       greatest(sum(n) FILTER (WHERE figure = 'failed' AND bin >= %(recent)s), 0)::bigint AS failed,
       (extract(epoch FROM max(bin) FILTER (WHERE figure = 'failed')) * 1000)::bigint AS last_ms
FROM (
    SELECT kind, job_type, figure, bin, sum(n) AS n
    FROM ({lately}) AS l
    WHERE figure IN ('done', 'failed')
    GROUP BY kind, job_type, figure, bin
    HAVING sum(n) > 0
) AS f
GROUP BY kind, job_type
HAVING max(bin) FILTER (WHERE figure = 'failed') IS NOT NULL
ORDER BY failed DESC
LIMIT %(limit)s;

-- name: failing
-- The latest minutes since a time in which a type's failed jobs of the last five minutes were at least a
-- number, and a share of those that were done or failed: the minute and the first of the five in which the share
-- was reached, in milliseconds since 1970, how many failed and ended in the minute and in the five, and the most
-- frequent code.
SELECT kind, job_type, (extract(epoch FROM bin) * 1000)::bigint AS at,
       (extract(epoch FROM began) * 1000)::bigint AS began, failed, failed + done AS ended,
       failed_lately::bigint, (failed_lately + done_lately)::bigint AS ended_lately, code
FROM (
    SELECT *, sum(failed) OVER latest AS failed_lately, sum(done) OVER latest AS done_lately,
           min(bin) FILTER (WHERE failed > 0 AND failed >= %(share)s * (failed + done)) OVER latest AS began
    FROM (
        SELECT kind, job_type, bin,
               coalesce(sum(n) FILTER (WHERE figure = 'failed'), 0)::bigint AS failed,
               coalesce(sum(n) FILTER (WHERE figure = 'done'), 0)::bigint AS done,
               (array_agg(detail ORDER BY n DESC) FILTER (WHERE figure = 'failed'))[1] AS code
        FROM (
            SELECT kind, job_type, bin, figure, detail, sum(n) AS n
            FROM ({lately}) AS l
            WHERE figure IN ('done', 'failed')
            GROUP BY kind, job_type, bin, figure, detail
            HAVING sum(n) > 0
        ) AS d
        GROUP BY kind, job_type, bin
    ) AS m
    WINDOW latest AS (PARTITION BY kind, job_type ORDER BY bin
                      RANGE BETWEEN interval '4 minutes' PRECEDING AND CURRENT ROW)
) AS f
WHERE failed_lately >= %(failed)s AND failed_lately >= %(share)s * (failed_lately + done_lately)
ORDER BY bin DESC
LIMIT %(limit)s;

-- name: series
-- What happened in each step of time since a time, of all types together: in total, and in the minute with
-- the most.
SELECT (extract(epoch FROM date_bin(%(step)s * interval '1 second', bin, 'epoch')) * 1000)::bigint AS at,
       figure, sum(n)::bigint AS n, max(n)::bigint AS most
FROM (
    SELECT bin, figure, greatest(sum(n), 0) AS n
    FROM ({lately}) AS l
    WHERE figure IN ('created', 'done', 'failed', 'cancelled')
    GROUP BY bin, figure
) AS f
GROUP BY 1, 2
ORDER BY 1;

-- name: running
-- The jobs that have been running the longest. Each row also has three numbers: how many jobs are running
-- (counted up to a limit), how many of these are stalled (the last event is before a time, in milliseconds
-- since 1970), and how many of the stalled ones had an event after an earlier time.
SELECT tenant, kind, id, job_type, attempt, worker, progress::text, started_at,
       count(*) OVER () AS examined,
       count(*) FILTER (WHERE heard_ms < %(before)s) OVER () AS stalled,
       count(*) FILTER (WHERE heard_ms < %(before)s AND heard_ms >= %(lately)s) OVER () AS lately
FROM (
    SELECT *, split_part(positions ->> 'entry_id', '-', 1)::bigint AS heard_ms
    FROM jobs
    WHERE state = 'processing'
    ORDER BY started_at
    LIMIT %(examined)s
) AS oldest
ORDER BY started_at, tenant, kind, id
LIMIT %(limit)s;

-- name: tenants
-- Each tenant with stored jobs: their number, the bytes of their results, and how many failed since the
-- start of an hour.
SELECT tenant,
       coalesce(sum(n) FILTER (WHERE bin = '-infinity' AND figure <> 'bytes'), 0)::bigint AS jobs,
       coalesce(sum(n) FILTER (WHERE bin = '-infinity' AND figure = 'bytes'), 0)::bigint AS bytes,
       coalesce(sum(n) FILTER (WHERE bin >= %(since)s::timestamptz), 0)::bigint AS failed
FROM (
    SELECT tenant, bin, figure, n FROM job_figures WHERE tenant > ''
    UNION ALL
    SELECT tenant, bin, figure, n FROM job_figure_changes WHERE tenant > ''
) AS f
GROUP BY tenant
HAVING sum(n) > 0
LIMIT %(limit)s;

-- name: tenant
-- The figures of one tenant: now (no hour), and what failed in each hour since one.
SELECT CASE WHEN bin > '-infinity' THEN (extract(epoch FROM bin) * 1000)::bigint END AS hour_ms,
       kind, figure, sum(n)::bigint AS n
FROM (
    SELECT bin, kind, figure, n FROM job_figures
    WHERE tenant = %(tenant)s AND (bin = '-infinity' OR bin >= %(since)s::timestamptz)
    UNION ALL
    SELECT bin, kind, figure, n FROM job_figure_changes
    WHERE tenant = %(tenant)s AND (bin = '-infinity' OR bin >= %(since)s::timestamptz)
) AS f
GROUP BY bin, kind, figure
HAVING sum(n) > 0
ORDER BY bin, kind, figure;

-- list: newest_of_tenant
SELECT k.kind, j.job_type, j.worker
    FROM unnest(%(kinds)s::text[]) AS k (kind), LATERAL (
        SELECT job_type, worker FROM jobs
        WHERE tenant = %(tenant)s AND kind = k.kind AND listed_at >= %(since)s::timestamptz
        ORDER BY listed_at DESC, id DESC
        LIMIT %(examined)s
    ) AS j

-- name: sources
-- Where a tenant's newest jobs since a time come from, a bounded number of each kind: those of each type,
-- and those of each worker (no kind). A job that no worker has begun has no worker.
SELECT kind, coalesce(job_type, worker) AS name, count(*) AS n
FROM ({newest_of_tenant}) AS newest
GROUP BY GROUPING SETS ((kind, job_type), (worker))
ORDER BY n DESC
LIMIT %(limit)s;

-- name: compact
SELECT compact_job_figures(%(at_once)s);
