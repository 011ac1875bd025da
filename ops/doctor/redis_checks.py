"""The doctor's checks of Redis: version, persistence, memory, replicas, Sentinels and limits.

Each check returns its verdict, and raises `redis.RedisError` if a server is unavailable. Used by
`ops.doctor.checks` and `ops.doctor.cluster.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple

import redis

from ops.devstack.redis_server import useful_bulk_limit
from ops.doctor.deployment import Deployment, Server
from ops.doctor.finding import Verdict
from streams.appender import GROUPS
from streams.connection import refuses_writes, service_of
from streams.durability import assurance_of
from streams.settings import Settings
from streams.wire import ask

OLDEST_REDIS, OLDEST_VALKEY = (7, 0), (7, 2)
MAX_LAG_SECONDS = 2
"""A replica reports once a second: one that was silent for longer may be disconnected."""
FEWEST_SENTINELS = 3
"""With fewer Sentinels, the loss of one machine can prevent a failover."""
EVENT_ROOM = 65_536
"""Bytes that a command has beside its event: other fields, names, a dead letter's detail."""


def on_each_server(check: Callable[[Server], Verdict]) -> Callable[[Deployment], Verdict]:
    """Return the check of all primaries; on a cluster what differs is reported by node."""

    @wraps(check)
    def of_all(deployment: Deployment) -> Verdict:
        verdicts = {server.address: check(server) for server in deployment.servers}
        found = {verdict.found for verdict in verdicts.values()}
        advice = (each.advice for each in verdicts.values() if each.warns or not each.ok)
        return Verdict(
            ok=all(each.ok for each in verdicts.values()),
            found=found.pop()
            if len(found) == 1
            else "; ".join(f"{where}: {each.found}" for where, each in verdicts.items()),
            advice="; ".join(dict.fromkeys(filter(None, advice)))
            or next(iter(verdicts.values())).advice,
            warns=any(each.warns for each in verdicts.values()),
        )

    return of_all


@on_each_server
def redis_version(server: Server) -> Verdict:
    """Check whether the server is new enough."""
    return version_verdict(server.info)


def version_verdict(info: Mapping[str, Any]) -> Verdict:
    """Return the verdict on the version that INFO reports."""
    valkey = info.get("valkey_version")
    oldest = OLDEST_VALKEY if valkey else OLDEST_REDIS
    version = str(valkey or info["redis_version"])
    parts = tuple(int(part) for part in version.split(".")[:2])
    needed = ".".join(map(str, oldest))
    return Verdict(
        ok=parts >= oldest,
        found=f"valkey {version}" if valkey else version,
        advice=f"upgrade to {needed} or later",
    )


@on_each_server
def persistence(server: Server) -> Verdict:
    """Check whether a restart of the server keeps the streams."""
    appends = bool(server.info.get("aof_enabled"))
    return Verdict(
        ok=appends or config_of(server.client, "save") != "",
        found=f"appendonly {'yes' if appends else 'no'}",
        advice="set appendonly yes: a restart loses every entry that is in no row yet",
        warns=not appends,
    )


@on_each_server
def eviction(server: Server) -> Verdict:
    """Check whether a full server refuses writes instead of removing keys."""
    found = server.info.get("maxmemory_policy")
    policy = found or config_of(server.client, "maxmemory-policy")
    return Verdict(
        ok=policy == "noeviction",
        found=str(policy),
        advice="set maxmemory-policy noeviction: any other removes streams and groups",
    )


def redis_writes(deployment: Deployment) -> Verdict:
    """Check whether the server takes writes, with one that changes nothing."""
    try:
        for queue in deployment.keys.queues(GROUPS[0]):  # one on each node of a cluster
            ask(deployment.client, "ZADD", queue.ready, "XX", 0, "")
    except redis.exceptions.NoPermissionError:
        return Verdict(ok=True, found="not permitted to try")
    except redis.ResponseError as error:
        if not refuses_writes(error):
            raise
        return Verdict(ok=False, found=f"refused: {error}", advice=_write_advice(error))
    return Verdict(ok=True, found="taken")


@on_each_server
def replicas(server: Server) -> Verdict:
    """Check whether a disconnected primary refuses appends, and whether replicas are missing."""
    rules = _replica_rules(server)
    advice = _replica_advice(rules)
    missing = max(0, (server.settings.durable_replicas or 0) - rules.in_step)
    if missing:
        advice.append(
            f"start {missing} more, or lower JOBTRAIL_DURABLE_REPLICAS: no append is durable until"
            " then"
        )
    if rules.unknown and not advice:
        advice.append("CONFIG GET is refused: see that min-replicas-to-write is 1 at least")
    connected = f"{rules.in_step} of {rules.connected} in step" if rules.connected else "none"
    return Verdict(
        ok=not advice or (rules.unknown and not missing),
        found=f"{connected}, min-replicas-to-write {rules.to_write or '?'},"
        f" min-replicas-max-lag {rules.max_lag or '?'}",
        advice="; ".join(advice),
        warns=rules.unknown,
    )


