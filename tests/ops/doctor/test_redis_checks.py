"""The doctor's checks of replicas, limits and entry ids in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ops.devstack import EmbeddedRedis
from ops.doctor.deployment import Deployment
from ops.doctor.redis_checks import largest_command, replicas
from ops.doctor.stream_checks import stream_ids
from ops.errors import line_for
from streams.appender import EventAppender
from streams.connection import connect
from streams.settings import Settings
from tests.support.replication import replicate
from tests.support.servers import RedisFactory

LAST = "18446744073709551615"
MIB = 2**20


@pytest.fixture
def server(open_redis: RedisFactory) -> EmbeddedRedis:
    return open_redis(persist=False)


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with connect(server.url) as client:
        yield client


def deployment(client: redis.Redis, **settings: int) -> Deployment:
    """Return a deployment whose Redis is reached through this client."""
    found = Deployment(Settings.model_validate(settings))
    found.client = client
    return found


def test_server_without_replicas__needs_no_rule(client: redis.Redis) -> None:
    assert replicas(deployment(client)).ok
    needing = replicas(deployment(client, durable_replicas=2))
    assert not needing.ok
    assert "start 2 more" in needing.advice


def test_primary_with_a_replica__must_refuse_when_it_is_cut_off(
    server: EmbeddedRedis, client: redis.Redis, open_redis: RedisFactory
) -> None:
    replicate(open_redis(persist=False), server)
    found = replicas(deployment(client))
    assert not found.ok
    assert "min-replicas-to-write 1" in found.advice
    assert "min-replicas-max-lag 2" in found.advice
    client.config_set("min-replicas-to-write", "1")
    found = replicas(deployment(client))
    assert not found.ok
    assert "min-replicas-to-write 1" not in found.advice
    client.config_set("min-replicas-max-lag", "2")
    found = replicas(deployment(client, durable_replicas=1))
    assert (found.ok, found.found[:14]) == (True, "1 of 1 in step")
    client.config_set("min-replicas-max-lag", "0")  # switches the rule off
    assert not replicas(deployment(client)).ok


def test_settings_that_may_not_be_read__are_worth_a_warning(
    server: EmbeddedRedis, client: redis.Redis, open_redis: RedisFactory
) -> None:
    replicate(open_redis(persist=False), server)
    client.acl_setuser(
        "managed", enabled=True, passwords=["+x"], keys="*", commands=["+@all", "-config"]
    )
    with connect(server.url.replace("//", "//managed:x@")) as managed:
        found = replicas(deployment(managed))
        assert (found.ok, found.warns) == (True, True)
        assert largest_command(deployment(managed)).ok


@pytest.mark.parametrize("event", [1_000, MIB, 8 * MIB])
def test_embedded_server_of_up__has_the_limit_that_is_advised(event: int, tmp_path: Path) -> None:
    with (
        EmbeddedRedis(tmp_path, persist=False, max_event_bytes=event) as server,
        connect(server.url) as client,
    ):
        found = largest_command(deployment(client, max_event_bytes=event))
    assert (found.ok, found.warns) == (True, False)


@pytest.mark.parametrize(
    ("limit", "event", "ok", "warns"),
    [
        (512 * MIB, MIB, True, True),
        (16 * MIB, MIB, True, False),
        (MIB, MIB, False, False),
        (4 * MIB, 8 * MIB, False, False),
        (MIB, 1_000, True, False),
    ],
)
def test_limit_of_a_command(
    client: redis.Redis, limit: int, event: int, *, ok: bool, warns: bool
) -> None:
    client.config_set("proto-max-bulk-len", str(limit))
    found = largest_command(deployment(client, max_event_bytes=event))
    assert (found.ok, found.warns) == (ok, warns)
    if not ok or warns:
        assert "set proto-max-bulk-len" in found.advice


@pytest.mark.parametrize("last", [f"{LAST}-{LAST}", f"{LAST}-1", "9223372036854775808-0"])
def test_ids_that_were_used_up__name_their_tenant(client: redis.Redis, last: str) -> None:
    EventAppender(client).append("7", {"type": "done", "id": "a1"})
    assert stream_ids(deployment(client)).ok
    client.xadd("tenant:42:events", {"event": b"{}"}, id=last)
    client.xadd(b"tenant:\xff\x1b[2J:events", {"event": b"{}"}, id=last)
    found = stream_ids(deployment(client))
    assert not found.ok
    assert found.found == f"far in the future: 42 ({last}) and 1 more"


def test_id_that_was_deleted__is_used_up_all_the_same(client: redis.Redis) -> None:
    client.xadd("tenant:42:events", {"event": b"{}"}, id=f"{LAST}-{LAST}")
    client.xdel("tenant:42:events", f"{LAST}-{LAST}")
    assert not stream_ids(deployment(client)).ok


def test_refusal_for_want_of_replicas__does_not_blame_the_url(client: redis.Redis) -> None:
    client.config_set("min-replicas-to-write", "1")
    with pytest.raises(redis.ResponseError) as raised:
        client.set("a", "b")
    line = line_for(raised.value)
    assert line is not None
    assert "replicas" in line
    assert "URL" not in line
