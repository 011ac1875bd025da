"""All checks of `jobtrail doctor`, in the order in which they are run and printed.

A check is one entry here and one function in a module beside this one. `ops.doctor.examination`
runs them. Used by `ops.doctor.examination`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import NamedTuple

from ops.doctor.cluster.checks import coverage, replicated, slots, untagged
from ops.doctor.dead_letter_checks import dead_letter_memory, dead_letters
from ops.doctor.deployment import Deployment
from ops.doctor.finding import Verdict
from ops.doctor.postgres_checks import (
    audit_grants,
    connections,
    history_partitions,
    indexes,
    migrations,
    postgres_version,
    postgres_writes,
    read_replica,
    reading_roles,
    replaced_states,
)
from ops.doctor.redis_checks import (
    eviction,
    largest_command,
    persistence,
    redis_version,
    redis_writes,
    replicas,
    sentinels,
)
from ops.doctor.stream_checks import (
    group_lag,
    shed_progress,
    stream_ids,
    trimming,
    unexpected_keys,
)
from projections.registry.lookup import projection_names


class Need(Enum):
    """The precondition of a check."""

    REDIS = "redis"
    POSTGRES = "postgres"
    TABLES = "tables"
    """PostgreSQL with all migrations."""


class Check(NamedTuple):
    """One check."""

    name: str
    needs: Need
    run: Callable[[Deployment], Verdict | None]
    """Returns None if there is nothing to check."""


CHECKS = (
    Check("redis sentinels", Need.REDIS, sentinels),
    Check("cluster slots", Need.REDIS, slots),
    Check("cluster full coverage", Need.REDIS, coverage),
    Check("cluster replicas", Need.REDIS, replicated),
    Check("cluster stream names", Need.REDIS, untagged),
    Check("redis version", Need.REDIS, redis_version),
    Check("redis persistence", Need.REDIS, persistence),
    Check("redis maxmemory-policy", Need.REDIS, eviction),
    Check("redis writes", Need.REDIS, redis_writes),
    Check("redis replicas", Need.REDIS, replicas),
    Check("redis proto-max-bulk-len", Need.REDIS, largest_command),
    Check("stream ids", Need.REDIS, stream_ids),
    *(
        Check(f"lag of {group}", Need.REDIS, partial(group_lag, group))
        for group in projection_names()
    ),
    Check("trimming", Need.REDIS, trimming),
    Check("shed progress", Need.REDIS, shed_progress),
    Check("dead letters", Need.REDIS, dead_letters),
    Check("dead letters' memory", Need.REDIS, dead_letter_memory),
    Check("odd keys", Need.REDIS, unexpected_keys),
    Check("postgres version", Need.POSTGRES, postgres_version),
    Check("migrations", Need.POSTGRES, migrations),
    Check("indexes", Need.POSTGRES, indexes),
    Check("reading roles", Need.TABLES, reading_roles),
    Check("audit log", Need.TABLES, audit_grants),
    Check("history partitions", Need.TABLES, history_partitions),
    Check("replaced states", Need.TABLES, replaced_states),
    Check("connection budget", Need.POSTGRES, connections),
    Check("postgres writes", Need.POSTGRES, postgres_writes),
    Check("postgres replica", Need.POSTGRES, read_replica),
)
