-- name: invalid_indexes
-- Invalid indexes that a crash left: every write updates them, and no read uses them.
SELECT c.relname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND n.nspname = current_schema()
  -- An index being built at this moment is not valid yet either.
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid)
ORDER BY c.relname;

-- name: default_partition
-- True if the default partition of the history has rows; usually it has none.
SELECT EXISTS (SELECT FROM job_events_default);

-- name: connections
-- Connections: those of the server, those that are reserved for others, and those that are open now.
SELECT
    current_setting('max_connections')::integer,
    current_setting('superuser_reserved_connections')::integer
    -- Since PostgreSQL 16.
    + coalesce(current_setting('reserved_connections', true), '0')::integer,
    (SELECT count(*)::integer FROM pg_stat_activity WHERE backend_type = 'client backend');

-- name: lacking_roles
-- Roles that the API reads as, except for those that exist and may read.
SELECT needed.name
FROM unnest(ARRAY['jobtrail_api', 'jobtrail_ops']) AS needed (name)
LEFT JOIN pg_roles AS r ON r.rolname = needed.name
WHERE r.oid IS NULL
   OR NOT (has_table_privilege(r.oid, 'jobs', 'SELECT')
           AND has_table_privilege(r.oid, 'job_events', 'SELECT')
           AND (needed.name <> 'jobtrail_ops'
                OR has_table_privilege(r.oid, to_regclass('job_figures'), 'SELECT') IS NOT FALSE))
ORDER BY needed.name;

-- name: audit_grants
-- What the role of the console lacks to add and read recorded actions (a privilege, or a policy where
-- row-level security applies), and what would let the API change them.
SELECT 'jobtrail_ops lacks ' || needed.privilege || ' on ' || c.relname
FROM pg_class AS c
CROSS JOIN (VALUES ('SELECT', 'r'), ('INSERT', 'a')) AS needed (privilege, command)
LEFT JOIN pg_roles AS r ON r.rolname = 'jobtrail_ops'
WHERE c.oid IN (to_regclass('operator_actions'), to_regclass('operator_outcomes'))
  AND (r.oid IS NULL
       OR NOT has_table_privilege(r.oid, c.oid, needed.privilege)
       OR (c.relrowsecurity AND NOT EXISTS (
               SELECT FROM pg_policy AS p
               WHERE p.polrelid = c.oid AND p.polpermissive
                 AND p.polcmd::text IN (needed.command, '*') AND p.polroles && ARRAY[0, r.oid])))
UNION ALL
SELECT r.rolname || ' has ' || excess.privilege || ' on ' || c.relname
FROM pg_class AS c
CROSS JOIN unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS excess (privilege)
JOIN pg_roles AS r ON r.rolname IN ('jobtrail_api', 'jobtrail_ops')
WHERE c.oid IN (to_regclass('operator_actions'), to_regclass('operator_outcomes'))
  AND has_table_privilege(r.oid, c.oid, excess.privilege)
ORDER BY 1;

-- name: trial
-- A write that needs new space, about 150 kB; the caller rolls it back.
CREATE TEMPORARY TABLE jobtrail_trial ON COMMIT DROP AS SELECT generate_series(1, 4096);
