"""How far a job is, as people are shown it.

The numbers come out of a progress document of any age and writer; what is not as it should be
counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .kinds import Kind

UNKNOWN_STEP_SHARE = 50
"""Percent that is shown for a step of which nothing is known."""


@dataclass(frozen=True, slots=True)
class StepShown:
    """The (n/7) display; `percent` is the step's own, 0–100. A part that was not told is None."""

    index: int | None
    total: int | None
    name: str | None
    display: str | None
    percent: int | None


def overall_percent(kind: Kind, progress: Mapping[str, Any]) -> int:
    """Give 0–100: the percent told, else the step's share of the kind's whole, else the middle."""
    percent, step = percent_of(progress.get("percent")), progress.get("step")
    if percent is not None:
        return percent
    known = kind.step_shares if isinstance(step, str) else {}
    return known.get(str(step), UNKNOWN_STEP_SHARE)


def step_shown(progress: Mapping[str, Any]) -> StepShown:
    """Give the display of the step; its name stands for a display name that was not told."""
    name, display = _text(progress.get("step_name")), _text(progress.get("step_name_display"))
    return StepShown(
        index=whole(progress.get("step_index")),
        total=whole(progress.get("step_total")),
        name=name,
        display=name if display is None else display,
        percent=percent_of(progress.get("step_percent")),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def percent_of(value: object) -> int | None:
    """Give a whole percent of at most 100, as `whole` reads it."""
    number = whole(value)
    return None if number is None else min(100, number)


def whole(value: object) -> int | None:
    """Give a number, or a text of one, as a whole number from 0 on; None where it is neither."""
    if not isinstance(value, int | float | str):
        return None
    try:
        return max(0, int(value))
    except (ValueError, OverflowError):  # another text, NaN, infinity
        return None
