"""Payloads: the bytes of an event as they are appended to a stream.

Used by the appenders and the reporters, which build each payload before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError

from .event_ids import new_event_id
from .events import (
    MAX_EVENT_BYTES,
    Event,
    EventBase,
    InvalidEvent,
    encode_fields,
    parse_event,
)


class Prepared(NamedTuple):
    """An event that was validated, with an event id: what is appended as it is."""

    type: str
    payload: bytes


Appendable = Event | Mapping[str, Any] | bytes | Prepared
"""An event as a model, as its fields, as JSON, or prepared."""


def payload_of(event: Appendable, max_bytes: int = MAX_EVENT_BYTES) -> bytes:
    """Return an event as valid JSON that includes an event id.

    Raises:
        InvalidEvent: the event is not valid, or has more than `max_bytes`.
    """
    return typed_payload(event, max_bytes)[1]


def typed_payload(
    event: Appendable, max_bytes: int = MAX_EVENT_BYTES, traceparent: str | None = None
) -> tuple[str, bytes]:
    """Return the type of an event and its payload, as `payload_of` does.

    `traceparent` is added to an event that has none, unless that makes it larger than `max_bytes`.

    Raises:
        InvalidEvent: the event is not valid, or has more than `max_bytes`.
    """
    if isinstance(event, Prepared):
        if len(event.payload) > max_bytes:
            raise too_large(len(event.payload), max_bytes)
        return event
    if isinstance(event, EventBase):
        raw, parsed = _dump(event), event
    elif isinstance(event, bytes):
        raw, parsed = event.strip(), parse_event(event, max_bytes)
    else:
        raw = encode_fields(event)
        parsed = parse_event(raw, max_bytes)
    if parsed.event_id is None:
        # At the end: of two equal keys the last counts, and the event may have the key as null.
        raw = b'%b,"event_id":"%b"}' % (raw[:-1], new_event_id().encode())
    if traceparent is not None and parsed.traceparent is None:
        traced = b'%b,"traceparent":"%b"}' % (raw[:-1], traceparent.encode())
        raw = traced if len(traced) <= max_bytes else raw
    if len(raw) > max_bytes:
        raise too_large(len(raw), max_bytes)
    return parsed.type, raw


def too_large(size: int, max_bytes: int) -> InvalidEvent:
    """Return the error for an event of too many bytes."""
    return InvalidEvent("too_large", f"{size} bytes; at most {max_bytes} are taken")


def _dump(event: Event) -> bytes:
    try:
        # `model_dump_json` decodes these bytes, and they would have to be encoded again.
        return event.__pydantic_serializer__.to_json(event, exclude_none=True)
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidEvent("not_json", f"it cannot be written as JSON: {error}") from None
