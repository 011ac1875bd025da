"""Many dead letters at a time, in bounded steps: walk, group, requeue and discard them.

A walk visits the tenants in the order of their names, and each tenant's letters oldest first. It
ends at its limits; the next one continues behind the letter where it ended. Nothing is kept on the
server between two steps: a letter that was requeued or discarded is gone, so that a step that is
repeated, or that two operators run at once, finds it no more. Used by
`ops.tasks.dead_letters.console_facts` and `ops.tasks.dead_letters.view`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import redis

from consumers.dead_letters.letter import Letter
from consumers.dead_letters.letter_event import LetterEvent, event_of
from consumers.dead_letters.letter_filter import LetterFilter, detail_form
from consumers.dead_letters.store import DeadLetterStore, NotAppended, NotKept
from consumers.faults import is_of_key
from streams.entry_ids import EntryId
from streams.keys import TENANT, JobKey
from streams.wire import as_bytes

MAX_EXAMINED = 5_000
"""The most letters that one walk visits."""
WALK_SECONDS = 1.2
"""The time after which a walk ends, at the letter where it is."""
MAX_GROUPS = 100
"""The most groups of one walk; letters of further groups are only counted."""


class Place(NamedTuple):
    """A letter behind which a walk continues."""

    tenant: str
    letter: EntryId


class Walk:
    """A bounded walk over the letters of these tenants, in the order of the names' bytes.

    Args:
        after: the place to continue behind; None for the beginning.
        newest_first: the order of each tenant's letters; oldest first by default.
    """

    def __init__(
        self,
        store: DeadLetterStore,
        tenants: Sequence[str],
        after: Place | None = None,
        *,
        newest_first: bool = False,
        max_examined: int = MAX_EXAMINED,
        seconds: float = WALK_SECONDS,
    ) -> None:
        self._store = store
        self._newest_first = newest_first
        self._tenants = sorted(tenants, key=as_bytes)
        self._max_examined, self._deadline = max_examined, time.monotonic() + seconds
        self.place = after
        """The last letter that was visited; None after the last one of all."""
        self.examined = 0

    def __iter__(self) -> Iterator[Letter]:
        """Yield letters until there are no more, or a limit is reached.

        Raises:
            redis.RedisError: Redis is unavailable or refuses the command.
        """
        start = self.place
        for tenant in self._tenants:
            if start is not None and as_bytes(tenant) < as_bytes(start.tenant):
                continue
            last = start.letter if start is not None and tenant == start.tenant else None
            for letter in self._letters(tenant, last):
                if self._is_over():
                    return
                self.place = Place(tenant, letter.id)
                self.examined += 1
                yield letter
        self.place = None

    def _letters(self, tenant: str, last: EntryId | None) -> Iterator[Letter]:
        before, after = (last, None) if self._newest_first else (None, last)
        try:
            yield from self._store.letters(
                tenant, oldest_first=not self._newest_first, before=before, after=after
            )
        except redis.ResponseError as error:
            if not is_of_key(error):  # a key of another type has no letters; other tenants have
                raise

    def _is_over(self) -> bool:
        # At least one letter is visited, so that every walk gets further.
        return self.examined >= self._max_examined or (
            self.examined > 0 and time.monotonic() > self._deadline
        )


class GroupKey(NamedTuple):
    """The values that are equal for all letters of a group."""

    reason: str
    detail: str
    type: str | None


@dataclass(slots=True)
class LetterGroup:
    """Letters that were rejected for the same reason, as far as one walk has seen them."""

    key: GroupKey
    first: datetime
    last: datetime
    example: Letter
    letters: int = 0
    tenants: Counter[str] = field(default_factory=Counter)
    details: set[str] = field(default_factory=set)
    jobs: dict[JobKey, int] = field(default_factory=dict)
    """The distinct jobs of the events, oldest letters first, each with its number of letters."""
    job_types: Counter[str | None] = field(default_factory=Counter)
    """The numbers of letters; None for those whose event has no such value."""
    workers: Counter[str | None] = field(default_factory=Counter)
    """The same by the worker that the event names."""

    @property
    def detail(self) -> str:
        """The detail, with `#` for numbers that differ among the letters."""
        return self.key.detail if len(self.details) > 1 else next(iter(self.details), "")

    @property
    def with_job(self) -> int:
        """The letters whose event is about a job."""
        return sum(self.jobs.values())

    def add(self, letter: Letter, event: LetterEvent) -> None:
        """Count a letter with this event."""
        at = letter.rejected_at
        self.first, self.last = min(self.first, at), max(self.last, at)
        self.letters += 1
        self.tenants[letter.tenant] += 1
        if len(self.details) < 2:
            self.details.add(letter.detail)
        self.job_types[event.job_type] += 1
        self.workers[event.worker] += 1
        job = event.job_of(letter.tenant)
        if job is not None:
            self.jobs[job] = self.jobs.get(job, 0) + 1


class Grouping(NamedTuple):
    """The groups that a walk has found, those with the most letters first."""

    groups: Sequence[LetterGroup]
    letters: int
    """All letters that match, those of further groups included."""


def group_letters(walk: Walk, wanted: LetterFilter) -> Grouping:
    """Group the letters of a walk that match the filters.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    groups: dict[GroupKey, LetterGroup] = {}
    count = 0
    for letter in walk:
        if not wanted.matches(letter):
            continue
        count += 1
        event = event_of(letter)
        key = GroupKey(letter.reason, detail_form(letter.detail), event.type)
        if key not in groups and len(groups) < MAX_GROUPS:
            groups[key] = LetterGroup(key, letter.rejected_at, letter.rejected_at, letter)
        if key in groups:
            groups[key].add(letter, event)
    return Grouping(sorted(groups.values(), key=lambda each: -each.letters), count)


