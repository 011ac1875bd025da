"""The progress of `replay` and `verify` on standard error: lines, or a bar on a terminal.

The bar is in `ops.progress_bar`, which is imported for a terminal only: it needs a large package.
Used by `ops.commands.replay` and `ops.commands.verify`.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from ops.printing import complain, error_is_terminal
from ops.tasks.progress import Progress
from ops.text.plurals import counted

LINE_SECONDS = 5.0
"""The time between two lines of progress."""


class ShownProgress(Progress, Protocol):
    """The number of events that are done, as it is shown."""

    shows_total: bool
    """True if the total is shown, so that the expected events should be counted."""


def event_progress(command: str) -> AbstractContextManager[ShownProgress]:
    """Return the progress to show for a command: a bar on a terminal, or else lines."""
    if not error_is_terminal():
        return ProgressLines(command)
    from ops.progress_bar import ProgressBar  # noqa: PLC0415 - slow to import

    return ProgressBar(command)


class ProgressLines:
    """A line with the number of events that are done, every `LINE_SECONDS`."""

    shows_total = False

    def __init__(self, command: str) -> None:
        self._command = command
        self._done, self._last_line = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: the lines are complete."""

    def expect(self, events: int) -> None:
        """Ignore the total, which the lines do not show."""

    def advance(self, events: int) -> None:
        """Add events to those that are done, and print a line if it is time for one."""
        self._done += events
        if time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            complain(f"{self._command}: {counted(self._done, 'event')}")
