"""Events of one attempt of one job: the fields that all have, and what each call of a report adds.

A value that is not valid is left out with a warning, and so is the largest value of an event that
is too large. If the tenant, the kind or the id of the job is not valid, nothing is reported after
one warning, because no event without it is valid. If the reporter is strict, both raise an error
instead. Used by `streams`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, cast

from ..event_ids import new_event_id
from ..events import (
    MAX_EVENT_BYTES,
    Cancelled,
    Done,
    Event,
    Failed,
    InvalidEvent,
    Processing,
    Progress,
    Queued,
    parse_event,
)
from ..failure import ErrorText, described, failed_fields, operator_text, text_of, valid_text
from ..keys import JobKey, check_tenant
from ..payloads import Prepared, too_large, typed_payload
from .fields import (
    NOT_JSON,
    Fields,
    are_surely_valid,
    converted,
    ignore,
    is_number,
    largest,
    result_fields,
    unwritable,
)
from .mistakes import Mistakes
from .values import as_text, encode, plain

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)
_IDENTITY = ("id", "kind")
"""Fields without which no event is valid."""
_NOTHING = "nothing of it is reported"


class Later(NamedTuple):
    """Progress that waits to be sent, and whose event is not built before that."""

    fields: dict[str, object]
    at: datetime
    """When it was reported."""


class JobEvents:
    """Builds the events of one attempt of a job.

    Args:
        worker: returns the name of the process that reports.
        mistakes: logs values that are not valid; if it is strict, they raise an error instead.
        tenant: the tenant.
        common: the fields that all events have; None stands for no value.
        max_bytes: the largest size of an event.
        error_text: returns the text for users of an exception, by default its own.

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
        *,
        error_text: ErrorText | None = None,
    ) -> None:
        self._worker = worker
        self._mistakes = mistakes
        self._max_bytes = max_bytes
        self._error_text = error_text
        self._common = converted(common)
        self.id = text_of(self._common.get("id"))
        self.tenant = self._checked(tenant)
        self.silent = self.tenant == ""
        """True if nothing is reported, because the tenant, the kind or the id is not valid.

        An invalid kind or id is found with the first event, or by `check`.
        """

    @property
    def key(self) -> JobKey:
        """The identity of the job."""
        return JobKey(self.tenant, text_of(self._common.get("kind", "job")), self.id)

    @property
    def attempt(self) -> int:
        """The number of the attempt; 1 if it is not given or not valid."""
        attempt = self._common.get("attempt", 1)
        return attempt if isinstance(attempt, int) and attempt >= 1 else 1

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
            InvalidEvent: a common field is not valid, and mistakes are strict.
        """
        self.bare(Processing)

    def event(self, form: type[Event], **fields: object) -> Event:
        """Return an event of this job, with an id and the time.

        Raises:
            InvalidEvent: a field is not valid.
        """
        given = {name: value for name, value in fields.items() if value is not None}
        return self._parsed(form, self._all_common(), given)

    def bare(self, form: type[Event]) -> Prepared | None:
        """Return an event that has the common fields alone, or None if the report is silent.

        Raises:
            InvalidEvent: a common field is not valid, and mistakes are strict.
        """
        return self._valid_event(form, {})

    def waiting(self, fields: Mapping[str, object]) -> Later | Prepared | None:
        """Return progress that waits to be sent, or None if the report is silent.

        Most of it is replaced by later progress before it is sent. So its event is not built yet,
        which saves nine tenths of the time, unless it must be checked for values that are not
        valid.

        Raises:
            InvalidEvent: a value is not valid, and mistakes are strict.
        """
        if are_surely_valid(fields):
            return Later(dict(fields), datetime.now(UTC))
        return self.progress(fields)

    def completed(self, waiting: Later | Prepared) -> Prepared | None:
        """Return the event of progress that `waiting` has returned."""
        return waiting if isinstance(waiting, Prepared) else self.progress(*waiting)

    def progress(self, fields: Mapping[str, object], at: datetime | None = None) -> Prepared | None:
        """Return a progress event, or None if the report is silent.

        A number in place of the step is the percent, as in `job.progress(50)`.

        Args:
            fields: the fields; None stands for no value.
            at: when it was reported, if that is not now.

        Raises:
            InvalidEvent: a value is not valid, and mistakes are strict.
        """
        given = converted(fields)
        if "percent" not in given and is_number(fields["step"]):
            del given["step"]
            given |= converted({"percent": fields["step"]})
        if at is not None:
            given["at"] = at
        extra = given.pop("extra", None)
        if extra is not None:
            given |= self._extra(extra)
        return self._valid_event(Progress, given)

    def _extra(self, extra: object) -> Fields:
        """Return the field `extra`, or nothing if its value is empty or a mistake."""
        try:
            if isinstance(extra, Mapping):
                return {"extra": plain(extra, self._unknown("extra"))} if extra else {}
            error = InvalidEvent("invalid_event", "extra: must be a mapping")
        except InvalidEvent:
            raise
        except Exception as problem:  # of the value's own code
            error = InvalidEvent("not_json", f"extra: it cannot be written: {described(problem)}")
        self._mistake("extra", error)
        return {}

    def done(self, result: object) -> Prepared | None:
        """Return the end with a result, or None if the report is silent.

        The result is encoded once and not parsed again: it may have a megabyte.

        Raises:
            InvalidEvent: the result is too large or cannot be written, and mistakes are strict.
        """
        try:
            raw = encode(result_fields(result), self._unknown("result"))
        except InvalidEvent:
            raise
        except Exception as error:  # of the result's own code, too
            problem = f"it cannot be written: {described(error)}"
            self._mistake("result", InvalidEvent("not_json", problem))
            raw = b"{}"
        end = self.bare(Done)
        if end is None:
            return None
        whole = b'%b,"result":%b}' % (end.payload[:-1], raw)
        if len(whole) <= self._max_bytes:
            return Prepared(end.type, whole)
        self._mistake("result", too_large(len(whole), self._max_bytes))
        return end

    def queued(self, retried: BaseException | None = None) -> Prepared | None:
        """Return the event of a job that waits, or None if the report is silent.

        `retried` is why the attempt before has failed. It raises what `bare` does.
        """
        detail = {} if retried is None else {"operator_detail": operator_text(retried)}
        return self._valid_event(Queued, detail)

    def failed(
        self, error: object, code: object = None, operator_detail: object = None
    ) -> Prepared | None:
        """Return the end with an error, or None if the report is silent.

        Raises:
            InvalidEvent: the code is not valid, and mistakes are strict.
        """
        given = {"code": code, "operator_detail": operator_detail}
        fields = failed_fields(error, self._error_text, given)
        return self._valid_event(Failed, converted(fields))

    def cancelled(self, reason: object) -> Prepared | None:
        """Return the end with a reason, or None if it is silent; raises what `bare` does."""
        fields = {} if reason is None else {"reason": valid_text(text_of(reason))}
        return self._valid_event(Cancelled, fields)

    def end_of(self, error: BaseException | None) -> Prepared | None:
        """Return the end of a job whose block has ended, by an exception or normally.

        Raises:
            InvalidEvent: a common field is not valid, and mistakes are strict.
        """
        if error is None:
            return self.done(None)
        if isinstance(error, _INTERRUPTIONS):
            return self.cancelled(f"interrupted: {type(error).__name__}")
        return self.failed(error)

    def _checked(self, tenant: object) -> str:
        """Return the name of the tenant, or an empty text, with a warning, if it is not valid."""
        try:
            return check_tenant(cast("str", as_text(tenant)))
        except ValueError as error:  # InvalidTenant, or a number of too many digits
            if self._mistakes.strict:
                raise
            self._mistakes.warn(self.id, _NOTHING, error)
            return ""

    def _unknown(self, field: str) -> Callable[[object], None]:
        """Return a function that reports a value in a field that JSON has no form for."""

        def unknown(value: object) -> None:
            kind = type(value).__name__
            problem = f"{field}: JSON has no form for a value of type {kind}"
            self._mistake(
                field, InvalidEvent("not_json", problem), then="the text of the value is reported"
            )

        return unknown

    def _mistake(self, field: str, error: InvalidEvent, then: str = "") -> None:
        """Raise the error of a field, or log it with what is done about the field."""
        if self._mistakes.strict:
            raise error
        self._mistakes.warn(self.id, then or f"{field} is not reported", error.detail)

    def _valid_event(self, form: type[Event], fields: Fields) -> Prepared | None:
        """Return an event without the fields that are not valid, or None if there is none."""
        if self.silent:
            return None
        # A copy: another thread may find the same mistake in a common field.
        common = self._all_common()
        while True:
            try:
                event = self._parsed(form, common, fields)
                return Prepared(*typed_payload(event, self._max_bytes))
            except InvalidEvent as error:
                if self._mistakes.strict:
                    raise
                if not self._left_out(error, common, fields):
                    return None

    def _left_out(self, error: InvalidEvent, common: Fields, fields: Fields) -> bool:
        """Leave out the field of an error; return False if no event without it is valid.

        If the error has no field, because the event is too large, it is the largest one.
        """
        optional = {name: value for name, value in common.items() if name not in _IDENTITY}
        field = error.field or largest(optional | fields)
        if field in fields:
            del fields[field]
        elif field in optional:
            del common[field]
            self._common.pop(field, None)
        else:
            self._mistakes.warn(self.id, _NOTHING, error.detail)
            self.silent = True
            return False
        self._mistake(field, error)
        return True

    def _all_common(self) -> Fields:
        return {**self._common, "worker": self._worker()}

    def _parsed(self, form: type[Event], common: Fields, fields: Fields) -> Event:
        """Return the event that has these fields; raises InvalidEvent if one is not valid."""
        stamped = {
            "type": form.model_fields["type"].default,
            **common,
            "event_id": new_event_id(),
            "at": datetime.now(UTC),
            **fields,
        }
        try:
            raw = encode(stamped, ignore)
        except NOT_JSON as error:
            problem = f"it cannot be written as JSON: {error}"
            raise InvalidEvent("not_json", problem, unwritable(stamped)) from None
        return parse_event(raw, self._max_bytes)
