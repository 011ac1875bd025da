"""`lag` and `trim` name who is behind, and sum up the rest."""

from __future__ import annotations

from consumers.chores.retention.trimming import Trimmed
from consumers.delivery.lag import Lag
from ops.tasks.delivery_summaries import behind, lag_summary, notable, trim_summary


def test_lag__tenants_behind_are_listed_and_the_others_counted() -> None:
    rows = [Lag(str(number), "status", 0, 0, 0.0) for number in range(1_000)]
    rows += [
        Lag("a", "status", 1, 0, 3.0),
        Lag("b", "rows", 2, 1, 90.0),
        Lag("c", "rows", 0, 1, 9.0),
    ]
    assert [row.tenant for row in behind(rows)] == ["b", "c", "a"]
    assert list(lag_summary(rows)) == [
        "status: 1 of 1001 tenants behind; 1 entry waiting, 0 pending, the oldest for 3.0 s",
        "rows: 2 of 2 tenants behind; 2 entries waiting, 2 pending, the oldest for 90.0 s",
    ]


def test_lag__nothing_behind_or_no_tenant() -> None:
    assert list(lag_summary([Lag("1", "rows", 0, 0, 0.0)])) == ["rows: nothing waits (1 tenant)"]
    assert list(lag_summary([])) == ["no tenant has entries"]
    (line,) = lag_summary([Lag("1", "rows", None, 0, 2.0)])
    assert "at least 0 entries waiting" in line


def test_trim__streams_held_back_are_listed_and_the_others_counted() -> None:
    rows = [Trimmed(str(number), 0, 5, ()) for number in range(100)]
    rows += [Trimmed("a", 1, 0, ()), Trimmed("b", 0, 9, ("status",))]
    assert [row.tenant for row in notable(rows)] == ["b", "a"]
    assert list(trim_summary(rows, 86_400)) == [
        "trimmed 1 entry of 1 stream; 509 entries left in 102 streams",
        "status holds back 1 stream: see jobtrail lag",
        "in 100 streams all that is left is younger than 86400 s",
    ]
