"""Every key name, and nothing else builds one.

The braces of `tenant:{tenant}:…` in the documentation stand for values. On a Redis Cluster a bucket
with a hash tag will stand in front of every key of its tenants; that is why names are given by an
object and ready queues are asked for by tenant.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .kinds import find_kind

TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
JOB_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
JOB_ID = re.compile(JOB_ID_PATTERN.replace("$", r"\Z"))

STREAM_PATTERN = "tenant:*:events"
LEGACY_PATTERN = "job:*:progress"
STREAM_END, DEAD_END = b":events", b":dead"
SWEPT_PATTERN = "tenant:*:[ed][ve][ea][nd]*"
"""Logs and dead letters in one scan of the keyspace, and hardly anything else."""


class JobKey(NamedTuple):
    """One job: nothing of it is ever shared with another tenant or kind."""

    tenant: str
    kind: str
    id: str


class InvalidTenant(ValueError):
    """The tenant's name is not of the allowed form; nothing was sent."""


def check_tenant(tenant: str) -> str:
    """Give the tenant back, or raise InvalidTenant."""
    if not isinstance(tenant, str) or not TENANT.match(tenant):
        raise InvalidTenant(
            f"{tenant!r} is no tenant: 1 to 64 letters, digits, underscores and hyphens"
        )
    return tenant


class Keys:
    """Key names on a single node or Sentinel."""

    def stream(self, tenant: str) -> str:
        """Name the tenant's log."""
        return f"tenant:{tenant}:events"

    def tenant_of(self, stream: str) -> str:
        """Give the tenant whose log this is."""
        return stream.removeprefix("tenant:").removesuffix(":events")

    def dead(self, tenant: str) -> str:
        """Name the tenant's stream of dead letters."""
        return f"tenant:{tenant}:dead"

    def dead_index(self, tenant: str) -> str:
        """Return the key of the hash of the tenant's dead letters by the entries that they hold."""
        return f"tenant:{tenant}:index:dead"

    def dead_settled(self, tenant: str) -> str:
        """Return the key of the hash of entries that were requeued or discarded before all groups.

        A group that comes to one of them later does not bury it again.
        """
        return f"tenant:{tenant}:settled:dead"

    def status(self, job: JobKey) -> str:
        """Name the document of a job's status."""
        return f"tenant:{job.tenant}:{job.kind}:{job.id}:status"

    def progress(self, job: JobKey) -> str:
        """Name the document of a job's progress."""
        return f"tenant:{job.tenant}:{job.kind}:{job.id}:progress"

    def documents(self, job: JobKey) -> tuple[str, str]:
        """Name both documents of a job."""
        tenant, kind, job_id = job
        prefix = f"tenant:{tenant}:{kind}:{job_id}:"
        return prefix + "status", prefix + "progress"

    def ended(self, job: JobKey) -> str:
        """Name the mark that outlives an ended job's expired documents."""
        return f"tenant:{job.tenant}:{job.kind}:{job.id}:ended"

    def feed(self, tenant: str) -> str:
        """Name the sorted set of the tenant's changed jobs, and the channel that tells of them."""
        return f"tenant:{tenant}:feed"

    def legacy_progress(self, job: JobKey) -> str:
        """Name the progress key of workers that predate tenants in keys."""
        kind = find_kind(job.kind)
        prefix = (kind and kind.legacy_prefix) or f"job:{job.kind}:"
        return f"{prefix}{job.id}:progress"

    def ready(self, group: str) -> str:
        """Name the group's queue of tenants with something to read."""
        return f"jobtrail:ready:{group}"

    def leased(self, group: str) -> str:
        """Name the group's queue of tenants that a consumer is reading."""
        return f"jobtrail:leased:{group}"

    def stale(self, group: str) -> str:
        """Name the group's queue of tenants with deliveries to be taken over."""
        return f"jobtrail:stale:{group}"

    def measured(self, tenant: str) -> str:
        """Name what the tenant's log was last found to take: entries and bytes, for a second."""
        return f"tenant:{tenant}:measured"

    def shed(self) -> str:
        """Name the hash of how many `progress` events a full log turned away, by tenant."""
        return "jobtrail:shed"

    def groups(self) -> str:
        """Name the set of registered consumer groups."""
        return "jobtrail:groups"

    def sweeper(self) -> str:
        """Name the lock of the one consumer that sweeps."""
        return "jobtrail:sweeper"

    def reaper(self) -> str:
        """Name the lock of the one consumer that ends stalled jobs."""
        return "jobtrail:reaper"

    def retention(self) -> str:
        """Name the lock of the one consumer that trims logs and drops old history."""
        return "jobtrail:retention"

    def database(self, group: str) -> str:
        """Return the key of the database server that a group was last compared with."""
        return f"jobtrail:database:{group}"

    def sampler(self) -> str:
        """Name the lock of the one consumer that takes samples."""
        return "jobtrail:sampler"

    def samples(self) -> str:
        """Name the list of samples of the last hour."""
        return "jobtrail:samples"

    def beats(self) -> str:
        """Name the hash of what consumers last said of themselves."""
        return "jobtrail:consumers"

    def applied(self) -> str:
        """Name the hash of entries applied, by group, since ever."""
        return "jobtrail:applied"

    def activity(self, group: str) -> str:
        """Name the sorted set of tenants by entries that the group applied of late."""
        return f"jobtrail:activity:{group}"

    def behind(self) -> str:
        """Name the document of the tenants that were furthest behind at the last sample."""
        return "jobtrail:behind"

    def dead_tenants(self) -> str:
        """Name the sorted set of tenants with dead letters, by when the last was buried."""
        return "jobtrail:dead"

    def consumer(self, group: str, consumer: str) -> str:
        """Name the heartbeat of a consumer that is alive."""
        return f"jobtrail:consumer:{group}:{consumer}"
