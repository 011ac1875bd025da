"""Members of a Redis Cluster: the replicas that a primary may have, by its own list of nodes.

Used by `streams.cluster_appends`.
"""

from __future__ import annotations

MASTER, SLOTS = 3, 8
"""The columns of CLUSTER NODES with the id of a replica's primary, and the first slots."""


def most_replicas(nodes: str) -> int:
    """Return how many replicas a primary may have, from its reply to CLUSTER NODES.

    Replicas that are lost count as long as the cluster lists them. So do primaries without slots:
    one that was lost becomes a replica when it comes back.
    """
    rows = [line.split() for line in nodes.splitlines()]
    own = next((row[0] for row in rows if "myself" in row[2]), None)
    return sum(
        row[MASTER] == own or (row[MASTER] == "-" and len(row) == SLOTS)
        for row in rows
        if row[0] != own
    )
