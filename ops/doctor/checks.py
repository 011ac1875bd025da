"""`jobtrail doctor`: is this deployment sound, and what to do about each thing that is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
import redis

from consumers.chores.dead_tenants import dead_counts
from consumers.chores.retention import group_reports, trim
from consumers.dead_letters.buried_entries import Graveyard
from consumers.delivery.lag import lag
from consumers.round_trips import round_trips
from ops.doctor.connection_budget import Budget, budget, read_limits
from ops.doctor.finding import Finding
from ops.doctor.redis_checks import config_of, largest_command, replicas, stream_ids, writes
from ops.doctor.unexpected_keys import odd_keys, printable
from ops.errors import line_for
from projections.replay.replaced_states import kept
from sql import queries, sessions
from sql.migrate import missing
from sql.sessions import Session, pooled
from streams.appender import GROUPS
from streams.connection import InvalidUrl, WrongServer, connect
from streams.keys import TENANT, Keys
from streams.settings import Settings, SettingsError
from streams.shedding import shed_counts

_QUERIES = queries("doctor")

OLDEST_REDIS, OLDEST_VALKEY, OLDEST_POSTGRES = (7, 0), (7, 2), 150_000
LATE_SECONDS = 60.0
"""An entry that has waited longer means that a group does not keep up, or does not run."""
ANSWER_SECONDS = 60.0
"""The time limit, in seconds, for one answer of PostgreSQL."""
SHOWN_TENANTS = 5
NEAR = 0.8
"""The part of a limit from which on it is mentioned."""


def examine(settings: Settings) -> list[Finding]:
    """Look at both servers and what stands in them; a server that is away is a finding too."""
    return [*_guarded("redis", _redis, settings), *_guarded("postgres", _postgres, settings)]


def _guarded(
    name: str, examine_server: Callable[[Settings], Iterator[Finding]], settings: Settings
) -> Iterator[Finding]:
    try:
        yield from examine_server(settings)
    except (SettingsError, InvalidUrl) as error:
        yield Finding(name, ok=False, found=str(error), advice="mend that setting")
    except WrongServer as error:
        advice = "name the primary in JOBTRAIL_REDIS_URL, or make this one it: REPLICAOF NO ONE"
        yield Finding(name, ok=False, found=str(error), advice=advice)
    except (redis.RedisError, psycopg.Error, OSError) as error:
        line = line_for(error) or str(error)
        yield Finding(name, ok=False, found=line, advice="start it, or mend its URL")


def _redis(settings: Settings) -> Iterator[Finding]:
    client = connect(settings.require_redis_url())
    info: Any = client.info()
    yield redis_version(info)
    persisted = bool(info.get("aof_enabled")) or config_of(client, "save") != ""
    yield Finding(
        "redis persistence",
        ok=persisted,
        found=f"appendonly {'yes' if info.get('aof_enabled') else 'no'}",
        advice="set appendonly yes: a restart loses every entry that no row has yet",
        warns=not info.get("aof_enabled"),
    )
    policy = info.get("maxmemory_policy") or config_of(client, "maxmemory-policy")
    yield Finding(
        "redis maxmemory-policy",
        ok=policy == "noeviction",
        found=str(policy),
        advice="set maxmemory-policy noeviction: any other evicts logs and groups",
    )
    yield writes(client)
    yield replicas(client, info, settings)
    yield largest_command(client, settings)
    yield stream_ids(client)
    yield from _lags(client)
    yield from _trimming(client, settings)
    yield _shed(client)
    yield _dead(client)
    yield _dead_bytes(client, settings)
    yield odd_keys(client)


def redis_version(info: Mapping[str, Any]) -> Finding:
    """Judge what the server says of itself."""
    valkey = info.get("valkey_version")
    name, oldest = ("valkey", OLDEST_VALKEY) if valkey else ("redis", OLDEST_REDIS)
    version = str(valkey or info["redis_version"])
    parts = tuple(int(part) for part in version.split(".")[:2])
    needed = ".".join(map(str, oldest))
    return Finding(f"{name} version", parts >= oldest, version, f"upgrade to {needed} or later")


def _lags(client: redis.Redis) -> Iterator[Finding]:
    rows = list(lag(client, GROUPS))
    for group in GROUPS:
        mine = [row for row in rows if row.group == group]
        oldest = max(mine, key=lambda row: row.oldest_age_seconds, default=None)
        age = oldest.oldest_age_seconds if oldest else 0.0
        where = f" (tenant {oldest.tenant})" if oldest and age else ""
        yield Finding(
            f"lag of {group}",
            ok=age <= LATE_SECONDS,
            found=f"oldest unprocessed {age:.0f} s{where}",
            advice=f"start more of: jobtrail consume {group}",
        )


def _trimming(client: redis.Redis, settings: Settings) -> Iterator[Finding]:
    """Name each registered group that keeps old entries in the logs while nobody consumes it."""
    keys = Keys()
    held = list(trim(client, keys, settings.stream_keep_seconds, dry_run=True))
    idle = [
        report
        for report in group_reports(client, keys, held)
        if report.holds_back and not report.consumers_alive
    ]
    names = ", ".join(f"{report.group} ({report.holds_back} logs)" for report in idle)
    yield Finding(
        "trimming",
        ok=not idle,
        found=f"held back by {names}" if idle else "no group without consumers holds it back",
        advice="start its consumers, or retire it: jobtrail groups deregister GROUP",
    )


def _shed(client: redis.Redis) -> Finding:
    """Name the tenants whose progress was shed."""
    counts = shed_counts(client)
    return Finding(
        "shed progress",
        ok=not counts,
        found=_worst("events", counts) if counts else "none",
        advice="see what holds trimming back (jobtrail groups list), or raise"
        f" JOBTRAIL_STREAM_MAX_BYTES; then count anew: DEL {Keys().shed()}",
    )


def _dead(client: redis.Redis) -> Finding:
    """Name the tenants that have dead letters."""
    tenants = [name for name in Graveyard(client).tenants() if TENANT.match(name)]
    found = zip(tenants, dead_counts(client, tenants, Keys()), strict=True)
    counts = {tenant: count for tenant, count in found if count}
    return Finding(
        "dead letters",
        ok=not counts,
        found=_worst("entries", counts) if counts else "none",
        advice="see why: jobtrail dead list; then jobtrail dead requeue, or discard",
    )


def _dead_bytes(client: redis.Redis, settings: Settings) -> Finding:
    """List the tenants whose oldest dead letters are dropped now or soon."""
    tenants = list(Graveyard(client).tenants())
    names = [Keys().dead(tenant) for tenant in tenants]
    replies = round_trips(client, (("MEMORY", "USAGE", name, "SAMPLES", 0) for name in names))
    sizes = {
        printable(tenant): size
        for tenant, size in zip(tenants, replies, strict=True)
        if isinstance(size, int)
    }
    near = {
        tenant: size for tenant, size in sizes.items() if size >= NEAR * settings.dead_max_bytes
    }
    return Finding(
        "dead letters' memory",
        ok=not near,
        found=_worst("bytes", near) if near else f"{sum(sizes.values())} bytes",
        advice="the oldest are dropped above JOBTRAIL_DEAD_MAX_BYTES a tenant: requeue or discard"
        " them, or raise it",
    )


def _worst(what: str, counts: Mapping[str, int]) -> str:
    """Sum up by tenant, the worst first."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    names = ", ".join(f"{tenant} ({count})" for tenant, count in ordered[:SHOWN_TENANTS])
    more = len(ordered) - SHOWN_TENANTS
    others = f" and {more} more" if more > 0 else ""
    return f"{sum(counts.values())} {what} of tenants {names}{others}"


