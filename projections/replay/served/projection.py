"""The interface of a projection whose data is compared with the fold.

Used by `projections.registry.definition`, `projections.replay.comparison` and
`projections.replay.verify`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from projections.replay.served.facts import Facts
from projections.replay.tenant_shares import ALL, Share
from projections.state import JobState
from streams.entry_ids import EntryId
from streams.keys import JobKey


class ServedProjection(Protocol):
    """The data of one projection.

    All methods raise redis.RedisError or psycopg.Error where its server is away.
    """

    group: str
    """The name of the projection."""
    provenance_prefix: str
    """The prefix of the names of provenances among the facts."""

    def read(self, jobs: Collection[JobKey]) -> Mapping[JobKey, Facts]:
        """Return the facts of these jobs, without the jobs that are not served."""
        ...

    def matching(self, states: Mapping[JobKey, JobState]) -> Collection[JobKey]:
        """Return jobs that are served exactly as their states are written; some may be missing.

        This takes a third of the time of reading and comparing facts.
        """
        ...

    def facts(self, job: JobKey, state: JobState) -> Facts:
        """Return the facts as which a state is served."""
        ...

    def may_be_absent(self, state: JobState, newest: EntryId) -> bool:
        """Return True if the data of a state with this newest entry may have expired."""
        ...

    def pages(self, tenant: str | None, share: Share = ALL) -> Iterator[list[JobKey]]:
        """Yield the keys of all served jobs of a tenant or a share; some may be repeated."""
        ...
