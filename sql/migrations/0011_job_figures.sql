-- Figures of jobs for operators, kept by triggers in the transaction of whoever writes `jobs`: consumers,
-- replays, resets, an administrator. So each change counts exactly once, and the figures are at any
-- moment what counting the table would give; `recount_job_figures` does that.
--
-- A writer only appends to `job_figure_changes`, a few rows a batch: writers never wait for each other.
-- `compact_job_figures` adds the changes up. A reader sums both tables, which is exact at any moment.
CREATE TABLE job_figures (
    -- '' for all tenants together, by job type; else a tenant, all job types together.
    tenant text NOT NULL,
    -- What counts now is at '-infinity'; what happened lately, at the start of its minute (`took`: of ten
    -- minutes; of one tenant: of the hour).
    bin timestamptz NOT NULL,
    kind text NOT NULL,
    job_type text NOT NULL,
    -- A state, `created`, `took` (done jobs by duration), `bytes` (of results).
    figure text NOT NULL,
    -- The code of `failed`, the step of `took`.
    detail text NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (tenant, bin, kind, job_type, figure, detail)
) WITH (fillfactor = 50);
CREATE INDEX job_figures_by_bin ON job_figures (bin);
CREATE TABLE job_figure_changes (LIKE job_figures)
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
      autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);

-- Which minute something happened in; NULL for what is too old, or in the future by a wrong clock.
CREATE FUNCTION figure_minute(at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN at > now() - interval '25 hours' AND at < now() + interval '1 hour'
                THEN date_bin('1 minute', at, 'epoch') END
$$;

-- Four steps for each doubling, from 1 ms: a step's middle is within 9 % of each duration in it.
CREATE FUNCTION figure_step(took interval) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT least(400, floor(4 / ln(2::float8) * ln(greatest(
        0.001, extract(epoch FROM took)::float8) / 0.001)))::integer
$$;

-- What a number of like jobs add to the figures.
CREATE FUNCTION figures_of(
    tenant text, kind text, job_type text, state text, code text, created timestamptz,
    ended timestamptz, step integer, jobs bigint, bytes bigint
) RETURNS TABLE (
    tenant text, bin timestamptz, kind text, job_type text, figure text, detail text, n bigint
) LANGUAGE sql IMMUTABLE AS $$
    SELECT '', timestamptz '-infinity', $2, coalesce($3, ''), $4, '', $9
    UNION ALL
    SELECT $1, timestamptz '-infinity', $2, '', $4, '', $9
    UNION ALL
    SELECT $1, timestamptz '-infinity', $2, '', 'bytes', '', $10 WHERE $10 <> 0
    UNION ALL
    SELECT '', $6, $2, coalesce($3, ''), 'created', '', $9 WHERE $6 IS NOT NULL
    UNION ALL
    SELECT '', $7, $2, coalesce($3, ''), $4, coalesce($5, ''), $9 WHERE $7 IS NOT NULL
    UNION ALL
    SELECT '', date_bin('10 minutes', $7, 'epoch'), $2, coalesce($3, ''), 'took', $8::text, $9
    WHERE $7 IS NOT NULL AND $8 IS NOT NULL
    UNION ALL
    SELECT $1, date_bin('1 hour', $7, 'epoch'), $2, '', 'failed', '', $9
    WHERE $7 IS NOT NULL AND $4 = 'failed'
$$;

-- Each statement first adds up like jobs: those that merely progressed cancel out there.
CREATE FUNCTION count_added_jobs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO job_figure_changes
    SELECT f.tenant, f.bin, f.kind, f.job_type, f.figure, f.detail, sum(f.n)
    FROM (
        SELECT j.tenant, j.kind, j.job_type, j.state, j.code,
               figure_minute(j.created_at) AS created, figure_minute(j.ended_at) AS ended,
               CASE WHEN j.state = 'done' THEN figure_step(j.ended_at - j.created_at) END AS step,
               count(*) AS jobs, coalesce(sum(j.result_bytes), 0) AS bytes
        FROM added AS j
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ) AS a, figures_of(a.tenant, a.kind, a.job_type, a.state, a.code, a.created, a.ended, a.step,
                       a.jobs, a.bytes) AS f
    GROUP BY 1, 2, 3, 4, 5, 6;
    RETURN NULL;
END
$$;
CREATE FUNCTION count_changed_jobs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO job_figure_changes
    SELECT f.tenant, f.bin, f.kind, f.job_type, f.figure, f.detail, sum(f.n)
    FROM (
        SELECT j.tenant, j.kind, j.job_type, j.state, j.code,
               figure_minute(j.created_at) AS created, figure_minute(j.ended_at) AS ended,
               CASE WHEN j.state = 'done' THEN figure_step(j.ended_at - j.created_at) END AS step,
               sum(j.sign) AS jobs, coalesce(sum(j.sign * j.result_bytes), 0) AS bytes
        FROM (
            SELECT 1 AS sign, tenant, kind, job_type, state, code, created_at, ended_at, result_bytes
            FROM added
            UNION ALL
            SELECT -1, tenant, kind, job_type, state, code, created_at, ended_at, result_bytes
            FROM removed
        ) AS j
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
        HAVING sum(j.sign) <> 0 OR coalesce(sum(j.sign * j.result_bytes), 0) <> 0
    ) AS a, figures_of(a.tenant, a.kind, a.job_type, a.state, a.code, a.created, a.ended, a.step,
                       a.jobs, a.bytes) AS f
    GROUP BY 1, 2, 3, 4, 5, 6
    HAVING sum(f.n) <> 0;
    RETURN NULL;
END
$$;
CREATE FUNCTION count_removed_jobs() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO job_figure_changes
    SELECT f.tenant, f.bin, f.kind, f.job_type, f.figure, f.detail, sum(f.n)
    FROM removed AS j,
         figures_of(j.tenant, j.kind, j.job_type, j.state, j.code, figure_minute(j.created_at),
                    figure_minute(j.ended_at),
                    CASE WHEN j.state = 'done' THEN figure_step(j.ended_at - j.created_at) END,
                    -1, -coalesce(j.result_bytes, 0)) AS f
    GROUP BY 1, 2, 3, 4, 5, 6;
    RETURN NULL;
END
$$;
-- For the owner only, who alone may write the figures.
CREATE FUNCTION recount_job_figures() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- No writer meanwhile: what it counts could be neither in this count nor after it.
    LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM job_figure_changes;
    DELETE FROM job_figures;
    INSERT INTO job_figures
    SELECT f.tenant, f.bin, f.kind, f.job_type, f.figure, f.detail, sum(f.n)
    FROM (
        SELECT j.tenant, j.kind, j.job_type, j.state, j.code,
               figure_minute(j.created_at) AS created, figure_minute(j.ended_at) AS ended,
               CASE WHEN j.state = 'done' AND figure_minute(j.ended_at) IS NOT NULL
                    THEN figure_step(j.ended_at - j.created_at) END AS step,
               count(*) AS jobs, coalesce(sum(j.result_bytes), 0) AS bytes
        FROM jobs AS j
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ) AS a, figures_of(a.tenant, a.kind, a.job_type, a.state, a.code, a.created, a.ended, a.step,
                       a.jobs, a.bytes) AS f
    GROUP BY 1, 2, 3, 4, 5, 6;
END
$$;
CREATE FUNCTION drop_job_figures() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM job_figure_changes;
    DELETE FROM job_figures;
    RETURN NULL;
END
$$;

-- Add a number of changes up, and drop what is older than a day. Returns the number of changes; NULL
-- while another session does it.
CREATE FUNCTION compact_job_figures(at_once integer) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
DECLARE
    moved bigint;
BEGIN
    -- A login that only reads must not hold the lock.
    IF NOT has_table_privilege(session_user, 'jobs', 'UPDATE') THEN
        RAISE insufficient_privilege USING MESSAGE = 'only a writer of jobs may compact their figures';
    END IF;
    BEGIN
        LOCK TABLE job_figures IN SHARE UPDATE EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        RETURN NULL;
    END;
    WITH changes AS (
        DELETE FROM job_figure_changes
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM job_figure_changes LIMIT at_once))
        RETURNING *
    ), added AS (
        INSERT INTO job_figures AS f
        SELECT tenant, bin, kind, job_type, figure, detail, sum(n)
        FROM changes
        GROUP BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (tenant, bin, kind, job_type, figure, detail) DO UPDATE SET n = f.n + excluded.n
    )
    SELECT count(*) INTO moved FROM changes;
    DELETE FROM job_figures
    WHERE bin > '-infinity' AND bin < now() - interval '25 hours';
    RETURN moved;
