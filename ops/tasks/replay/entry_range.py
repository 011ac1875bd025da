"""The range of entries that `--since` and `--until` describe, by entry id or time.

Used by `ops.commands.replay`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ops.errors import CommandError
from projections.replay.events.sources import EntryRange
from streams.entry_ids import FIRST, LAST, EntryId


def entry_range(since: str | None, until: str | None) -> EntryRange:
    """Return the range between two entry ids or times, both included; None leaves an end open.

    A time, or milliseconds without a sequence number, covers all entries of that millisecond.

    Raises:
        CommandError: a text is neither an entry id nor a time.
    """
    first = FIRST if since is None else _bound(since, 0)
    return EntryRange(first, LAST if until is None else _bound(until, LAST.seq))


def _bound(text: str, seq: int) -> EntryId:
    """Return the entry id; `seq` is the sequence number if the text has none."""
    try:
        entry_id = EntryId.parse(text)
    except ValueError:
        return EntryId(_milliseconds(text), seq)
    return entry_id if "-" in text else EntryId(entry_id.ms, seq)


def _milliseconds(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"{text!r} is neither an entry id nor a time: 1767225600000-0 or 2026-01-01T00:00:00Z"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0, int(at.timestamp() * 1000))
