-- name: stalled
-- Processing jobs whose stream has no later entry since a time (milliseconds since 1970): the oldest of
-- each tenant first, and the first of every tenant before any second one, so that a tenant with many
-- does not delay the others. Equal ones are in random order; otherwise tenants whose jobs cannot be
-- ended now would come before the others in every run.
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
