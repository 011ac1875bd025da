"""What a look at a deployment finds."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing looked at."""

    check: str
    ok: bool
    found: str
    advice: str = ""
    """What to do, where it is not as it should be."""
    warns: bool = False
    """It is well for now, and the advice is worth reading."""
