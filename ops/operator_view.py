"""The operators' view of delivery: samples, consumers and lag; and that of dead letters.

It implements `api.operators.operator_view.OperatorView` for the console's endpoints. Used by
`ops.commands.api`, which passes it to the server, because the API must not import consumers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any

import redis

from api.operators.letters.view import Facts
from api.operators.operator_view import LateTenants
from consumers import metrics
from consumers.chores.activity import DECAY, per_minute
from consumers.chores.heartbeat import ALIVE_MS, heartbeats
from consumers.chores.minutes import MAX_TENANTS
from consumers.chores.shared_figures import Behind, Sample, TenantMinute, valid_figures
from consumers.dead_letters.store import DeadLetterStore
from consumers.dead_letters.tenants import dead_counts
from consumers.delivery.backlog import backlog
from consumers.delivery.group_states import registered_groups
from consumers.delivery.lag import BEHIND_SECONDS, Lag, lag_of, oldest_of
from consumers.faults import is_of_key
from consumers.round_trips import encodable, round_trips, server_ms
from ops.operator_issues import issues_of
from ops.operator_samples import columns, marks
from ops.tasks.dead_letters.view import RedisDeadLetterView
from projections.registry.lookup import projection_names
from streams.appender import GROUPS
from streams.cluster import Cluster, checked_served, is_lost, keys_of, servers_of
from streams.connection import connect, lacks_resources, refuses_writes
from streams.keys import TENANT, Keys
from streams.settings import Settings
from streams.wire import Command, as_text, ask, round_trip

REDIS_SECONDS = 2.0
"""The time limit for one Redis command: a request must not occupy a thread for longer."""
PATIENCE_SECONDS = 0.25
"""The time limit at first for a node of a cluster, while the others answer."""
COUNTED_TENANTS = 1_000
"""Tenants whose dead letters are counted, those with the latest ones first."""


class RedisOperatorView:
    """The view of one Redis. Every method blocks, and raises `redis.RedisError`."""

    def __init__(
        self, client: redis.Redis, dead_letters: DeadLetterStore, *, keys: Keys | None = None
    ) -> None:
        self._client = client
        self._keys = keys or keys_of(client)
        self.dead_letters = RedisDeadLetterView(client, dead_letters, self._keys)

    @classmethod
    def of(cls, settings: Settings) -> RedisOperatorView:
        """Return the view of the Redis of the settings; it is not connected yet."""
        client = connect(
            settings.require_redis_url(), timeout=REDIS_SECONDS, connect_timeout=REDIS_SECONDS
        )
        if isinstance(client, Cluster):
            client.set_patience(PATIENCE_SECONDS)
        return cls(client, DeadLetterStore(client, max_event_bytes=settings.max_event_bytes))

    def samples(self) -> Facts:
        """Return the samples of the last hour as columns; rates are entries per second."""
        dead = sum(count for _, count in self.dead_letters.tenants(COUNTED_TENANTS))
        taken = self._stored(self._keys.samples())
        late = {
            name: {"tenants": group.behind, "furthest": group.furthest}
            for name, group in (taken[-1].groups.items() if taken else ())
        }
        return {"dead": dead, "late": late, **self._columns(taken)}

    def day_samples(self) -> Facts:
        """Return the samples of the last day, one a minute, as the same columns."""
        return self._columns(self._stored(self._keys.day_samples()))

    def issues(self) -> Sequence[Facts]:
        """Return what was wrong with delivery in the last day; see `ops.operator_issues`."""
        day, hour = (self._stored(key) for key in (self._keys.day_samples(), self._keys.samples()))
        return issues_of(day, hour, server_ms(self._client))

    def tenant_minutes(self) -> Sequence[Facts]:
        """Return the figures of the tenants that stood out, one a minute, of the last hour.

        A tenant that is not listed had none, or less than each that is, if a list is full.
        """
        texts = ask(self._client, "LRANGE", self._keys.tenant_minutes(), 0, -1)
        taken = list(valid_figures(TenantMinute, texts))
        return [
            {
                "at": here.at,
                "per_minute": _applied(here, last),
                "late": here.late,
                "activity_is_full": len(here.activity) >= MAX_TENANTS,
                "late_is_full": len(here.late) >= MAX_TENANTS,
            }
            for here, last in zip(taken[1:], taken, strict=False)
        ]

    def used_bytes(self) -> int:
        """Return the memory that Redis uses, of all primaries of a cluster."""
        return sum(int(each.info("memory")["used_memory"]) for each in servers_of(self._client))

    def _stored(self, key: str) -> list[Sample]:
        return list(valid_figures(Sample, ask(self._client, "LRANGE", key, 0, -1)))

    def _columns(self, stored: Sequence[Sample]) -> Facts:
        taken = [sample.model_dump() for sample in stored]
        sampled = (name for sample in taken for name in sample["groups"])
        groups = dict.fromkeys([*projection_names(), *sampled])
        return {
            "at": [sample["at"] for sample in taken],
            "groups": {group: columns(taken, group) for group in groups},
            "marks": marks(taken),
        }

    def consumers(self) -> Sequence[Facts]:
        """Return every consumer with a recent heartbeat, and those that stopped lately.

        Times are in milliseconds since 1970.
        """
        now = server_ms(self._client)
        known = heartbeats(self._client, self._keys)
        for each in known:
            del each["unsettled"]  # for the samples alone
            each["alive"] = each["left"] is None and now - each["beat"] < ALIVE_MS
        return sorted(known, key=lambda each: (each["group"], each["since"], each["name"]))

    def health(self) -> Facts:
        """Return the server's name, version, memory and eviction policy as one text, and its state.

        On a cluster the text describes each primary, those that do not answer too, and the memory
        is that of the fullest one.
        """
        found = [*_server_healths(self._client)]
        fullest = max(found, key=lambda each: each["used_bytes"] / (each["max_bytes"] or inf))
        return fullest | {
            "description": "; ".join(each["description"] for each in found),
            "refuses_writes": any(each["refuses_writes"] for each in found),
        }

    def publish_backlog(self, seconds: float) -> None:
        """Measure the backlog of each group, and expose it in the metrics for so many seconds.

        If a node of a cluster is lost, it is that of the others, and of the built-in groups if the
        node has the list of groups.
        """
        groups = sorted({*projection_names(), *self._registered_groups()})
        found = backlog(self._client, list(map(encodable, groups)), self._keys)
        metrics.WAITING.publish({(group,): each.waiting for group, each in found.items()}, seconds)
        metrics.PENDING.publish({(group,): each.pending for group, each in found.items()}, seconds)

    def _registered_groups(self) -> Sequence[str]:
        try:
            return registered_groups(self._client, self._keys)
        except redis.RedisError as error:
            if not (is_lost(error) and isinstance(self._client, Cluster)):
                raise
            return ()

    def busy_tenants(self, limit: int) -> Mapping[str, float]:
        """Return the entries a minute of the tenants with the most recent activity."""
        name = self._keys.activity(GROUPS[0])
        flat = ask(self._client, "ZREVRANGE", name, 0, limit - 1, "WITHSCORES")
        scores = zip(map(as_text, flat[::2]), flat[1::2], strict=True)
        return {name: per_minute(float(score)) for name, score in scores if TENANT.match(name)}

    def late_tenants(self) -> LateTenants:
        """Return the tenants of the last sample that are behind now, and how many more are."""
        known = ask(self._client, "GET", self._keys.behind())
        for behind in valid_figures(Behind, [known or b""]):
            valid = [name for name in behind.tenants if TENANT.match(name)]
            found = oldest_of(self._client, valid, projection_names(), self._keys)
            oldest = {name: ms for name, (ms, age) in found.items() if age >= BEHIND_SECONDS}
            return LateTenants(oldest, max(0, (behind.count or 0) - len(behind.tenants)))
        return LateTenants({}, 0)

    def dead_tenants(self) -> Sequence[str]:
        """Return the tenants with dead letters."""
        known = self.dead_letters.tenants(COUNTED_TENANTS)
        return [name for name, _ in known if TENANT.match(name)]

    def tenants(self, names: Sequence[str]) -> Sequence[Facts | None]:
        """Return the activity, lag, dead letters and stream of each of these tenants.

        It is None for a tenant of a lost node of a cluster.
        """
        lags: dict[str, dict[str, Facts]] = {name: {} for name in names}
        for row in lag_of(self._client, names, projection_names(), self._keys, partial=True):
            lags[row.tenant][row.group] = _lag(row)
        activity = self._activity(names)
        dead = dead_counts(self._client, names, self._keys, partial=True)
        streams = stream_sizes(self._client, names, self._keys)
        return [
            stream
            and {
                "tenant": name,
                "groups": lags[name],
                "behind_seconds": _behind(lags[name].values()),
                "per_minute": activity[number],
                "dead": dead[number],
                "stream": stream,
            }
            for number, (name, stream) in enumerate(zip(names, streams, strict=True))
        ]

    def _activity(self, names: Sequence[str]) -> Sequence[Facts | None]:
        """Return each tenant's entries a minute by group; None if a node with them is lost."""
        groups = projection_names() if names else []
        commands = [("ZMSCORE", self._keys.activity(group), *names) for group in groups]
        replies = checked_served(round_trip(self._client, commands, partial=True))
        if any(map(is_lost, replies)):
            return [None] * len(names)
        return [
            {
                group: per_minute(float(scores[number] or 0))
                for group, scores in zip(groups, replies, strict=True)
            }
            for number in range(len(names))
        ]


