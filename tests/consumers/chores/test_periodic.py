"""The base of chores: intervals, and the election of the consumer that does the work."""

from __future__ import annotations

import pytest
import redis

from consumers.chores.election import ELECTED_INTERVALS, Election
from consumers.chores.periodic import PeriodicChore
from tests.support.waiting import eventually

KEY = "jobtrail:chore"


class Chore(PeriodicChore):
    """A chore that counts its runs, with a clock that a test sets."""

    name = "chore"

    def __init__(self, client: redis.Redis, consumer: str, interval_seconds: float = 60.0) -> None:
        self.now = 0.0
        self.done = self.forgotten = 0
        election = Election(client, KEY, consumer, interval_seconds)
        super().__init__(interval_seconds, election=election, clock=lambda: self.now)

    def _work(self) -> None:
        self.done += 1

    def _drop_state(self) -> None:
        self.forgotten += 1


def test_run_is_due_at_once_and_after_each_interval(redis_client: redis.Redis) -> None:
    one = Chore(redis_client, "one")
    assert one.due()
    one.run()
    assert (one.due(), one.timer.seconds_left()) == (False, 60)
    one.now = 60
    assert one.due()


def test_work_that_fails__is_tried_again_after_the_interval(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise redis.ConnectionError("away")

    one = Chore(redis_client, "one")
    monkeypatch.setattr(one, "_work", fail)
    with pytest.raises(redis.ConnectionError):
        one.run()
    assert not one.due()


def test_elected_consumer__stays_elected_until_it_leaves(redis_client: redis.Redis) -> None:
    one, two = Chore(redis_client, "one"), Chore(redis_client, "two")
    for _ in range(3):
        one.run()
        two.run()
    assert (one.done, two.done) == (3, 0)
    assert 60_000 < redis_client.pttl(KEY) <= 60_000 * ELECTED_INTERVALS
    two.leave()  # it was not elected
    two.run()
    one.leave()
    two.run()
    assert (one.done, two.done) == (3, 1)


def test_elected_consumer_that_died__is_replaced(redis_client: redis.Redis) -> None:
    Chore(redis_client, "one", 0.02).run()
    two = Chore(redis_client, "two", 0.02)

    def replaced() -> bool:
        two.run()
        return two.done > 0

    eventually(replaced)


def test_what_was_known_is_forgotten__after_a_break_alone(redis_client: redis.Redis) -> None:
    one = Chore(redis_client, "one")
    one.run()
    one.run()
    assert one.forgotten == 1  # elected for the first time
    redis_client.set(KEY, "two")
    one.run()
    assert (one.done, one.forgotten) == (2, 2)
    redis_client.delete(KEY)
    one.run()
    assert (one.done, one.forgotten) == (3, 3)


def test_election_that_was_lost_and_won_again_during_the_work__state_is_dropped(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Chore(redis_client, "one")
    one.run()

    def work_for_long() -> None:
        redis_client.delete(KEY)  # it expired
        Election(redis_client, KEY, "two", 60.0).acquire()
        redis_client.delete(KEY)
        one._renew_election()  # as chores do in their work

    monkeypatch.setattr(one, "_work", work_for_long)
    one.run()
    monkeypatch.undo()
    assert one.forgotten == 1
    one.run()
    assert (one.done, one.forgotten) == (2, 2)
    one.run()
    assert (one.done, one.forgotten) == (3, 2)
