"""Trimming: removal of the entries that are safe to remove from streams.

Used by `consumers.chores.retention.chore`, by `ops.commands.retention` (`jobtrail trim` and
`jobtrail groups`), and by `ops.doctor.stream_checks`, and also by
`consumers.chores.retention.registration` and `ops.tasks.delivery_summaries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import islice
from typing import NamedTuple

import redis
import structlog

from consumers import metrics
from consumers.delivery.group_states import registered_groups
from consumers.faults import is_of_key
from projections.registry.lookup import HISTORY_GROUP
from streams.cluster import Cluster
from streams.discovery import tenants as all_tenants
from streams.keys import Keys
from streams.scripts import Run, Script, Words
from streams.wire import as_text, checked

_LOG = structlog.get_logger(__name__)

STREAMS_AT_ONCE = 100
"""The number of streams in one round trip."""
TRIM_AT_ONCE = 10_000
"""The approximate number of entries that one command removes at most."""


class Trimmed(NamedTuple):
    """The result of trimming one tenant's stream."""

    tenant: str
    trimmed: int
    """The number of entries removed."""
    left: int
    """The number of entries that are still in the stream."""
    held_by: tuple[str, ...]
    """Groups that hold back the stream; if there is none, the entries that are left are too young,
    or there is one entry only."""


def trim(
    client: redis.Redis,
    keys: Keys,
    keep_seconds: float,
    tenants: Iterable[str] | None = None,
    *,
    dry_run: bool = False,
) -> Iterator[Trimmed]:
    """Trim the streams of these tenants, or of all, as far as is safe, and yield the results.

    A tenant without a stream is skipped. A dry run trims nothing, and only reports which groups
    hold each stream back.

    Raises:
        redis.RedisError: Redis is unavailable; what was trimmed before was safe to remove.
    """
    remaining = iter(all_tenants(client, keys) if tenants is None else tenants)
    while some := list(islice(remaining, STREAMS_AT_ONCE)):
        yield from _trim_some(client, keys, keep_seconds, some, 0 if dry_run else TRIM_AT_ONCE)


def _trim_some(
    client: redis.Redis, keys: Keys, keep_seconds: float, tenants: Sequence[str], at_once: int
) -> Iterator[Trimmed]:
    script = Script(
        files("consumers.chores.retention").joinpath("trim.lua").read_text(encoding="utf-8")
    )
    args: Words = (HISTORY_GROUP, int(keep_seconds * 1000), at_once)
    removed = dict.fromkeys(tenants, 0)
    waiting = list(removed)
    while waiting:
        # The script itself reads the groups if it can, so that no group is registered in between.
        on_cluster = isinstance(client, Cluster)
        shared = [] if on_cluster else [keys.groups()]
        groups = registered_groups(client, keys) if on_cluster else []
        runs: list[Run] = [([keys.stream(tenant), *shared], [*args, *groups]) for tenant in waiting]
        unfinished = []
        for tenant, reply in zip(waiting, script.run(client, runs), strict=True):
            if is_of_key(reply):
                _LOG.error("stream_not_trimmed", tenant=tenant, error=str(reply))
            elif checked([reply])[0]:
                count, more, left, *holding = reply
                removed[tenant] += count
                metrics.TRIMMED.inc(count)
                if more:
                    unfinished.append(tenant)
                else:
                    held_by = tuple(map(as_text, holding))
                    yield Trimmed(tenant, removed[tenant], left, held_by)
        waiting = unfinished
