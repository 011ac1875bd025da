"""The error of an import as a whole. A problem of a single row is part of the result instead.

Used by the modules of `workers.roster`, and by `ops.tasks.roster_import`.
"""

from __future__ import annotations


class RosterError(RuntimeError):
    """The workbook cannot be imported; the message is one line for its owner.

    `code` is the `code` of the `failed` event.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code
