"""The doctor's checks of dead letters: how many there are, and how much memory they take.

Used by `ops.doctor.checks`.
"""

from __future__ import annotations

from consumers.dead_letters.tenants import dead_counts
from consumers.round_trips import round_trips
from ops.doctor.deployment import Deployment
from ops.doctor.finding import Verdict
from ops.doctor.summaries import by_tenant, printable
from ops.text.plurals import counted
from streams.keys import TENANT

NEAR = 0.8
"""The part of the memory limit from which on a tenant is reported."""


def dead_letters(deployment: Deployment) -> Verdict:
    """Check whether there are dead letters."""
    client = deployment.client
    tenants = [name for name in deployment.dead_tenants if TENANT.match(name)]
    found = zip(tenants, dead_counts(client, tenants, deployment.keys), strict=True)
    counts = {tenant: count for tenant, count in found if count}
    return Verdict(
        ok=not counts,
        found=by_tenant("entry", counts, "entries") if counts else "none",
        advice="see why: jobtrail dead list; then jobtrail dead requeue, or discard",
    )


def dead_letter_memory(deployment: Deployment) -> Verdict:
    """Check whether the oldest dead letters of a tenant are dropped, or will be soon."""
    limit = deployment.settings.dead_max_bytes
    sizes = _sizes(deployment)
    near = {tenant: size for tenant, size in sizes.items() if size >= NEAR * limit}
    return Verdict(
        ok=not near,
        found=by_tenant("byte", near) if near else counted(sum(sizes.values()), "byte"),
        advice="the oldest are dropped above JOBTRAIL_DEAD_MAX_BYTES a tenant: requeue or discard"
        " them, or raise it",
    )


def _sizes(deployment: Deployment) -> dict[str, int]:
    """Return the bytes of memory that each tenant's dead letters take."""
    client = deployment.client
    tenants = deployment.dead_tenants
    names = [deployment.keys.dead(tenant) for tenant in tenants]
    replies = round_trips(client, (("MEMORY", "USAGE", name, "SAMPLES", 0) for name in names))
    return {
        printable(tenant): size
        for tenant, size in zip(tenants, replies, strict=True)
        if isinstance(size, int)
    }
