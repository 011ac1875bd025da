"""The identity under which the history holds an event: its event id, as long as that is its own.

An event id belongs to the first event of a job that the history stores under it. Another append of
that event has the same bytes and is counted with it. An event with the same id and other bytes is
another event, which the fold takes too: the history holds it under an identity of its own.
"""

from __future__ import annotations

from hashlib import sha256

_SUFFIX = 200
"""Characters added to an event id. No producer's id has more than 200, so none is an identity."""
_BLANK = " \t\n\r"


def is_repeat(text: str, held: str, event_id: str) -> bool:
    """Return whether two texts under one event id are one event, appended twice.

    A dead letter that went by its entry id has that as its event id, at the end, when it is
    requeued; nothing else may differ.
    """
    return text == held or _nameless(text, event_id) == _nameless(held, event_id)


def other_identity(event_id: str, text: str) -> str:
    """Return the identity of an event whose id belongs to another event.

    It comes from the event alone: another append of it has the same. `keep_tail` has it in SQL.
    """
    return event_id + f"#{sha256(text.encode()).hexdigest()}".ljust(_SUFFIX, "#")


def event_id_of(identity: str) -> str:
    """Return the event id, as the producer gave it, of an event of the history."""
    return identity[:-_SUFFIX] if len(identity) > _SUFFIX else identity


def _nameless(text: str, event_id: str) -> str:
    """Return a JSON object without its last brace, and without the event id before that."""
    body = text.rstrip(_BLANK)[:-1].rstrip(_BLANK)
    return body.removesuffix(f',"event_id":"{event_id}"').rstrip(_BLANK)
