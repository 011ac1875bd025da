"""The extent of a test run: everything where `JOBTRAIL_TEST_THOROUGH` is set, as in `.ci/run`."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("JOBTRAIL_TEST_THOROUGH"))


def examples(number: int) -> int:
    """Return the examples of a property to try: `number` in a thorough run, else a quarter."""
    return number if THOROUGH else max(10, number // 4)
