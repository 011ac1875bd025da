"""The current job of the calling code, and the progress of a loop for it, as `tqdm` shows it.

Used by applications.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator, Sized
from typing import Any, Protocol, TypeVar, overload

from .async_job_report import AsyncJobReport
from .job_report import JobReport
from .reporting import current

_ItemT = TypeVar("_ItemT")
_ReportT = TypeVar("_ReportT")


@overload
def current_job() -> JobReport | AsyncJobReport | None: ...


@overload
def current_job(form: type[_ReportT]) -> _ReportT | None: ...


def current_job(form: type[object] = object) -> object:
    """Return the report of the innermost job that the calling code runs in, or None.

    With a class, `JobReport` or `AsyncJobReport`, it is the current report if it is of that class.
    Other threads have it if they were started with a copy of the context, as by
    `asyncio.to_thread`.
    """
    report = current.report()
    return report if isinstance(report, form) else None


class Tracked(Protocol):
    """A job or a step whose progress a loop reports."""

    @property
    def progress(self) -> Any:
        """Method that reports progress."""


@overload
def track(
    items: Iterable[_ItemT],
    total: int | None = None,
    *,
    step: str | None = None,
    job: Tracked | None = None,
) -> Iterator[_ItemT]: ...


@overload
def track(
    items: AsyncIterable[_ItemT],
    total: int | None = None,
    *,
    step: str | None = None,
    job: Tracked | None = None,
) -> AsyncIterator[_ItemT]: ...


def track(
    items: Iterable[Any] | AsyncIterable[Any],
    total: int | None = None,
    *,
    step: str | None = None,
    job: Tracked | None = None,
) -> Iterator[Any] | AsyncIterator[Any]:
    """Return an iterator over the same items that reports the share of those that are done.

    Args:
        items: what the loop goes through; an asynchronous iterable is for `async for`.
        total: number of items; by default the length of `items`. Without one, no percent is
            reported, but the number of items in `extra`.
        step: name of the step that is reported.
        job: the job or step; by default the current job. Outside of a job nothing is reported.
    """
    progress = _Progress(job or current_job(), _total(items, total), step)
    if isinstance(items, AsyncIterable):
        return _tracked_async(items, progress)
    return _tracked(items, progress)


def _total(items: object, total: int | None) -> int | None:
    return len(items) if total is None and isinstance(items, Sized) else total


def _tracked(items: Iterable[_ItemT], progress: _Progress) -> Iterator[_ItemT]:
    progress.report(0)
    for number, item in enumerate(items, 1):
        yield item
        progress.report(number)


async def _tracked_async(
    items: AsyncIterable[_ItemT], progress: _Progress
) -> AsyncIterator[_ItemT]:
    await progress.report_async(0)
    number = 0
    async for item in items:
        yield item
        number += 1
        await progress.report_async(number)


class _Progress:
    """Reports how many items of a loop are done."""

    def __init__(self, job: Tracked | None, total: int | None, step: str | None) -> None:
        self._job = job
        self._total = total
        self._step: dict[str, Any] = {} if step is None else {"step": step}

    def report(self, number: int) -> object:
        """Report the number of items that are done."""
        if self._job is None:
            return None
        if self._total:
            share = min(100.0, round(100 * number / self._total, 1))
            return self._job.progress(percent=share, **self._step)
        return self._job.progress(extra={"items": number}, **self._step)

    async def report_async(self, number: int) -> None:
        """Report the number, and let others on the loop have their turn."""
        reported = self.report(number)
        if isinstance(reported, Awaitable):
            await reported
