-- What operators have changed: who, when, what, and how it ended. A row is written before the action,
-- and its outcome after it: an action without an outcome was interrupted, and may have been done.
CREATE TABLE operator_actions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Equal for all requests that were one action of the caller's, such as the steps of a bulk action.
    request_id text NOT NULL,
    -- `console` for the operators' endpoints, `command` for the command line.
    via text NOT NULL,
    -- The claim `sub` of a token, or the name of the operating system's user.
    actor text,
    -- The claim `tenant_id` of a token.
    actor_tenant text,
    address text,
    action text NOT NULL,
    -- The tenant that the action was limited to; NULL for all tenants.
    tenant text,
    target json NOT NULL
);

CREATE TABLE operator_outcomes (
    action_id bigint PRIMARY KEY REFERENCES operator_actions ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome text NOT NULL,
    -- The tenants in which something was changed.
    tenants text[] NOT NULL,
    details json NOT NULL
);

-- Rows are dropped a few at a time as others are added: after 400 days, and beyond 100,000 actions.
-- With the owner's rights, because those who add rows may not delete any.
CREATE FUNCTION drop_old_actions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM operator_actions WHERE id IN (
        SELECT oldest.id
        FROM (SELECT a.id, a.at FROM operator_actions AS a ORDER BY a.id LIMIT 10) AS oldest
        WHERE oldest.id <= NEW.id - 100000 OR oldest.at < now() - interval '400 days'
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER drop_old_actions AFTER INSERT ON operator_actions
FOR EACH ROW EXECUTE FUNCTION drop_old_actions();

-- The console adds rows and reads them; it can change and delete none. Nobody else but the owner sees
-- any, whatever is granted on all tables.
ALTER TABLE operator_actions ENABLE ROW LEVEL SECURITY;
ALTER TABLE operator_outcomes ENABLE ROW LEVEL SECURITY;
DO $$
DECLARE
    -- As in 0006: before PostgreSQL 16 the policy must look at who has entered the role.
    whom constant text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'true'
                               ELSE format('current_user = %L', 'jobtrail_ops') END;
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['operator_actions', 'operator_outcomes'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'jobtrail_ops') THEN
            EXECUTE format('GRANT SELECT, INSERT ON %I TO jobtrail_ops', name);
            EXECUTE format('CREATE POLICY read_all ON %I FOR SELECT TO jobtrail_ops USING (%s)',
                           name, whom);
            EXECUTE format('CREATE POLICY add ON %I FOR INSERT TO jobtrail_ops WITH CHECK (%s)',
                           name, whom);
        END IF;
    END LOOP;
END
$$;
