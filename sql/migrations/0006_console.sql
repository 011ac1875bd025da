-- no transaction
-- Who reads for operators: all tenants' rows, and nothing but reading. A role of the whole server,
-- so it may be there already.
DO $$
DECLARE
    -- Since PostgreSQL 16 a member may enter a role without having what it may all the time. Before,
    -- the policies must look at who has entered it, which the planner cannot see through.
    entered_only constant boolean := current_setting('server_version_num')::int >= 160000;
    may_set constant text := CASE WHEN entered_only THEN 'SET' ELSE 'MEMBER' END;
    how constant text := CASE WHEN entered_only THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
    whom constant text := CASE WHEN entered_only THEN 'true'
                               ELSE format('current_user = %L', 'jobtrail_ops') END;
BEGIN
    FOR try IN 1..20 LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jobtrail_ops') THEN
                CREATE ROLE jobtrail_ops NOLOGIN;
            END IF;
            IF NOT pg_has_role('jobtrail_ops', may_set) THEN
                EXECUTE 'GRANT jobtrail_ops TO CURRENT_USER' || how;
            END IF;
            EXIT;
        EXCEPTION
            -- Another database's migration was there first, or is there: look again.
            WHEN duplicate_object OR unique_violation OR internal_error THEN
                PERFORM pg_sleep(0.05);
            WHEN insufficient_privilege THEN
                RAISE WARNING 'this login may not make the role that the console reads as: have an '
                    'administrator run CREATE ROLE jobtrail_ops NOLOGIN; GRANT jobtrail_ops TO '
                    'the API''s login%; and then, as %, GRANT SELECT ON jobs, job_events TO '
                    'jobtrail_ops; CREATE POLICY every_tenant ON jobs FOR SELECT TO jobtrail_ops '
                    'USING (%); and likewise ON job_events (until then the console reads as the '
                    'API''s login)', how, current_user, whom;
                EXIT;
        END;
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'jobtrail_ops') THEN
        IF NOT has_schema_privilege('jobtrail_ops', current_schema(), 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO jobtrail_ops', current_schema());
        END IF;
        -- Partitions of job_events are read through it alone: they get no grant of their own.
        GRANT SELECT ON jobs, job_events TO jobtrail_ops;
        DROP POLICY IF EXISTS every_tenant ON jobs;
        DROP POLICY IF EXISTS every_tenant ON job_events;
        EXECUTE format(
            'CREATE POLICY every_tenant ON jobs FOR SELECT TO jobtrail_ops USING (%s)', whom
        );
        EXECUTE format(
            'CREATE POLICY every_tenant ON job_events FOR SELECT TO jobtrail_ops USING (%s)', whom
        );
    END IF;
END
$$;
-- next
-- The newest jobs of all tenants. As in lists of one tenant's, by what does not change while a job
-- progresses, so that such an update touches no index.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_newest_of_all ON jobs (listed_at, id);
-- next
-- The same of those that failed: they are what operators look for, and few.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_failed_of_all ON jobs (listed_at, id)
WHERE state = 'failed';
-- next
-- Jobs by the beginning of their id, whoever's they are. Bytes order: a prefix is a range in it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_by_id ON jobs (id COLLATE "C");
