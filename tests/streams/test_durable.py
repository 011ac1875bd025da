"""Durable appends on servers with a disk, with replicas, with neither, and on servers that hang."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fakeredis
import psutil  # type: ignore[import-untyped]
import pytest
import redis
from redis.connection import AbstractConnection

from ops.devstack import EmbeddedRedis
from streams.appender import AsyncEventAppender, EventAppender
from streams.connection import LogUnavailable, connect, connect_async
from streams.durability import Assurance, NotDurable, Wait, assurance_of
from streams.reporter import Reporter
from tests.support.groups import entries
from tests.support.replication import plain, replicate
from tests.support.servers import RedisFactory, login
from tests.support.waiting import eventually

DONE = b'{"type":"done","id":"a1","event_id":"e1"}'


@contextmanager
def paused(server: EmbeddedRedis) -> Iterator[None]:
    """A server that hangs while its connections stay open."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        eventually(lambda: psutil.Process(server.pid).status() == psutil.STATUS_STOPPED)
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def calls(client: redis.Redis) -> dict[str, int]:
    stats: Any = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


def test_durable__server_with_neither__is_a_plain_append(redis_client: redis.Redis) -> None:
    redis_client.config_resetstat()
    appender = EventAppender(redis_client)
    appender.append("42", DONE, durable=True)
    appender.append_many([("42", DONE)] * 3, durable=True)
    assert appender.append_many([], durable=True) == []
    assert redis_client.xlen("tenant:42:events") == 4
    assert {"wait", "waitaof"}.isdisjoint(calls(redis_client))


def test_durable__server_that_tells_nothing__is_a_plain_append() -> None:
    with fakeredis.FakeRedis(protocol=2) as fake:
        EventAppender(fake).append("42", DONE, durable=True)
        assert fake.xlen("tenant:42:events") == 1


def test_plain_append__asks_and_waits_for_nothing(own_redis: RedisFactory) -> None:
    with connect(own_redis().url) as client:
        client.config_resetstat()
        EventAppender(client).append("42", DONE)
        assert {"wait", "waitaof", "info"}.isdisjoint(calls(client))


