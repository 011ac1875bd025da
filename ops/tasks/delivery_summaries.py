"""The rows of `jobtrail lag` and `jobtrail trim` that need attention, and a summary of all rows.

Used by `ops.commands.lag` and `ops.commands.retention`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ops.text.plurals import age, counted

if TYPE_CHECKING:
    from consumers.chores.retention.trimming import Trimmed
    from consumers.delivery.lag import Lag

LISTED = 20
"""Rows that are listed unless all are asked for."""


def is_settled(row: Lag) -> bool:
    """Return whether a group has handled and acknowledged all entries of the stream."""
    return row.waiting == 0 and not row.pending


def behind(rows: Sequence[Lag]) -> list[Lag]:
    """Return the rows with entries that are waiting or pending, the oldest entries first."""
    late = [row for row in rows if not is_settled(row)]
    return sorted(late, key=lambda row: (-row.oldest_age_seconds, row.group, row.tenant))


def lag_cells(row: Lag) -> tuple[object, ...]:
    """Return the cells of one row."""
    waiting = "?" if row.waiting is None else row.waiting
    return row.group, row.tenant, waiting, row.pending, age(row.oldest_age_seconds)


def lag_summary(rows: Sequence[Lag]) -> Iterator[str]:
    """Yield one line for each group."""
    if not rows:
        yield "no tenant has entries"
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        late = behind(own)
        if not late:
            yield f"{group}: nothing waits ({counted(len(own), 'tenant')})"
            continue
        waiting = sum(row.waiting or 0 for row in late)
        least = "at least " if any(row.waiting is None for row in late) else ""
        yield (
            f"{group}: {len(late)} of {counted(len(own), 'tenant')} behind;"
            f" {least}{counted(waiting, 'entry', 'entries')} waiting,"
            f" {sum(row.pending for row in late)} pending,"
            f" the oldest for {age(late[0].oldest_age_seconds)}"
        )


def notable(rows: Sequence[Trimmed]) -> list[Trimmed]:
    """Return the rows whose stream was trimmed or is held back, the longest streams first."""
    found = [row for row in rows if row.trimmed or row.held_by]
    return sorted(found, key=lambda row: (not row.held_by, -row.left, row.tenant))


def trim_cells(row: Trimmed) -> tuple[object, ...]:
    """Return the cells of one row."""
    return row.tenant, row.trimmed, row.left, ", ".join(row.held_by) or ("age" if row.left else "")


def trim_summary(rows: Sequence[Trimmed], keep_seconds: float) -> Iterator[str]:
    """Yield one line for all streams, and one for each group that holds some of them back."""
    trimmed = sum(row.trimmed for row in rows)
    streams = sum(row.trimmed > 0 for row in rows)
    left = sum(row.left for row in rows)
    yield (
        f"trimmed {counted(trimmed, 'entry', 'entries')} of {counted(streams, 'stream')};"
        f" {counted(left, 'entry', 'entries')} left in {counted(len(rows), 'stream')}"
    )
    held = Counter(group for row in rows for group in row.held_by)
    for group, count in held.most_common():
        yield f"{group} holds back {counted(count, 'stream')}: see jobtrail lag"
    kept = sum(not row.held_by and row.left > 0 for row in rows)
    if kept:
        yield f"in {counted(kept, 'stream')} all that is left is younger than {keep_seconds:g} s"
