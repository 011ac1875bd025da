"""The one error that encoding a video ends in, whatever went wrong underneath."""

from __future__ import annotations

from pathlib import Path


class VideoError(RuntimeError):
    """A video cannot be encoded as it is; the message is one line fit to show to its owner.

    `code` is the short machine word that the `failed` event carries.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class SourceMissing(VideoError):
    """There is no file of that name: the caller's mistake, reported as no job's failure."""

    def __init__(self, source: Path) -> None:
        super().__init__(f"{source.name}: there is no such file", code="missing")