def test_durable__disk__is_on_it_when_the_append_returns(
    own_redis: RedisFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is in the append's own round trip, and may be longer than the client's timeout."""
    server = own_redis()
    with connect(server.url, timeout=0.6) as client:
        appender = EventAppender(client)
        appender.append("42", DONE, durable=True)
        sent: list[bytes] = []
        send: Any = AbstractConnection.send_packed_command

        def recording(connection: Any, command: Any, *args: Any, **options: Any) -> Any:
            sent.append(b"".join([command] if isinstance(command, bytes) else command))
            return send(connection, command, *args, **options)

        monkeypatch.setattr(AbstractConnection, "send_packed_command", recording)
        appender.append_many([("42", DONE), ("43", DONE)], durable=True)
        monkeypatch.undo()
        (only,) = [each for each in sent if b"XADD" in each]
        assert only.index(b"XADD") < only.index(b"ZADD") < only.index(b"WAITAOF")
        info: Any = client.info("persistence")
        assert info["aof_pending_bio_fsync"] == 0
        assert calls(client)["info"] >= 1


def test_durable__disk__survives_a_kill(own_redis: RedisFactory) -> None:
    server = own_redis()
    with connect(server.url) as client:
        EventAppender(client).append("42", DONE, durable=True)
        server.kill()
        server.start()
        assert client.xlen("tenant:42:events") == 1


def test_durable__disk_never_synced__says_so_and_was_appended(own_redis: RedisFactory) -> None:
    with connect(own_redis().url, timeout=0.5) as client:
        client.config_set("appendfsync", "no")
        appender = EventAppender(client, durable_seconds=0.3)
        with pytest.raises(NotDurable, match="not on disk"):
            appender.append("42", DONE, durable=True)
        assert client.xlen("tenant:42:events") == 1


def test_durable__replica_in_step__has_it_when_the_append_returns(own_redis: RedisFactory) -> None:
    master, replica = own_redis(persist=False), own_redis(persist=False)
    replicate(replica, master)
    with connect(master.url) as client, plain(replica) as reader:
        appender = EventAppender(client)
        for number in range(1, 51):
            appender.append("42", DONE, durable=True)
            assert reader.xlen("tenant:42:events") == number


def test_durable__replica_that_hangs__is_not_durable_until_it_is_back(
    own_redis: RedisFactory,
) -> None:
    master, replica = own_redis(persist=False), own_redis(persist=False)
    replicate(replica, master)
    with connect(master.url) as client:
        appender = EventAppender(client, durable_seconds=0.3)
        with paused(replica):
            started = time.monotonic()
            with pytest.raises(NotDurable, match="0 of 1 replicas"):
                appender.append("42", DONE, durable=True)
            assert 0.3 <= time.monotonic() - started < 5
            assert client.xlen("tenant:42:events") == 1
            appender.append("42", DONE)
        appender.append("42", DONE, durable=True)


def test_durable__replica_that_died__is_needed_for_ever(own_redis: RedisFactory) -> None:
    """The disk alone does not suffice, however often INFO is read."""
    master, replica = own_redis(), own_redis(persist=False)
    replicate(replica, master)
    with connect(master.url) as client:
        client.config_set("appendfsync", "always")
        appender = EventAppender(client, durable_seconds=0.3)
        appender.append("42", DONE, durable=True)
        replica.kill()
        eventually(lambda: client.info("replication")["connected_slaves"] == 0)
        for later in (appender, appender, EventAppender(client, durable_seconds=0.3)):
            with pytest.raises(NotDurable, match="0 of 1 replicas"):
                later.append("42", DONE, durable=True)
        EventAppender(client, durable_replicas=0).append("42", DONE, durable=True)


def test_durable__asyncio__as_the_blocking_one_does(own_redis: RedisFactory) -> None:
    master, replica = own_redis(), own_redis(persist=False)
    replicate(replica, master)

    async def work() -> None:
        client = connect_async(master.url, timeout=0.6)
        try:
            appender = AsyncEventAppender(client)
            await appender.append("42", DONE, durable=True)
            await appender.append_many([("42", DONE)] * 2, durable=True)
            assert await appender.append_many([], durable=True) == []
            hasty = AsyncEventAppender(client, durable_seconds=0.3)
            with paused(replica), pytest.raises(NotDurable):
                await hasty.append("42", DONE, durable=True)
        finally:
            await client.aclose()

    asyncio.run(work())
    with connect(master.url) as client:
        assert client.xlen("tenant:42:events") == 4
        assert {"wait", "waitaof"} <= calls(client).keys()


def test_durable__server_away__is_unavailable(own_redis: RedisFactory) -> None:
    server = own_redis(persist=False)
    with connect(server.url) as client:
        appender = EventAppender(client)
        appender.append("42", DONE, durable=True)
        server.kill()
        for _ in range(2):  # what it has is known, then not
            with pytest.raises(LogUnavailable) as raised:
                appender.append("42", DONE, durable=True)
            assert not isinstance(raised.value, NotDurable)


def test_durable__user_who_may_not_ask_or_wait__appends(own_redis: RedisFactory) -> None:
    server = own_redis()
    with connect(server.url) as admin:
        admin.acl_setuser(
            *("worker",), enabled=True, nopass=True, keys="*", commands=["+xadd", "+zadd"]
        )
        admin.acl_setuser(
            *("asker",), enabled=True, nopass=True, keys="*", commands=["+xadd", "+zadd", "+info"]
        )
        for number, user in enumerate(("worker", "asker"), 1):
            with connect(login(server.url, user, "x")) as client:
                EventAppender(client).append("42", DONE, durable=True)
            assert admin.xlen("tenant:42:events") == number


def test_ends_are_durable_and_nothing_else_is(own_redis: RedisFactory) -> None:
    with connect(own_redis().url) as client:
        reporter = Reporter(EventAppender(client))
        reporter.queued("a1", tenant="42")
        job = reporter.job("a1", tenant="42")
        with job:
            job.progress(percent=1)
            assert "waitaof" not in calls(client)
        assert "waitaof" in calls(client)


def test_end_that_stays_undurable__is_in_the_log_with_a_warning(
    own_redis: RedisFactory, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with connect(own_redis().url) as client:
        client.config_set("appendfsync", "no")
        hasty = EventAppender(client, durable_seconds=0.1)
        with Reporter(hasty, end_retry_seconds=0).job("a1", tenant="42") as job:
            job.done()
        assert "may be lost in a failover" in caplog.records[-1].message
        assert caplog.records[-1].levelno == logging.WARNING
        with Reporter(hasty, end_retry_seconds=0, spool=tmp_path).job("a2", tenant="42") as job:
            job.done()
        assert len(list(tmp_path.glob("*.event"))) == 1
        Reporter(hasty, spool=tmp_path)  # it is not durable yet
        assert len(list(tmp_path.glob("*.event"))) == 1
        client.config_set("appendfsync", "always")
        Reporter(EventAppender(client), spool=tmp_path)
        assert list(tmp_path.iterdir()) == []
        log = b"".join(entry["event"] for entry in entries(client, "tenant:42:events"))
        assert log.count(b'"done"') == 4


@pytest.mark.parametrize(
    ("info", "assurance"),
    [
        ({}, Assurance()),
        ({"redis_version": "7.0.15", "aof_enabled": 1}, Assurance()),
        ({"redis_version": "7.2.4", "aof_enabled": 1}, Assurance(disk=True)),
        ({"redis_version": "10.0", "aof_enabled": 0}, Assurance()),
        (
            {
                "connected_slaves": 2,
                "slave0": {"state": "online"},
                "slave1": {"state": "wait_bgsave"},
            },
            Assurance(replicas=1),
        ),
    ],
)
def test_what_a_server_has(info: dict[str, Any], assurance: Assurance) -> None:
    assert assurance_of(info) == assurance


def test_waits_are_shorter_than_a_clients_timeout() -> None:
    wait = Wait(Assurance(disk=True, replicas=2), 3.0, 0.5)
    assert all(int(command[-1]) <= 250 for command in wait.commands)
    assert sum(int(command[-1]) for command in wait.commands) >= 6_000
