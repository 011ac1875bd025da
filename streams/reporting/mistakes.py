"""Mistakes in reports: a warning that names the line of the caller, or an error if it is strict.

Used by `streams.compat`, `streams.reporter` and `streams.reporting`.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from ..runtime.safe_text import visible

_LOG = logging.getLogger(__name__)

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_REMEMBERED = 1_000


class Line(NamedTuple):
    """A line of the application's code."""

    file: str
    number: int


def calling_line() -> Line:
    """Return the innermost line of the stack that is in the application's code."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only quick way, which logging uses too
    while frame.f_back is not None and _is_inside(frame.f_code.co_filename):
        frame = frame.f_back
    return Line(frame.f_code.co_filename, frame.f_lineno)


def warn_at_caller(message: str, category: type[Warning]) -> None:
    """Issue a warning of Python that names the line of the application."""
    line = calling_line()
    warnings.warn_explicit(message, category, line.file, line.number)


class Mistakes:
    """Mistakes of one reporter's callers, each of which is logged once for a job, line and topic.

    Args:
        strict: True if callers of `warn` raise an error instead, for development and tests.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._known: set[tuple[Line, str, str]] = set()

    def warn(self, job: object, topic: str, problem: object) -> None:
        """Log what is wrong in a report of a job, and where it was called.

        `topic` is the part of the report that is wrong, such as the name of a field.
        """
        line = calling_line()
        shown = visible(str(job))
        known = (line, shown, topic)
        if known in self._known:
            return
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known.add(known)
        _LOG.warning("%s:%d: job %s: %s: %s", line.file, line.number, shown, topic, problem)


def _is_inside(file: str) -> bool:
    return file.startswith(_PACKAGE) or file.endswith(("/contextlib.py", "/functools.py"))
