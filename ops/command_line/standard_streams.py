"""Standard input, output and error, in place even where the shell closed them."""

from __future__ import annotations

import os
import sys

STANDARD_INPUT = 0
_MODES = {0: "r", 1: "w", 2: "w"}
_NAMES = {0: "stdin", 1: "stdout", 2: "stderr"}


def open_closed_streams() -> frozenset[int]:
    """Open the null device in place of closed standard streams, and return which those were.

    The next file or connection to be opened would otherwise take the number, and be written to as
    standard output or error. Output that the shell closed is not wanted.
    """
    closed = []
    for number, mode in _MODES.items():
        try:
            os.fstat(number)
        except OSError:
            closed.append(number)
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number free, which is this one
            os.set_inheritable(nowhere, True)  # noqa: FBT003 - a method of the standard library
            setattr(sys, _NAMES[number], os.fdopen(nowhere, mode))
    return frozenset(closed)


CLOSED_AT_START = open_closed_streams()
