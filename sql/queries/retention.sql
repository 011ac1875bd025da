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
-- A bounded number of rows that lie in no week of their own.
DELETE FROM job_events_default
WHERE ctid = ANY (ARRAY(SELECT ctid FROM job_events_default WHERE day < %s::date LIMIT %s));