def _server_healths(client: redis.Redis) -> Iterator[dict[str, Any]]:
    """Yield the health of each primary of the deployment."""
    if not isinstance(client, Cluster):
        yield _server_health(client)
        return
    for address, node in client.primaries().items():
        try:
            client.ask_node(address, [("PING",)])  # which is not waited for if it is silent
            yield _server_health(node)
        except (redis.ConnectionError, redis.TimeoutError):
            host, port = address
            text = f"{host}:{port} does not answer"
            facts = {"refuses_writes": False, "used_bytes": 0, "max_bytes": None}
            yield {"description": text, **facts}


def _server_health(client: redis.Redis) -> dict[str, Any]:
    info: Mapping[str, Any] = client.info()
    limit = int(info.get("maxmemory", 0))
    of_limit = f" of {info['maxmemory_human']}" if limit else ""
    text = (
        f"{info.get('server_name', 'redis')} {info['redis_version']}, "
        f"{info['used_memory_human']}{of_limit} in use, {info['maxmemory_policy']}"
    )
    return {
        "description": text,
        "refuses_writes": lacks_resources(info) or _refuses_ping(client),
        "used_bytes": int(info["used_memory"]),
        "max_bytes": limit or None,
    }


def _refuses_ping(client: redis.Redis) -> bool:
    """Return True for a server that could not save: INFO is answered, but PING is refused."""
    try:
        client.ping()
    except redis.RedisError as error:
        if refuses_writes(error):
            return True
        raise
    return False


