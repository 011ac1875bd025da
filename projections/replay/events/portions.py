"""Limits of what is read into memory at once.

Used by `projections.replay.events`, `projections.replay.folded_jobs` and
`projections.replay.repair`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

READ_BYTES = 16 * 1024 * 1024
"""Approximate size of the events that are read at once; a larger event is read alone."""
READ_AT_ONCE = 2_000
"""Entries or rows that are read at once."""
T = TypeVar("T")


def by_bytes(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Divide items into portions of at most `READ_BYTES`; a larger item is a portion by itself."""
    portion, taken = list[T](), 0
    for item in items:
        if portion and taken + size(item) > READ_BYTES:
            yield portion
            portion, taken = [], 0
        portion.append(item)
        taken += size(item)
    if portion:
        yield portion
