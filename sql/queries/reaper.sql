-- name: stalled
-- Jobs at work of which the log has not heard since that moment (milliseconds since 1970).
SELECT tenant, kind, id, attempt, positions ->> 'entry_id'
FROM jobs
WHERE state = 'processing'
  AND split_part(positions ->> 'entry_id', '-', 1)::bigint < %s
ORDER BY split_part(positions ->> 'entry_id', '-', 1)::bigint
LIMIT %s;
