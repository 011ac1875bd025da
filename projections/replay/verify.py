"""Verifying: folding everything again and holding it against what is served.

Where the two differ on the way, the job is looked at again before anything is said: how far the
group has settled the log is read first, then what is served, then the events. What is served then
and differs from the fold of events that were all settled before is wrong; with an unsettled event
among them it may only be late, and is waited for. Once a group has settled what was appended before
the verification began, it is enough that it has come so far with the job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from projections.fold import fold_all
from projections.replay.events.parts import Part
from projections.replay.events.portions import READ_BYTES
from projections.replay.events.sources import Sources
from projections.replay.served import Difference, Facts, Served, differences
from projections.state import JobState
from streams.entry_ids import FIRST, EntryId
from streams.keys import JobKey

BATCH = 500
"""Jobs compared at once."""
SETTLE_SECONDS = 30.0
"""How long to wait, at most, for a group to settle what it has not."""
LOOK_AGAIN_SECONDS = 0.1

Settled = Callable[[Collection[str]], Mapping[str, EntryId | None]]
"""How far a group has settled these tenants' logs: up to an entry id, or all of it (None)."""


class Folded(NamedTuple):
    """A job as its events say."""

    job: JobKey
    state: JobState
    newest: EntryId
    events: int
    held: int
    """How many of the events the history holds."""
    bytes: int
    """The size of the events."""


class Look(NamedTuple):
    """A second look at a job."""

    part: Part
    """All its events."""
    folded: Folded | None
    """What they say; None where there are none."""
    served: Facts | None
    found: list[Difference]

    @property
    def job(self) -> JobKey:
        """At which."""
        return self.part.job


def fold_jobs(parts: Iterable[Part]) -> Iterator[Folded]:
    """Fold a walk's events, job by job."""
    for job, own in groupby(parts, itemgetter(0)):
        folded = _fold(job, own)
        if folded is not None:
            yield folded


def fold_part(part: Part) -> Folded | None:
    """Fold all events of one job; None where there are none."""
    return _fold(part.job, [part])


def batched(folded: Iterable[Folded], size: int = BATCH) -> Iterator[list[Folded]]:
    """Yield so many at a time, or fewer where their events are large."""
    batch, held = list[Folded](), 0
    for each in folded:
        batch.append(each)
        held += each.bytes
        if len(batch) >= size or held >= READ_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


class Comparison:
    """What is served, beside what the events say.

    Args:
        horizon: jobs that began before it cannot be folded, because the history has been dropped
            as far as that; None where none has been.
    """

    def __init__(self, sources: Sources, served: Served, horizon: EntryId | None = None) -> None:
        self._sources = sources
        self._served = served
        self._horizon = horizon

    def suspects(self, batch: Sequence[Folded]) -> list[JobKey]:
        """Give those of the batch that seem to be served otherwise."""
        matching = set(self._served.matching({each.job: each.state for each in batch}))
        others = [each for each in batch if each.job not in matching]
        served = self._served.read([each.job for each in others])
        return [each.job for each in others if self._differing(each, served.get(each.job))]

    def again(self, jobs: Collection[JobKey]) -> Iterator[Look]:
        """Look at jobs again: what is served first, and then all events, the newest included."""
        for portion in self._sources.portions(jobs):
            yield from self._again(portion)

    def _again(self, jobs: Collection[JobKey]) -> Iterator[Look]:
        served = self._served.read(jobs)
        self._sources.read_on(sorted({job.tenant for job in jobs}))
        for job, part in self._sources.events_of(jobs).items():
            folded, facts = fold_part(part), served.get(job)
            found = self._found(job, folded, facts)
            twin = bool(found) and self._only_a_twin(part, found)
            yield Look(part, folded, facts, [] if twin else found)

    def on_the_way(self, look: Look, settled: EntryId) -> bool:
        """Whether what is served is right but for the latest events, which are not settled yet."""
        (job, held, tail, *_), served = look.part, look.served
        entries = sorted([*held, *tail], key=lambda entry: entry.entry_id)
        late = [at for at, entry in enumerate(entries) if entry.entry_id > settled]
        parts = (Part(job, entries[:at], [], []) for at in late)
        return any(not self._found(job, fold_part(part), served) for part in parts)

    def surplus(self) -> Iterator[list[JobKey]]:
        """Give what is served though nothing was ever said of it; look at it again."""
        for page in self._served.pages(self._sources.tenant, self._sources.share):
            if jobs := self._sources.without_events(page):
                yield jobs

    def beyond(self, facts: Facts | None) -> bool:
        """Whether the job began before the history that is kept."""
        if facts is None or self._horizon is None:
            return False
        began = _entry_id(facts.get(f"{self._served.positions}created"))
        return began is not None and began < self._horizon

    def _differing(self, folded: Folded, facts: Facts | None) -> list[Difference]:
        if facts is None and self._served.may_be_absent(folded.state, folded.newest):
            return []
        if self.beyond(facts):
            return []
        return differences(folded.job, facts, self._served.facts(folded.job, folded.state))

    def _found(self, job: JobKey, folded: Folded | None, facts: Facts | None) -> list[Difference]:
        if folded is not None:
            return self._differing(folded, facts)
        return [] if self.beyond(facts) else differences(job, facts, None)

    def _only_a_twin(self, part: Part, found: Sequence[Difference]) -> bool:
        """Whether all that differs are positions of entries that nobody holds any more.

        A retried append lands twice and the history keeps one of the two; after a trim, a position
        may name the other. The facts are the same.
        """
        prefix = self._served.positions
        if any(not each.field.startswith(prefix) for each in found):
            return False
        known = {entry.entry_id for entry in (*part.held, *part.tail)}
        oldest = self._sources.oldest_entry(part.job.tenant)
        return all(
            entry_id is not None and entry_id not in known and (oldest is None or entry_id < oldest)
            for entry_id in (_entry_id(each.served) for each in found)
        )


