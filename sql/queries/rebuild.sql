-- name: events_by_tenant
SELECT tenant, count(*) FROM job_events GROUP BY tenant;

-- name: prepare
-- Tables of one transaction. tail_events: entries of the streams that the history lacked when they were
-- read. read_entries: the ids of entries that were read. touched_jobs: the jobs within --since and
-- --until. corrected_jobs and surplus_jobs: the rows that a reset will write and remove; `appends_counted`
-- is the number of appends of a job's events that the history held when it was folded.
CREATE TEMPORARY TABLE read_entries (
    tenant text NOT NULL, kind text NOT NULL, id text NOT NULL, event_id text NOT NULL,
    entry_ms bigint NOT NULL, entry_seq bigint NOT NULL
) ON COMMIT DROP;
CREATE TEMPORARY TABLE tail_events (LIKE job_events) ON COMMIT DROP;
CREATE INDEX ON tail_events (tenant, kind, id);
CREATE TEMPORARY TABLE touched_jobs (
    tenant text NOT NULL, kind text NOT NULL, id text NOT NULL, PRIMARY KEY (tenant, kind, id)
) ON COMMIT DROP;
CREATE TEMPORARY TABLE corrected_jobs (
    LIKE jobs, appends_counted bigint NOT NULL, PRIMARY KEY (tenant, kind, id)
) ON COMMIT DROP;
CREATE TEMPORARY TABLE surplus_jobs (
    tenant text NOT NULL, kind text NOT NULL, id text NOT NULL, PRIMARY KEY (tenant, kind, id)
) ON COMMIT DROP;

-- name: keep_tail
-- Keep the staged events that the history does not hold, neither under the event id nor under the
-- identity of an event whose id belongs to another one (`event_identity.other_identity`). The look-ups
-- use the key, whatever the planner estimates for a table that was filled just before.
INSERT INTO tail_events
SELECT s.*
FROM staged_events AS s
LEFT JOIN LATERAL (
    SELECT true AS held
    FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id, h.event_id, h.day) = (s.tenant, s.kind, s.id, s.event_id, s.day)
      AND (s.entry_ms, s.entry_seq) IN ((h.entry_ms, h.entry_seq), (h.last_ms, h.last_seq))
    LIMIT 1
) AS h ON true
CROSS JOIN LATERAL (
    SELECT rtrim(s.event, E' \t\n\r') AS body, ',"event_id":"' || s.event_id || '"}' AS added
) AS t
LEFT JOIN LATERAL (
    SELECT true AS held
    FROM job_events AS o
    WHERE h.held IS NULL
      AND (o.tenant, o.kind, o.id, o.day) = (s.tenant, s.kind, s.id, s.day)
      AND o.event_id
          = s.event_id || rpad('#' || encode(sha256(convert_to(
                CASE WHEN right(t.body, length(t.added)) = t.added
                     THEN left(t.body, -length(t.added)) || '}' ELSE t.body END, 'UTF8')), 'hex'), 200, '#')
      AND (s.entry_ms, s.entry_seq) IN ((o.entry_ms, o.entry_seq), (o.last_ms, o.last_seq))
    LIMIT 1
) AS o ON true
WHERE h.held IS NULL AND o.held IS NULL;

-- name: clear_staged
TRUNCATE staged_events;

-- name: copy_read_entries
COPY read_entries (tenant, kind, id, event_id, entry_ms, entry_seq) FROM STDIN (FORMAT BINARY);

-- name: lacking_entries
-- Entries that were read and that the history does not hold as the earliest entry of an event, under a
-- day that is not long before the oldest of them. `keep_tail` examines these exactly.
SELECT r.tenant, r.entry_ms, r.entry_seq
FROM read_entries AS r
WHERE NOT EXISTS (
    SELECT FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id, h.event_id, h.entry_ms, h.entry_seq)
          = (r.tenant, r.kind, r.id, r.event_id, r.entry_ms, r.entry_seq)
      AND h.day >= %(since_day)s::date
      AND (%(tenant)s::text IS NULL OR h.tenant = %(tenant)s)
      AND (%(first)s::text IS NULL OR h.tenant COLLATE "C" >= %(first)s)
      AND (%(end)s::text IS NULL OR h.tenant COLLATE "C" < %(end)s)
)
ORDER BY r.tenant, r.entry_ms, r.entry_seq;

