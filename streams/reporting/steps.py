"""Steps: parts of a job that are reported by number, such as (3/7).

Used by `streams.async_job_report`, `streams.job_report` and `streams.reporting.job_base`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from .fields import converted

_MOST_STEPS = 2**53
"""The largest number of a step that is valid; others are not calculated with."""
_ReportedT_co = TypeVar("_ReportedT_co", covariant=True)


class StepNumbers:
    """Numbers of the steps of one job, counted from 1.

    A step without an index has the one after that of the last step, and a step without a total has
    the total of the last step. Numbers that are not valid do not count.
    """

    def __init__(self) -> None:
        self._last = 0
        self._total: object = None

    def fields(
        self, name: str, index: int | None, total: int | None, display: str | None
    ) -> dict[str, Any]:
        """Return the fields that all progress of a step has."""
        given = converted({"step_index": index, "step_total": total})
        number = given.get("step_index", self._last + 1)
        if type(number) is int and 0 <= number <= _MOST_STEPS:
            self._last = number
        of = given.get("step_total", self._total)
        if type(of) is int and 0 <= of <= _MOST_STEPS:
            self._total = of
        return {
            "step": name,
            "step_index": number,
            "step_total": of,
            "step_name_display": display,
        }


class ReportsProgress(Protocol[_ReportedT_co]):
    """Interface of a job report, as its steps use it; one for coroutines returns an awaitable."""

    def progress(
        self,
        step: str | float | None = None,
        percent: float | None = None,
        *,
        step_index: int | None = None,
        step_total: int | None = None,
        step_name_display: str | None = None,
        step_percent: float | None = None,
        remaining_seconds: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> _ReportedT_co:
        """Report the progress of the job."""


class _Step(Generic[_ReportedT_co]):
    """Base of both classes of steps.

    Args:
        job: the report of the job.
        fields: the fields that all progress of the step has.
    """

    def __init__(self, job: ReportsProgress[_ReportedT_co], fields: Mapping[str, Any]) -> None:
        self._job = job
        self._fields = fields
        self._percent: float | None = None
        """The last valid progress of this step."""

    def progress(
        self,
        percent: float | None = None,
        *,
        remaining_seconds: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> _ReportedT_co:
        """Report the progress of this step, 0 to 100, and that of the job if the total is known.

        Without `percent`, the progress remains what it was.
        """
        number = _finite(converted({"step_percent": percent}).get("step_percent"))
        if number is not None:
            self._percent = number
        return self._job.progress(
            **self._fields,
            step_percent=self._percent if percent is None else percent,
            percent=_overall(
                self._fields["step_index"], self._fields["step_total"], self._percent or 0
            ),
            remaining_seconds=remaining_seconds,
            extra=extra,
        )


class Step(_Step[None]):
    """One step of a job, used as a context manager.

    It begins at 0 % and ends at 100 %, unless an exception leaves the block.
    """

    def __enter__(self) -> Self:
        self.progress(0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.progress(100)


class AsyncStep(_Step[Awaitable[None]]):
    """One step of a job, used by `async with`.

    It begins at 0 % and ends at 100 %, unless an exception leaves the block.
    """

    async def __aenter__(self) -> Self:
        await self.progress(0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.progress(100)


def _finite(value: object) -> float | None:
    """Return a number as one of Python's own, or None for another value or one beyond a float."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except Exception:  # of the value's own code, or it is too large
        return None
    if type(value) is int:
        return value
    return number if math.isfinite(number) else None


def _overall(index: object, total: object, percent: float) -> float | None:
    """Return the progress of the job, all of whose steps count equally; None if it is not known.

    A percent beyond 0 to 100 counts as the nearest limit.
    """
    if type(index) is not int or type(total) is not int:
        return None
    if abs(index) > _MOST_STEPS or not 1 <= total <= _MOST_STEPS:
        return None
    share = min(1.0, max(0.0, percent / 100))
    return round(100 * min(1.0, max(0.0, (index - 1 + share) / total)), 1)
