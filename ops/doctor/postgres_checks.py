"""The doctor's checks of PostgreSQL: version, migrations, indexes, roles, writes, connections.

Each check returns its verdict, and raises `psycopg.Error` if the server is unavailable. Used by
`ops.doctor.checks`.
"""

from __future__ import annotations

import psycopg

from ops.doctor.connection_budget import Budget, Limits, budget, read_limits
from ops.doctor.deployment import ANSWER_SECONDS, Deployment
from ops.doctor.finding import Verdict
from ops.text.plurals import counted
from projections.replay.replaced_states import kept_states
from sql import queries, sessions
from sql.migrate import missing
from sql.sessions import pooled
from streams.runtime.safe_text import one_line

OLDEST_POSTGRES = 150_000

OLD_SECONDS = 300.0
"""The age of a replica's data, in seconds, from which it is reported."""

_QUERIES, _READING = queries("doctor"), queries("reading")


def postgres_version(deployment: Deployment) -> Verdict:
    """Check whether the server is new enough."""
    number = deployment.database.info.server_version
    return Verdict(
        ok=number >= OLDEST_POSTGRES,
        found=f"{number // 10_000}.{number % 10_000}",
        advice="upgrade to 15 or later",
    )


def migrations(deployment: Deployment) -> Verdict:
    """Check whether all migrations are applied."""
    missing = deployment.missing_migrations
    return Verdict(
        ok=not missing,
        found=f"missing {', '.join(missing)}" if missing else "all applied",
        advice="run: jobtrail migrate",
    )


def indexes(deployment: Deployment) -> Verdict:
    """Check whether a build of an index was interrupted."""
    rows = deployment.database.execute(_QUERIES["invalid_indexes"])
    invalid = [name for (name,) in rows]
    return Verdict(
        ok=not invalid,
        found=f"invalid: {', '.join(invalid)}" if invalid else "all valid",
        advice="drop them (DROP INDEX CONCURRENTLY) and build them again",
    )


def reading_roles(deployment: Deployment) -> Verdict:
    """Check whether the roles that the API reads as exist and may read."""
    rows = deployment.database.execute(_QUERIES["lacking_roles"])
    lacking = [name for (name,) in rows]
    return Verdict(
        ok=not lacking,
        found=f"{' and '.join(lacking)} cannot read" if lacking else "both can read",
        advice="have an administrator CREATE ROLE … NOLOGIN and grant it to the API's login; then,"
        " as the tables' owner, GRANT SELECT ON jobs, job_events (jobtrail_api: job_facets,"
        " jobtrail_ops: job_figures, job_figure_changes, too), and for jobtrail_ops make the"
        " policies of the migrations 0006_console and 0011_job_figures",
    )


def audit_grants(deployment: Deployment) -> Verdict:
    """Check whether the console may record actions, and not change what is recorded."""
    findings = [text for (text,) in deployment.database.execute(_QUERIES["audit_grants"])]
    return Verdict(
        ok=not findings,
        found=", ".join(findings) if findings else "actions can be added and read, not changed",
        advice="the console refuses actions that it cannot record. As the tables' owner: GRANT"
        " SELECT, INSERT ON operator_actions, operator_outcomes TO jobtrail_ops, with the policies"
        " of the migration 0010_operator_actions; REVOKE UPDATE, DELETE, TRUNCATE ON both FROM"
        " jobtrail_api, jobtrail_ops",
    )


def history_partitions(deployment: Deployment) -> Verdict:
    """Check whether the default partition of the history holds events."""
    row = deployment.database.execute(_QUERIES["default_partition"]).fetchone()
    used = bool(row and row[0])
    return Verdict(
        ok=not used,
        found="the default one holds events" if used else "every event is in its week",
        advice="entry ids or clocks are off: its rows are kept but never dropped with a week",
    )