-- name: clear_read
TRUNCATE read_entries;

-- name: analyze_tail
ANALYZE tail_events;

-- name: touch_jobs
-- The jobs that have an event with an entry in the range: its earliest or its latest one. All partitions
-- are read, as by a walk: an event that was appended again has the day of its first append, however long
-- ago that was.
INSERT INTO touched_jobs
SELECT tenant, kind, id FROM job_events
WHERE ((entry_ms, entry_seq)
       BETWEEN (%(since_ms)s::bigint, %(since_seq)s::bigint)
           AND (%(until_ms)s::bigint, %(until_seq)s::bigint)
    OR (last_ms, last_seq)
       BETWEEN (%(since_ms)s::bigint, %(since_seq)s::bigint)
           AND (%(until_ms)s::bigint, %(until_seq)s::bigint))
  AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
  AND (%(first)s::text IS NULL OR tenant COLLATE "C" >= %(first)s)
  AND (%(end)s::text IS NULL OR tenant COLLATE "C" < %(end)s)
UNION
SELECT tenant, kind, id FROM tail_events
WHERE (entry_ms, entry_seq)
      BETWEEN (%(since_ms)s::bigint, %(since_seq)s::bigint)
          AND (%(until_ms)s::bigint, %(until_seq)s::bigint);

-- name: sorting_room
-- Memory for the sort of a walk, until its transaction ends; larger sorts use the disk.
SET LOCAL work_mem = '64MB';

-- name: walk
-- Every event, job by job; a job with an event in the range has all its events. Many rows are read at
-- once, so large events are left out of them, and have their size and key instead. `landings` is NULL
-- for events of the tail. An event that was appended more than once is one row with its latest entry:
-- for two rows, each event would have to be joined.
SELECT tenant, kind, id, ms, seq, event, landings, large_bytes,
       CASE WHEN large_bytes > 0 THEN event_id END, CASE WHEN large_bytes > 0 THEN day END,
       last_ms, last_seq
FROM (
    SELECT tenant, kind, id, entry_ms AS ms, entry_seq AS seq, landings, event_id, day,
           last_ms, last_seq,
           CASE WHEN octet_length(event) <= %(small)s::int THEN event END AS event,
           CASE WHEN octet_length(event) > %(small)s::int THEN octet_length(event) END
               AS large_bytes
    FROM job_events
    UNION ALL
    SELECT tenant, kind, id, entry_ms, entry_seq, NULL, event_id, day, NULL, NULL,
           CASE WHEN octet_length(event) <= %(small)s::int THEN event END,
           CASE WHEN octet_length(event) > %(small)s::int THEN octet_length(event) END
    FROM tail_events
) AS appended
WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
  AND (%(first)s::text IS NULL OR tenant COLLATE "C" >= %(first)s)
  AND (%(end)s::text IS NULL OR tenant COLLATE "C" < %(end)s)
  AND (%(after_tenant)s::text IS NULL
       OR (tenant, kind, id) > (%(after_tenant)s, %(after_kind)s::text, %(after_id)s::text))
  AND (NOT %(narrowed)s::boolean
       OR (tenant, kind, id) IN (SELECT t.tenant, t.kind, t.id FROM touched_jobs AS t))
ORDER BY tenant, kind, id;

-- name: large_events
-- Events that were left out of the rows of a walk, from the table that has each of them.
SELECT w.*, e.event
FROM unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[], %(ms)s::bigint[],
            %(seqs)s::bigint[], %(tails)s::boolean[], %(event_ids)s::text[], %(days)s::date[])
    AS w (tenant, kind, id, ms, seq, tail, event_id, day),
LATERAL (
    SELECT h.event FROM job_events AS h
    WHERE NOT w.tail AND (h.tenant, h.kind, h.id, h.event_id, h.day)
                         = (w.tenant, w.kind, w.id, w.event_id, w.day)
    UNION ALL
    SELECT t.event FROM tail_events AS t
    WHERE w.tail AND (t.tenant, t.kind, t.id, t.entry_ms, t.entry_seq)
                     = (w.tenant, w.kind, w.id, w.ms, w.seq)
    LIMIT 1
) AS e;

-- name: size
-- The size of a walk: events of the history, events of only the tail, jobs.
SELECT count(*) FILTER (WHERE held), count(*) FILTER (WHERE NOT held),
       count(DISTINCT (tenant, kind, id))
