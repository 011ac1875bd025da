-- name: enter
-- Use the role that adds and reads actions until the transaction ends, if this login may. A statement
-- has a time limit (milliseconds).
SELECT set_config('statement_timeout', %(milliseconds)s::text, true),
       (SELECT set_config('role', rolname, true) FROM pg_roles
        WHERE rolname = 'jobtrail_ops' AND pg_has_role(session_user, oid, 'MEMBER'));

-- name: add
INSERT INTO operator_actions (
    request_id, via, actor, actor_tenant, address, action, tenant, target
) VALUES (
    %(request_id)s, %(via)s, %(actor)s, %(actor_tenant)s, %(address)s, %(action)s, %(tenant)s,
    %(target)s::json
)
RETURNING id;

-- name: end
INSERT INTO operator_outcomes (action_id, outcome, tenants, details)
VALUES (%(id)s, %(outcome)s, %(tenants)s::text[], %(details)s::json);

-- list: recorded
FROM operator_actions AS a
LEFT JOIN operator_outcomes AS o ON o.action_id = a.id
WHERE a.id < %(before)s
  AND (%(actor)s::text IS NULL OR a.actor = %(actor)s)
  AND (%(action)s::text IS NULL OR a.action = %(action)s)
  AND (%(request_id)s::text IS NULL OR a.request_id = %(request_id)s)
  AND (%(tenant)s::text IS NULL OR a.tenant = %(tenant)s OR %(tenant)s = ANY (o.tenants))
ORDER BY a.id DESC
LIMIT %(limit)s

-- name: newest
-- All filters are applied to the actions in the order of the primary key; there are 100,000 at most.
SELECT a.id, a.at, a.request_id, a.via, a.actor, a.actor_tenant, a.address, a.action, a.tenant,
       a.target::text, o.at, o.outcome, o.tenants, o.details::text
{recorded};

-- name: newest_counts
-- The same, with the counts of the details only.
SELECT a.id, a.at, a.request_id, a.via, a.actor, a.actor_tenant, a.address, a.action, a.tenant,
       a.target::text, o.at, o.outcome, o.tenants, (o.details -> 'counts')::text
{recorded};