def stream_sizes(client: redis.Redis, tenants: Sequence[str], keys: Keys) -> list[Facts | None]:
    """Return the entries of each tenant's stream, and the bytes that it takes in memory.

    It is None for a tenant of a lost node of a cluster.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    streams = [keys.stream(tenant) for tenant in tenants]
    commands: list[Command] = [
        command for key in streams for command in (("XLEN", key), ("MEMORY", "USAGE", key))
    ]
    found = round_trips(client, commands, partial=True)
    replies = checked_served([0 if is_of_key(each) else each for each in found])
    return [
        None if is_lost(length) or is_lost(size) else {"entries": length, "bytes": size or 0}
        for length, size in zip(replies[::2], replies[1::2], strict=True)
    ]


def _behind(lags: Iterable[Facts]) -> float:
    """Return the age in seconds of a tenant's oldest unsettled entry; 0 if it is not behind."""
    oldest = max((float(lag["oldest_seconds"]) for lag in lags), default=0.0)
    return oldest if oldest >= BEHIND_SECONDS else 0.0


def _applied(here: TenantMinute, last: TenantMinute) -> Facts:
    """Return the entries a minute that were applied between two minutes, by tenant.

    What remained of the activity after the last decay is not counted again. Of a tenant that a full
    list lacked, it is taken to be as much as that of the last tenant listed.
    """
    minutes = max(1, here.at - last.at) / 60_000
    unlisted = min(last.activity.values()) if len(last.activity) >= MAX_TENANTS else 0.0
    return {
        tenant: round(max(0.0, score - DECAY * last.activity.get(tenant, unlisted)) / minutes, 1)
        for tenant, score in here.activity.items()
    }


def _lag(row: Lag) -> Facts:
    return {
        "waiting": row.waiting,
        "pending": row.pending,
        "oldest_seconds": round(row.oldest_age_seconds, 3),
    }
