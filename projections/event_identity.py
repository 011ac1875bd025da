"""Identities: the event ids under which the history stores events.

An event id belongs to the first event of a job that is stored under it. Another append of that
event has the same bytes, and is counted with it. An event with the same event id and other bytes is
a different event, which the fold uses as well: the history stores it under a longer identity.

Used by `projections.history.writer` and `projections.reading.history`.
"""

from __future__ import annotations

from hashlib import sha256

_SUFFIX = 200
"""Characters added to an event id. Event ids of producers have at most 200 characters."""
_BLANK = " \t\n\r"


def is_repeat(text: str, held: str, event_id: str) -> bool:
    """Return True if two texts with one event id are the same event, appended twice.

    An event without an event id that was a dead letter has the first entry id as its event id, at
    the end of the text, after it is requeued. Nothing else may differ.
    """
    return text == held or _without_id(text, event_id) == _without_id(held, event_id)


def other_identity(event_id: str, text: str) -> str:
    """Return the identity of an event whose id belongs to another event.

    It depends only on the event, so that another append has the same, also a requeued one. The
    query `keep_tail` contains the same rule.
    """
    digest = sha256(_without_id(text, event_id).encode()).hexdigest()
    return event_id + f"#{digest}".ljust(_SUFFIX, "#")


def event_id_of(identity: str) -> str:
    """Return the event id of the producer for an identity in the history."""
    return identity[:-_SUFFIX] if len(identity) > _SUFFIX else identity


def _without_id(text: str, event_id: str) -> str:
    """Return the text of an event without the event id that a requeue adds at its end."""
    body, added = text.rstrip(_BLANK), f',"event_id":"{event_id}"}}'
    return body.removesuffix(added) + "}" if body.endswith(added) else body