def _postgres(settings: Settings) -> Iterator[Finding]:
    url = settings.require_database_url()
    with sessions.connect(
        url, "jobtrail-doctor", read_only=True, answer_seconds=ANSWER_SECONDS
    ) as connection:
        number = connection.info.server_version
        yield Finding(
            "postgres version",
            ok=number >= OLDEST_POSTGRES,
            found=f"{number // 10_000}.{number % 10_000}",
            advice="upgrade to 15 or later",
        )
        lacking = missing(url)
        yield Finding(
            "migrations",
            ok=not lacking,
            found=f"missing {', '.join(lacking)}" if lacking else "all applied",
            advice="run: jobtrail migrate",
        )
        broken = [name for (name,) in connection.execute(_QUERIES["invalid_indexes"])]
        yield Finding(
            "indexes",
            ok=not broken,
            found=f"invalid: {', '.join(broken)}" if broken else "all valid",
            advice="drop them (DROP INDEX CONCURRENTLY) and build them again",
        )
        if not lacking:
            yield _reading_roles(connection)
            yield _default_partition(connection)
            yield _replaced(connection)
        yield _connections(connection, settings)
    yield _writes(url)


def _writes(url: str) -> Finding:
    """Try a write that is undone: a table of the session's own, which takes new space on disk."""
    name = "postgres writes"
    try:
        with (
            sessions.connect(url, "jobtrail-doctor", answer_seconds=ANSWER_SECONDS) as connection,
            connection.transaction(force_rollback=True),
        ):
            connection.execute(_QUERIES["trial"])
    except psycopg.errors.InsufficientPrivilege:
        return Finding(name, ok=True, found="not ours to try", advice="")
    except psycopg.Error as error:
        if error.diag.sqlstate is None:
            raise  # it is away
        found = f"refused: {error.diag.message_primary}"
        advice = "nothing is lost, but the consumers of rows wait: give it space, or make it the"
        return Finding(name, ok=False, found=found, advice=f"{advice} primary")
    return Finding(name, ok=True, found="taken", advice="")


