-- name: index_state
-- The state of one index of the current schema; no row where there is none.
SELECT CASE
    WHEN i.indisvalid THEN 'valid'
    WHEN EXISTS (
        SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid
    ) THEN 'building'
    ELSE 'invalid'
END
FROM pg_class AS c
JOIN pg_index AS i ON i.indexrelid = c.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = %s AND n.nspname = current_schema();
