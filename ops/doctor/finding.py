"""The results of the doctor's checks. Used by `ops.commands` and `ops.doctor`."""

from __future__ import annotations

from typing import NamedTuple


class Verdict(NamedTuple):
    """The result of one check."""

    ok: bool
    found: str
    advice: str = ""
    """The action to take if the result is not ok, or is a warning."""
    warns: bool = False
    """True if the result is ok for now but the advice is worth reading."""


class Finding(NamedTuple):
    """The result of a check, with the check's name."""

    check: str
    ok: bool
    found: str
    advice: str = ""
    warns: bool = False
