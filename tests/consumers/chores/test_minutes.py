"""Samples of a minute have the highest values of those that they stand for."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.chores.minutes import MAX_TENANTS, MinutePeaks


def sample(at: int, applied: int, **facts: Any) -> dict[str, Any]:
    group = {
        "waiting": 0,
        "pending": 0,
        "oldest_ms": None,
        "applied": applied,
        "behind": 0,
        "furthest": None,
    }
    rest: dict[str, Any] = {"missing": [], "dead": None, "silent": None, "database_away": False}
    rest |= {name: facts.pop(name) for name in rest if name in facts}
    return {"at": at, "groups": {"rows": group | facts}, **rest}


def test_a_peak_between_two_minutes_is_kept() -> None:
    peaks = MinutePeaks()
    peaks.add(sample(0, 100), {})
    peaks.add(sample(10_000, 5_100, waiting=9_000, oldest_ms=2_000), {"acme": 8.0})
    worst = {"behind": 4, "furthest": "acme", "missing": ["rows"], "dead": 7}
    worst |= {"silent": 2, "database_away": True}
    peaks.add(sample(20_000, 5_200, oldest_ms=13_000, **worst), {"acme": 7.0, "other": 1.0})
    taken = peaks.take()
    assert taken == {
        "at": 20_000,
        "groups": {
            "rows": {
                "waiting": 9_000,
                "pending": 0,
                "oldest_ms": 12_000,
                "applied": 5_200,
                "behind": 4,
                "furthest": "acme",
                "rate": 500.0,
            }
        },
        "missing": ["rows"],
        "dead": 7,
        "silent": 2,
        "database_away": True,
    }
    assert peaks.take_late() == {"acme": 8.0, "other": 1.0}
    assert peaks.take_late() == {}


@pytest.mark.parametrize(("applied", "at"), [(50, 10_000), (200, 0)])
def test_a_rate_needs_a_total_that_grew_and_time_that_passed(applied: int, at: int) -> None:
    peaks = MinutePeaks()
    peaks.add(sample(0, 100), {})
    assert peaks.take()["groups"]["rows"]["rate"] is None
    peaks.add(sample(at, applied), {})
    assert peaks.take()["groups"]["rows"]["rate"] is None
    peaks.add(sample(20_000, applied + 70), {})
    assert peaks.take()["groups"]["rows"]["rate"] == 70 * 1000 / (20_000 - at)


def test_only_the_tenants_that_are_furthest_behind_are_kept() -> None:
    peaks = MinutePeaks()
    peaks.add(sample(0, 0), {f"t{number}": float(number) for number in range(MAX_TENANTS + 5)})
    late = peaks.take_late()
    assert len(late) == MAX_TENANTS
    assert min(late.values()) == 5.0
