"""Decoding entries of streams into events, for consumers, projections and replays.

`streams.events.parse_event` defines which events are valid. The decoder here accepts a subset of
them, with the same values, for a fifth of the CPU time. All other events are passed to
`parse_event`, which returns or refuses them. A property test compares the two. The decoder is not
in `streams/`: workers read few events, and need no further dependency for that. Used by `consumers`
and `projections`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from msgspec import DecodeError, Meta, Struct, defstruct
from msgspec.json import Decoder

from projections.progress_fields import FIELDS
from streams.entries import FIELD, event_bytes, field_of, is_tenant
from streams.entry_ids import LAST, EntryId, of_replies, of_reply
from streams.events import (
    MAX_EVENT_BYTES,
    MAX_EXTRA_BYTES,
    TEXT_LENGTH,
    VERSION,
    WORD_LENGTH,
    Event,
    InvalidEvent,
    dump_json,
    parse_event,
)
from streams.keys import JOB_ID, JobKey
from streams.kinds import KINDS

if TYPE_CHECKING:
    Version = int
    KindName = str
else:  # type checkers know only literals that are written out
    Version = Literal[VERSION]
    KindName = Literal[*KINDS]

ANY_SIZE = 2**62
"""The size limit for events of the history, whose size was checked when they were appended."""
_GREATEST = 2**53
Word = Annotated[str, Meta(max_length=WORD_LENGTH)]
Text = Annotated[str, Meta(max_length=TEXT_LENGTH)]  # `parse_event` cuts longer texts
LabelName = Annotated[str, Meta(min_length=1, max_length=64)]
LabelValue = Annotated[str, Meta(max_length=256)]


class _Decoded(Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """Fields of every event, named as in the models of `streams.events`.

    `gc=False` is safe: events hold values of JSON only, which form no cycles (decision 0057).
    """

    id: str
    v: Version = VERSION
    kind: KindName = "job"
    attempt: Annotated[int, Meta(ge=1, le=_GREATEST)] = 1
    event_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    at: Annotated[datetime, Meta(tz=True)] | None = None
    job_type: Word | None = None
    labels: Annotated[dict[LabelName, LabelValue], Meta(max_length=16)] | None = None
    worker: Word | None = None
    traceparent: Word | None = None


class Queued(_Decoded, frozen=True, kw_only=True, gc=False, tag="queued"):
    """Event: the job was accepted and waits for a worker."""

    type: ClassVar[Literal["queued"]] = "queued"
    operator_detail: Text | None = None


class Processing(_Decoded, frozen=True, kw_only=True, gc=False, tag="processing"):
    """Event: a worker took the job."""

    type: ClassVar[Literal["processing"]] = "processing"


if TYPE_CHECKING:

    class Progress(_Decoded, frozen=True, kw_only=True, gc=False, tag="progress"):
        """Event: the progress of the job. It also has the fields of `progress_fields`."""

        type: ClassVar[Literal["progress"]] = "progress"
        extra: dict[str, Any] | None = None

else:
    Progress = defstruct(
        "Progress",
        [(field.name, field.decoded, None) for field in FIELDS]
        + [("extra", dict[str, Any] | None, None)],
        bases=(_Decoded,),
        namespace={"type": "progress"},
        module=__name__,
        frozen=True,
        kw_only=True,
        gc=False,
        tag="progress",
    )


class Done(_Decoded, frozen=True, kw_only=True, gc=False, tag="done"):
    """Event: the job is done."""

    type: ClassVar[Literal["done"]] = "done"
    result: dict[str, Any] | None = None


class Failed(_Decoded, frozen=True, kw_only=True, gc=False, tag="failed"):
    """Event: the job failed; `code` is a short word for programs."""

    type: ClassVar[Literal["failed"]] = "failed"
    error: Text | None = None
    code: Word | None = None
    operator_detail: Text | None = None


class Cancelled(_Decoded, frozen=True, kw_only=True, gc=False, tag="cancelled"):
    """Event: the job was cancelled."""

    type: ClassVar[Literal["cancelled"]] = "cancelled"
    reason: Text | None = None


DecodedEvent = Queued | Processing | Progress | Done | Failed | Cancelled
"""An event for the fold, with the values of the model."""

_FORMS: dict[str, type[DecodedEvent]] = {
    form.type: form for form in (Queued, Processing, Progress, Done, Failed, Cancelled)
}
_DECODE: Callable[[bytes], DecodedEvent] = Decoder(DecodedEvent).decode

_LONGEST = 4_000
"""The largest event in bytes that is decoded here.

