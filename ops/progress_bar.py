"""The progress of a long command: a bar on a terminal, and lines now and then elsewhere."""

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

TELL_SECONDS = 5.0
"""Between two lines of progress where there is no terminal."""


class _Speed(ProgressColumn):
    """Events a second."""

    def render(self, task: Task) -> Text:
        """Return it as text; nothing before it is known."""
        return Text("events" if task.speed is None else f"events, {task.speed:,.0f} a second")


class EventProgress:
    """Shows on standard error how many events are done.

    A bar has a thread of its own, which begins with the first that is expected: until then the
    process may fork.
    """

    def __init__(self, word: str) -> None:
        console = error_console()
        self.shows_total = console.is_terminal
        """Return True where it is of use to count what is expected."""
        self._word = word
        columns = TextColumn(word), BarColumn(), MofNCompleteColumn()
        self._bar = Progress(*columns, _Speed(), TimeRemainingColumn(), console=console)
        self._task = self._bar.add_task(word, total=0)
        self._done, self._told = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar.live.is_started:  # else it would print an empty line
            self._bar.stop()

    def expect(self, events: int) -> None:
        """Expect so many events more."""
        if self.shows_total:
            self._bar.start()
            self._bar.update(self._task, total=(self._bar.tasks[0].total or 0) + events)

    def advance(self, events: int) -> None:
        """Count so many events more as done."""
        if self.shows_total:
            self._bar.advance(self._task, events)
            return
        self._done += events
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            complain(f"{self._word}: {self._done} events")
