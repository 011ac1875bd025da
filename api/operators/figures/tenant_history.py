"""The last hour of one tenant: its entries a minute, its lag, and since when it is unusual.

Made from the minutes that consumers store of the tenants that stand out
(`OperatorView.tenant_minutes`). Used by `api.operators.figures.tenants`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.operators.letters.view import Facts

Json = dict[str, Any]

LEAST_MINUTES = 10
"""The minutes from which on the usual activity is known."""
USUAL_SHARE = 0.25
"""The share of the minutes with less than the usual activity: a flood of half an hour is none."""
TIMES, LEAST_UNUSUAL = 10, 100.0
"""The activity is unusual at so many times the usual one, and from so many entries a minute on."""


def history_of(minutes: Sequence[Facts], tenant: str) -> Json:
    """Return columns with a value for each minute; what is not known of a minute is null."""
    at = [minute["at"] for minute in minutes]
    activity = [_value(minute, "per_minute", "activity_is_full", tenant) for minute in minutes]
    return {
        "at": at,
        "per_minute": activity,
        "late_seconds": [_value(minute, "late", "late_is_full", tenant) for minute in minutes],
        "unusual": _unusual(at, activity),
    }


def _value(minute: Facts, name: str, is_full: str, tenant: str) -> float | None:
    """Return a tenant's value: 0 if it is not listed, null if the list may lack it."""
    found = minute[name].get(tenant)
    if found is None:
        return None if minute[is_full] else 0.0
    return float(found)


def _unusual(at: Sequence[int], activity: Sequence[float | None]) -> Json | None:
    """Return when the latest unusual activity began and ended; null if there was none.

    A minute that is not known interrupts nothing.
    """
    known = [(ms, value) for ms, value in zip(at, activity, strict=True) if value is not None]
    if len(known) < LEAST_MINUTES:
        return None
    usual = sorted(value for _, value in known)[int(USUAL_SHARE * len(known))]
    limit = max(LEAST_UNUSUAL, TIMES * usual)
    high = [number for number, (_, value) in enumerate(known) if value >= limit]
    if not high:
        return None
    first = last = high[-1]
    while first and known[first - 1][1] >= limit:
        first -= 1
    return {
        "since": known[max(0, first - 1)][0],
        "until": None if last == len(known) - 1 else known[last][0],
        "usual": usual,
        "most": max(value for _, value in known[first : last + 1]),
    }
