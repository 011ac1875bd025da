"""The classification of errors, as real servers and the client library raise them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.cluster import RedisCluster as LibraryCluster

from consumers.faults import is_of_key, is_outage, server_of
from streams.connection import is_outage as is_outage_of_redis
from streams.connection import refuses_writes
from tests.support.clusters import RedisCluster

KEY = "odd"
ADD = "return redis.call('SADD', KEYS[1], ARGV[1])"
CAUGHT = "local r = redis.pcall('SADD', KEYS[1], ARGV[1]) return r"
MISLEADING = "x) of pipeline caused error: OOM"
"""A member that looks like the text that the library adds."""


def _pipeline(client: Any, *, transaction: bool) -> None:
    pipeline = client.pipeline(transaction=transaction)
    pipeline.sadd(f"{KEY}-other", MISLEADING)
    pipeline.sadd(KEY, MISLEADING)
    pipeline.delete(f"{KEY}-other")
    pipeline.execute()


def _script_in_pipeline(client: Any) -> None:
    pipeline = client.pipeline(transaction=True)
    pipeline.eval(ADD, 1, KEY, MISLEADING)
    pipeline.execute()


PATHS: dict[str, Callable[[Any], object]] = {
    "command": lambda client: client.sadd(KEY, MISLEADING),
    "pipeline": lambda client: _pipeline(client, transaction=False),
    "transaction": lambda client: _pipeline(client, transaction=True),
    "script": lambda client: client.eval(ADD, 1, KEY, MISLEADING),
    "script that returns the error": lambda client: client.eval(CAUGHT, 1, KEY, MISLEADING),
    "script in a transaction": _script_in_pipeline,
}


@pytest.mark.parametrize("path", PATHS)
def test_key_of_another_type__is_of_the_key_on_every_path(
    redis_client: redis.Redis, path: str
) -> None:
    redis_client.set(KEY, "no set")
    with pytest.raises(redis.ResponseError) as raised:
        PATHS[path](redis_client)
    assert is_of_key(raised.value)
    assert not is_outage(raised.value)


@pytest.fixture
def full_client(redis_client: redis.Redis) -> Iterator[redis.Redis]:
    """A client of a server that refuses writes, because its memory is full."""
    redis_client.config_set("maxmemory", 1)
    yield redis_client
    redis_client.config_set("maxmemory", 0)


@pytest.mark.parametrize("path", [each for each in PATHS if "returns" not in each])
def test_server_that_refuses_writes__is_an_outage_on_every_path(
    full_client: redis.Redis, path: str
) -> None:
    with pytest.raises(redis.RedisError) as raised:
        PATHS[path](full_client)
    assert is_outage(raised.value)
    assert not is_of_key(raised.value)
    assert is_outage_of_redis(raised.value)
    assert refuses_writes(raised.value)


def test_too_few_replicas__is_an_outage_in_a_pipeline(redis_client: redis.Redis) -> None:
    redis_client.config_set("min-replicas-to-write", 1)
    try:
        for path in ("command", "pipeline", "transaction"):
            with pytest.raises(redis.ResponseError) as raised:
                PATHS[path](redis_client)
            assert is_outage(raised.value), path
            assert is_outage_of_redis(raised.value), path
            assert refuses_writes(raised.value), path
    finally:
        redis_client.config_set("min-replicas-to-write", 0)


def test_cluster_client_of_the_library__classified_on_every_path(cluster: RedisCluster) -> None:
    """A projection of another package may use that client."""
    with LibraryCluster.from_url(f"redis://127.0.0.1:{cluster.primaries[0].port}") as client:
        client.set(f"{{{KEY}}}", "no set")

        def fail(*, transaction: bool) -> None:
            pipeline = client.pipeline(transaction=transaction)
            pipeline.sadd(f"{{{KEY}}}", MISLEADING)
            pipeline.execute()

        for transaction in (False, True):
            with pytest.raises(redis.ResponseError) as raised:
                fail(transaction=transaction)
            assert is_of_key(raised.value), transaction
            assert not is_outage(raised.value), transaction
        client.delete(f"{{{KEY}}}")


def test_cluster_without_a_server__is_an_outage_of_redis() -> None:
    with pytest.raises(redis.exceptions.RedisClusterException) as raised:
        LibraryCluster.from_url("redis://127.0.0.1:1")
    assert is_outage(raised.value)
    assert server_of(raised.value) == "redis"
