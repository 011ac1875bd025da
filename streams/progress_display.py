"""Displayed progress: percents and steps as answers show them, from a progress document.

The document may be of any age and writer. Values of a wrong type count as absent. Used by
`api.answers.progress_answer` and `streams.compat.reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .kinds import Kind

UNKNOWN_STEP_SHARE = 50
"""Overall percent for a step without a known share."""


@dataclass(frozen=True, slots=True)
class DisplayedStep:
    """Step of a job with several steps, such as (3/7). Unknown values are None."""

    index: int | None
    total: int | None
    name: str | None
    display: str | None
    percent: int | None
    """Progress of the step itself, 0–100."""


def overall_percent(kind: Kind, progress: Mapping[str, Any]) -> int:
    """Return the overall progress, 0–100: the percent, otherwise the share of the step, or 50."""
    percent, step = percent_of(progress.get("percent")), progress.get("step")
    if percent is not None:
        return percent
    known = kind.step_shares if isinstance(step, str) else {}
    return known.get(str(step), UNKNOWN_STEP_SHARE)


def displayed_step(progress: Mapping[str, Any]) -> DisplayedStep:
    """Return the step to display; its name replaces a missing display name."""
    name, display = _text(progress.get("step_name")), _text(progress.get("step_name_display"))
    return DisplayedStep(
        index=whole_number(progress.get("step_index")),
        total=whole_number(progress.get("step_total")),
        name=name,
        display=name if display is None else display,
        percent=percent_of(progress.get("step_percent")),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def percent_of(value: object) -> int | None:
    """Return a number as a whole percent from 0 to 100, or None if it is not a number."""
    number = whole_number(value)
    return None if number is None else min(100, number)


def whole_number(value: object) -> int | None:
    """Return a number, or the text of one, as an integer from 0; None if it is neither."""
    if not isinstance(value, int | float | str):
        return None
    try:
        return max(0, int(value))
    except (ValueError, OverflowError):  # another text, NaN, infinity
        return None
