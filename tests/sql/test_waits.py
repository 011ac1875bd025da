"""Counting how long sessions are in the way, at looks whose times are given."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from sql.waits import BlockingSessions

LIMIT, GONE_AFTER = 2_000, 1_100
"""Milliseconds."""
READER, WRITER = 1, 2

Found = Callable[[int], Collection[int]]


def reports(found: Found, *, every: int = 100, until: int = 60_000) -> dict[int, int]:
    """Look at every so many milliseconds; return when each session was first reported."""
    counting, first = BlockingSessions(LIMIT, GONE_AFTER), dict[int, int]()
    for now in range(0, until, every):
        for pid in counting.update(now, found(now)):
            first.setdefault(pid, now)
    return first


def in_tries(now: int, at: int = 0, length: int = 500) -> bool:
    """Return whether a session is seen: for some time of each try, which lasts 500 of 1,500."""
    return at <= now % 1_500 < min(at + length, 500)


def test_session_that_stays__reported_at_the_limit() -> None:
    assert reports(lambda _: [READER]) == {READER: LIMIT}


def test_session_that_is_never_there__not_reported() -> None:
    assert reports(lambda _: []) == {}


@pytest.mark.parametrize("every", [7, 30, 100, 170, 400])
def test_session_that_stays_while_tries_are_shorter_than_the_limit__reported_soon(
    every: int,
) -> None:
    first = reports(lambda now: [READER] if in_tries(now) else [], every=every)
    assert LIMIT <= first[READER] <= 3 * LIMIT


@pytest.mark.parametrize("every", [7, 30, 100, 130])
@pytest.mark.parametrize("length", [10, 100, 180])
def test_writer_that_is_in_the_way_at_the_beginning_of_each_try__never_reported(
    every: int, length: int
) -> None:
    def found(now: int) -> list[int]:
        writer = [WRITER] if in_tries(now, length=length) else []
        return [*writer, READER] if in_tries(now) else []

    assert reports(found, every=every).keys() == {READER}


def test_reader_behind_a_writer_of_each_try__reported_alone() -> None:
    """Two tables: the try waits for the writer of the first, then for the reader of the second."""

    def found(now: int) -> list[int]:
        return [WRITER] if in_tries(now, length=90) else [READER] if in_tries(now, 90) else []

    assert reports(found, every=30).keys() == {READER}


def test_session_that_comes_back_after_it_was_gone__counted_from_its_return() -> None:
    gone = range(1_000, 4_000)
    first = reports(lambda now: [] if now in gone else [READER])
    assert first == {READER: gone.stop + LIMIT}


def test_session_absent_for_as_long_as_a_pause__counted_on() -> None:
    absent = range(1_000, 1_000 + GONE_AFTER)
    assert reports(lambda now: [] if now in absent else [READER])[READER] == absent.stop


def test_looks_that_are_late__a_session_is_not_gone_because_nobody_looked() -> None:
    counting = BlockingSessions(LIMIT, GONE_AFTER)
    assert counting.update(0, [READER]) == set()
    assert counting.update(100, []) == set()
    assert counting.update(9_000, [READER]) == {READER}


def test_sessions_that_are_gone__forgotten() -> None:
    counting = BlockingSessions(LIMIT, GONE_AFTER)
    for now in range(0, 100_000, 100):
        counting.update(now, [now])
    assert len(counting._since) <= GONE_AFTER // 100 + 3
