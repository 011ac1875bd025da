"""The progress bar that `ops.progress_lines` shows on a terminal. Used by `ops.progress_lines`."""

from __future__ import annotations

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

from ops.printing import error_console


class _Speed(ProgressColumn):
    """The column with the events per second."""

    def render(self, task: Task) -> Text:
        """Return the speed as text, once it is known."""
        return Text("events" if task.speed is None else f"events, {task.speed:,.0f} a second")


class ProgressBar:
    """A bar with the events that are done, of all that are expected.

    A thread draws it, which starts when the first events are expected. Processes must be forked
    before that.
    """

    shows_total = True

    def __init__(self, command: str) -> None:
        columns = TextColumn(command), BarColumn(), MofNCompleteColumn()
        remaining = TimeRemainingColumn()
        self._bar = Progress(*columns, _Speed(), remaining, console=error_console())
        self._task = self._bar.add_task(command, total=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing; the last state stays on the terminal."""
        if self._bar.live.is_started:  # stopping it otherwise prints an empty line
            self._bar.stop()

    def expect(self, events: int) -> None:
        """Add events to the total."""
        self._bar.start()
        self._bar.update(self._task, total=(self._bar.tasks[0].total or 0) + events)

    def advance(self, events: int) -> None:
        """Add events to those that are done."""
        self._bar.advance(self._task, events)
