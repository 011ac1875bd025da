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

-- name: series
-- What happened in each step of time since a time, of all types together.
SELECT (extract(epoch FROM date_bin(%(step)s * interval '1 second', bin, 'epoch')) * 1000)::bigint AS at,
       figure, greatest(sum(n), 0)::bigint AS n
FROM ({lately}) AS f
WHERE figure IN ('created', 'done', 'failed', 'cancelled')
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

-- name: compact
SELECT compact_job_figures(%(at_once)s);
