"""Event ids: UUIDv7 that the worker's package adds to each event.

A retried append may store an event twice; the history recognizes it by this id. Used by the
modules that append, and by the history (`time_of`).
"""

from __future__ import annotations

import os
import time

_LENGTH = 36


def new_event_id() -> str:
    """Return a new UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, then random bits."""
    ms = time.time_ns() // 1_000_000
    digits = f"{ms:012x}7{os.urandom(10).hex()}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def time_of(event_id: str) -> int | None:
    """Return the milliseconds since 1970 in a UUIDv7, or None if the id is not one."""
    if len(event_id) != _LENGTH or event_id[14] != "7" or event_id[8] != "-":
        return None
    try:
        return int(event_id[:8] + event_id[9:13], 16)
    except ValueError:
        return None