FROM (
    SELECT tenant, kind, id, true AS held FROM job_events
    UNION ALL
    SELECT tenant, kind, id, false AS held FROM tail_events
) AS appended
WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
  AND (%(first)s::text IS NULL OR tenant COLLATE "C" >= %(first)s)
  AND (%(end)s::text IS NULL OR tenant COLLATE "C" < %(end)s)
  AND (NOT %(narrowed)s::boolean
       OR (tenant, kind, id) IN (SELECT t.tenant, t.kind, t.id FROM touched_jobs AS t));

-- name: events
-- The same number for the progress bar, without counting jobs.
SELECT (SELECT count(*) FROM job_events AS h
        WHERE (%(tenant)s::text IS NULL OR h.tenant = %(tenant)s)
          AND (%(first)s::text IS NULL OR h.tenant COLLATE "C" >= %(first)s)
          AND (%(end)s::text IS NULL OR h.tenant COLLATE "C" < %(end)s)
          AND (NOT %(narrowed)s::boolean OR (h.tenant, h.kind, h.id) IN
               (SELECT t.tenant, t.kind, t.id FROM touched_jobs AS t)))
     + (SELECT count(*) FROM tail_events AS e
        WHERE NOT %(narrowed)s::boolean OR (e.tenant, e.kind, e.id) IN
              (SELECT t.tenant, t.kind, t.id FROM touched_jobs AS t));

-- name: events_of
-- All events of these jobs.
SELECT e.*
FROM unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS w (tenant, kind, id),
LATERAL (
    SELECT h.tenant, h.kind, h.id, p.ms, p.seq, h.event, p.landings
    FROM job_events AS h,
    LATERAL (VALUES (h.entry_ms, h.entry_seq, h.landings), (h.last_ms, h.last_seq, 0))
        AS p (ms, seq, landings)
    WHERE (h.tenant, h.kind, h.id) = (w.tenant, w.kind, w.id) AND p.ms IS NOT NULL
    UNION ALL
    SELECT t.tenant, t.kind, t.id, t.entry_ms, t.entry_seq, t.event, NULL
    FROM tail_events AS t
    WHERE (t.tenant, t.kind, t.id) = (w.tenant, w.kind, w.id)
) AS e;

-- name: bytes_of
-- The size of all events of these jobs; those without events are left out.
SELECT w.tenant, w.kind, w.id, sum(e.bytes)
FROM unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS w (tenant, kind, id),
LATERAL (
    SELECT octet_length(h.event) AS bytes FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id) = (w.tenant, w.kind, w.id)
    UNION ALL
    SELECT octet_length(t.event) FROM tail_events AS t
    WHERE (t.tenant, t.kind, t.id) = (w.tenant, w.kind, w.id)
) AS e
GROUP BY w.tenant, w.kind, w.id;

-- name: without_events
-- Those of these jobs that have no event. The UNION ALL keeps this a look-up for each job: a plain
-- NOT EXISTS becomes a join, which may read the whole history for each list of jobs.
SELECT w.tenant, w.kind, w.id
FROM unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS w (tenant, kind, id)
WHERE NOT EXISTS (
    SELECT 1 FROM job_events AS h WHERE (h.tenant, h.kind, h.id) = (w.tenant, w.kind, w.id)
    UNION ALL
    SELECT 1 FROM tail_events AS t WHERE (t.tenant, t.kind, t.id) = (w.tenant, w.kind, w.id)
);

-- name: rows_of
-- The rows of these jobs, without a lock. With the bounds, the order, LIMIT and `plan_by_keys`, the
-- look-up uses the primary key. A join would read the whole table each time, as long as it is small or
-- without statistics.
SELECT {job_row}
FROM unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS wanted (tenant, kind, id),
LATERAL (
    SELECT * FROM jobs AS j
    WHERE (j.tenant, j.kind, j.id) >= (wanted.tenant, wanted.kind, wanted.id)
      AND (j.tenant, j.kind, j.id) <= (wanted.tenant, wanted.kind, wanted.id)
    ORDER BY j.tenant, j.kind, j.id
    LIMIT 1
) AS j;

-- name: plan_as_usual
SET LOCAL enable_seqscan = DEFAULT;
SET LOCAL enable_bitmapscan = DEFAULT;

