"""Times for people: local, with the date and the zone.

Used by `ops.tasks.dead_letters.facts` and `ops.tasks.events.event_view`.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime


def local_time(when: datetime, *, milliseconds: bool = False) -> str:
    """Return a time in the zone of this process (`TZ`)."""
    local = when
    with suppress(OverflowError, ValueError, OSError):  # the first and the last day of all
        local = when.astimezone()
    fraction = f".{local.microsecond // 1000:03d}" if milliseconds else ""
    return f"{local:%Y-%m-%d %H:%M:%S}{fraction} {local:%Z}"
