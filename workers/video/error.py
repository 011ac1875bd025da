"""The error of a video that cannot be encoded, whatever the cause.

Used by the modules of `workers.video`.
"""

from __future__ import annotations

from pathlib import Path


class VideoError(RuntimeError):
    """A video cannot be encoded; the message is one line for its owner.

    `code` is the `code` of the `failed` event.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class SourceMissing(VideoError):
    """The source file does not exist: an error of the caller, which no job reports."""

    def __init__(self, source: Path) -> None:
        super().__init__(f"{source.name}: there is no such file", code="missing")
