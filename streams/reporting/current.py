"""The report of the job that the calling code works on, in a context variable.

Used by `streams.integrations`, `streams.reporting.job_base` and `streams.tracking`.
"""

from __future__ import annotations

from contextvars import ContextVar

_CURRENT: ContextVar[object] = ContextVar("jobtrail_job", default=None)


def report() -> object:
    """Return the report of the innermost job that the calling code runs in, or None."""
    return _CURRENT.get()


def enter(job: object) -> object:
    """Make a report the current one, and return the one before."""
    before = _CURRENT.get()
    _CURRENT.set(job)
    return before


def leave(before: object) -> None:
    """Make the report from before the current one again."""
    _CURRENT.set(before)
