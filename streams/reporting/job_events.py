"""Events of one attempt of one job: the fields that all have, and what each call of a report adds.

Used by both kinds of job reports. A mistake in a value omits that value with a warning; a mistake
in the identity of the job silences its report after one warning, because no event could be
appended. With strict mistakes both raise InvalidEvent instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from ..event_ids import new_event_id
from ..events import (
    MAX_EVENT_BYTES,
    WORD_LENGTH,
    Cancelled,
    Done,
    Event,
    Failed,
    InvalidEvent,
    Processing,
    Progress,
    parse_event,
)
from ..failure import failure_of, text_of, valid_text
from ..keys import InvalidTenant, JobKey, check_tenant
from ..payloads import Prepared, too_large, typed_payload
from .mistakes import Mistakes
from .values import as_number, as_text, as_whole_number, encode, label_texts, plain

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)
_IDENTITY = ("id", "kind")
_CONVERTED: Mapping[str, Callable[[object], object]] = {
    "id": as_text,
    "job_type": as_text,
    "attempt": as_whole_number,
    "labels": label_texts,
    "step": as_text,
    "percent": as_number,
    "step_index": as_whole_number,
    "step_total": as_whole_number,
    "step_name_display": as_text,
    "step_percent": as_number,
    "remaining_seconds": as_number,
    "code": as_text,
}
"""Functions that make the values of an application those of an event, by field."""
_NUMBERS = frozenset({int, float})
_PLAIN: Mapping[str, frozenset[type]] = {
    "step": frozenset({str, int, float}),
    "percent": _NUMBERS,
    "step_index": frozenset({int}),
    "step_total": frozenset({int}),
    "step_name_display": frozenset({str}),
    "step_percent": _NUMBERS,
    "remaining_seconds": _NUMBERS,
}
"""Types of values of progress that are always accepted."""
_MOST = 2**31


class Later(NamedTuple):
    """Progress that waits, of which the event is built when it is sent."""

    fields: dict[str, object]
    at: datetime


class JobEvents:
    """Builds the events of one attempt of a job.

    Args:
        worker: returns the name of the process that reports.
        mistakes: the reporter's way with mistakes.
        max_bytes: an event of more bytes is a mistake.
        tenant, common: the tenant, and the fields of all events; None stands for no value.

    Raises:
        InvalidTenant: the tenant is not valid, and mistakes are strict.
    """

    def __init__(
        self,
        worker: Callable[[], str],
        mistakes: Mistakes,
        tenant: object,
        common: Mapping[str, object],
        max_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._worker = worker
        self._mistakes = mistakes
        self._max_bytes = max_bytes
        self._common: dict[str, Any] = {
            name: value for name, value in common.items() if value is not None
        }
        for name in self._common.keys() & _CONVERTED.keys():
            self._common[name] = _CONVERTED[name](self._common[name])
        self.id = str(self._common.get("id"))
        self.tenant = self._checked(tenant)
        self.silent = self.tenant == ""
        """True if no event can be appended, because the job's identity is not valid."""

    @property
    def key(self) -> JobKey:
        """The identity of the job."""
        return JobKey(self.tenant, str(self._common.get("kind", "job")), self.id)

    @property
    def attempt(self) -> int:
        """The number of the attempt."""
        return int(self._common.get("attempt", 1))

    @attempt.setter
    def attempt(self, attempt: int) -> None:
        self._common["attempt"] = attempt

    @property
    def job_type(self) -> str | None:
        """The application's name for the type of work."""
        return self._common.get("job_type")

    @property
    def traceparent(self) -> str | None:
        """The trace context that the events carry."""
        return self._common.get("traceparent")

    @traceparent.setter
    def traceparent(self, traceparent: str | None) -> None:
        if traceparent is not None:
            self._common["traceparent"] = traceparent

    def check(self) -> None:
        """Find mistakes in the common fields before anything is sent.

        Raises:
            InvalidEvent: one is not valid, and mistakes are strict.
        """
        self.plain(Processing)

    def event(self, form: type[Event], **fields: object) -> Event:
        """Return an event of this job, with an id and the time.

        Raises:
            InvalidEvent: a field is not valid.
        """
        return self._parsed(form, {k: v for k, v in fields.items() if v is not None})

    def plain(self, form: type[Event]) -> Prepared | None:
        """Return an event without fields of its own, or None if the report is silent."""
        return self._built(form, {})

    def waiting(self, fields: Mapping[str, object]) -> Later | Prepared | None:
        """Return progress that waits, and is usually replaced before it is sent.

        Values that cannot be wrong are kept as they are, which takes a tenth of the time. For
        others it is what `progress` returns and raises.
        """
        if fields["extra"] is None and all(
            value is None or (type(value) in _PLAIN[name] and _is_harmless(value))
            for name, value in fields.items()
            if name != "extra"
        ):
            return Later(dict(fields), datetime.now(UTC))
        return self.progress(fields)

    def built(self, waiting: Later | Prepared) -> Prepared | None:
        """Return the event of progress that waited."""
        return waiting if isinstance(waiting, Prepared) else self.progress(*waiting)

    def progress(self, fields: Mapping[str, object], at: datetime | None = None) -> Prepared | None:
        """Return a progress event, or None if the report is silent.

        Raises:
            InvalidEvent: a value is not valid, and mistakes are strict.
        """
        given = {name: value for name, value in fields.items() if value is not None}
        if at is not None:
            given["at"] = at
        step = given.get("step")
        if step is not None and "percent" not in given and _is_number(step):
            given["percent"] = given.pop("step")
        for name in given.keys() & _CONVERTED.keys():
            given[name] = _CONVERTED[name](given[name])
        extra = given.pop("extra", None)
        if isinstance(extra, Mapping):
            if extra:
                given["extra"] = plain(extra, self._unknown("extra"))
        elif extra is not None:
            self._mistake("extra", InvalidEvent("invalid_event", "extra: must be a mapping"))
        return self._built(Progress, given)

    def done(self, result: object) -> Prepared | None:
        """Return the end with a result, or None if the report is silent. Raises as `progress`.

        The result is encoded once and not parsed again: it may have a megabyte.
        """
        named = _as_fields(result)
        try:
            raw = encode(named, self._unknown("result"))
        except InvalidEvent:
            raise
        except (TypeError, ValueError, RecursionError) as error:
            self._mistake("result", InvalidEvent("not_json", f"it cannot be written: {error}"))
            raw = b"{}"
        end = self._built(Done, {})
        if end is None:
            return None
        whole = b'%b,"result":%b}' % (end.payload[:-1], raw)
        if len(whole) <= self._max_bytes:
            return Prepared(end.type, whole)
        self._mistake("result", too_large(len(whole), self._max_bytes))
        return end

    def failed(self, error: object, code: object) -> Prepared | None:
        """Return the end with an error, or None if the report is silent. Raises as `progress`."""
        if isinstance(error, BaseException):
            error, described = failure_of(error)
            code = described if code is None else code
        fields = {"error": valid_text(text_of(error)), "code": as_text(code)}
        return self._built(Failed, {k: v for k, v in fields.items() if v is not None})

    def cancelled(self, reason: object) -> Prepared | None:
        """Return the end with a reason, or None if the report is silent. Raises as `progress`."""
        return self._built(
            Cancelled, {} if reason is None else {"reason": valid_text(text_of(reason))}
        )

    def end_of(self, error: BaseException | None) -> Prepared | None:
        """Return the end of a job whose block was left by an exception, or normally."""
        if error is None:
            return self.done(None)
        if isinstance(error, _INTERRUPTIONS):
            return self.cancelled(f"interrupted: {type(error).__name__}")
        return self.failed(error, None)

    def _checked(self, tenant: object) -> str:
        try:
            return check_tenant(cast("str", as_text(tenant)))
        except InvalidTenant as error:
            if self._mistakes.strict:
                raise
            self._mistakes.warn(self.id, "nothing of it is reported", error)
            return ""

    def _unknown(self, field: str) -> Callable[[object], None]:
        def unknown(value: object) -> None:
            kind = type(value).__name__
            problem = f"{field}: JSON has no form for a value of type {kind}"
            self._mistake(
                field, InvalidEvent("not_json", problem), then="the text of the value is reported"
            )

        return unknown

    def _mistake(self, field: str, error: InvalidEvent, then: str = "") -> None:
        if self._mistakes.strict:
            raise error
        self._mistakes.warn(self.id, then or f"{field} is not reported", error.detail)

    def _built(self, form: type[Event], fields: dict[str, object]) -> Prepared | None:
        """Return an event, without the fields that are not valid."""
        if self.silent:
            return None
        while True:
            try:
                event = self._parsed(form, fields)
                return Prepared(*typed_payload(event, self._max_bytes))
            except InvalidEvent as error:
                if self._mistakes.strict:
                    raise
                if not self._without(error.field, fields, error):
                    return None

    def _without(self, field: str | None, fields: dict[str, object], error: InvalidEvent) -> bool:
        """Leave out a field that is not valid; return False if there is no event without it."""
        for values in (fields, self._common):
            if field is not None and field in values and field not in _IDENTITY:
                self._mistake(field, error)
                del values[field]
                return True
        self._mistakes.warn(self.id, "nothing of it is reported", error.detail)
        self.silent = True
        return False

    def _parsed(self, form: type[Event], fields: Mapping[str, object]) -> Event:
        stamped = {
            "type": form.model_fields["type"].default,
            **self._common,
            "worker": self._worker(),
            "event_id": new_event_id(),
            "at": datetime.now(UTC),
            **fields,
        }
        try:
            raw = encode(stamped, lambda _: None)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidEvent("not_json", f"it cannot be written as JSON: {error}") from None
        return parse_event(raw, self._max_bytes)


def _as_fields(result: object) -> object:
    """Return the object that is reported as a result: itself, or with the value in a field."""
    if result is None:
        return {}
    if isinstance(result, dict):
        return result
    converted = plain(result, lambda _: None)
    return result if isinstance(converted, dict) else {"value": result}


def _is_harmless(value: Any) -> bool:
    """Return True if a text is short and readable, or a number is not negative, and finite."""
    if isinstance(value, str):
        return len(value) <= WORD_LENGTH and value.isprintable()
    return 0 <= value <= _MOST  # type: ignore[no-any-return]  # a number


def _is_number(value: object) -> bool:
    return not isinstance(value, str | bool) and isinstance(as_number(value), int | float)
