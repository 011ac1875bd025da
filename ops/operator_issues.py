"""The issues of delivery in the last day, derived from the stored samples.

Nothing stores an issue: whoever asks gets the same ones, however many processes serve the API. The
samples of the last hour show when an issue began and ended to 10 s, those before to a minute. Used
by `ops.operator_view`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from api.operators.letters.view import Facts
from consumers.chores.shared_figures import Sample
from consumers.delivery.lag import BEHIND_SECONDS

GAP_MS, DAY_GAP_MS = 60_000, 150_000
"""The time between two samples from which one is missing: of the last hour, and before."""
JOIN_MS = 120_000
"""An issue that comes back within this time is the same one."""

Key = tuple[str, str | None]
"""A cause, and the group that it concerns."""


class _Issues:
    """The issues that were found so far, in the order in which they began."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self._latest: dict[Key, dict[str, Any]] = {}

    def note(self, cause: str, begin: int, end: int | None, **facts: Any) -> None:
        """Note that an issue was there from a time on, and until another one if that is known."""
        key = (cause, facts.get("group"))
        known = self._latest.get(key)
        if known and (known["end"] is None or begin - known["end"] <= JOIN_MS):
            known["end"] = end
            _worsen(known, facts)
            return
        nothing = {"group": None, "worst": None, "tenants": None, "tenant": None}
        self._latest[key] = {"cause": cause, "begin": begin, "end": end, **nothing, **facts}
        self.all.append(self._latest[key])

    def end(self, at: int, still: set[Key]) -> None:
        """End the issues that a sample of this time does not show any more."""
        for key, issue in self._latest.items():
            if issue["end"] is None and key not in still:
                issue["end"] = at


def _worsen(known: dict[str, Any], facts: Facts) -> None:
    """Keep the worst of what was seen of an issue."""
    if (facts.get("worst") or 0) > (known["worst"] or 0):
        known["worst"] = facts["worst"]
    if (facts.get("tenants") or 0) > (known["tenants"] or 0):
        known.update(tenants=facts["tenants"], tenant=facts["tenant"])


def issues_of(day: Sequence[Sample], hour: Sequence[Sample], now: int) -> list[Facts]:
    """Return the issues, those that began last first; the end of one that goes on is None.

    Args:
        day: the samples of minutes, by their times.
        hour: the samples of the last hour, by their times.
        now: the server's time in milliseconds since 1970.
    """
    found, last, gap = _Issues(), None, DAY_GAP_MS
    older = [each for each in day if not hour or each.at < hour[0].at]
    for number, sample in enumerate([*older, *hour]):
        if last is not None:
            _between(found, last, sample, gap)
        still = _unknown(sample)
        for cause, facts in _seen(sample):
            found.note(cause, sample.at, None, **facts)
            still.add((cause, facts.get("group")))
        found.end(sample.at, still)
        last, gap = sample, GAP_MS if number >= len(older) else DAY_GAP_MS
    if last is not None and now - last.at > gap:
        found.note("no_sample", last.at, None)
    return sorted(found.all, key=lambda issue: -int(issue["begin"]))


def _seen(sample: Sample) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the causes that one sample shows, with what is known of them."""
    for group, figures in sample.groups.items():
        age = 0.0 if figures.oldest_ms is None else (sample.at - figures.oldest_ms) / 1000
        if age >= BEHIND_SECONDS:
            known = {"tenants": figures.behind or None, "tenant": figures.furthest}
            yield "behind", {"group": group, "worst": round(age, 1), **known}
    for group in sample.missing:
        yield "no_consumer", {"group": group}
    if sample.dead:
        yield "dead", {"worst": float(sample.dead)}
    if sample.silent:
        yield "silent", {"worst": float(sample.silent)}
    if sample.database_away:
        yield "database_away", {}


def _unknown(sample: Sample) -> set[Key]:
    """Return the issues of which a sample says nothing, so that it does not end them."""
    figures = {"dead": sample.dead, "silent": sample.silent}
    return {(cause, None) for cause, figure in figures.items() if figure is None}


def _between(found: _Issues, last: Sample, sample: Sample, gap: int) -> None:
    """Note what happened between two samples."""
    refused = None not in (last.refused, sample.refused) and last.redis == sample.redis
    if refused and (sample.refused or 0) > (last.refused or 0):
        found.note("refused", last.at, sample.at)
    elif sample.at - last.at > gap:
        restarted = None not in (last.redis, sample.redis) and last.redis != sample.redis
        found.note("redis_restarted" if restarted else "no_sample", last.at, sample.at)