class Verifier:
    """Goes through everything and gives what differs.

    Args:
        settled: how far the projection's group is.
        settle_seconds: how long to wait for it; once it was in vain, nothing else is waited for.
    """

    def __init__(
        self,
        sources: Sources,
        served: Served,
        settled: Settled,
        *,
        horizon: EntryId | None = None,
        settle_seconds: float = SETTLE_SECONDS,
        on_progress: Callable[[int], None] = lambda _events: None,
    ) -> None:
        self.verified = 0
        """Jobs that were compared."""
        self._sources = sources
        self._comparison = Comparison(sources, served, horizon)
        self._settled = settled
        self._patience = settle_seconds
        self._on_progress = on_progress

    def run(self) -> Iterator[Difference]:
        """Give every difference, job by job.

        Raises:
            redis.RedisError, psycopg.Error: a server is away; begin again.
        """
        self._sources.read_streams()
        for batch in batched(fold_jobs(self._sources.walk())):
            self.verified += len(batch)
            yield from self._confirmed(self._comparison.suspects(batch))
            self._on_progress(sum(folded.events for folded in batch))
        for jobs in self._comparison.surplus():
            yield from self._confirmed(jobs)

    def _confirmed(self, jobs: Collection[JobKey]) -> Iterator[Difference]:
        deadline = time.monotonic() + self._patience
        while jobs:
            late = []
            settled = self._settled(sorted({job.tenant for job in jobs}))
            for look in self._comparison.again(jobs):
                if look.found and self._may_be_late(look, settled[look.job.tenant]):
                    late.append(look)
                else:
                    yield from look.found
            jobs = [look.job for look in late]
            if late and time.monotonic() >= deadline:
                self._patience = 0.0
                for look in late:
                    yield from look.found
                return
            if late:
                time.sleep(LOOK_AGAIN_SECONDS)

    def _may_be_late(self, look: Look, settled: EntryId | None) -> bool:
        """Whether to look at it again; a job that never rests is right if it is on the way."""
        if look.folded is None or settled is None or look.folded.newest <= settled:
            return False
        if settled >= self._sources.first_end(look.job.tenant) and self._comparison.on_the_way(
            look, settled
        ):
            look.found.clear()
            return False
        return True


def _fold(job: JobKey, parts: Iterable[Part]) -> Folded | None:
    state: JobState | None = None
    newest, events, held, size = FIRST, 0, 0, 0
    for part in parts:
        said = part.events
        state = fold_all(state, said)
        newest = max(newest, max(map(itemgetter(0), said), default=FIRST))
        events, held, size = events + len(said), held + sum(part.appends), size + part.bytes
    return None if state is None else Folded(job, state, newest, events, held, size)


def _entry_id(position: object) -> EntryId | None:
    """Give the entry that a served position (`ATTEMPT/ID` or `ID`) names."""
    if not isinstance(position, str):
        return None
    try:
        return EntryId.parse(position.rpartition("/")[2])
    except ValueError:
        return None
