"""Steps: parts of a job that are reported by number, such as (3/7).

Used by `streams.async_job_report`, `streams.job_report` and `streams.reporting.job_base`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self


class StepNumbers:
    """Numbers of a job's steps; a step without a number is the one after the last."""

    def __init__(self) -> None:
        self._last = 0
        self._total: int | None = None

    def fields(
        self, name: str, index: int | None, total: int | None, display: str | None
    ) -> dict[str, Any]:
        """Return the fields that all progress of a step has."""
        index = self._last + 1 if index is None else index
        total = self._total if total is None else total
        if isinstance(index, int):
            self._last = index
        self._total = total
        return {
            "step": name,
            "step_index": index,
            "step_total": total,
            "step_name_display": display,
        }


class Reporting(Protocol):
    """Interface of a blocking report, as its steps use it."""

    def progress(self, step: str | float | None = None, percent: float | None = None) -> object:
        """Report progress."""


class _Step:
    """Fields of one step's progress."""

    def __init__(self, job: Any, fields: Mapping[str, Any]) -> None:
        self._job = job
        self._fields = fields

    def _at(
        self,
        percent: object,
        remaining_seconds: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Any:
        return self._job.progress(
            **self._fields,
            step_percent=percent,
            percent=_overall(self._fields["step_index"], self._fields["step_total"], percent),
            remaining_seconds=remaining_seconds,
            extra=extra,
        )


class Step(_Step):
    """One step of a job, used as a context manager: it begins at 0 % and ends at 100 %."""

    def __enter__(self) -> Self:
        self._at(0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._at(100)

    def progress(
        self,
        percent: float | None = None,
        *,
        remaining_seconds: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Report the progress of this step, 0 to 100, and with it that of the job."""
        self._at(percent, remaining_seconds, extra)


class AsyncStep(_Step):
    """One step of a job, used by `async with`: it begins at 0 % and ends at 100 %."""

    async def __aenter__(self) -> Self:
        await self._at(0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self._at(100)

    def progress(
        self,
        percent: float | None = None,
        *,
        remaining_seconds: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Awaitable[None]:
        """Report the progress of this step, 0 to 100, and with it that of the job."""
        reported: Awaitable[None] = self._at(percent, remaining_seconds, extra)
        return reported


def _overall(index: object, total: object, percent: object) -> float | None:
    """Return the progress of the job, with steps of equal size; None if it is not known."""
    if not isinstance(index, int) or not isinstance(total, int) or total < 1:
        return None
    share = percent / 100 if isinstance(percent, int | float) else 0.0
    return round(100 * min(1.0, max(0.0, (index - 1 + share) / total)), 1)
