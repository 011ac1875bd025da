"""Every key name, and nothing else builds one.

The braces of `tenant:{tenant}:…` in the documentation stand for values. On a Redis Cluster a bucket
with a hash tag will stand in front of every key of its tenants; that is why names are given by an
object and ready queues are asked for by tenant.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
JOB_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
JOB_ID = re.compile(JOB_ID_PATTERN.replace("$", r"\Z"))

STREAM_PATTERN = "tenant:*:events"


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

    def status(self, job: JobKey) -> str:
        """Name the document of a job's status."""
        return f"tenant:{job.tenant}:{job.kind}:{job.id}:status"

    def progress(self, job: JobKey) -> str:
        """Name the document of a job's progress."""
        return f"tenant:{job.tenant}:{job.kind}:{job.id}:progress"

    def ended(self, job: JobKey) -> str:
        """Name the mark that outlives an ended job's expired documents."""
        return f"tenant:{job.tenant}:{job.kind}:{job.id}:ended"

    def legacy_progress(self, job: JobKey) -> str:
        """Name the progress key of workers that predate tenants in keys."""
        return (
            f"job:{job.id}:progress" if job.kind == "job" else f"job:{job.kind}:{job.id}:progress"
        )

    def ready(self, group: str) -> str:
        """Name the group's queue of tenants with something to read."""
        return f"jobtrail:ready:{group}"

    def leased(self, group: str) -> str:
        """Name the group's queue of tenants that a consumer is reading."""
        return f"jobtrail:leased:{group}"

    def stale(self, group: str) -> str:
        """Name the group's queue of tenants with deliveries to be taken over."""
        return f"jobtrail:stale:{group}"

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

    def consumer(self, group: str, consumer: str) -> str:
        """Name the heartbeat of a consumer that is alive."""
        return f"jobtrail:consumer:{group}:{consumer}"
