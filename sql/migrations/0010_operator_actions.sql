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

-- The console adds rows and reads them; it can change and delete none. Tenants' readers have no access.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'jobtrail_ops') THEN
        GRANT SELECT, INSERT ON operator_actions, operator_outcomes TO jobtrail_ops;
    END IF;
END
$$;
