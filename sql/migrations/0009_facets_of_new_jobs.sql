-- A new job has no facets yet: to look for a conflict of each one costs as much as to insert it. Where
-- one is there after all (left by somebody who deleted a job past the triggers), they are inserted as
-- before. Nothing is rewritten, and code of earlier versions goes on with it.
CREATE OR REPLACE FUNCTION add_facets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        INSERT INTO job_facets
        SELECT j.tenant, j.kind, f.name, f.value, j.listed_at, j.id
        FROM added AS j, facets_of(j.job_type, j.labels) AS f;
    EXCEPTION WHEN unique_violation THEN
        INSERT INTO job_facets
        SELECT j.tenant, j.kind, f.name, f.value, j.listed_at, j.id
        FROM added AS j, facets_of(j.job_type, j.labels) AS f
        ON CONFLICT DO NOTHING;
    END;
    RETURN NULL;
END
$$;