-- name: all_rows
-- Keys of all rows, page by page in the order of the primary key.
SELECT tenant, kind, id FROM jobs
WHERE (tenant, kind, id) > (%(after_tenant)s::text, %(after_kind)s::text, %(after_id)s::text)
  AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
  AND (%(first)s::text IS NULL OR tenant COLLATE "C" >= %(first)s)
  AND (%(end)s::text IS NULL OR tenant COLLATE "C" < %(end)s)
ORDER BY tenant, kind, id
LIMIT %(limit)s;

-- name: forget_corrected
DELETE FROM corrected_jobs AS c
USING unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS w (tenant, kind, id)
WHERE (c.tenant, c.kind, c.id) = (w.tenant, w.kind, w.id);

-- name: copy_corrected
COPY corrected_jobs ({job_columns}, appends_counted) FROM STDIN (FORMAT BINARY);

-- name: stale_corrected
-- Jobs whose history has grown since they were folded, also those that had no event then.
SELECT c.tenant, c.kind, c.id
FROM corrected_jobs AS c,
LATERAL (
    SELECT coalesce(sum(landings), 0) AS appends FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id) = (c.tenant, c.kind, c.id)
) AS h
WHERE h.appends <> c.appends_counted
UNION
SELECT s.tenant, s.kind, s.id
FROM surplus_jobs AS s
WHERE EXISTS (
    SELECT FROM job_events AS h WHERE (h.tenant, h.kind, h.id) = (s.tenant, s.kind, s.id)
) AND NOT EXISTS (
    SELECT FROM corrected_jobs AS c WHERE (c.tenant, c.kind, c.id) = (s.tenant, s.kind, s.id)
);

-- name: add_surplus
INSERT INTO surplus_jobs
SELECT * FROM unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[])
ON CONFLICT DO NOTHING;

-- name: analyze_corrected
ANALYZE corrected_jobs;

-- name: patience
-- The longest wait for a lock in this transaction; later users of the table wait behind it.
SELECT set_config('lock_timeout', %(milliseconds)s::text, true);

-- name: lock_rows
-- Writers wait (their SELECT … FOR UPDATE too), plain readers do not.
LOCK TABLE jobs IN EXCLUSIVE MODE;

-- name: new_run
-- The number of a reset, and the time: the transaction may have begun long before.
SELECT nextval('replaced_runs'), clock_timestamp();

-- name: swap_changed
-- Each swap keeps the rows that it replaces, and checksums of those that it wrote. The old row is read
-- separately (o), because an UPDATE returns it only from PostgreSQL 18 on. A job that had merely changed
-- during the comparison has the right row by now, which stays.
WITH changed AS (
    UPDATE jobs AS j
    SET {job_changes}
    FROM corrected_jobs AS n, jobs AS o
    WHERE (j.tenant, j.kind, j.id) = (n.tenant, n.kind, n.id)
      AND (o.tenant, o.kind, o.id) = (n.tenant, n.kind, n.id)
      AND ({job_differs})
    RETURNING j.tenant, j.kind, j.id, to_json(o) AS was,
              sha256(convert_to(to_json(j)::text, 'UTF8')) AS wrote
)
INSERT INTO replaced_states (projection, run, at, tenant, kind, id, why, was, wrote)
SELECT 'rows', %(run)s, %(at)s, tenant, kind, id, 'updated', was, wrote FROM changed;

-- name: swap_missing
WITH added AS (
    INSERT INTO jobs AS j ({job_columns})
    SELECT {job_values} FROM corrected_jobs AS n
    ON CONFLICT DO NOTHING
    RETURNING j.tenant, j.kind, j.id, sha256(convert_to(to_json(j)::text, 'UTF8')) AS wrote
)
INSERT INTO replaced_states (projection, run, at, tenant, kind, id, why, wrote)
SELECT 'rows', %(run)s, %(at)s, tenant, kind, id, 'inserted', wrote FROM added;