def _reading_roles(connection: psycopg.Connection) -> Finding:
    """Name the roles that the API reads as, where they are not there or may not read."""
    lacking = [name for (name,) in connection.execute(_QUERIES["lacking_roles"])]
    return Finding(
        "reading roles",
        ok=not lacking,
        found=f"{' and '.join(lacking)} cannot read" if lacking else "both can read",
        advice="have an administrator CREATE ROLE … NOLOGIN and grant it to the API's login; then,"
        " as the tables' owner, GRANT SELECT ON jobs, job_events (jobtrail_api: job_facets, too),"
        " and for jobtrail_ops make the policies of migration 0006_console",
    )


def _default_partition(connection: psycopg.Connection) -> Finding:
    row = connection.execute(_QUERIES["default_partition"]).fetchone()
    held = bool(row and row[0])
    return Finding(
        "history partitions",
        ok=not held,
        found="the default one holds events" if held else "every event is in its week",
        advice="entry ids or clocks are off: its rows are kept but never dropped with a week",
    )


def _replaced(connection: psycopg.Connection) -> Finding:
    """Remind of what resets replaced."""
    found = kept(connection)
    told = ", ".join(
        f"{each.states} of {each.projection} since {each.since:%F}, {each.runs} resets"
        for each in found
    )
    drops = " and ".join(f"jobtrail replay {each.projection} --drop-old" for each in found)
    return Finding(
        "replaced states",
        ok=not found,
        found=f"kept: {told}" if found else "none kept",
        advice=f"once nobody needs them: {drops}",
    )


def _connections(connection: Session, settings: Settings) -> Finding:
    """Compare what the limits may take with what the server has, reserved ones left out."""
    limits = read_limits(settings.limits)
    row = connection.execute(_QUERIES["connections"]).fetchone()
    size, reserved, used = row or (0, 0, 0)
    found = budget(limits, size, reserved)
    pool = settings.api_pool_size
    fits = pool <= limits.api.pool_size
    return Finding(
        "connection budget",
        ok=fits and found.verdict != "too much",
        found=_budget_found(found, used, through_pooler=pooled(connection))
        if fits
        else f"the API's pool takes {pool}",
        advice="fewer replicas, smaller pools, or a larger server"
        if fits
        else f"JOBTRAIL_API_POOL_SIZE may be {limits.api.pool_size} by the limits: change one",
        warns=found.verdict == "tight",
    )


def _budget_found(found: Budget, used: int, *, through_pooler: bool) -> str:
    text = (
        f"limits come to {found.needed} of {found.available} connections "
        f"({found.share:.0%}), {used} open"
    )
    # Clients of a pooler wait for each other; only its own connections reach the server.
    return (
        f"{text}, through a pooler, whose pools decide how many are used"
        if through_pooler
        else text
    )
