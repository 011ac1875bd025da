"""The streams that the sweep has found: how they are forgotten."""

from __future__ import annotations

import pytest
import redis

from consumers.chores.sweep.known_streams import FORGET_SECONDS, KnownStreams
from streams.keys import Keys

STREAM = b"tenant:42:events"


class Sweeper:
    """The known streams of a server, with a clock that a test sets."""

    def __init__(self, client: redis.Redis) -> None:
        self._now = 0.0
        self.known = KnownStreams(client, Keys(), lambda: self._now)

    def scan(self, seconds: float = 0.0) -> None:
        """Scan the whole keyspace, so many seconds later."""
        self._now += seconds
        self.known.discover(lambda _: None)


@pytest.fixture
def sweeper(redis_client: redis.Redis) -> Sweeper:
    """A sweeper that knows one stream, which is open."""
    redis_client.xadd(STREAM, {"event": b"{}"})
    found = Sweeper(redis_client)
    found.scan()
    found.known.remember_newest(found.known.take_unchecked(10))
    assert (len(found.known), found.known.open(10)) == (1, [STREAM])
    return found


def test_stream_that_exists_no_longer__is_forgotten_wherever_it_was(
    redis_client: redis.Redis, sweeper: Sweeper
) -> None:
    redis_client.xadd(b"tenant:43:events", {"event": b"{}"})
    sweeper.scan(FORGET_SECONDS)  # from now on both are unchecked: nobody checks them
    redis_client.delete(STREAM, b"tenant:43:events")
    sweeper.scan(FORGET_SECONDS)  # both were found in this minute
    sweeper.scan(FORGET_SECONDS)
    assert (len(sweeper.known), sweeper.known.has_unchecked) == (0, False)
    assert sweeper.known.open(10) == []


def test_stream_of_a_lost_node__stays_known(redis_client: redis.Redis, sweeper: Sweeper) -> None:
    redis_client.delete(STREAM)  # as a SCAN without the node finds it
    for _ in range(3):
        sweeper.known.drop(STREAM, redis.ConnectionError("the node is away"))
        sweeper.scan(FORGET_SECONDS)
    assert sweeper.known.open(10) == [STREAM]
    sweeper.scan(FORGET_SECONDS)
    assert len(sweeper.known) == 0
