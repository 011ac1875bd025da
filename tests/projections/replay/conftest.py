"""Writers, connections and sources of events, for tests of replays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from projections.replay.events.sources import Sources
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql import sessions
from sql.sessions import Session
from tests.support.replays import Connect


@pytest.fixture
def connect(database_url: str) -> Iterator[Connect]:
    """A function that opens connections, which are closed after the test."""
    made: list[Session] = []

    def make() -> Session:
        made.append(sessions.connect(database_url, "test"))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def rows(connect: Connect) -> JobRows:
    """The consumers' writer of rows and history."""
    return JobRows(connect)


@pytest.fixture
def cache(redis_client: redis.Redis) -> StatusCache:
    """The consumers' writer of documents."""
    return StatusCache(redis_client)


@pytest.fixture
def sources(redis_client: redis.Redis, connect: Connect) -> Sources:
    return Sources(redis_client, connect())
