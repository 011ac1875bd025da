-- One row a job: its whole state, with results of any size.
CREATE TABLE jobs (
    tenant text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    attempt bigint NOT NULL CHECK (attempt >= 1),
    -- The engine's word, the same for every kind; `status` is the kind's own word, as answers say it.
    state text NOT NULL CHECK (state IN ('queued', 'processing', 'done', 'failed', 'cancelled')),
    status text NOT NULL,
    job_type text,
    labels jsonb NOT NULL DEFAULT '{}',
    worker text,
    progress json,
    result json,
    error text,
    code text,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    updated_at timestamptz NOT NULL,
    ended_at timestamptz,
    -- Which entries told these facts: what the fold needs to go on from the row.
    positions json NOT NULL,
    PRIMARY KEY (tenant, kind, id),
    CONSTRAINT ended_and_ended_at CHECK (
        (state IN ('done', 'failed', 'cancelled')) = (ended_at IS NOT NULL)
    )
) WITH (fillfactor = 80); -- rows are updated in place while a job runs

-- The history: every distinct event as it came. What replays read when the stream has been trimmed.
CREATE TABLE job_events (
    tenant text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    event_id text NOT NULL,
    -- The day that the event belongs to, which a retried append of it shares; old history goes by it.
    day date NOT NULL,
    entry_ms bigint NOT NULL,
    entry_seq bigint NOT NULL,
    type text NOT NULL,
    attempt bigint NOT NULL,
    at timestamptz NOT NULL,
    event text NOT NULL,
    -- A retried append that landed twice is one event, but each landing has its entry, and the fold
    -- goes by entries: the latest of them, where it is not the one above, and how many are known.
    last_ms bigint,
    last_seq bigint,
    landings integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant, kind, id, event_id, day)
) PARTITION BY RANGE (day);

-- Weeks are made ahead by the code that writes; what belongs to none of them is still kept.
CREATE TABLE job_events_default PARTITION OF job_events DEFAULT;

-- A session that has set app.tenant_id sees that tenant alone, the owner too. The owner, who writes
-- for all tenants, sees all while it is unset; anybody else then sees nothing.
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE jobs FORCE ROW LEVEL SECURITY;
ALTER TABLE job_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_events FORCE ROW LEVEL SECURITY;

-- Partitions are tables too: who may read every table must not go round the policies. No policy here,
-- so that nobody but the owner sees anything in a partition by its own name.
ALTER TABLE job_events_default ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON jobs
    USING (tenant = current_setting('app.tenant_id', true));
CREATE POLICY own_tenant ON job_events
    USING (tenant = current_setting('app.tenant_id', true));
CREATE POLICY all_tenants ON jobs TO CURRENT_USER
    USING (coalesce(current_setting('app.tenant_id', true), '') = '');
CREATE POLICY all_tenants ON job_events TO CURRENT_USER
    USING (coalesce(current_setting('app.tenant_id', true), '') = '');
