"""The doctor's checks of a Redis Cluster as a whole; without a cluster there is nothing to check.

Used by `ops.doctor.checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from ops.doctor.deployment import Deployment
from ops.doctor.finding import Verdict
from ops.doctor.redis_checks import config_of
from ops.doctor.summaries import first_of, printable
from streams.cluster import Cluster, keys_of
from streams.discovery import all_streams
from streams.durability import assurance_of
from streams.keys import STREAM_END, Keys
from streams.servers.slots import SLOTS
from streams.wire import as_text

ClusterCheck = Callable[[Deployment, Cluster], Verdict]


def _of_cluster(check: ClusterCheck) -> Callable[[Deployment], Verdict | None]:
    """Return the check of a deployment; without a cluster it has no verdict."""

    @wraps(check)
    def run(deployment: Deployment) -> Verdict | None:
        client = deployment.client
        return check(deployment, client) if isinstance(client, Cluster) else None

    return run


@_of_cluster
def slots(_deployment: Deployment, cluster: Cluster) -> Verdict:
    """Check whether each slot has a primary."""
    cluster.read_map()  # what the client knows may be old
    missing = sum(cluster.address_of(slot) is None for slot in range(SLOTS))
    return Verdict(
        ok=not missing,
        found=f"{missing} without a node" if missing else "all have a node",
        advice="appends for their tenants fail: add them to a node (redis-cli --cluster fix)",
    )


@_of_cluster
def coverage(deployment: Deployment, _cluster: Cluster) -> Verdict:
    """Check whether a cluster that has lost a node goes on to serve the tenants of the others."""
    found = {
        server.address: config_of(server.client, "cluster-require-full-coverage")
        for server in deployment.servers
    }
    stops = [where for where, value in found.items() if value == "yes"]
    unknown = [where for where, value in found.items() if not value]
    if stops:
        text = f"required by {first_of(stops)}"
    else:
        text = f"not readable on {first_of(unknown)}" if unknown else "not required"
    return Verdict(
        ok=not stops,
        found=text,
        advice="set cluster-require-full-coverage no on each node: the loss of one stops all"
        " tenants",
        # It is yes unless somebody has set it.
        warns=bool(unknown),
    )


@_of_cluster
def replicated(deployment: Deployment, _cluster: Cluster) -> Verdict:
    """Check whether each primary has a replica that has received its writes, to replace it."""
    alone = [
        server.address for server in deployment.servers if not assurance_of(server.info).replicas
    ]
    return Verdict(
        ok=not alone,
        found=f"none in step for {first_of(alone)}" if alone else "one for each primary",
        advice="start a replica of each: while such a primary is away, its tenants are not served",
    )


@_of_cluster
def untagged(_deployment: Deployment, cluster: Cluster) -> Verdict:
    """Check whether workers append to streams whose tenant is not the hash tag.

    The names are those of a single server, `tenant:42:events`, which no consumer reads here.
    """
    # One scan of both forms: a stream that is created meanwhile has its own form, too.
    streams, keys = map(as_text, all_streams(cluster, Keys().pattern(STREAM_END))), keys_of(cluster)
    names = [name for name in streams if name != keys.stream(keys.tenant_of(name))]
    found = first_of(sorted(printable(name) for name in names))
    return Verdict(
        ok=not names,
        found=found or "none",
        advice="nobody reads them: on a cluster append to tenant:{TENANT}:events, with the braces",
    )
