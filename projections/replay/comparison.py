"""Comparison of what a projection serves with the fold of all events. Resets and `verify` use it.

A first comparison takes the events of a walk, while consumers go on: a job that differs may merely
have changed in between. So each such job is compared again (`recheck`): what is served is read
first, and then all events, including those appended since. A reset of rows does this under its lock
instead. Used by `projections.registry.definition`, `projections.replay.reset.documents`,
`projections.replay.reset.rows` and `projections.replay.verify`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from projections.replay.events.parts import Part
from projections.replay.events.sources import Sources
from projections.replay.folded_jobs import Folded, fold_part
from projections.replay.served.facts import Difference, Facts, differences
from projections.replay.served.projection import ServedProjection
from streams.entry_ids import EntryId
from streams.keys import JobKey


class Recheck(NamedTuple):
    """The second comparison of a job."""

    part: Part
    """All its events."""
    folded: Folded | None
    """The fold of the events; None if there are none."""
    served: Facts | None
    """None if the job is not served."""
    found: list[Difference]

    @property
    def job(self) -> JobKey:
        """The key of the job."""
        return self.part.job


class Comparison:
    """Comparison of one projection with all events.

    All methods raise redis.RedisError or psycopg.Error where a server is away.

    Args:
        sources: the events.
        served: the projection.
        horizon: the entry id before which history has been dropped, so that jobs that began before
            it cannot be folded; None if no history has been dropped.
    """

    def __init__(
        self, sources: Sources, served: ServedProjection, horizon: EntryId | None = None
    ) -> None:
        self._sources = sources
        self._served = served
        self._horizon = horizon

    def differing(self, batch: Sequence[Folded]) -> list[JobKey]:
        """Return the jobs of a batch that differ in the first comparison."""
        matching = set(self._served.matching({each.job: each.state for each in batch}))
        others = [each for each in batch if each.job not in matching]
        served = self._served.read([each.job for each in others])
        return [each.job for each in others if self._compare(each, served.get(each.job))]

    def surplus(self) -> Iterator[list[JobKey]]:
        """Yield jobs that are served and have no event, in a first comparison."""
        for page in self._served.pages(self._sources.tenant, self._sources.share):
            if jobs := self._sources.without_events(page):
                yield jobs

    def recheck(self, jobs: Collection[JobKey]) -> Iterator[Recheck]:
        """Compare jobs a second time."""
        for portion in self._sources.portions(jobs):
            yield from self._recheck(portion)

    def matches_settled(self, recheck: Recheck, settled: EntryId) -> bool:
        """Return True if the job is served without some of the latest events, and else rightly.

        These are events after the entry id `settled`, which consumers have not applied yet.
        """
        (job, held, tail, *_), served = recheck.part, recheck.served
        entries = sorted([*held, *tail], key=lambda entry: entry.entry_id)
        late = [index for index, entry in enumerate(entries) if entry.entry_id > settled]
        parts = (Part(job, entries[:index], [], []) for index in late)
        return any(not self._differences(job, fold_part(part), served) for part in parts)

    def _recheck(self, jobs: Collection[JobKey]) -> Iterator[Recheck]:
        served = self._served.read(jobs)
        self._sources.read_on(sorted({job.tenant for job in jobs}))
        for job, part in self._sources.events_of(jobs).items():
            folded, facts = fold_part(part), served.get(job)
            found = self._differences(job, folded, facts)
            if found and self._names_trimmed_entries(part, found):
                found = []
            yield Recheck(part, folded, facts, found)

    def _differences(
        self, job: JobKey, folded: Folded | None, facts: Facts | None
    ) -> list[Difference]:
        if folded is not None:
            return self._compare(folded, facts)
        return [] if self._began_before_history(facts) else differences(job, facts, None)

    def _compare(self, folded: Folded, facts: Facts | None) -> list[Difference]:
        if facts is None and self._served.may_be_absent(folded.state, folded.newest):
            return []
        if self._began_before_history(facts):
            return []
        return differences(folded.job, facts, self._served.facts(folded.job, folded.state))

    def _began_before_history(self, facts: Facts | None) -> bool:
        """Return True if the job began before the history that is kept."""
        if facts is None or self._horizon is None:
            return False
        began = _entry_id(facts.get(f"{self._served.provenance_prefix}created"))
        return began is not None and began < self._horizon

    def _names_trimmed_entries(self, part: Part, found: Sequence[Difference]) -> bool:
        """Return True if only provenances differ, and the served ones are trimmed entries.

        A retried append can add an event twice. The history keeps its earliest and its latest
        entry; after the stream was trimmed, a provenance may still name another one. The facts are
        the same.
        """
        prefix = self._served.provenance_prefix
        if any(not each.field.startswith(prefix) for each in found):
            return False
        known = {entry.entry_id for entry in (*part.held, *part.tail)}
        oldest = self._sources.oldest_entry(part.job.tenant)
        return all(
            entry_id is not None and entry_id not in known and (oldest is None or entry_id < oldest)
            for entry_id in (_entry_id(each.served) for each in found)
        )


def _entry_id(provenance: object) -> EntryId | None:
    """Return the entry id in a served provenance, `ATTEMPT/ID` or `ID`; None if it has none."""
    if not isinstance(provenance, str):
        return None
    try:
        return EntryId.parse(provenance.rpartition("/")[2])
    except ValueError:
        return None
