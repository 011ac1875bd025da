"""The one error that encoding a video ends in, whatever went wrong underneath."""

from __future__ import annotations


class VideoError(RuntimeError):
    """A video cannot be encoded as it is; the message is one line fit to show to its owner.

    `code` is the short machine word that the `failed` event carries.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code