class _ReplicaRules(NamedTuple):
    """The replicas of a server, and its settings for them; "" where one is not readable."""

    connected: int
    in_step: int
    """Replicas that have reported lately."""
    to_write: str
    """min-replicas-to-write."""
    max_lag: str
    """min-replicas-max-lag, in seconds."""

    @property
    def unknown(self) -> bool:
        """True if there are replicas but the settings are not readable."""
        return bool(self.connected) and not (self.to_write and self.max_lag)


def _replica_rules(server: Server) -> _ReplicaRules:
    info, client = server.info, server.client
    return _ReplicaRules(
        int(info.get("connected_slaves", 0)),
        assurance_of(info).replicas,
        config_of(client, "min-replicas-to-write"),
        config_of(client, "min-replicas-max-lag"),
    )


def _replica_advice(rules: _ReplicaRules) -> list[str]:
    advice = []
    if rules.connected and rules.to_write == "0":
        advice.append("set min-replicas-to-write 1 here and on each replica")
    matters = rules.connected or rules.to_write not in ("", "0")
    if matters and rules.max_lag and not 0 < int(rules.max_lag) <= MAX_LAG_SECONDS:
        advice.append(f"set min-replicas-max-lag {MAX_LAG_SECONDS} here and on each replica")
    return advice


def sentinels(deployment: Deployment) -> Verdict | None:
    """Check whether the Sentinels agree on the primary and can replace it; None without any."""
    service = service_of(deployment.client)
    if service is None:
        return None
    named = service.ask_all("GET-MASTER-ADDR-BY-NAME")
    quorums = service.ask_all("CKQUORUM")
    silent = [where for where, reply in named.items() if not isinstance(reply, list)]
    primaries = {tuple(reply) for reply in named.values() if isinstance(reply, list)}
    refused = [
        reply
        for reply in quorums.values()
        if isinstance(reply, redis.ResponseError) and str(reply).startswith("NOQUORUM")
    ]
    advice = [
        *(f"start {where}, or have it monitor the service" for where in silent),
        *(f"no failover is possible: {refused[0]}" for _ in refused[:1]),
        *("they name different primaries: see their logs" for _ in range(len(primaries) > 1)),
        *(
            f"run {FEWEST_SENTINELS} on different machines"
            for _ in range(len(named) < FEWEST_SENTINELS)
        ),
    ]
    return Verdict(
        ok=not silent and not refused and len(primaries) == 1,
        found=f"{len(named) - len(silent)} of {len(named)} name a primary",
        advice="; ".join(advice),
        warns=len(named) < FEWEST_SENTINELS,
    )


@on_each_server
def largest_command(server: Server) -> Verdict:
    """Check whether the server takes the largest event, and nothing that is much larger."""
    limit = config_of(server.client, "proto-max-bulk-len")
    return command_verdict(int(limit) if limit else None, server.settings)


def command_verdict(limit: int | None, settings: Settings) -> Verdict:
    """Return the verdict on proto-max-bulk-len, in bytes; None if it is not readable."""
    event = settings.max_event_bytes
    room = useful_bulk_limit(event)
    small = limit is not None and limit < event + EVENT_ROOM
    reason = (
        f"events of JOBTRAIL_MAX_EVENT_BYTES ({event}) are refused"
        if small
        else "one entry of that size costs every consumer several times as much memory"
    )
    return Verdict(
        ok=not small,
        found="not readable" if limit is None else f"{limit} bytes",
        advice=f"set proto-max-bulk-len {room}: {reason}",
        warns=limit is not None and limit > room,
    )


def config_of(client: redis.Redis, name: str) -> str:
    """Return one setting of the server, or an empty text where CONFIG GET is not permitted."""
    try:
        reply = ask(client, "CONFIG", "GET", name)
    except redis.ResponseError:
        return ""
    return reply[1].decode() if reply else ""


def _write_advice(error: redis.ResponseError) -> str:
    """Return what to do about a server that refuses writes."""
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        action = "raise maxmemory, or run: jobtrail trim"
    elif str(error).startswith("MISCONF"):
        action = "free space on the disk that it saves to, or repair it; its log has the error"
    else:
        action = "start the replicas that min-replicas-to-write requires"
    return f"{action}; until then appends fail and consumers wait"
