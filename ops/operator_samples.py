"""The samples of delivery as columns for charts, and the marks of operations between them.

Used by `ops.operator_view`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.operators.letters.view import Facts

CHANGES = {
    "sampler": "election",
    "redis": "redis_changed",
    "database": "database_changed",
    "started": "consumer_started",
    "stopped": "consumer_stopped",
}
"""The meaning of a change, by the field of samples."""
TIMES = ("started", "stopped")
"""The fields that are times themselves, in milliseconds since 1970."""


def columns(taken: Sequence[Mapping[str, Any]], group: str) -> Facts:
    """Return one group's samples as columns; a rate needs two samples and a total that grew."""
    rows = [sample["groups"].get(group) for sample in taken]
    rates: list[float | None] = [None] * len(taken)
    for number in range(1, len(taken)):
        here, last = rows[number], rows[number - 1]
        seconds = (taken[number]["at"] - taken[number - 1]["at"]) / 1000
        if here and last and seconds > 0 and here["applied"] >= last["applied"]:
            rates[number] = round((here["applied"] - last["applied"]) / seconds, 2)
    # A sample of a minute knows its highest rate; the others have that since the last one.
    peaks = [row and row.get("rate") for row in rows]
    rates = [rate if peak is None else peak for rate, peak in zip(rates, peaks, strict=True)]
    return {
        "rate": rates,
        "waiting": [row and row["waiting"] for row in rows],
        "pending": [row and row["pending"] for row in rows],
        "oldest_seconds": [
            row and _age(sample["at"], row["oldest_ms"])
            for row, sample in zip(rows, taken, strict=True)
        ],
    }


def marks(taken: Sequence[Mapping[str, Any]]) -> list[Facts]:
    """Return what elections, starts and failovers happened between the samples, and when."""
    return [
        mark for here, last in zip(taken[1:], taken, strict=False) for mark in _marks(here, last)
    ]


def _marks(here: Mapping[str, Any], last: Mapping[str, Any]) -> Iterator[Facts]:
    for field, kind in CHANGES.items():
        before, after = last.get(field), here.get(field)
        if field in TIMES:
            if after is not None and after > (before or last["at"]):  # else it was removed
                yield {"at": after, "what": kind}
        elif before is not None and after is not None and before != after:
            yield {"at": here["at"], "what": kind}


def _age(at_ms: int, oldest_ms: int | None) -> float:
    """Return the age in seconds of the oldest unsettled entry, or 0 if all were settled."""
    return 0.0 if oldest_ms is None else max(0.0, (at_ms - oldest_ms) / 1000)
