"""Issues that are derived from samples: begin, end, and whom they concern."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.chores.shared_figures import Sample
from ops.operator_issues import GAP_MS, JOIN_MS, issues_of

TEN, MINUTE = 10_000, 60_000


def sample(at: int, **facts: Any) -> Sample:
    """Return a sample of a time; facts are those of the group `rows`, or of the sample."""
    group: dict[str, Any] = {"waiting": 0, "pending": 0, "oldest_ms": None, "applied": 0}
    group |= {name: facts.pop(name) for name in ("behind", "furthest") if name in facts}
    age = facts.pop("age", None)
    group["oldest_ms"] = None if age is None else at - int(age * 1000)
    known = {"at": at, "groups": {"rows": group}, "redis": "one", "refused": 0}
    return Sample.model_validate(known | facts)


def hour(*facts: dict[str, Any]) -> list[Sample]:
    """Return samples, ten seconds apart."""
    return [sample(number * TEN, **each) for number, each in enumerate(facts)]


def found(day: list[Sample], samples: list[Sample], now: int | None = None) -> list[Any]:
    """Return cause, group, begin and end of the issues."""
    last = [*day, *samples][-1].at
    issues = issues_of(day, samples, last if now is None else now)
    return [(each["cause"], each["group"], each["begin"], each["end"]) for each in issues]


LATE = {"age": 24, "behind": 1, "furthest": "globex-9"}
WORSE = {"age": 31, "behind": 3, "furthest": "acme"}


def test_an_issue_has_a_begin_an_end_and_its_worst_moment() -> None:
    (issue,) = issues_of([], hour({}, LATE, WORSE, LATE, {}), 40_000)
    assert issue == {
        "cause": "behind",
        "group": "rows",
        "begin": 10_000,
        "end": 40_000,
        "worst": 31.0,
        "tenants": 3,
        "tenant": "acme",
    }


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        ([{}, {}], []),
        ([{"age": 4.9}], []),
        ([LATE, LATE], [("behind", "rows", 0, None)]),
        ([LATE, {}, {}, LATE, {}], [("behind", "rows", 0, 40_000)]),
        ([{"missing": ["rows"]}, {}], [("no_consumer", "rows", 0, 10_000)]),
        ([{"dead": 3}, {"dead": 0}, {"dead": None}], [("dead", None, 0, 10_000)]),
        ([{"silent": 2}, {"silent": 5}, {"silent": 0}], [("silent", None, 0, 20_000)]),
        # Without a consumer of `rows`, it is unknown whether they are silent still.
        ([{"silent": 2}, {"silent": None}], [("silent", None, 0, None)]),
        ([{"database_away": True}, {}], [("database_away", None, 0, 10_000)]),
        ([{}, {"refused": 4}], [("refused", None, 0, 10_000)]),
        ([{"refused": 9}, {"refused": 1}], []),
        ([{"refused": None}, {"refused": 1}], []),
        ([{}, {"redis": "two"}], []),
    ],
)
def test_what_samples_show(samples: list[dict[str, Any]], wanted: list[Any]) -> None:
    assert found([], hour(*samples)) == wanted


def test_the_time_without_samples_is_an_issue_with_the_best_known_cause() -> None:
    def after(gap: int, **facts: Any) -> list[Any]:
        return found([], [sample(0), sample(gap, **facts)])

    assert after(GAP_MS) == []
    assert after(GAP_MS + 1) == [("no_sample", None, 0, GAP_MS + 1)]
    assert after(90_000, refused=1) == [("refused", None, 0, 90_000)]
    assert after(90_000, redis="two") == [("redis_restarted", None, 0, 90_000)]
    assert found([], [sample(0)], GAP_MS) == []
    assert found([], [sample(0)], GAP_MS + 1) == [("no_sample", None, 0, None)]
    assert issues_of([], [], 5) == []


def test_an_issue_that_comes_back_later_is_another_one() -> None:
    steps = JOIN_MS // TEN
    again = hour({}, LATE, *[{}] * (steps + 1), LATE)
    assert [each[:2] for each in found([], again)] == [("behind", "rows")] * 2
    assert len(found([], hour({}, LATE, *[{}] * steps, LATE))) == 1


def test_the_last_hour_continues_the_samples_of_the_day() -> None:
    day = [sample(number * MINUTE, **LATE) for number in range(10)]
    late = [sample(8 * MINUTE + number * TEN, **LATE) for number in range(1, 5)]
    assert found(day, late) == [("behind", "rows", 0, None)]
    over = [*late, sample(8 * MINUTE + 50_000)]
    assert found(day, over) == [("behind", "rows", 0, 8 * MINUTE + 50_000)]
    assert found(day, []) == [("behind", "rows", 0, None)]
