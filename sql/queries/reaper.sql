-- name: stalled
-- Jobs at work of which the log has not heard since that moment (milliseconds since 1970): of each
-- tenant the oldest first, and every tenant's first before any second one, so that none with very many
-- keeps the others waiting. Equals come in a random order: tenants whose jobs cannot be ended now would
-- otherwise stand before the others in every run.
SELECT tenant, kind, id, attempt, positions ->> 'entry_id'
FROM (
    SELECT
        jobs.*,
        row_number() OVER (
            PARTITION BY tenant ORDER BY split_part(positions ->> 'entry_id', '-', 1)::bigint
        ) AS place
    FROM jobs
    WHERE state = 'processing'
      AND split_part(positions ->> 'entry_id', '-', 1)::bigint < %s
) AS silent
ORDER BY place, random()
LIMIT %s;
