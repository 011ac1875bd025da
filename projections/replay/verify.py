"""Verification: all jobs are folded again and compared with what is served.

A job that differs is compared again before it is reported, because it may have changed in between.
How far the group has settled the stream is read before that. If all events of the job were settled,
what is served is wrong. If some were not, it may only be late, and the group gets some time. Once
the group has settled everything that was appended before the verification began, a job that still
receives events is right if it is served as its events up to some later entry result in. Used by
`projections.registry.definition`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping

from projections.replay.comparison import Comparison, Recheck
from projections.replay.events.sources import Sources
from projections.replay.folded_jobs import batched, fold_jobs
from projections.replay.served.facts import Difference
from projections.replay.served.projection import ServedProjection
from streams.entry_ids import EntryId
from streams.keys import JobKey

SETTLE_SECONDS = 30.0
"""The time that a group gets to settle the events of jobs that differ."""
RECHECK_SECONDS = 0.1
"""The time between two comparisons of such a job."""

Settled = Callable[[Collection[str]], Mapping[str, EntryId | None]]
"""Returns the entry ids up to which a group has settled the streams of these tenants.

None stands for a stream that the group does not read: nothing more of it will be settled.
"""


class Verifier:
    """Verification of one projection; use each object once.

    Args:
        sources: the events.
        served: the projection.
        settled: reads how far the projection's group is.
        horizon: the entry id before which history has been dropped; None if none has been.
        settle_seconds: the time for the group to settle events; after one timeout, later jobs are
            not waited for.
        on_progress: called with the number of events compared since the last call.
    """

    def __init__(
        self,
        sources: Sources,
        served: ServedProjection,
        settled: Settled,
        *,
        horizon: EntryId | None = None,
        settle_seconds: float = SETTLE_SECONDS,
        on_progress: Callable[[int], None] = lambda _events: None,
    ) -> None:
        self.verified = 0
        """The number of jobs that were compared."""
        self._sources = sources
        self._comparison = Comparison(sources, served, horizon)
        self._settled = settled
        self._settle_seconds = settle_seconds
        self._on_progress = on_progress

    def run(self) -> Iterator[Difference]:
        """Yield every difference, job by job.

        Raises:
            redis.RedisError, psycopg.Error: a server is away; begin again.
        """
        self._sources.read_streams()
        for batch in batched(fold_jobs(self._sources.walk())):
            self.verified += len(batch)
            yield from self._confirmed(self._comparison.differing(batch))
            self._on_progress(sum(folded.events for folded in batch))
        for jobs in self._comparison.surplus():
            yield from self._confirmed(jobs)

    def _confirmed(self, jobs: Collection[JobKey]) -> Iterator[Difference]:
        """Yield the differences of jobs that are not merely late."""
        deadline = time.monotonic() + self._settle_seconds
        while jobs:
            late = []
            settled = self._settled(sorted({job.tenant for job in jobs}))
            for recheck in self._comparison.recheck(jobs):
                if recheck.found and self._may_be_late(recheck, settled[recheck.job.tenant]):
                    late.append(recheck)
                else:
                    yield from recheck.found
            jobs = [recheck.job for recheck in late]
            if late and time.monotonic() >= deadline:
                self._settle_seconds = 0.0
                for recheck in late:
                    yield from recheck.found
                return
            if late:
                time.sleep(RECHECK_SECONDS)

    def _may_be_late(self, recheck: Recheck, settled: EntryId | None) -> bool:
        """Return True if the job must be compared again.

        The differences of a job that receives events all the time, and is served rightly up to one
        of them, are removed from `recheck`.
        """
        if recheck.folded is None or settled is None or recheck.folded.newest <= settled:
            return False
        first_end = self._sources.first_end(recheck.job.tenant)
        if settled >= first_end and self._comparison.matches_settled(recheck, settled):
            recheck.found.clear()
            return False
        return True
