-- What a reset put something else in the place of, until an operator drops it.
CREATE SEQUENCE replaced_runs;
CREATE TABLE replaced_states (
    projection text NOT NULL CHECK (projection IN ('status', 'rows')),
    -- Which reset it was.
    run bigint NOT NULL,
    tenant text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    why text NOT NULL CHECK (why IN ('updated', 'removed', 'inserted')),
    -- The whole of it: a row of `jobs`, or {"status": …, "progress": …}, both as they were stored.
    was json,
    -- SHA-256 of the row that was put in its place: whether that still stands.
    wrote bytea,
    PRIMARY KEY (projection, run, tenant, kind, id),
    CONSTRAINT inserted_and_was CHECK ((why = 'inserted') = (was IS NULL))
);

-- Tenants' data, and nothing that any tenant's reader asks for: the owner alone sees it.
ALTER TABLE replaced_states ENABLE ROW LEVEL SECURITY;
ALTER TABLE replaced_states FORCE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON replaced_states TO CURRENT_USER
    USING (coalesce(current_setting('app.tenant_id', true), '') = '');
