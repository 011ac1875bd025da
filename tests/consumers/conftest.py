"""Runs one suite on the fake and on the real server, so that no test relies on the fake alone."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis


@pytest.fixture(params=["fake", "real"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    if request.param == "real":
        yield request.getfixturevalue("redis_client")
    else:
        with fakeredis.FakeRedis(protocol=2) as fake:
            yield fake
