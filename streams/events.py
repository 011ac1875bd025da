"""Events: the six types of messages that workers append about a job, format version 1.

An *event* is one JSON object. `parse_event` validates it from bytes; unknown fields are ignored
here, and the history keeps them. Workers build events through the reporter, the appender validates
each one before it is sent, and the consumers use this module to find out what is wrong with an
entry that their own, faster decoder refuses. A *job* is identified by tenant, `kind` (a family of
jobs, such as `video`) and `id`; `job_type` is the application's own name for the type of work, and
`type` is the type of the event. Used by `api`, `consumers`, `ops`, `projections` and `streams`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

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

from .escapes import NUL, storable
from .keys import JOB_ID_PATTERN
from .kinds import KINDS
from .leap_seconds import next_second, with_standard_zone

VERSION = 1
MAX_EVENT_BYTES = 1_048_576
MAX_EXTRA_BYTES = 8_192
TEXT_LENGTH = 2_000
WORD_LENGTH = 200


class InvalidEvent(ValueError):
    """The event is not valid: correct it, or upgrade if its version is not supported.

    `reason` is one of `not_json`, `too_large`, `unsupported_version`, `unknown_type`,
    `invalid_event`, `invalid_tenant`, `invalid_entry_id`, `no_event_field`; `detail` is one line.
    `field` is the name of the field that is not valid, if it is one.
    """

    def __init__(self, reason: str, detail: str, field: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.field = field


def _cut(value: object) -> object:
    return value[:TEXT_LENGTH] if isinstance(value, str) else value


def _text_or_none(value: object) -> object:
    return _cut(value) if isinstance(value, str) else None


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(dump_json(value)) > MAX_EXTRA_BYTES:
        raise ValueError(f"is over {MAX_EXTRA_BYTES} bytes as JSON")
    return value


Time = Annotated[AwareDatetime, AfterValidator(with_standard_zone)]
Word = Annotated[str, Field(max_length=WORD_LENGTH)]
CutText = Annotated[str, BeforeValidator(_cut)]
OperatorText = Annotated[CutText | None, BeforeValidator(_text_or_none)]
"""Text for operators alone. Any other value counts as none: no event is refused because of it."""
Number = Annotated[float, Field(ge=-(2**53), le=2**53)]
LabelName = Annotated[str, Field(min_length=1, max_length=64)]
LabelValue = Annotated[str, Field(max_length=256)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class EventBase(BaseModel):
    """Fields that events of every type have."""

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
    """Producer's own id of the event, by which the history recognizes repeated appends of it."""
    at: Time | None = None
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
    """Event: the job was accepted and waits for a worker."""

    type: Literal["queued"] = "queued"
    operator_detail: OperatorText = None
    """For a retry, why the attempt before it failed: text for operators, which no user sees."""


class Processing(EventBase):
    """Event: a worker took the job."""

    type: Literal["processing"] = "processing"


class Progress(EventBase):
    """Event: the progress of the job.

    Projections derive their documents from these fields. Percents, which are the numbers without
    limits of their own, are limited to 0–100 there.
    """

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
    """Event: the job is done."""

    type: Literal["done"] = "done"
    result: dict[str, Any] | None = None
    """Free object; a video has `hls_path` and `duration` in it."""


class Failed(EventBase):
    """Event: the job failed."""

    type: Literal["failed"] = "failed"
    error: CutText | None = None
    """Text for people, cut to 2,000 characters."""
    code: Word | None = None
    """Short word for programs."""
    operator_detail: OperatorText = None
    """Text for operators, which no user sees: the exception, if `error` is a text for users."""


class Cancelled(EventBase):
    """Event: the job was cancelled."""

    type: Literal["cancelled"] = "cancelled"
    reason: CutText | None = None
    """Text for people, cut to 2,000 characters."""


Event = Queued | Processing | Progress | Done | Failed | Cancelled

