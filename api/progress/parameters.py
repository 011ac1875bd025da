"""The query parameters of a progress request: how long it may be held, and until when.

Used by `api.progress.endpoint`, `api.progress.long_polls` and `api.spec.operations.progress`.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs

from api.access.callers import MAX_FIELDS
from api.http.problems import BadRequest
from streams.entry_ids import EntryId
from streams.settled_entries import complete_entry_id

MAX_WAIT_SECONDS = 30.0
AFTER_SECONDS = 2.0
"""Seconds for which a request with `after` and without `wait` is held: a raw entry that nobody
announced is projected within this time."""

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?\Z")


class Hold(NamedTuple):
    """The condition that a request waits for, and the longest wait."""

    seconds: float = 0.0
    for_news: bool = False
    """True if `wait` was given: a state that the caller knows is waited out."""
    after: EntryId | None = None
    """The entry that the answer has to reflect."""


NO_HOLD = Hold()


def hold_of(query_string: bytes) -> Hold:
    """Return what a request waits for.

    Raises:
        BadRequest: `wait` is not a number from 0 to 30, `after` is not an entry id, or one of them
            is repeated.
    """
    if not any(word in query_string for word in (b"wait", b"after", b"%")):
        return NO_HOLD
    try:
        found = parse_qs(
            query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise BadRequest(parameter="*") from None
    wait, after = _wait(found.get("wait", [])), _after(found.get("after", []))
    default = 0.0 if after is None else AFTER_SECONDS
    return Hold(default if wait is None else wait, bool(wait), after)


def _wait(values: list[str]) -> float | None:
    if not values:
        return None
    if len(values) == 1 and _NUMBER.match(values[0]):
        wait = float(values[0])
        if 0 <= wait <= MAX_WAIT_SECONDS:
            return wait
    raise BadRequest(parameter="wait")


def _after(values: list[str]) -> EntryId | None:
    if not values:
        return None
    try:
        (text,) = values
        return complete_entry_id(text)
    except ValueError:
        raise BadRequest(parameter="after") from None
