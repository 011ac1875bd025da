-- What lists of jobs are read by.
--
-- listed_at: where a row stands in lists. It is the created_at that the row was inserted with, and
-- stays, so that a reader who pages through a list misses no row and meets none twice, whatever is
-- learnt of a job's beginning meanwhile.
-- updated_hour: the hour of updated_at. An index on updated_at itself would make every update of a
-- row write to every index; this one changes once an hour.
-- result_bytes: lists leave large results out, and must not unpack them to learn that they are large.
--
-- One rewrite of the table for all three; afterwards listed_at is a column like others. Not NOT NULL:
-- tables made LIKE this one are filled without it.
ALTER TABLE jobs
ADD COLUMN listed_at timestamptz GENERATED ALWAYS AS (created_at) STORED,
ADD COLUMN updated_hour timestamptz
GENERATED ALWAYS AS (date_bin('1 hour', updated_at, 'epoch')) STORED,
ADD COLUMN result_bytes integer GENERATED ALWAYS AS (octet_length(result::text)) STORED;

ALTER TABLE jobs
ALTER COLUMN listed_at DROP EXPRESSION,
ADD CONSTRAINT jobs_listed CHECK (listed_at IS NOT NULL);

CREATE FUNCTION list_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.listed_at := NEW.created_at;
    RETURN NEW;
END
$$;
CREATE TRIGGER list_job BEFORE INSERT ON jobs
FOR EACH ROW WHEN (NEW.listed_at IS NULL) EXECUTE FUNCTION list_job();

-- What jobs are found by beside their state: a row a facet, whose name is that of the filter
-- (`job_type`, `label.NAME`). An index of arrays or JSON is of no use: with row-level security only
-- leakproof operators can use an index, and containment is not leakproof.
-- A row here makes a job a candidate; the row in jobs decides.
CREATE TABLE job_facets (
    tenant text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    value text NOT NULL,
    listed_at timestamptz NOT NULL,
    id text NOT NULL,
    PRIMARY KEY (tenant, kind, name, value, listed_at, id)
);

CREATE FUNCTION facets_of(job_type text, labels jsonb)
RETURNS TABLE (name text, value text) LANGUAGE sql IMMUTABLE AS $$
    SELECT 'job_type', job_type WHERE job_type IS NOT NULL
    UNION ALL
    SELECT 'label.' || key, value FROM jsonb_each_text(labels)
$$;

INSERT INTO job_facets
SELECT j.tenant, j.kind, f.name, f.value, j.listed_at, j.id
FROM jobs AS j, facets_of(j.job_type, j.labels) AS f
ORDER BY 1, 2, 3, 4, 5, 6;

CREATE FUNCTION add_facets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_facets
    SELECT j.tenant, j.kind, f.name, f.value, j.listed_at, j.id
    FROM added AS j, facets_of(j.job_type, j.labels) AS f
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER add_facets AFTER INSERT ON jobs REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION add_facets();

CREATE FUNCTION change_facets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM job_facets AS f
    USING facets_of(OLD.job_type, OLD.labels) AS o
    WHERE (f.tenant, f.kind, f.name, f.value, f.listed_at, f.id)
        = (OLD.tenant, OLD.kind, o.name, o.value, OLD.listed_at, OLD.id);
    INSERT INTO job_facets
    SELECT NEW.tenant, NEW.kind, n.name, n.value, NEW.listed_at, NEW.id
    FROM facets_of(NEW.job_type, NEW.labels) AS n
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER change_facets AFTER UPDATE ON jobs
FOR EACH ROW
WHEN ((OLD.job_type, OLD.labels, OLD.listed_at) IS DISTINCT FROM
      (NEW.job_type, NEW.labels, NEW.listed_at))
EXECUTE FUNCTION change_facets();

CREATE FUNCTION drop_facets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM job_facets AS f
    USING dropped AS j, facets_of(j.job_type, j.labels) AS o
    WHERE (f.tenant, f.kind, f.name, f.value, f.listed_at, f.id)
        = (j.tenant, j.kind, o.name, o.value, j.listed_at, j.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER drop_facets AFTER DELETE ON jobs REFERENCING OLD TABLE AS dropped
FOR EACH STATEMENT EXECUTE FUNCTION drop_facets();

CREATE FUNCTION drop_all_facets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE job_facets;
    RETURN NULL;
END
$$;
CREATE TRIGGER drop_all_facets AFTER TRUNCATE ON jobs
FOR EACH STATEMENT EXECUTE FUNCTION drop_all_facets();

ALTER TABLE job_facets ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_facets FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON job_facets
    USING (tenant = current_setting('app.tenant_id', true));
CREATE POLICY all_tenants ON job_facets TO CURRENT_USER
    USING (coalesce(current_setting('app.tenant_id', true), '') = '');

-- The role that the API reads as: it owns nothing, cannot log in, and the policies bind it. Roles
-- belong to all databases of a server: migrations of two of them may make it at the same time.
DO $$
DECLARE
    may_set text := CASE WHEN current_setting('server_version_num')::int >= 160000
                         THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    FOR try IN 1..20 LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jobtrail_api') THEN
                CREATE ROLE jobtrail_api NOLOGIN;
            END IF;
            IF NOT pg_has_role('jobtrail_api', may_set) THEN
                GRANT jobtrail_api TO CURRENT_USER;
            END IF;
            EXIT;
        EXCEPTION
            -- Another database's migration was there first, or is there: look again.
            WHEN duplicate_object OR unique_violation OR internal_error THEN
                PERFORM pg_sleep(0.05);
            WHEN insufficient_privilege THEN
                RAISE WARNING 'this login may not make the role that the API reads as: have an '
                    'administrator run CREATE ROLE jobtrail_api NOLOGIN; GRANT jobtrail_api TO '
                    'the API''s login; and then, as %, GRANT SELECT ON jobs, job_events, '
                    'job_facets TO jobtrail_api; (until then the API reads as its own login, '
                    'bound by row-level security)', current_user;
                EXIT;
        END;
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'jobtrail_api') THEN
        IF NOT has_schema_privilege('jobtrail_api', current_schema(), 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO jobtrail_api', current_schema());
        END IF;
        -- Partitions of job_events are read through it alone: they get no grant of their own.
        GRANT SELECT ON jobs, job_events, job_facets TO jobtrail_api;
    END IF;
END
$$;
