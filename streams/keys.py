"""Names of all Redis keys, and the forms of the identifiers in them. No other module builds a name.

Names are methods of an object, so that a Redis Cluster can have names with hash tags. In the
documentation, the braces of `tenant:{tenant}:events` stand for a value. Used by `api`, `consumers`,
`ops`, `projections`, `streams` and `workers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

from .kinds import find_kind

T = TypeVar("T")

TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
JOB_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
JOB_ID = re.compile(JOB_ID_PATTERN.replace("$", r"\Z"))

LEGACY_PATTERN = "job:*:progress"
STREAM_END, DEAD_END = ":events", ":dead"
SWEPT_END = ":[ed][ve][ea][nd]*"
"""Matches the ends of streams and dead letters, and few other keys, so that one scan finds both."""

REMEMBERED = 4_096
"""The number of ready queues whose names are remembered."""


class JobKey(NamedTuple):
    """Identity of a job; jobs of different tenants or kinds share no key and no row."""

    tenant: str
    kind: str
    id: str


class QueueKeys(NamedTuple):
    """Keys of a ready queue, and of the tenants that were leased from it; they share a slot."""

    ready: str
    leased: str


class ReadyTags(Protocol):
    """The hash tags of the ready queues of a cluster, one of each node."""

    @property
    def tags(self) -> Sequence[str]:
        """All of them."""

    def tag_of(self, key: str) -> str:
        """Return the one of the node that has a key."""


class InvalidTenant(ValueError):
    """The tenant's name is not valid; nothing was sent."""


def check_tenant(tenant: str) -> str:
    """Return the tenant's name.

    Raises:
        InvalidTenant: the name is not valid.
    """
    if not isinstance(tenant, str) or not TENANT.match(tenant):
        raise InvalidTenant(
            f"{tenant!r} is no tenant: 1 to 64 letters, digits, underscores and hyphens"
        )
    return tenant