Longer events go to `parse_event`, which refuses numbers of more than 4,300 digits; shorter events
cannot contain one.
"""
_BRACKETS = 190
"""The largest number of opening brackets in an event that is decoded here.

Events with more go to `parse_event`, which refuses a depth of more than 200; fewer brackets cannot
reach that depth.
"""
_SURELY_SHALLOW = 2 * _BRACKETS
"""Up to this size in bytes, a valid event has at most `_BRACKETS` opening brackets, because each is
closed."""
_SURELY_SMALL = MAX_EXTRA_BYTES // 8
"""The largest event in bytes whose `extra` is surely within its limit.

The limit applies to the JSON that `extra` is written as, which may be longer than what was read:
`1e15`, the worst case, becomes `1000000000000000.0`.
"""
_SURELY_STORABLE = 20
"""The longest entry id in characters whose parts are surely below 2^63."""
# ASCII written as an escape: a NUL, which `parse_event` replaces, or a hidden bracket or time.
_ESCAPED_ASCII = re.compile(rb"\\u00[0-7]")
# A time with more digits than microseconds: `parse_event` cuts it, the decoder rounds. The search
# jumps to the literal at the beginning; with the digits first it takes 15 times as long.
_FINE_TIME = re.compile(rb"\.(?<=\d:\d\d\.)\d{7}")


class Entry(NamedTuple):
    """One entry of a stream that can be applied."""

    tenant: str
    entry_id: EntryId
    event: DecodedEvent
    raw: bytes

    @property
    def job(self) -> JobKey:
        """The key of the event's job."""
        return JobKey(self.tenant, self.event.kind, self.event.id)

    @property
    def event_id(self) -> str:
        """The event id of the producer, or else the entry id."""
        return self.event.event_id or str(self.entry_id)


def happened_at(event: DecodedEvent, entry_id: EntryId) -> datetime:
    """Return when the event happened, in UTC: its own time, or else that of its entry."""
    at = event.at
    if at is None:
        return entry_id.time
    if at.tzinfo is UTC:
        return at
    try:
        return at.astimezone(UTC)
    except OverflowError:  # the first or last possible day, in another time zone
        return at.replace(tzinfo=UTC)


def from_model(event: Event) -> DecodedEvent:
    """Return the event for the fold of a model of `streams.events`."""
    form = _FORMS[event.type]
    return form(**{name: getattr(event, name) for name in form.__struct_fields__})


def decode_event(raw: bytes, max_bytes: int = MAX_EVENT_BYTES) -> DecodedEvent:
    """Return the event of these bytes, as `parse_event` reads it.

    Raises:
        InvalidEvent: it is not valid.
    """
    if len(raw) <= min(_LONGEST, max_bytes) and _is_plain(raw) and _is_shallow(raw):
        try:
            event = _DECODE(raw)
        except (DecodeError, RecursionError):
            return _parsed(raw, max_bytes)
        if JOB_ID.match(event.id) and _is_small(raw, event):
            return event
    return _parsed(raw, max_bytes)


def decode_events(
    raws: Sequence[bytes], max_bytes: int = MAX_EVENT_BYTES
) -> Sequence[DecodedEvent]:
    """Return many events, as `decode_event` reads each, for half the cost.

    Raises:
        InvalidEvent: the error of the first event that is not valid.
    """
    events = _decoded_together(raws, max_bytes)
    return [decode_event(raw, max_bytes) for raw in raws] if events is None else events


def decode(
    tenant: str, entry_id: EntryId, fields: Sequence[bytes], max_bytes: int = MAX_EVENT_BYTES
) -> Entry:
    """Return an entry from its flat list of fields and values.

    Raises:
        InvalidEvent: it can never be applied.
    """
    raw = event_bytes(tenant, entry_id, fields)
    return Entry(tenant, entry_id, decode_event(raw, max_bytes), raw)


