"""The seven steps of encoding a video, and their report as one percentage.

Used by `workers.video.encoder` and `workers.video.rendering`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol


class Tick(Protocol):
    """A function of the fraction of a step that is done and, if known, the remaining seconds."""

    def __call__(self, fraction: float, remaining_seconds: int | None = None, /) -> None:
        """Report the progress of the step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name in events, its display name, and the overall percent at its end."""

    name: str
    display: str
    end_percent: int


STEPS = (
    Step("presigning", "준비", 5),
    Step("downloading", "원본 가져오기", 15),
    Step("probing", "분석", 20),
    Step("transcoding", "인코딩", 85),
    Step("thumbnail", "썸네일", 90),
    Step("validating", "검증", 97),
    Step("publishing", "게시", 100),
)


class JobReport(Protocol):
    """The part of the SDK's job report that this worker uses."""

    def progress(
        self,
        step: str,
        /,
        *,
        percent: float,
        step_index: int,
        step_total: int,
        step_name_display: str,
        step_percent: int,
        remaining_seconds: int | None,
    ) -> object:
        """Report progress."""

    def done(self, result: dict[str, object], /) -> object:
        """Report the result."""

    def failed(self, error: str, /, *, code: str) -> object:
        """Report a failure."""


class JobReporter(Protocol):
    """The part of the SDK's reporter that this worker uses."""

    def job(
        self,
        job_id: str,
        /,
        *,
        tenant: str,
        kind: str,
        job_type: str,
        attempt: int,
    ) -> AbstractContextManager[JobReport]:
        """Return a context manager that reports a job, and an exception of its block as failed."""


class StepReport:
    """Reports the steps of one job; the percent never decreases, and no report is repeated."""

    def __init__(self, job: JobReport) -> None:
        self._job = job
        self._reported: tuple[object, ...] = ()
        self._percent = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[Tick]:
        """Report the start of the step, each tick in the block, and its end without an error.

        `name` is that of one of `STEPS`.
        """
        index = next(i for i, step in enumerate(STEPS) if step.name == name)

        def tick(fraction: float, remaining_seconds: int | None = None, /) -> None:
            self._report(index, min(1.0, max(0.0, fraction)), remaining_seconds)

        tick(0.0)
        yield tick
        if self._reported[:2] != (index, 100):
            tick(1.0)

    def _report(self, index: int, fraction: float, remaining_seconds: int | None) -> None:
        step = STEPS[index]
        start = STEPS[index - 1].end_percent if index else 0
        percent = round(start + (step.end_percent - start) * fraction, 1)
        self._percent = max(self._percent, percent)
        report = (index, int(fraction * 100), remaining_seconds)
        if report == self._reported:
            return
        self._reported = report
        self._job.progress(
            step.name,
            percent=self._percent,
            step_index=index + 1,
            step_total=len(STEPS),
            step_name_display=step.display,
            step_percent=int(fraction * 100),
            remaining_seconds=remaining_seconds,
        )