class Keys:
    """Names of keys on a single server, or one behind Sentinel."""

    publish = "PUBLISH"
    """The command that publishes the changes of a feed."""

    def stream(self, tenant: str) -> str:
        """Return the key of the tenant's stream."""
        return f"tenant:{tenant}:events"

    def pattern(self, ending: str, tenant: str | None = None) -> str:
        """Return the pattern for SCAN of a tenant's keys, or of all tenants', with an ending."""
        return f"tenant:{tenant or '*'}{ending}"

    def by_slot(self, items: Iterable[T], tenant: Callable[[T], str]) -> list[list[T]]:
        """Divide items so that one command can have the keys of each part; `tenant` is an item's.

        The parts are never empty.
        """
        del tenant  # one server has all slots
        return [part] if (part := list(items)) else []

    def tenant_of(self, stream: str) -> str:
        """Return the tenant of a stream's key."""
        return self.tenant_in(stream.removeprefix("tenant:").removesuffix(":events"))

    def tenant_in(self, part: str) -> str:
        """Return the tenant of the part of a key's name that has the tenant."""
        return part

    def dead(self, tenant: str) -> str:
        """Return the key of the stream of the tenant's dead letters."""
        return f"tenant:{tenant}:dead"

    def dead_index(self, tenant: str) -> str:
        """Return the key of the hash from entry id to dead letter, of the tenant's dead letters."""
        return f"tenant:{tenant}:index:dead"

    def dead_settled(self, tenant: str) -> str:
        """Return the key of the hash of entries that were requeued or discarded early.

        Early means: before each group had read the entry. A group that reads it later does not make
        a dead letter of it again.
        """
        return f"tenant:{tenant}:settled:dead"

    def status(self, job: JobKey) -> str:
        """Return the key of the job's status document."""
        return f"tenant:{job.tenant}:{job.kind}:{job.id}:status"

    def progress(self, job: JobKey) -> str:
        """Return the key of the job's progress document."""
        return f"tenant:{job.tenant}:{job.kind}:{job.id}:progress"

    def documents(self, job: JobKey) -> tuple[str, str]:
        """Return the keys of the job's status and progress documents."""
        tenant, kind, job_id = job
        prefix = f"tenant:{tenant}:{kind}:{job_id}:"
        return prefix + "status", prefix + "progress"

    def ended(self, job: JobKey) -> str:
        """Return the key of the tombstone, which outlives the documents of an ended job."""
        return f"tenant:{job.tenant}:{job.kind}:{job.id}:ended"

    def feed(self, tenant: str) -> str:
        """Return the name of the tenant's feed: a sorted set of changed jobs, and its channel."""
        return f"tenant:{tenant}:feed"

    def legacy_progress(self, job: JobKey) -> str:
        """Return the progress key that workers wrote before keys contained the tenant."""
        kind = find_kind(job.kind)
        prefix = (kind and kind.legacy_prefix) or f"job:{job.kind}:"
        return f"{prefix}{job.id}:progress"

    def ready(self, group: str) -> str:
        """Return the key of the group's ready queue: tenants that have entries to read."""
        return f"jobtrail:ready:{group}"

    def ready_of(self, group: str, tenant: str) -> str:
        """Return the key of the ready queue in which an append marks this tenant."""
        del tenant  # there is one queue for all
        return self.ready(group)

    def queues(self, group: str) -> list[QueueKeys]:
        """Return the keys of each ready queue of the group, and of its leased tenants."""
        return [QueueKeys(self.ready(group), self.leased(group))]

    def queue_of(self, group: str, tenant: str) -> QueueKeys:
        """Return the keys of the ready queue in which an append marks this tenant."""
        del tenant  # there is one queue for all
        return self.queues(group)[0]

    def leased(self, group: str) -> str:
        """Return the key of the group's leased tenants, which a consumer is reading."""
        return f"jobtrail:leased:{group}"

    def stale(self, group: str) -> str:
        """Return the key of the group's tenants with deliveries to be taken over."""
        return f"jobtrail:stale:{group}"

    def measured(self, tenant: str) -> str:
        """Return the key of the last measurement of the tenant's stream: entries and bytes."""
        return f"tenant:{tenant}:measured"

    def shed(self) -> str:
        """Return the key of the hash of shed events: their number by tenant."""
        return "jobtrail:shed"

    def groups(self) -> str:
        """Return the key of the set of registered consumer groups."""
        return "jobtrail:groups"

    def sweeper(self) -> str:
        """Return the key of the lock of the consumer that sweeps."""
        return "jobtrail:sweeper"

    def reaper(self) -> str:
        """Return the key of the lock of the consumer that ends stalled jobs."""
        return "jobtrail:reaper"

    def retention(self) -> str:
        """Return the key of the lock of the consumer that trims streams and drops old history."""
        return "jobtrail:retention"

    def database(self, group: str) -> str:
        """Return the key of the identity of the database server that the group last wrote to."""
        return f"jobtrail:database:{group}"

    def sampler(self) -> str:
        """Return the key of the lock of the consumer that takes samples."""
        return "jobtrail:sampler"

    def samples(self) -> str:
        """Return the key of the list of samples of the last hour."""
        return "jobtrail:samples"

    def day_samples(self) -> str:
        """Return the key of the list of samples of the last day, one a minute."""
        return "jobtrail:samples:day"

    def database_figures(self) -> str:
        """Return the key of what consumers last saw of PostgreSQL."""
        return "jobtrail:samples:database"

    def tenant_minutes(self) -> str:
        """Return the key of the list of tenants' figures of the last hour, one a minute."""
        return "jobtrail:samples:tenants"

    def job_figures(self) -> str:
        """Return the key of the lock of the consumer that adds up the figures of jobs."""
        return "jobtrail:figures"

    def beats(self) -> str:
        """Return the key of the hash of the consumers' last reports on themselves."""
        return "jobtrail:consumers"

    def applied(self) -> str:
        """Return the key of the hash of the number of entries applied so far, by group."""
        return "jobtrail:applied"

    def activity(self, group: str) -> str:
        """Return the key of the sorted set of tenants by entries that the group applied lately."""
        return f"jobtrail:activity:{group}"

    def behind(self) -> str:
        """Return the key of the document of the tenants with the most lag at the last sample."""
        return "jobtrail:behind"

    def dead_tenants(self) -> str:
        """Return the key of the sorted set of tenants with dead letters, by the last one's time."""
        return "jobtrail:dead"

    def consumer(self, group: str, consumer: str) -> str:
        """Return the key of the heartbeat of a consumer."""
        return f"jobtrail:consumer:{group}:{consumer}"


