"""Events: what a worker can say about a job, format version 1.

An *event* is one JSON object, validated from bytes. It is frozen, it refuses what the format does
not allow and it ignores fields that it does not know (the history keeps them as they came).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
import pydantic_core
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from .keys import JOB_ID_PATTERN
from .kinds import KINDS
from .leap_seconds import next_second

VERSION = 1
MAX_EVENT_BYTES = 1_048_576
MAX_EXTRA_BYTES = 8_192
TEXT_LENGTH = 2_000
WORD_LENGTH = 200


class InvalidEvent(ValueError):
    """The event can never be applied: mend it, a retry will not help.

    `reason` is one of `not_json`, `too_large`, `unsupported_version`, `unknown_type`,
    `invalid_event`, `invalid_tenant`, `no_event_field`; the message is one line of detail.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def _cut(value: object) -> object:
    return value[:TEXT_LENGTH] if isinstance(value, str) else value


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(dump_json(value)) > MAX_EXTRA_BYTES:
        raise ValueError(f"is over {MAX_EXTRA_BYTES} bytes as JSON")
    return value


Word = Annotated[str, Field(max_length=WORD_LENGTH)]
CutText = Annotated[str, BeforeValidator(_cut)]
Number = Annotated[float, Field(ge=-(2**53), le=2**53)]
LabelName = Annotated[str, Field(min_length=1, max_length=64)]
LabelValue = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class EventBase(BaseModel):
    """What every event carries."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    v: Annotated[int, Field(ge=1)] = VERSION
    """Version of this format."""
    kind: Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")] = "job"
    """Kind of the job."""
    id: Annotated[str, Field(pattern=JOB_ID_PATTERN)]
    """Id of the job, unique within its tenant and kind."""
    attempt: Annotated[int, Field(ge=1, le=2**53)] = 1
    """Number of the run; a repeated run of the same job counts up."""
    event_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Producer's own id of the event; the history holds an event appended twice once."""
    at: AwareDatetime | None = None
    """When it happened; by default the time of the entry id."""
    job_type: Word | None = None
    """Application's name for the type of work, such as `excel`."""
    labels: Annotated[dict[LabelName, LabelValue], Field(max_length=16)] | None = None
    """Short texts to filter lists by."""
    worker: Word | None = None
    """Name of the process that reports."""
    traceparent: Word | None = None
    """W3C trace context."""


class Queued(EventBase):
    """The job was accepted and waits for a worker."""

    type: Literal["queued"] = "queued"


class Processing(EventBase):
    """A worker took the job."""

    type: Literal["processing"] = "processing"


class Progress(EventBase):
    """How far the worker is; percents are clamped to 0–100 when projected."""

    type: Literal["progress"] = "progress"
    step: Word | None = None
    """Name of the present step."""
    percent: float | None = None
    """Progress of the whole job."""
    step_index: Count | None = None
    """Number of the present step, from 1."""
    step_total: Count | None = None
    """Number of all steps."""
    step_name_display: Word | None = None
    """Name of the step as people read it."""
    step_percent: float | None = None
    """Progress of the present step."""
    remaining_seconds: Annotated[Number, Field(ge=0)] | None = None
    """Worker's own estimate of the time left."""
    extra: Annotated[dict[str, Any], AfterValidator(_small)] | None = None
    """Free object, at most 8 KiB as JSON."""


class Done(EventBase):
    """The job ended well."""

    type: Literal["done"] = "done"
    result: dict[str, Any] | None = None
    """Free object; a video has `hls_path` and `duration` in it."""


class Failed(EventBase):
    """The job ended badly; `code` is a short machine word."""

    type: Literal["failed"] = "failed"
    error: CutText | None = None
    """Text for people, cut to 2,000 characters."""
    code: Word | None = None
    """Short word for programs."""


class Cancelled(EventBase):
    """Somebody called the job off."""

    type: Literal["cancelled"] = "cancelled"
    reason: CutText | None = None
    """Text for people, cut to 2,000 characters."""


Event = Queued | Processing | Progress | Done | Failed | Cancelled

_NUL, _SURROGATE, _REPLACED = rb"\u0000", re.compile(rb"\\u[dD][89a-fA-F]"), rb"\ufffd"
# Whole escapes, so that an escaped backslash stays, and pairs of surrogates as one.
_ESCAPE = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u0000|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)
_TYPES = ("queued", "processing", "progress", "done", "failed", "cancelled")
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
# The adapter's own method only adds keyword defaults, at a tenth of the whole cost.
_VALIDATE: Callable[[bytes], Event] = _ADAPTER.validator.validate_json


