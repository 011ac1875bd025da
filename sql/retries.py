"""Running transactions again that another transaction ended.

Times are in seconds. Used by `consumers.chores.job_figures`, `ops.outside_errors`,
`projections.replay.row_lock`, `projections.rows.writer` and `sql.sessions`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

T = TypeVar("T")

TRANSIENT_ERRORS = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
"""Errors after which the same transaction, run again, may succeed."""
TRIES = 5
"""The largest number of runs of one transaction."""
LONGEST_PAUSE = 0.2
"""The longest pause before the second run; each further pause may be longer by the same time."""


def with_retries(work: Callable[[], T]) -> T:
    """Run a transaction, and run it again after each transient error.

    Raises:
        psycopg.Error: another error, or the transient error of the fifth run.
    """
    for tried in range(1, TRIES):
        try:
            return work()
        except TRANSIENT_ERRORS:
            time.sleep(random.uniform(0, LONGEST_PAUSE * tried))  # noqa: S311 - no secret
    return work()