END
$$;

CREATE TRIGGER count_added_jobs AFTER INSERT ON jobs REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION count_added_jobs();
CREATE TRIGGER count_changed_jobs AFTER UPDATE ON jobs
REFERENCING NEW TABLE AS added OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION count_changed_jobs();
CREATE TRIGGER count_removed_jobs AFTER DELETE ON jobs REFERENCING OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION count_removed_jobs();
CREATE TRIGGER drop_job_figures AFTER TRUNCATE ON jobs
FOR EACH STATEMENT EXECUTE FUNCTION drop_job_figures();
SELECT recount_job_figures();

-- Figures of all tenants: operators see them, and no tenant's reader.
ALTER TABLE job_figures ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_figure_changes ENABLE ROW LEVEL SECURITY;
DO $$
DECLARE
    -- As in 0006: before PostgreSQL 16 the policy must look at who has entered the role.
    whom constant text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'true'
                               ELSE format('current_user = %L', 'jobtrail_ops') END;
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['job_figures', 'job_figure_changes'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'jobtrail_ops') THEN
            EXECUTE format('GRANT SELECT ON %I TO jobtrail_ops', name);
            EXECUTE format(
                'CREATE POLICY every_tenant ON %I FOR SELECT TO jobtrail_ops USING (%s)', name, whom
            );
        END IF;
    END LOOP;
END
$$;
