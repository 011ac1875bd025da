"""The interface to dead letters that the operators' endpoints need.

A dead letter is an entry of a stream that consumers could not apply. `api` must not import
`consumers`, so the command that serves the API passes an implementation
(`ops.tasks.dead_letters.view`), as for `api.operators.operator_view`. All methods wait for Redis,
for a bounded time, so the endpoints call them in threads. All values are JSON values. Used by
`api.operators.figures`, `api.operators.letters.endpoints`, `api.operators.letters.parameters`,
`api.operators.operator_view` and `ops`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

Facts = Mapping[str, Any]
"""A JSON object."""

LetterAction = Literal["requeue", "discard"]


class CannotRequeue(Exception):
    """A dead letter cannot be requeued; the message has the reason."""


class LetterSelection(NamedTuple):
    """The dead letters that a request is about; None for any value."""

    tenant: str | None = None
    reason: str | None = None
    """Why the entry was rejected, as one word (`not_json`)."""
    detail: str | None = None
    """The text of the error that rejected it."""
    group: str | None = None
    """A consumer group that rejected it."""
    type: str | None = None
    """The type of the event in the entry."""
    job_type: str | None = None
    kind: str | None = None
    """The kind of the job in the event, which need not be one that is known."""
    until: int | None = None
    """Letters that were first rejected at this time or before; milliseconds since 1970."""

    @property
    def filters(self) -> Mapping[str, str | int]:
        """The values by which letters are filtered, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class LetterPlace(NamedTuple):
    """The letter behind which the next request continues."""

    tenant: str
    """The bytes of the tenant's name, decoded as Latin-1: the name may be in any encoding."""
    letter: str


class DeadLetterPage(NamedTuple):
    """A page of dead letters without their content."""

    items: Sequence[Facts]
    after: str | LetterPlace | None
    """Of one tenant the id of the last letter that was examined, of all tenants its place; None on
    the last page."""
    tenants: Sequence[Facts]
    """The tenants with dead letters and their numbers, those with the latest ones first."""


class DeadLetterGroups(NamedTuple):
    """Dead letters grouped by what they have in common, as far as one request has examined them."""

    groups: Sequence[Facts]
    """These are not consumer groups."""
    letters: int
    """All letters that match, also those of groups that are left out."""
    examined: int
    until: int
    """The server's time when it began to examine them, in milliseconds since 1970."""
    after: LetterPlace | None
    """None if all were examined."""


class BulkStep(NamedTuple):
    """The outcomes of one request on dead letters."""

    outcomes: Sequence[Facts]
    examined: int
    after: LetterPlace | None
    """None if no more letters match."""


class DeadLetterView(Protocol):
    """A view of dead letters. All methods raise redis.RedisError while Redis is unavailable."""

    def letters(self, selection: LetterSelection, after: str | None, limit: int) -> DeadLetterPage:
        """Return letters of a tenant, newest first, or the latest of all tenants.

        Without a tenant, the filters and `after` are not used; `matching` uses filters.

        Raises:
            ValueError: `after` is not the id of a dead letter.
        """
        ...

    def matching(
        self, selection: LetterSelection, after: LetterPlace | None, limit: int
    ) -> DeadLetterPage:
        """Return letters of all tenants that match, by tenant, oldest first."""
        ...

    def groups(self, selection: LetterSelection, after: LetterPlace | None) -> DeadLetterGroups:
        """Return the letters that match, grouped; a request examines a bounded number of them."""
        ...

    def step(
        self,
        action: LetterAction,
        selection: LetterSelection,
        after: LetterPlace | None,
        limit: int,
    ) -> BulkStep:
        """Requeue or discard letters that match, at most `limit` of them.

        A letter that cannot be requeued has that as its outcome.
        """
        ...

    def requeued(self, entries: Sequence[tuple[str, str]]) -> Sequence[Facts]:
        """Return what became of entries that were appended again: pairs of tenant and entry id."""
        ...

    def letter(self, tenant: str, letter_id: str) -> Facts | None:
        """Return a dead letter with its content; None if it does not exist.

        Raises:
            ValueError: `letter_id` is not the id of a dead letter.
        """
        ...

    def requeue(self, tenant: str, letter_id: str) -> str | None:
        """Append a dead letter's entry again; return its new id, or None if the letter is gone.

        Raises:
            CannotRequeue: the letter has only a part of the entry, or Redis refuses it.
            ValueError: `letter_id` is not the id of a dead letter.
        """
        ...

    def discard(self, tenant: str, letter_id: str) -> bool:
        """Delete a dead letter permanently; return whether it existed.

        Raises:
            ValueError: `letter_id` is not the id of a dead letter.
        """
        ...