def replaced_states(deployment: Deployment) -> Verdict:
    """Check whether states that resets replaced are still kept."""
    found = kept_states(deployment.database)
    states = ", ".join(
        f"{each.states} of {each.projection} since {each.since:%F}, {counted(each.runs, 'reset')}"
        for each in found
    )
    commands = " and ".join(f"jobtrail replay {each.projection} --drop-old" for each in found)
    return Verdict(
        ok=not found,
        found=f"kept: {states}" if found else "none kept",
        advice=f"once nobody needs them: {commands}",
    )


def connections(deployment: Deployment) -> Verdict:
    """Check whether the connections that the limits allow fit into the server."""
    limits, pool = read_limits(deployment.settings.limits), deployment.settings.api_pool_size
    if pool > limits.api.pool_size:
        return Verdict(
            ok=False,
            found=f"the API's pool takes {pool}",
            advice=f"JOBTRAIL_API_POOL_SIZE may be {limits.api.pool_size} by the limits: change"
            " one of them",
        )
    needed, text = _needed_connections(deployment, limits)
    return Verdict(
        ok=needed.verdict != "too much",
        found=text,
        advice="fewer replicas, smaller pools, or a larger server",
        warns=needed.verdict == "tight",
    )


def read_replica(deployment: Deployment) -> Verdict | None:
    """Check whether the replica that the API reads from answers, and has all migrations."""
    url = deployment.settings.checked_read_url()
    if url is None:
        return None
    try:
        lacking = missing(url)
        with sessions.connect(
            url, "jobtrail-doctor", read_only=True, answer_seconds=ANSWER_SECONDS
        ) as replica:
            row = replica.execute(_READING["replica_age"]).fetchone()
    except psycopg.Error as error:
        # The other parts of the server's message would show the statement.
        found = error.diag.message_primary or one_line(error)
        advice = "start it, or correct JOBTRAIL_DATABASE_READ_URL; the primary serves its requests"
        return Verdict(ok=False, found=f"away or refuses: {found}", advice=advice)
    if lacking:
        found = f"missing {', '.join(lacking)}"
        return Verdict(ok=False, found=found, advice="check why it does not follow its primary")
    if row is None or row[0] is None:
        advice = "was it promoted? JOBTRAIL_DATABASE_READ_URL should lead to a replica"
        return Verdict(ok=True, found="not a replica", advice=advice, warns=True)
    return Verdict(
        ok=row[0] < OLD_SECONDS,
        found=f"its data is {row[0]:.0f} s old at most",
        advice="check its load and its connection to the primary",
    )


def postgres_writes(deployment: Deployment) -> Verdict:
    """Check whether the server takes a write: a temporary table, which is rolled back.

    The table takes new space on disk.
    """
    try:
        with (
            sessions.connect(
                deployment.database_url, "jobtrail-doctor", answer_seconds=ANSWER_SECONDS
            ) as connection,
            connection.transaction(force_rollback=True),
        ):
            connection.execute(_QUERIES["trial"])
    except psycopg.errors.InsufficientPrivilege:
        return Verdict(ok=True, found="not permitted to try")
    except psycopg.Error as error:
        if error.diag.sqlstate is None:
            raise  # the server is unavailable
        return Verdict(
            ok=False,
            found=f"refused: {error.diag.message_primary}",
            advice="nothing is lost, but the consumers of rows wait: free space, or make it the"
            " primary",
        )
    return Verdict(ok=True, found="taken")


def _needed_connections(deployment: Deployment, limits: Limits) -> tuple[Budget, str]:
    """Compare what the limits allow with what the server has, without its reserved ones."""
    row = deployment.database.execute(_QUERIES["connections"]).fetchone()
    size, reserved, used = row or (0, 0, 0)
    found = budget(limits, size, reserved)
    text = (
        f"limits come to {found.needed} of {found.available} connections "
        f"({found.share:.0%}), {used} open"
    )
    # Clients of a pooler wait for each other; only its own connections reach the server.
    if pooled(deployment.database):
        text += ", through a pooler, whose pools decide how many are used"
    return found, text
