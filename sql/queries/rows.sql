-- name: lock_jobs
-- Lock the rows of these jobs in key order, so that writers never deadlock, and read them.
SELECT j.tenant, j.kind, j.id, j.attempt, j.state, j.job_type, j.labels, j.worker,
       j.progress::text, j.result::text, j.error, j.code,
       j.created_at, j.started_at, j.updated_at, j.positions::text
FROM unnest(%b::text[], %b::text[], %b::text[]) AS wanted (tenant, kind, id)
JOIN jobs AS j USING (tenant, kind, id)
ORDER BY j.tenant, j.kind, j.id
FOR UPDATE OF j;

-- name: stage_jobs
-- Tables of one transaction through which a batch goes: COPY is the fastest way in. In transaction
-- mode a pooler gives the next transaction to another session, which would not have them.
CREATE TEMPORARY TABLE staged_jobs (LIKE jobs, known boolean NOT NULL) ON COMMIT DROP;

-- name: stage_events
CREATE TEMPORARY TABLE staged_events (LIKE job_events) ON COMMIT DROP;

-- name: copy_jobs
COPY staged_jobs (
    tenant, kind, id, attempt, state, status, job_type, labels, worker, progress, result,
    error, code, created_at, started_at, updated_at, ended_at, positions, known
) FROM STDIN (FORMAT BINARY);

-- name: copy_events
COPY staged_events (
    tenant, kind, id, event_id, day, entry_ms, entry_seq, type, attempt, at, event,
    last_ms, last_seq, landings
) FROM STDIN (FORMAT BINARY);

-- name: update_jobs
UPDATE jobs AS j
SET attempt = s.attempt, state = s.state, status = s.status, job_type = s.job_type,
    labels = s.labels, worker = s.worker, progress = s.progress, result = s.result,
    error = s.error, code = s.code, created_at = s.created_at, started_at = s.started_at,
    updated_at = s.updated_at, ended_at = s.ended_at, positions = s.positions
FROM staged_jobs AS s
WHERE s.known AND (j.tenant, j.kind, j.id) = (s.tenant, s.kind, s.id);

-- name: insert_jobs
-- Insert those that no row stood for when we looked; a conflict is another writer's new row.
INSERT INTO jobs (
    tenant, kind, id, attempt, state, status, job_type, labels, worker, progress, result,
    error, code, created_at, started_at, updated_at, ended_at, positions
)
SELECT
    tenant, kind, id, attempt, state, status, job_type, labels, worker, progress, result,
    error, code, created_at, started_at, updated_at, ended_at, positions
FROM staged_jobs
WHERE NOT known
ORDER BY tenant, kind, id
ON CONFLICT DO NOTHING;

-- name: insert_events
-- An event that is there already keeps its earliest entry and gets to know its latest.
INSERT INTO job_events AS h
SELECT * FROM staged_events
ORDER BY tenant, kind, id, event_id, day
ON CONFLICT (tenant, kind, id, event_id, day) DO UPDATE
SET (entry_ms, entry_seq, at, event) = (
        SELECT e.entry_ms, e.entry_seq, e.at, e.event
        FROM (VALUES (h.entry_ms, h.entry_seq, h.at, h.event),
                     (excluded.entry_ms, excluded.entry_seq, excluded.at, excluded.event))
            AS e (entry_ms, entry_seq, at, event)
        ORDER BY e.entry_ms, e.entry_seq
        LIMIT 1
    ),
    (last_ms, last_seq) = (
        SELECT e.ms, e.seq
        FROM (VALUES (h.entry_ms, h.entry_seq), (h.last_ms, h.last_seq),
                     (excluded.entry_ms, excluded.entry_seq),
                     (excluded.last_ms, excluded.last_seq)) AS e (ms, seq)
        WHERE e.ms IS NOT NULL
        ORDER BY e.ms DESC, e.seq DESC
        LIMIT 1
    ),
    landings = h.landings + excluded.landings
WHERE (excluded.entry_ms, excluded.entry_seq) < (h.entry_ms, h.entry_seq)
   OR (coalesce(excluded.last_ms, excluded.entry_ms),
       coalesce(excluded.last_seq, excluded.entry_seq))
    > (coalesce(h.last_ms, h.entry_ms), coalesce(h.last_seq, h.entry_seq));

-- name: held_days
-- Under which day the history holds each of these events, whose own days do not tell. None is from
-- before the day on which its job began, which leaves most partitions unread.
SELECT w.tenant, w.kind, w.id, w.event_id, held.day
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::date[])
    AS w (tenant, kind, id, event_id, began),
LATERAL (
    SELECT h.day FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id, h.event_id) = (w.tenant, w.kind, w.id, w.event_id)
      AND h.day >= w.began
    LIMIT 1 -- keeps the plan a look-up by the key, whatever the planner guesses
) AS held;

-- name: lacking_events
-- Which of these entries (by their index) the history holds neither as an event's earliest nor as
-- its latest. The look-up stays one by the key, whatever the planner guesses.
SELECT w.place - 1
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::date[], %b::int8[], %b::int8[])
    WITH ORDINALITY AS w (tenant, kind, id, event_id, day, ms, seq, place)
LEFT JOIN LATERAL (
    SELECT true AS held
    FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id, h.event_id, h.day) = (w.tenant, w.kind, w.id, w.event_id, w.day)
      AND (w.ms, w.seq) IN ((h.entry_ms, h.entry_seq), (h.last_ms, h.last_seq))
    LIMIT 1
) AS h ON true
WHERE h.held IS NULL
ORDER BY w.place;

-- name: server
-- Which cluster this is, and on which timeline it writes: a promotion begins another one. What the
-- last checkpoint says would come late.
SELECT format('%s/%s', system_identifier, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))
FROM pg_control_system();

-- name: tenant_has_events
SELECT EXISTS (SELECT FROM job_events WHERE tenant = %s);
