"""The null device in place of standard streams that the shell closed (`<&-`, `>&-`).

Used by `jobtrail_command` and `ops.commands.append`.
"""

from __future__ import annotations

import os
import sys

STANDARD_INPUT = 0
_MODES = {0: "r", 1: "w", 2: "w"}
_NAMES = {0: "stdin", 1: "stdout", 2: "stderr"}


def open_closed_streams() -> frozenset[int]:
    """Open the null device for each closed standard stream; return the numbers of those streams.

    The next file or connection would otherwise get such a number, and output would be written to
    it.
    """
    closed = []
    for number, mode in _MODES.items():
        try:
            os.fstat(number)
        except OSError:
            closed.append(number)
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            os.set_inheritable(null, True)  # noqa: FBT003 - a function of the standard library
            setattr(sys, _NAMES[number], os.fdopen(null, mode))
    return frozenset(closed)


CLOSED_AT_START = open_closed_streams()
