"""Selecting dead letters and acting on them, for `jobtrail dead`. Used by `ops.commands.dead`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from consumers.dead_letters.letter import Letter
from consumers.dead_letters.letter_filter import LetterFilter
from consumers.dead_letters.store import CannotRequeue, DeadLetterStore
from consumers.round_trips import encodable
from ops.errors import CommandError
from ops.text.plurals import counted
from streams.entry_ids import EntryId

LISTED_REASONS = 3
"""The most reasons in an error."""
LISTED_IDS = 1_000
"""The most ids that the facts of a selection have."""


class Selection(NamedTuple):
    """The dead letters of one tenant that a command is about."""

    tenant: str
    ids: Sequence[EntryId]
    """Empty for all letters that match the filters."""
    wanted: LetterFilter = LetterFilter()

    @property
    def facts(self) -> dict[str, Any]:
        """The letters as a JSON object: ids, or filters."""
        if self.ids:
            return {"letters": list(map(str, self.ids[:LISTED_IDS]))}
        given = {name: value for name, value in self.wanted._asdict().items() if value is not None}
        return {"filters": {name: encodable(value) for name, value in given.items()}}

    def letters(self, store: DeadLetterStore, *, oldest_first: bool = False) -> Iterator[Letter]:
        """Yield the letters that match the filters."""
        return store.letters(self.tenant, wanted=self.wanted, oldest_first=oldest_first)


class Result(NamedTuple):
    """The outcome for all selected letters."""

    handled: int
    missing: Sequence[EntryId]
    """Ids that have no letter."""
    failed: Sequence[str]
    """For each letter that cannot be requeued, its id and the reason."""


def select(tenant: str, ids: list[str] | None, *, all_: bool, wanted: LetterFilter) -> Selection:
    """Return the selection that arguments and options describe; ids are sorted, oldest first.

    Raises:
        CommandError: neither ids nor `all_` are given, or both; or filters are given with ids; or
            an id is not valid.
    """
    if bool(ids) == all_:
        raise CommandError("pass the ids of dead letters, or --all")
    if ids and wanted != LetterFilter():
        raise CommandError("filters such as --reason and --group go with --all")
    return Selection(tenant, sorted({letter_id(text) for text in ids or ()}), wanted)


def letter_id(text: str) -> EntryId:
    """Return the id of a dead letter.

    Raises:
        CommandError: the text is not one.
    """
    try:
        return EntryId.parse(text)
    except ValueError:
        raise CommandError(f"{text!r} is not the id of a dead letter") from None


def unknown_letters_error(tenant: str, ids: Iterable[EntryId]) -> CommandError:
    """Return the error for ids that have no letter."""
    return CommandError(f"tenant {tenant} has no dead letter {', '.join(map(str, ids))}")


def unhandled_error(tenant: str, result: Result) -> CommandError | None:
    """Return the error for the ids and letters that were not handled, if there are any."""
    errors = list[CommandError]()
    if result.missing:
        errors.append(unknown_letters_error(tenant, result.missing))
    if result.failed:
        errors.append(_failed_letters_error(result.failed))
    return CommandError("; ".join(map(str, errors))) if errors else None


def _failed_letters_error(failed: Sequence[str]) -> CommandError:
    reasons = "; ".join(failed[:LISTED_REASONS])
    more = len(failed) - LISTED_REASONS
    rest = f"; and {more} more" if more > 0 else ""
    return CommandError(f"{counted(len(failed), 'dead letter')} not requeued: {reasons}{rest}")


def first_letters(
    store: DeadLetterStore, tenant: str | None, limit: int, wanted: LetterFilter
) -> tuple[list[Letter], bool]:
    """Return the first letters, each tenant's newest first, and whether there are more."""
    tenants = store.tenants() if tenant is None else [tenant]
    found = chain.from_iterable(store.letters(name, wanted=wanted) for name in tenants)
    letters = list(islice(found, limit))
    return letters, next(found, None) is not None


def requeue(store: DeadLetterStore, selection: Selection) -> Result:
    """Append the entries of the selected letters again, oldest first, as far as possible."""
    return _act_on(
        store, selection, lambda letter: store.requeue(letter) is not None, oldest_first=True
    )


def discard(store: DeadLetterStore, selection: Selection) -> Result:
    """Delete the selected letters permanently."""
    return _act_on(store, selection, store.discard)


def _act_on(
    store: DeadLetterStore,
    selection: Selection,
    act: Callable[[Letter], bool],
    *,
    oldest_first: bool = False,
) -> Result:
    handled, missing, failed = 0, list[EntryId](), list[str]()
    for name, letter in _chosen(store, selection, oldest_first=oldest_first):
        try:
            if letter is not None and act(letter):
                handled += 1
            elif name is not None:
                missing.append(name)
        except CannotRequeue as error:
            failed.append(f"{letter.name if letter else name}: {error}")
    return Result(handled, missing, failed)


def _chosen(
    store: DeadLetterStore, selection: Selection, *, oldest_first: bool
) -> Iterator[tuple[EntryId | None, Letter | None]]:
    """Yield each id with its letter, if there is one; or all letters that match the filters."""
    if selection.ids:
        for each in selection.ids:
            yield each, store.find(selection.tenant, str(each))
    else:
        for letter in selection.letters(store, oldest_first=oldest_first):
            yield None, letter
