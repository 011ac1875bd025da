"""The one error that a whole import ends in; what is wrong with a single row is its result."""

from __future__ import annotations


class RosterError(RuntimeError):
    """The workbook cannot be imported as it is; the message is one line fit for its owner.

    `code` is the short machine word that the `failed` event carries.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code
