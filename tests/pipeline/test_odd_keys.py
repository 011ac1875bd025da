"""Whatever stands at one tenant's keys, other tenants are served at full speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
import redis
from typer.testing import CliRunner

from ops.cli import app
from streams.appender import EventAppender
from streams.wire import ask
from tests.pipeline.conftest import Start
from tests.support.waiting import eventually

Put = Callable[[redis.Redis, str], Any]
DONE = b'{"type":"done","id":"a1"}'

TYPES: dict[str, Put] = {
    "string": lambda client, key: client.set(key, "odd"),
    "list": lambda client, key: client.rpush(key, "odd"),
    "hash": lambda client, key: client.hset(key, "odd", "1"),
    "set": lambda client, key: client.sadd(key, "odd"),
    "zset": lambda client, key: client.zadd(key, {"odd": 1e300}),
    "stream": lambda client, key: client.xadd(key, {"odd": "1"}),
}
KEYS = (
    "events dead feed measured index:dead settled:dead job:a1:status job:a1:progress job:a1:ended"
).split()


def odd_tenants(client: redis.Redis) -> Iterator[str]:
    """Make a tenant for each key and type; yield those whose stream has a good and a bad entry."""
    for key in KEYS:
        for type_, put in TYPES.items():
            tenant = f"{key.replace(':', '_')}-{type_}"
            put(client, f"tenant:{tenant}:{key}")
            if key != "events":
                client.xadd(f"tenant:{tenant}:events", {"event": DONE})
                client.xadd(f"tenant:{tenant}:events", {"event": b"not JSON"})
            for group in ("status", "rows"):
                client.zadd(f"jobtrail:ready:{group}", {tenant: 1})
            if key != "events":
                yield tenant


def more_oddities(client: redis.Redis) -> Iterator[str]:
    """Make streams with odd names, groups, fields and ids; yield those with a good entry."""
    client.xadd(b"tenant:\xff\xfe:events", {"event": DONE})
    client.xadd("tenant:a b:events", {"event": DONE})
    client.xadd("tenant:X:index:events", {"event": b"bad"})
    stream = "tenant:foreign-groups:events"
    client.xadd(stream, {"event": DONE})
    client.xgroup_create(stream, b"\xff", "0")
    ask(client, "XREADGROUP", "GROUP", b"\xff", b"\xfe", "STREAMS", stream, ">")
    client.xgroup_create(stream, "status", "0")
    ask(client, "XREADGROUP", "GROUP", "status", b"\xfe[/red]", "STREAMS", stream, ">")
    yield "foreign-groups"
    client.xadd("tenant:fields:events", {"a": b"\xff", "event": DONE, "event2": DONE})
    yield "fields"
    stream = "tenant:group-ahead:events"
    client.xadd(stream, {"event": DONE})
    ask(client, "XGROUP", "CREATE", stream, "rows", "9999999999999-0")
    yield "group-ahead"
    client.xadd("tenant:spent:events", {"event": DONE})
    ask(client, "XSETID", "tenant:spent:events", "18446744073709551615-18446744073709551615")
    yield "spent"
    client.xadd("tenant:spent-dead:events", {"event": DONE})
    client.xadd("tenant:spent-dead:events", {"event": b"bad"})
    client.xadd(
        "tenant:spent-dead:dead", {"a": "b"}, id="18446744073709551615-18446744073709551615"
    )
    yield "spent-dead"


def test_every_key_of_every_other_type_delays_nobody_else(
    start: Start, servers: dict[str, str], redis_client: redis.Redis, database_url: str
) -> None:
    good = [*odd_tenants(redis_client), *more_oddities(redis_client)]
    consumers = [
        start("consume", group, reclaim_idle_seconds="2", **servers) for group in ("status", "rows")
    ]
    eventually(lambda: redis_client.get("tenant:spent:job:a1:status"), 60)

    slowest = 0.0
    for number in range(40):
        began = time.monotonic()
        EventAppender(redis_client).append("other", {"type": "done", "id": f"b{number}"})
        eventually(partial(redis_client.get, f"tenant:other:job:b{number}:status"), 10)
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 5
    assert [process.poll() for process in consumers] == [None, None]

    def applied() -> bool:
        with psycopg.connect(database_url) as connection:
            rows = connection.execute("SELECT tenant FROM jobs WHERE id = 'a1'").fetchall()
        missing = set(good) - {tenant for (tenant,) in rows}
        assert not missing
        names = {tenant: f"tenant:{tenant}:job:a1:status" for tenant in good}
        assert [tenant for tenant in good if redis_client.type(names[tenant]) != b"string"] == []
        return True

    eventually(applied, 60)


COMMANDS = [
    ("lag", "--json"),
    ("trim", "--json"),
    ("groups", "list", "--json"),
    ("dead", "list", "--json"),
    ("replay", "status", "--json"),
    ("replay", "rows", "--json"),
    ("lag",),
    ("dead", "list"),
    ("trim",),
]


def test_commands_do_their_work_beside_odd_keys(
    servers: dict[str, str], redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(odd_tenants(redis_client)), list(more_oddities(redis_client))
    EventAppender(redis_client).append("other", {"type": "done", "id": "b1"})
    for name, value in servers.items():
        monkeypatch.setenv(f"JOBTRAIL_{name.upper()}", value)
    for words in COMMANDS:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (words, result.output, result.exception)
        assert "Traceback" not in result.output
    found = CliRunner().invoke(app, ("doctor", "--json")).output
    assert "tenant:dead-hash:dead (hash)" in found
    assert "WRONGTYPE" not in found
