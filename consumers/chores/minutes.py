"""Samples of a minute, with the highest values: for a day, and for the history of tenants.

Ten seconds are too many samples for a day, and one sample a minute would miss what lasted for half
of one. So the sample of a minute has the highest values of those that it stands for. Used by
`consumers.chores.samples` and `ops.operator_view`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

MAX_TENANTS = 100
"""The tenants in a document of a minute: the most active ones, and as many that were behind."""


class MinutePeaks:
    """The samples since the last minute, of which `take` makes one with the highest values."""

    def __init__(self) -> None:
        self._samples: list[Mapping[str, Any]] = []
        self._late: dict[str, float] = {}
        self._last: Mapping[str, Any] | None = None

    def add(self, sample: Mapping[str, Any], ages: Mapping[str, float]) -> None:
        """Add a sample; `ages` are those of the oldest unsettled entries of tenants in seconds."""
        self._samples.append(_with_rates(sample, self._last))
        self._last = sample
        for tenant, age in ages.items():
            self._late[tenant] = max(self._late.get(tenant, 0.0), age)

    def take(self) -> Json:
        """Return one sample for those that were added, and forget them."""
        taken, self._samples = self._samples, []
        last = taken[-1]
        groups = {name: _highest(name, taken, last["at"]) for name in last["groups"]}
        missing = {name for each in taken for name in each["missing"]}
        return {
            **last,
            "groups": groups,
            "missing": sorted(missing),
            "dead": _most("dead", taken),
            "silent": _most("silent", taken),
            "database_away": any(each["database_away"] for each in taken),
        }

    def take_late(self) -> dict[str, float]:
        """Return the highest age of each tenant that was not settled, and forget them."""
        late, self._late = self._late, {}
        return dict(furthest(late, MAX_TENANTS))


def _most(name: str, taken: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the highest number of some samples; None if none has one."""
    return max((each[name] for each in taken if each[name] is not None), default=None)


def furthest(ages: Mapping[str, float], limit: int) -> Iterable[tuple[str, float]]:
    """Return the tenants with the highest ages, the highest first."""
    return sorted(ages.items(), key=lambda each: -each[1])[:limit]


def _with_rates(sample: Mapping[str, Any], last: Mapping[str, Any] | None) -> Json:
    """Return a sample with the entries that each group applied per second since the last one."""
    groups = {
        name: {**group, "rate": _rate(sample, last, name)}
        for name, group in sample["groups"].items()
    }
    return {**sample, "groups": groups}


def _rate(sample: Mapping[str, Any], last: Mapping[str, Any] | None, group: str) -> float | None:
    before = (last or {}).get("groups", {}).get(group)
    if last is None or before is None or sample["at"] <= last["at"]:
        return None
    applied = sample["groups"][group]["applied"] - before["applied"]
    return None if applied < 0 else round(applied * 1000 / (sample["at"] - last["at"]), 2)


def _highest(name: str, taken: Sequence[Mapping[str, Any]], at: int) -> Json:
    """Return one group's highest values, with the age of its oldest entry as at a time."""
    rows = [each["groups"][name] for each in taken if name in each["groups"]]
    ages = [
        each["at"] - row["oldest_ms"]
        for each in taken
        if (row := each["groups"].get(name)) and row["oldest_ms"] is not None
    ]
    rates = [row["rate"] for row in rows if row["rate"] is not None]
    worst = max(rows, key=lambda row: int(row["behind"]))
    return {
        "waiting": max(row["waiting"] for row in rows),
        "pending": max(row["pending"] for row in rows),
        "oldest_ms": at - max(ages) if ages else None,
        "applied": rows[-1]["applied"],
        "behind": worst["behind"],
        "furthest": worst["furthest"],
        "rate": max(rates, default=None),
    }
