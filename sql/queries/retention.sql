-- name: lock_partitions
-- Only one session creates or drops partitions at a time. It locks the table: an advisory lock could be
-- taken by a login that may only read, and would then block all writers. The wait is short, because
-- all later users of the history wait behind it.
SET LOCAL lock_timeout = '100ms';
LOCK TABLE ONLY job_events IN SHARE UPDATE EXCLUSIVE MODE;

-- name: become_owner
-- Until the transaction ends, act as the owner of the history: a partition that a writer with another
-- login creates must belong to the owner, who could not change the history otherwise.
SELECT set_config('role', r.rolname, true)
FROM pg_class AS c
JOIN pg_roles AS r ON r.oid = c.relowner
WHERE c.oid = 'job_events'::regclass
  AND r.rolname <> current_user
  AND pg_has_role(r.oid, CASE WHEN current_setting('server_version_num')::integer >= 160000
                              THEN 'SET' ELSE 'MEMBER' END);

-- name: week_in_default
-- The number of events of a week in the default partition, and their bytes, counted up to the limit.
SELECT count(*), coalesce(sum(pg_column_size(w.event)), 0)
FROM (
    SELECT event FROM job_events_default
    WHERE day >= %(first)s::date AND day < %(end)s::date
    LIMIT %(limit)s
) AS w;

-- name: lock_default
-- ATTACH takes this lock too, to check that no event of the week is here.
LOCK TABLE job_events_default IN ACCESS EXCLUSIVE MODE;

-- name: move_week
WITH moved AS (
    DELETE FROM job_events_default
    WHERE day >= %(first)s::date AND day < %(end)s::date
    RETURNING
        tenant, kind, id, event_id, day, entry_ms, entry_seq, type, attempt, at, event,
        last_ms, last_seq, landings
)
INSERT INTO {} (
    tenant, kind, id, event_id, day, entry_ms, entry_seq, type, attempt, at, event,
    last_ms, last_seq, landings
)
SELECT * FROM moved;

-- name: create_partition
CREATE TABLE {} (LIKE job_events INCLUDING ALL);

-- name: secure_partition
-- By its own name only the owner sees its rows: the policies are on the parent.
ALTER TABLE {} ENABLE ROW LEVEL SECURITY;

-- name: attach_partition
ALTER TABLE job_events ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({});

-- name: drop_partition
DROP TABLE IF EXISTS {};

-- name: partition_exists
SELECT to_regclass(%s) IS NOT NULL;

-- name: read_bounds_as_iso
-- `partitions_before` reads bounds as the server writes them.
SET LOCAL datestyle = 'ISO, YMD';

-- name: partitions_before
-- Partitions of the history that end at that day or before; the default one has no end.
SELECT n.nspname, c.relname
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE i.inhparent = 'job_events'::regclass
  AND substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''(\d+-\d+-\d+)''\)')::date
      <= %s::date
ORDER BY c.relname;

-- name: delete_default
-- A limited number of old rows of the default partition.
DELETE FROM job_events_default
WHERE ctid = ANY (ARRAY(SELECT ctid FROM job_events_default WHERE day < %s::date LIMIT %s));