def decode_entries(
    tenants: Sequence[str],
    ids: Sequence[bytes],
    fields: Sequence[Sequence[bytes]],
    max_bytes: int = MAX_EVENT_BYTES,
) -> list[Entry]:
    """Return many entries, as `decode` reads each; the ids are bytes as in replies of Redis.

    Raises:
        InvalidEvent: the error of the first entry that can never be applied.
    """
    entry_ids = of_replies(ids)
    raws = _event_fields(fields)
    short = max(map(len, ids), default=0) <= _SURELY_STORABLE
    storable = short or max(map(max, entry_ids)) <= LAST.ms
    if raws is None or not storable or not all(map(is_tenant, set(tenants))):
        return [decode(*entry, max_bytes) for entry in zip(tenants, entry_ids, fields, strict=True)]
    events = decode_events(raws, max_bytes)
    return list(map(_new, repeat(Entry), zip(tenants, entry_ids, events, raws, strict=True)))


def decode_each(
    tenants: Sequence[str],
    ids: Sequence[bytes],
    fields: Sequence[Sequence[bytes]],
    max_bytes: int = MAX_EVENT_BYTES,
) -> Sequence[Entry | InvalidEvent]:
    """Return many entries like `decode_entries`, with an error in place of each invalid one."""
    try:
        return decode_entries(tenants, ids, fields, max_bytes)
    except InvalidEvent:
        return list(_each(zip(tenants, map(of_reply, ids), fields, strict=True), max_bytes))


_new = tuple.__new__
_ID: Callable[[DecodedEvent], str] = attrgetter("id")


def _each(
    columns: Iterable[tuple[str, EntryId, Sequence[bytes]]], max_bytes: int
) -> Iterable[Entry | InvalidEvent]:
    for tenant, entry_id, fields in columns:
        try:
            yield decode(tenant, entry_id, fields, max_bytes)
        except InvalidEvent as error:
            # Without the traceback, whose frames would keep the batch in memory: up to 150 MB.
            yield InvalidEvent(error.reason, error.detail)


def _event_fields(fields: Sequence[Sequence[bytes]]) -> list[bytes] | None:
    """Return the `event` fields of entries; None if an entry has none."""
    raws: list[bytes] = []
    for each in fields:
        raw = each[1] if each[0] == FIELD else field_of(each)
        if raw is None:
            return None
        raws.append(raw)
    return raws


def _decoded_together(raws: Sequence[bytes], max_bytes: int) -> Sequence[DecodedEvent] | None:
    """Return the events if the decoder surely reads all of them as `parse_event` does, else None.

    Checks that are valid for all their bytes together are made once.
    """
    longest = max(map(len, raws), default=0)
    if longest > min(_LONGEST, max_bytes) or not _is_plain(b"\n".join(raws)):
        return None
    if longest > _SURELY_SHALLOW and not all(map(_is_shallow, raws)):
        return None
    try:
        events = list(map(_DECODE, raws))
    except (DecodeError, RecursionError):
        return None
    if not all(map(JOB_ID.match, set(map(_ID, events)))):
        return None
    return None if longest > _SURELY_SMALL and not all(map(_is_small, raws, events)) else events


def _is_plain(raw: bytes) -> bool:
    """Return True for UTF-8 without text that `parse_event` reads in another way."""
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return False
    escaped = b"\\" in raw and _ESCAPED_ASCII.search(raw)
    return not escaped and _FINE_TIME.search(raw) is None


def _is_shallow(raw: bytes) -> bool:
    return len(raw) <= _SURELY_SHALLOW or raw.count(b"[") + raw.count(b"{") <= _BRACKETS


def _is_small(raw: bytes, event: DecodedEvent) -> bool:
    """Return True if the `extra` of an event, if any, is within its size limit."""
    if len(raw) <= _SURELY_SMALL or event.type != "progress" or not event.extra:
        return True
    return len(dump_json(event.extra)) <= MAX_EXTRA_BYTES


def _parsed(raw: bytes, max_bytes: int) -> DecodedEvent:
    return from_model(parse_event(raw, max_bytes))
