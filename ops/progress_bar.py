"""The progress of `replay` and `verify` on standard error: a bar on a terminal, or lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ops.printing import complain, error_console

LINE_SECONDS = 5.0
"""The time between two lines of progress where there is no terminal."""


class _Speed(ProgressColumn):
    """The column with the events a second."""

    def render(self, task: Task) -> Text:
        """Return the speed as text, once it is known."""
        return Text("events" if task.speed is None else f"events, {task.speed:,.0f} a second")


class EventProgress:
    """The number of events that are done, shown on standard error.

    The bar is drawn by a thread, which starts when the first events are expected. Processes must be
    forked before that.
    """

    def __init__(self, word: str) -> None:
        console = error_console()
        self.shows_total = console.is_terminal
        """True if the total is shown, so that the expected events should be counted."""
        self._word = word
        columns = TextColumn(word), BarColumn(), MofNCompleteColumn()
        self._bar = Progress(*columns, _Speed(), TimeRemainingColumn(), console=console)
        self._task = self._bar.add_task(word, total=0)
        self._done, self._last_line = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar.live.is_started:  # stopping it otherwise prints an empty line
            self._bar.stop()

    def expect(self, events: int) -> None:
        """Add events to the total."""
        if self.shows_total:
            self._bar.start()
            self._bar.update(self._task, total=(self._bar.tasks[0].total or 0) + events)

    def advance(self, events: int) -> None:
        """Add events to those that are done."""
        if self.shows_total:
            self._bar.advance(self._task, events)
            return
        self._done += events
        if time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            complain(f"{self._word}: {self._done} events")
