"""The operators' view of dead letters: lists, groups, and actions on one or many of them.

It implements `api.operators.letters.view.DeadLetterView` for the console's endpoints. Used by
`ops.operator_view`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

import redis

from api.operators.letters.view import (
    BulkStep,
    CannotRequeue,
    DeadLetterGroups,
    DeadLetterPage,
    Facts,
    LetterAction,
    LetterPlace,
    LetterSelection,
)
from consumers.dead_letters import store as dead_letter_store
from consumers.dead_letters.bulk import (
    Place,
    Walk,
    act_on,
    discard_letter,
    group_letters,
    requeue_letter,
)
from consumers.dead_letters.letter import Letter
from consumers.dead_letters.letter_filter import LetterFilter
from consumers.dead_letters.requeued import state_of_requeued
from consumers.dead_letters.store import DeadLetterStore
from consumers.dead_letters.tenants import dead_counts
from consumers.round_trips import encodable, server_ms
from ops.tasks.dead_letters.console_facts import (
    detail_facts,
    group_facts,
    item_facts,
    outcome_facts,
    requeued_facts,
)
from streams.entry_ids import EntryId
from streams.keys import Keys
from streams.wire import as_bytes, as_text, ask

DEAD_TENANTS = 200
"""Tenants with dead letters that are listed by name."""
WALKED_TENANTS = 10_000
"""Tenants whose letters are examined, those with the latest ones first."""
LATEST_OF = 20
"""Tenants whose letters are read to find the latest letters of all tenants."""


class RedisDeadLetterView:
    """The view of the dead letters of one Redis. Every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis, store: DeadLetterStore, keys: Keys) -> None:
        self._client, self._store, self._keys = client, store, keys

    def tenants(self, limit: int) -> list[tuple[str, int]]:
        """Return tenants with dead letters and their numbers, those with the latest ones first.

        Tenants of a lost node of a cluster are left out.
        """
        names = self._names(limit)
        counts = dead_counts(self._client, names, self._keys, partial=True)
        return [(name, count) for name, count in zip(names, counts, strict=True) if count]

    def letters(self, selection: LetterSelection, after: str | None, limit: int) -> DeadLetterPage:
        """Return letters of a tenant before a letter id, or the latest letters of all tenants.

        The newest one is the first. Without a tenant, the filters and `after` are not used;
        `matching` uses filters.

        Raises:
            ValueError: `after` is not the id of a dead letter.
        """
        before = None if after is None else EntryId.parse(after)
        known = self.tenants(DEAD_TENANTS)
        if selection.tenant is None:
            newest = sorted(self._latest(known, limit), key=lambda letter: letter.id, reverse=True)
            return DeadLetterPage(
                [item_facts(each) for each in newest[:limit]], None, _named(known)
            )
        place = None if before is None else Place(selection.tenant, before)
        walk = Walk(self._store, [selection.tenant], place, newest_first=True)
        items, end = _matching(walk, _filter(selection), limit)
        following = None if end is None else str(end.letter)
        return DeadLetterPage([item_facts(each) for each in items], following, _named(known))

    def matching(
        self, selection: LetterSelection, after: LetterPlace | None, limit: int
    ) -> DeadLetterPage:
        """Return letters of all tenants that match, by tenant, oldest first."""
        items, place = _matching(self._walk(selection, after), _filter(selection), limit)
        known = self.tenants(DEAD_TENANTS)
        return DeadLetterPage([item_facts(each) for each in items], _place_of(place), _named(known))

    def groups(self, selection: LetterSelection, after: LetterPlace | None) -> DeadLetterGroups:
        """Return groups of the letters that match, in one bounded walk."""
        now = server_ms(self._client)
        walk = self._walk(selection, after)
        found = group_letters(walk, _filter(selection))
        return DeadLetterGroups(
            [group_facts(each) for each in found.groups],
            found.letters,
            walk.examined,
            now,
            _place_of(walk.place),
        )

    def step(
        self,
        action: LetterAction,
        selection: LetterSelection,
        after: LetterPlace | None,
        limit: int,
    ) -> BulkStep:
        """Requeue or discard letters that match, at most `limit` of them, in one bounded walk."""
        act = requeue_letter if action == "requeue" else discard_letter
        walk = self._walk(selection, after)
        outcomes = act_on(walk, _filter(selection), partial(act, self._store), limit)
        return BulkStep(list(map(outcome_facts, outcomes)), walk.examined, _place_of(walk.place))

    def requeued(self, entries: Sequence[tuple[str, str]]) -> Sequence[Facts]:
        """Return what became of entries that were appended again."""
        found = list[Facts]()
        for tenant, text in entries:
            entry_id = EntryId.parse(text)
            state = state_of_requeued(self._client, self._keys, self._store, tenant, entry_id)
            found.append({"tenant": tenant, "entry_id": text, **requeued_facts(state)})
        return found

    def letter(self, tenant: str, letter_id: str) -> Facts | None:
        """Return one letter with its content, or None if there is none."""
        letter = self._store.find(tenant, letter_id)
        return None if letter is None else detail_facts(letter)

    def requeue(self, tenant: str, letter_id: str) -> str | None:
        """Append the letter's entry again; return the new entry id, or None if there is no letter.

        Raises:
            CannotRequeue: the letter does not have the whole entry, or Redis refuses it.
        """
        letter = self._store.find(tenant, letter_id)
        try:
            added = None if letter is None else self._store.requeue(letter)
        except dead_letter_store.CannotRequeue as error:
            raise CannotRequeue(str(error)) from None
        return None if added is None else str(added)

    def discard(self, tenant: str, letter_id: str) -> bool:
        """Delete a letter permanently; return False if there is none."""
        letter = self._store.find(tenant, letter_id)
        return letter is not None and self._store.discard(letter)

    def _walk(self, selection: LetterSelection, after: LetterPlace | None) -> Walk:
        names = [selection.tenant] if selection.tenant else self._names(WALKED_TENANTS)
        place = None
        if after is not None:
            tenant = as_text(after.tenant.encode("latin-1"))
            place = Place(tenant, EntryId.parse(after.letter))
        return Walk(self._store, names, place)

    def _names(self, limit: int) -> list[str]:
        known = ask(self._client, "ZREVRANGE", self._keys.dead_tenants(), 0, limit - 1)
        return list(map(as_text, known))

    def _latest(self, known: Sequence[tuple[str, int]], limit: int) -> Iterator[Letter]:
        for tenant, _ in known[:LATEST_OF]:
            yield from islice(self._store.letters(tenant), limit)


def _matching(walk: Walk, wanted: LetterFilter, limit: int) -> tuple[list[Letter], Place | None]:
    """Return the first letters of a walk that match, and the place after which others follow."""
    items: list[Letter] = []
    for letter in walk:
        if len(items) == limit:
            last = items[-1]
            return items, Place(last.tenant, last.id)
        if wanted.matches(letter):
            items.append(letter)
    return items, walk.place


def _filter(selection: LetterSelection) -> LetterFilter:
    return LetterFilter(
        reason=selection.reason,
        detail=selection.detail,
        group=selection.group,
        type=selection.type,
        job_type=selection.job_type,
        kind=selection.kind,
        until=selection.until,
    )


def _place_of(place: Place | None) -> LetterPlace | None:
    if place is None:
        return None
    # The name of a tenant in Redis may be in any encoding, and a place is written as JSON.
    return LetterPlace(as_bytes(place.tenant).decode("latin-1"), str(place.letter))


def _named(known: Sequence[tuple[str, int]]) -> list[Facts]:
    return [{"tenant": encodable(name), "letters": count} for name, count in known]
