-- Arrays are sent in binary format (%b), in which no value is escaped and parsed.

-- name: stage_events
-- A table for the events of one batch, which COPY fills fastest. It exists for one transaction: a pooler
-- in transaction mode gives the next transaction to another session, which would not have it.
CREATE TEMPORARY TABLE staged_events (LIKE job_events) ON COMMIT DROP;

-- name: drop_staged
DROP TABLE staged_events;

-- name: copy_events
COPY staged_events (
    tenant, kind, id, event_id, day, entry_ms, entry_seq, type, attempt, at, event,
    last_ms, last_seq, landings
) FROM STDIN (FORMAT BINARY);

-- name: keep_partitions
-- Until the transaction ends, no partition is detached or dropped. An INSERT into the parent takes the
-- same lock, and also the parent before the partition.
LOCK TABLE ONLY job_events IN ROW EXCLUSIVE MODE;

-- name: open_partitions
-- Those of these tables that are partitions and that COPY may write: this login may insert into them,
-- and row-level security does not apply to it there (for the owner, it applies to the parent only).
SELECT n.nspname, c.relname
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE i.inhparent = 'job_events'::regclass AND NOT i.inhdetachpending AND c.relkind = 'r'
  AND has_table_privilege(c.oid, 'INSERT') AND NOT row_security_active(c.oid)
  AND c.relname = ANY (%s);

-- name: copy_new_events
COPY {} (
    tenant, kind, id, event_id, day, entry_ms, entry_seq, type, attempt, at, event
) FROM STDIN (FORMAT BINARY);

-- name: insert_events
-- Insert the staged events, in key order, so that neighbouring entries of the index are written together.
-- An event that is held already keeps its earliest entry and gets the latest one of both rows. Its
-- appends (`landings`) become more by those of the staged row. A staged row of several entries counts
-- only appends that are new. A single entry is a new append if it is outside the held entries, or
-- between the two of an event with two appends.
-- The first parameter is true if the caller has compared the bytes. Otherwise a staged row whose event
-- id is held with other bytes is another event and is left out. That there is such a row is noted in a
-- setting of the transaction (`has_unlike_events`): to search for it would cost more than the INSERT.
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
WHERE CASE WHEN %b::boolean OR h.event = excluded.event THEN (
      excluded.last_ms IS NOT NULL AND excluded.landings > 0
      OR (excluded.entry_ms, excluded.entry_seq) < (h.entry_ms, h.entry_seq)
      OR excluded.last_ms IS NULL AND h.landings = 2
            AND (excluded.entry_ms, excluded.entry_seq) > (h.entry_ms, h.entry_seq)
            AND (excluded.entry_ms, excluded.entry_seq) < (h.last_ms, h.last_seq)
      OR (coalesce(excluded.last_ms, excluded.entry_ms),
             coalesce(excluded.last_seq, excluded.entry_seq))
          > (coalesce(h.last_ms, h.entry_ms), coalesce(h.last_seq, h.entry_seq))
) ELSE set_config('jobtrail.unlike', 'on', true) IS NULL END;

-- name: unlike_events
-- The staged events whose event id the history holds with other bytes, and those bytes.
SELECT s.tenant, s.kind, s.id, s.event_id, h.event
FROM staged_events AS s,
LATERAL (
    SELECT h.event FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id, h.event_id, h.day) = (s.tenant, s.kind, s.id, s.event_id, s.day)
    LIMIT 1 -- so that the plan is a look-up by the key, whatever the planner estimates
) AS h
WHERE h.event <> s.event;

-- name: has_unlike_events
SELECT current_setting('jobtrail.unlike', true) = 'on';

-- name: held_texts
-- The bytes that the history holds under these event ids.
SELECT w.tenant, w.kind, w.id, w.event_id, h.event
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::date[])
    AS w (tenant, kind, id, event_id, day),
LATERAL (
    SELECT h.event FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id, h.event_id, h.day)
        = (w.tenant, w.kind, w.id, w.event_id, w.day)
    LIMIT 1
) AS h;

-- name: held_days
-- The day under which the history holds each of these events, whose own day is uncertain. None is
-- before the day on which its job began, so that most partitions are not read.
SELECT w.tenant, w.kind, w.id, w.event_id, held.day
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::date[])
    AS w (tenant, kind, id, event_id, began),
LATERAL (
    SELECT h.day FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id, h.event_id) = (w.tenant, w.kind, w.id, w.event_id)
      AND h.day >= w.began
    LIMIT 1 -- so that the plan is a look-up by the key, whatever the planner estimates
) AS held;

-- name: held_appends
-- Of each event that the history holds: the earliest and the latest entry, and how many it has.
SELECT h.tenant, h.kind, h.id, h.event_id, h.entry_ms, h.entry_seq,
       coalesce(h.last_ms, h.entry_ms), coalesce(h.last_seq, h.entry_seq), h.landings
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::date[])
    AS w (tenant, kind, id, event_id, day),
LATERAL (
    SELECT * FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id, h.event_id, h.day)
        = (w.tenant, w.kind, w.id, w.event_id, w.day)
    LIMIT 1
) AS h;

-- name: lacking_events
-- The indexes of the entries that the history holds neither as the earliest nor as the latest one of an
-- event, under the event id or under the other identity. Each look-up uses the key, whatever the
-- planner estimates.
SELECT w.place - 1
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::date[], %b::int8[], %b::int8[],
            %b::text[])
    WITH ORDINALITY AS w (tenant, kind, id, event_id, day, ms, seq, other_identity, place)
LEFT JOIN LATERAL (
    SELECT true AS held
    FROM job_events AS h
    WHERE (h.tenant, h.kind, h.id, h.event_id, h.day) = (w.tenant, w.kind, w.id, w.event_id, w.day)
      AND (w.ms, w.seq) IN ((h.entry_ms, h.entry_seq), (h.last_ms, h.last_seq))
    LIMIT 1
) AS h ON true
LEFT JOIN LATERAL (
    SELECT true AS held
    FROM job_events AS o
    WHERE h.held IS NULL
      AND (o.tenant, o.kind, o.id, o.event_id, o.day)
          = (w.tenant, w.kind, w.id, w.other_identity, w.day)
      AND (w.ms, w.seq) IN ((o.entry_ms, o.entry_seq), (o.last_ms, o.last_seq))
    LIMIT 1
) AS o ON true
WHERE h.held IS NULL AND o.held IS NULL
ORDER BY w.place;

-- name: tenant_has_events
SELECT EXISTS (SELECT FROM job_events WHERE tenant = %s);