class ClusterKeys(Keys):
    """Names of keys on a Redis Cluster: the tenant is the hash tag of all its keys.

    Args:
        ready_tags: the hash tags of ready queues.
    """

    publish = "SPUBLISH"
    """Only the nodes of the feed's slot get its messages, not all of them."""

    def __init__(self, ready_tags: ReadyTags) -> None:
        self._ready_tags = ready_tags

    def stream(self, tenant: str) -> str:
        """Return the key of the tenant's stream."""
        return super().stream(_tag(tenant))

    def pattern(self, ending: str, tenant: str | None = None) -> str:
        """Return the pattern for SCAN of a tenant's keys, or of all tenants', with an ending."""
        return super().pattern(ending, _tag(tenant or "*"))

    def by_slot(self, items: Iterable[T], tenant: Callable[[T], str]) -> list[list[T]]:
        """Divide items by their tenants."""
        parts: dict[str, list[T]] = {}
        for item in items:
            parts.setdefault(tenant(item), []).append(item)
        return list(parts.values())

    def tenant_in(self, part: str) -> str:
        """Return the tenant of the part of a key's name that has the tenant, as its hash tag."""
        return part.removeprefix("{").removesuffix("}")

    def dead(self, tenant: str) -> str:
        """Return the key of the stream of the tenant's dead letters."""
        return super().dead(_tag(tenant))

    def dead_index(self, tenant: str) -> str:
        """Return the key of the hash from entry id to dead letter, of the tenant's dead letters."""
        return super().dead_index(_tag(tenant))

    def dead_settled(self, tenant: str) -> str:
        """Return the key of the hash of entries that were requeued or discarded early."""
        return super().dead_settled(_tag(tenant))

    def status(self, job: JobKey) -> str:
        """Return the key of the job's status document."""
        return super().status(_tagged(job))

    def progress(self, job: JobKey) -> str:
        """Return the key of the job's progress document."""
        return super().progress(_tagged(job))

    def documents(self, job: JobKey) -> tuple[str, str]:
        """Return the keys of the job's status and progress documents."""
        return super().documents(_tagged(job))

    def ended(self, job: JobKey) -> str:
        """Return the key of the tombstone, which outlives the documents of an ended job."""
        return super().ended(_tagged(job))

    def feed(self, tenant: str) -> str:
        """Return the name of the tenant's feed: a sorted set of changed jobs, and its channel."""
        return super().feed(_tag(tenant))

    def measured(self, tenant: str) -> str:
        """Return the key of the last measurement of the tenant's stream: entries and bytes."""
        return super().measured(_tag(tenant))

    def ready_of(self, group: str, tenant: str) -> str:
        """Return the key of the ready queue on the node of the tenant's stream."""
        return self.queue_of(group, tenant).ready

    def queues(self, group: str) -> list[QueueKeys]:
        """Return the keys of the ready queue of each node."""
        return [_queue(tag, group) for tag in self._ready_tags.tags]

    def queue_of(self, group: str, tenant: str) -> QueueKeys:
        """Return the keys of the ready queue on the node of the tenant's stream."""
        return _queue(self._ready_tags.tag_of(self.stream(tenant)), group)


@lru_cache(REMEMBERED)
def _queue(tag: str, group: str) -> QueueKeys:
    return QueueKeys(f"jobtrail:{{{tag}}}:ready:{group}", f"jobtrail:{{{tag}}}:leased:{group}")


def _tag(tenant: str) -> str:
    return f"{{{tenant}}}"


def _tagged(job: JobKey) -> JobKey:
    return job._replace(tenant=_tag(job.tenant))