def parse_event(raw: bytes, max_bytes: int = MAX_EVENT_BYTES) -> Event:
    """Validate one event from its bytes.

    Raises:
        InvalidEvent: with the reason and one line of detail.
    """
    if len(raw) > max_bytes:
        raise InvalidEvent("too_large", f"{len(raw)} bytes; at most {max_bytes} are taken")
    try:
        event = _validated(raw)
    except ValidationError as error:
        raise _invalid(raw, error) from None
    if b"NaN" in raw or b"Infinity" in raw:
        _refuse_constants(raw)
    if event.v > VERSION:
        raise _unsupported(event.v)
    return event


def encode_fields(fields: Mapping[str, Any]) -> bytes:
    """Write an event's fields as the JSON that goes into the log; not yet validated.

    Raises:
        InvalidEvent: they hold something that JSON cannot.
    """
    try:
        return dump_json({name: value for name, value in fields.items() if value is not None})
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent("not_json", f"it cannot be written as JSON: {error}") from None


def dump_json(value: object) -> bytes:
    """Write compact JSON; whole numbers of any size, and null for what JSON has no number for."""
    try:
        return compact(orjson.dumps(value))
    except TypeError:
        # orjson stops at 64 bits, workers' results need not.
        import json  # noqa: PLC0415 - only for the rare number

        return json.dumps(
            _finite(value),
            ensure_ascii=False,
            separators=(",", ":"),
            allow_nan=False,
            default=_time,
        ).encode()


def compact(written: bytes) -> bytes:
    """Return a copy of what orjson wrote, which as it is keeps 4 KiB or more of memory in use.

    The serializer shrinks a large block to the bytes written, and the rest of the block is too
    small for its next one. A copy costs a tenth of the page faults of many such blocks.
    """
    return b"%b" % written


def load_json(raw: bytes) -> Any:
    """Read JSON back exactly as `dump_json` wrote it, whole numbers of any size included."""
    return pydantic_core.from_json(raw)


def _finite(value: Any) -> Any:
    """Put null for infinity, as orjson does: 1e400 is JSON, but no double."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _time(value: object) -> str:
    """Write a time as orjson does, and nothing else that JSON has no form for."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def _refuse_constants(raw: bytes) -> None:
    """The validator lets NaN and Infinity through; readers of the history would stop at them."""
    import json  # noqa: PLC0415 - only for the rare text that holds one of these words

    def refuse(word: str) -> None:
        raise InvalidEvent("not_json", f"{word} is no JSON number")

    json.loads(raw, parse_constant=refuse)


def _validated(raw: bytes) -> Event:
    """Validate an event, or else the event without what our stores cannot hold.

    PostgreSQL's text has no NUL, and UTF-8 no half of a surrogate pair, which is what `json.dumps`
    writes of a file's name in another encoding. Both are projected as U+FFFD. Python's times have
    no leap second. No event is refused for one of these.
    """
    if _NUL in raw:
        raw = _mended(raw)
    try:
        return _VALIDATE(raw)
    except ValidationError:
        readable = _mended(raw) if _SURROGATE.search(raw) else raw
        readable = _without_leap_second(readable)
        if readable is raw:
            raise
        return _VALIDATE(readable)


def _without_leap_second(raw: bytes) -> bytes:
    try:
        fields = load_json(raw)
        at = next_second(fields["at"])
    except (ValueError, TypeError, KeyError):
        return raw
    return raw if at is None else dump_json(fields | {"at": at})


def _mended(raw: bytes) -> bytes:
    def mend(match: re.Match[bytes]) -> bytes:
        lone = match[0] == _NUL or (not match[1] and _SURROGATE.match(match[0]))
        return _REPLACED if lone else match[0]

    return _ESCAPE.sub(mend, raw)


def _unsupported(version: int) -> InvalidEvent:
    return InvalidEvent(
        "unsupported_version", f"v is {version}, this reader knows {VERSION}: upgrade, then requeue"
    )


def _invalid(raw: bytes, error: ValidationError) -> InvalidEvent:
    """Say what is wrong, the version first: a newer event may differ in anything else."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if problem["type"] == "json_invalid":
        return InvalidEvent("not_json", problem["msg"])
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as refused:  # the validator lets NaN and Infinity through
        return InvalidEvent("not_json", str(refused))
    if isinstance(fields, dict):
        version = fields.get("v")
        if isinstance(version, int) and version > VERSION:
            return _unsupported(version)
        if fields.get("type") not in _TYPES:
            return InvalidEvent("unknown_type", f"type must be one of {', '.join(_TYPES)}")
    else:
        return InvalidEvent("invalid_event", "it is no JSON object")
    # The union's member name leads the location; people know it as `type` already. Names of labels
    # are the producer's: whatever they hold, the message stays one short line.
    where = repr(".".join(map(str, problem["loc"][1:])))[1:-1][:200]
    return InvalidEvent("invalid_event", f"{where}: {problem['msg']}" if where else problem["msg"])