class Outcome(NamedTuple):
    """The outcome of an action on one letter."""

    letter: Letter
    outcome: str
    """`requeued`, `discarded`, `gone` (handled by somebody else meanwhile), `not_kept` (only a part
    of the entry was stored), `invalid_tenant`, `failed` (Redis refuses to
    append to this tenant's stream), or `unknown` (Redis did not answer)."""
    entry_id: EntryId | None = None
    """The new entry id after requeueing."""
    detail: str | None = None


Act = Callable[[Letter], Outcome]


def requeue_letter(store: DeadLetterStore, letter: Letter) -> Outcome:
    """Append a letter's entry again, unless that is impossible.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    if not TENANT.match(letter.tenant):
        return Outcome(letter, "invalid_tenant", detail="no consumer reads this tenant's stream")
    try:
        added = store.requeue(letter)
    except NotKept as error:
        return Outcome(letter, "not_kept", detail=str(error))
    except NotAppended as error:
        return Outcome(letter, "failed", detail=str(error))
    return Outcome(letter, "gone" if added is None else "requeued", added)


def discard_letter(store: DeadLetterStore, letter: Letter) -> Outcome:
    """Delete a letter permanently.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command.
    """
    return Outcome(letter, "discarded" if store.discard(letter) else "gone")


def act_on(walk: Walk, wanted: LetterFilter, act: Act, limit: int) -> list[Outcome]:
    """Act on the letters of a walk that match the filters, on at most `limit` of them.

    If Redis fails after some outcomes, these are returned and the walk's place is behind them, so
    that the next step goes on there. If it fails during an action, that letter's outcome is
    `unknown`, and the next step tries that letter again.

    Raises:
        redis.RedisError: Redis is unavailable or refuses the command, and nothing was done.
    """
    outcomes: list[Outcome] = []
    before = walk.place
    try:
        for letter in walk:
            if wanted.matches(letter):
                outcomes.append(Outcome(letter, "unknown"))
                outcomes[-1] = act(letter)
            before = walk.place
            if len(outcomes) >= limit:
                break
    except redis.RedisError:
        walk.place = before
        if not outcomes or (len(outcomes) == 1 and outcomes[0].outcome == "unknown"):
            raise
    return outcomes
