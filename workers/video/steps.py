"""The seven steps of encoding a video, as data, and their reporting as one growing percent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol


class Tick(Protocol):
    """Takes the fraction of a step done and, where known, the seconds that it still takes."""

    def __call__(self, fraction: float, remaining_seconds: int | None = None, /) -> None:
        """Report it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name in events, what people read, and the overall percent at its end."""

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
    """What the SDK's job takes: only as much of it as this worker says."""

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
        """Say how far the job is."""

    def done(self, result: dict[str, object], /) -> object:
        """Say that it is done."""

    def failed(self, error: str, /, *, code: str) -> object:
        """Say that it failed, and why."""


class JobReporter(Protocol):
    """What the SDK's reporter does; leaving its block with an exception is reported by itself."""

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
        """Open a job's block: it is processing from here on."""


class StepReport:
    """Reports steps to a job: the overall percent never goes back, and nothing is said twice."""

    def __init__(self, job: JobReport) -> None:
        self._job = job
        self._said: tuple[object, ...] = ()
        self._percent = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[Tick]:
        """Report the step's beginning, each tick given meanwhile, and its end if it gets there."""
        index = next(i for i, step in enumerate(STEPS) if step.name == name)

        def tick(fraction: float, remaining_seconds: int | None = None, /) -> None:
            self._say(index, min(1.0, max(0.0, fraction)), remaining_seconds)

        tick(0.0)
        yield tick
        if self._said[:2] != (index, 100):
            tick(1.0)

    def _say(self, index: int, fraction: float, remaining_seconds: int | None) -> None:
        step = STEPS[index]
        start = STEPS[index - 1].end_percent if index else 0
        percent = round(start + (step.end_percent - start) * fraction, 1)
        self._percent = max(self._percent, percent)
        said = (index, int(fraction * 100), remaining_seconds)
        if said == self._said:
            return
        self._said = said
        self._job.progress(
            step.name,
            percent=self._percent,
            step_index=index + 1,
            step_total=len(STEPS),
            step_name_display=step.display,
            step_percent=int(fraction * 100),
            remaining_seconds=remaining_seconds,
        )
