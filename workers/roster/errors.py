"""The error of a whole import. A problem of a single row is part of the result instead."""

from __future__ import annotations


class RosterError(RuntimeError):
    """The workbook cannot be imported; the message is one line for its owner.

    `code` is the `code` of the `failed` event.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code