TYPES: Final = ("queued", "processing", "progress", "done", "failed", "cancelled")
"""All types of events."""
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
# The adapter's own method only adds keyword defaults, for a tenth of the time of a validation.
_VALIDATE: Callable[[bytes], Event] = _ADAPTER.validator.validate_json


def parse_event(raw: bytes, max_bytes: int = MAX_EVENT_BYTES) -> Event:
    """Return the event that the bytes are the JSON of.

    Raises:
        InvalidEvent: it is not valid, or has more than `max_bytes`.
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
    """Return the JSON of an event's fields, which are not validated; None stands for no field.

    Raises:
        InvalidEvent: JSON has no form for a value.
    """
    try:
        return dump_json({name: value for name, value in fields.items() if value is not None})
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent("not_json", f"it cannot be written as JSON: {error}") from None


def dump_json(value: object) -> bytes:
    """Return compact JSON. Integers may have any size; NaN and infinity become null.

    Raises:
        TypeError, ValueError, RecursionError: JSON has no form for a value.
    """
    try:
        return compact(orjson.dumps(value))
    except TypeError:
        # orjson has integers of 64 bits only; results of workers may have larger ones.
        import json  # noqa: PLC0415 - only for the rare number

        options: Any = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
        return json.dumps(_finite(value), default=_time, **options).encode()


def compact(written: bytes) -> bytes:
    """Return a copy of bytes from orjson, which takes only the memory that it needs.

    The original occupies 4 KiB or more, however short it is. Many copies together occupy a tenth of
    the memory pages.
    """
    return b"%b" % written  # bytes(written) is the original itself


def load_json(raw: bytes) -> Any:
    """Return the value of JSON text, with integers of any size, as `dump_json` writes them.

    Raises:
        ValueError: it is not JSON.
    """
    return pydantic_core.from_json(raw)


def _finite(value: Any) -> Any:
    """Return a value with None for infinity, as orjson writes it: 1e400 is JSON, but no double."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _time(value: object) -> str:
    """Return the text of a time, as orjson writes it, for a value that JSON has no form for."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def _refuse_constants(raw: bytes) -> None:
    """Raise InvalidEvent for NaN and Infinity: pydantic accepts them, readers of JSON do not."""
    import json  # noqa: PLC0415 - only for the rare text that holds one of these words

    def refuse(word: str) -> None:
        raise InvalidEvent("not_json", f"{word} is not a JSON number")

    json.loads(raw, parse_constant=refuse)


def _validated(raw: bytes) -> Event:
    """Return the valid event; text that the stores cannot hold is replaced first.

    A leap second, which Python's times cannot represent, becomes the next second.
    """
    if NUL in raw:
        raw = storable(raw)
    try:
        return _VALIDATE(raw)
    except ValidationError:
        readable = _without_leap_second(storable(raw))
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


def _unsupported(version: int) -> InvalidEvent:
    return InvalidEvent(
        "unsupported_version", f"v is {version}, this reader knows {VERSION}: upgrade, then requeue"
    )


def _invalid(raw: bytes, error: ValidationError) -> InvalidEvent:
    """Return the error for a refused event; of a JSON object a newer version is reported first."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if problem["type"] == "json_invalid":
        return InvalidEvent("not_json", problem["msg"])
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as refused:  # pydantic accepts NaN and Infinity
        return InvalidEvent("not_json", str(refused))
    if isinstance(fields, dict):
        version = fields.get("v")
        if isinstance(version, int) and version > VERSION:
            return _unsupported(version)
        if fields.get("type") not in TYPES:
            return InvalidEvent("unknown_type", f"type must be one of {', '.join(TYPES)}")
    else:
        return InvalidEvent("invalid_event", "must be a JSON object")
    # The location begins with the type, which is left out. Names of labels come from the producer:
    # whatever they contain, the message stays one short line.
    location = problem["loc"][1:]
    where = repr(".".join(map(str, location)))[1:-1][:200]
    detail = f"{where}: {problem['msg']}" if where else problem["msg"]
    return InvalidEvent("invalid_event", detail, str(location[0]) if location else None)
