"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.01

BUSY = 6
"""The factor by which other work may slow a machine down. A bound on a wait decides only
how long a failure takes, so it may be generous."""

ENDING = 120.0
"""Seconds within which a process that was told to end, or has nothing left to do, must end."""


def eventually(
    check: Callable[[], T | None], timeout: float = 10.0, what: str = "the condition"
) -> T:
    """Call `check` until it returns something truthy, and return that.

    `timeout` is in seconds of a machine that does nothing else.

    An AssertionError from `check` means "not yet".

    Raises:
        AssertionError: the time is over; the last one from `check`, if it raised any.
    """
    deadline = time.monotonic() + timeout * BUSY
    while True:
        try:
            if value := check():
                return value
            failure = AssertionError(f"{what} did not come true in {timeout} s; last: {value!r}")
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        time.sleep(INTERVAL)