-- name: swap_surplus
WITH gone AS (
    DELETE FROM jobs AS j
    USING surplus_jobs AS s
    WHERE (j.tenant, j.kind, j.id) = (s.tenant, s.kind, s.id)
      AND NOT EXISTS (
          SELECT FROM job_events AS h WHERE (h.tenant, h.kind, h.id) = (s.tenant, s.kind, s.id)
      )
    RETURNING j.tenant, j.kind, j.id, to_json(j) AS was
)
INSERT INTO replaced_states (projection, run, at, tenant, kind, id, why, was)
SELECT 'rows', %(run)s, %(at)s, tenant, kind, id, 'removed', was FROM gone;

-- name: keep_documents
INSERT INTO replaced_states (projection, run, tenant, kind, id, why, was)
SELECT 'status', %(run)s, w.*
FROM unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[], %(whys)s::text[],
            %(was)s::json[]) AS w (tenant, kind, id, why, was)
ON CONFLICT (projection, run, tenant, kind, id) DO UPDATE
SET why = excluded.why, was = excluded.was, at = excluded.at;

-- name: forget_documents
-- Another writer wrote them first: nothing was replaced.
DELETE FROM replaced_states AS r
USING unnest(%(tenants)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS w (tenant, kind, id)
WHERE r.projection = 'status' AND r.run = %(run)s
  AND (r.tenant, r.kind, r.id) = (w.tenant, w.kind, w.id);

-- name: kept
-- The number of kept states and resets of each projection, and the time of the first.
SELECT projection, count(*), count(DISTINCT run), min(at)
FROM replaced_states
GROUP BY projection
ORDER BY projection;

-- name: drop_replaced
DELETE FROM replaced_states
WHERE projection = %(projection)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s);

-- name: newest_run
-- The last reset of the rows of which states are kept.
SELECT run, min(at), count(*)
FROM replaced_states
WHERE projection = 'rows' AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
GROUP BY run
ORDER BY run DESC
LIMIT 1;

-- name: analyze_replaced
-- Many rows were inserted at once: without this the planner estimates only a few.
ANALYZE replaced_states;

-- name: put_back_changed
-- Only where the row is still the one that the reset wrote.
WITH back AS (
    UPDATE jobs AS j
    SET {job_changes}
    FROM replaced_states AS r, LATERAL json_populate_record(NULL::jobs, r.was) AS n
    WHERE r.projection = 'rows' AND r.run = %(run)s AND r.why = 'updated'
      AND (%(tenant)s::text IS NULL OR r.tenant = %(tenant)s)
      AND (j.tenant, j.kind, j.id) = (r.tenant, r.kind, r.id)
      AND sha256(convert_to(to_json(j)::text, 'UTF8')) = r.wrote
    RETURNING j.tenant, j.kind, j.id
)
DELETE FROM replaced_states AS r
USING back AS b
WHERE r.projection = 'rows' AND r.run = %(run)s
  AND (r.tenant, r.kind, r.id) = (b.tenant, b.kind, b.id);

-- name: put_back_removed
-- Only where there is no row.
WITH back AS (
    INSERT INTO jobs AS j ({job_columns}, listed_at)
    SELECT {job_values}, n.listed_at
    FROM replaced_states AS r, LATERAL json_populate_record(NULL::jobs, r.was) AS n
    WHERE r.projection = 'rows' AND r.run = %(run)s AND r.why = 'removed'
      AND (%(tenant)s::text IS NULL OR r.tenant = %(tenant)s)
    ON CONFLICT DO NOTHING
    RETURNING j.tenant, j.kind, j.id
)
DELETE FROM replaced_states AS r
USING back AS b
WHERE r.projection = 'rows' AND r.run = %(run)s
  AND (r.tenant, r.kind, r.id) = (b.tenant, b.kind, b.id);

-- name: take_back_inserted
-- Only where the row is still the one that the reset wrote.
WITH back AS (
    DELETE FROM jobs AS j
    USING replaced_states AS r
    WHERE r.projection = 'rows' AND r.run = %(run)s AND r.why = 'inserted'
      AND (%(tenant)s::text IS NULL OR r.tenant = %(tenant)s)
      AND (j.tenant, j.kind, j.id) = (r.tenant, r.kind, r.id)
      AND sha256(convert_to(to_json(j)::text, 'UTF8')) = r.wrote
    RETURNING j.tenant, j.kind, j.id
)
DELETE FROM replaced_states AS r
USING back AS b
WHERE r.projection = 'rows' AND r.run = %(run)s
  AND (r.tenant, r.kind, r.id) = (b.tenant, b.kind, b.id);
