"""Events that were acknowledged as durable are still present after a failover."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import pytest
import redis
from redis.connection import AbstractConnection

from ops.devstack import EmbeddedRedis
from streams import appender as appender_module
from streams.appender import AsyncEventAppender, EventAppender
from streams.connection import LogUnavailable, connect, connect_async
from streams.durability import NotDurable
from streams.entry_ids import EntryId
from streams.reporter import Reporter
from streams.settings import SettingsError
from tests.support.proxy import Proxy
from tests.support.replication import Sentinel, demote, plain, promote, replicate, role_of
from tests.support.servers import RedisFactory, server_folder, through
from tests.support.waiting import eventually

DONE = {"type": "done", "id": "a1"}
Pair = tuple[EmbeddedRedis, EmbeddedRedis]


@pytest.fixture
def pair(open_redis: RedisFactory) -> Pair:
    """A primary and its replica. The disk answers at once, so that its confirmation comes first."""
    master, replica = open_redis(), open_redis()
    for server in (master, replica):
        sync_always(server)
    replicate(replica, master)
    return master, replica


def sync_always(server: EmbeddedRedis) -> None:
    with plain(server) as client:
        client.config_set("appendfsync", "always")


def hasty(client: redis.Redis, **options: Any) -> EventAppender:
    return EventAppender(client, durable_seconds=0.3, **options)


def stored(server: EmbeddedRedis, tenant: str = "42") -> set[EntryId]:
    with plain(server) as client:
        found: Any = client.xrange(f"tenant:{tenant}:events")
    return {EntryId.parse(entry_id.decode()) for entry_id, _ in found}


class Acknowledged:
    """Appends durably in threads and on asyncio, and records what was acknowledged."""

    def __init__(self, url: str) -> None:
        self.entries: set[EntryId] = set()
        self._url = url
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._began: set[int] = set()

    def __enter__(self) -> Self:
        with connect(self._url, timeout=1) as client:
            hasty(client).append("42", DONE, durable=True)
        for work in (self._append, self._append, lambda: asyncio.run(self._append_async())):
            self._threads.append(threading.Thread(target=work))
            self._threads[-1].start()
        # A client that first connects after the failover has never seen the replica.
        eventually(lambda: len(self._began) == len(self._threads), 30, "an append of each")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def more(self) -> None:
        """Wait until another append was acknowledged."""
        before = len(self.entries)
        eventually(lambda: len(self.entries) > before, 30, "an acknowledged append")

    def _append(self) -> None:
        with connect(self._url, timeout=1) as client:
            appender = hasty(client)
            while not self._stop.is_set():
                with suppress(LogUnavailable):
                    self.entries.add(appender.append("42", DONE, durable=True))
                    self._began.add(threading.get_ident())

    async def _append_async(self) -> None:
        client = connect_async(self._url, timeout=1)
        appender = AsyncEventAppender(client, durable_seconds=0.3)
        while not self._stop.is_set():
            with suppress(LogUnavailable):
                self.entries |= set(await appender.append_many([("42", DONE)] * 2, durable=True))
                self._began.add(threading.get_ident())
        await client.aclose()


def test_planned_failover_by_hand__nothing_acknowledged_is_lost(pair: Pair) -> None:
    """For a while the old primary takes appends that are discarded when it is demoted."""
    old, new = pair
    with Acknowledged(old.url) as appended:
        appended.more()
        promote(new)
        before = len(stored(old))
        eventually(lambda: len(stored(old)) > before + 10, 30, "appends to the old primary")
        demote(old, new)
        eventually(lambda: stored(old) == stored(new), 30, "the old primary's resync")
    assert len(appended.entries) > 3
    assert appended.entries - stored(new) == set()


def test_sentinel_failover__nothing_acknowledged_is_lost_and_appends_go_on(
    pair: Pair,
) -> None:
    """Connections to the old primary stay open while new ones lead to the new primary."""
    old, new = pair
    with server_folder() as folder, Sentinel(folder, old) as sentinel, Proxy(old.port) as proxy:
        with Acknowledged(through(old, proxy)) as appended:
            appended.more()
            sentinel.failover()
            eventually(lambda: role_of(new) == "master", 30)
            proxy.point(new.port)
            eventually(lambda: role_of(old) == "slave", 30, "the old primary's demotion")
            appended.more()
        eventually(lambda: stored(old) == stored(new), 30, "the old primary's resync")
    assert appended.entries - stored(new) == set()


def test_primary_that_was_cut_off__acknowledges_nothing(pair: Pair) -> None:
    """It has lost its replica, and no server can demote it."""
    old, new = pair
    with connect(old.url) as client:
        appender = hasty(client)
        appender.append("42", DONE, durable=True)
        promote(new)
        for _ in range(3):
            with pytest.raises(NotDurable, match="0 of 1 replicas"):
                appender.append("42", DONE, durable=True)


def test_replica_that_was_added_later__counts(open_redis: RedisFactory) -> None:
    """An appender that started without replicas counts a new one before the failover."""
    master, replica = open_redis(), open_redis()
    with connect(master.url) as client:
        appender = hasty(client)
        sync_always(master)
        appender.append("42", DONE, durable=True)
        replicate(replica, master)

        def counts() -> bool:
            appender.append("42", DONE, durable=True)
            return bool(client.info("commandstats").get("cmdstat_wait"))

        eventually(counts)
        promote(replica)
        with pytest.raises(NotDurable):
            appender.append("42", DONE, durable=True)


def test_number_that_was_configured__is_needed_from_the_first_append(
    open_redis: RedisFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without replicas, or one that refuses INFO, cannot lower it."""
    server = open_redis(persist=False)
    url = server.url
    with plain(server) as admin:
        admin.acl_setuser("bare", enabled=True, nopass=True, keys="*", commands=["+xadd", "+zadd"])
    bare = url.replace("//", "//bare:x@")
    with connect(url) as client, connect(bare) as unasked:
        for needed in (1, 3):
            for each in (client, unasked):
                with pytest.raises(NotDurable, match=f"{needed} replicas"):
                    hasty(each, durable_replicas=needed).append("42", DONE, durable=True)
        monkeypatch.setenv("JOBTRAIL_DURABLE_REPLICAS", "2")
        with pytest.raises(NotDurable, match="0 of 2"):
            hasty(client).append("42", DONE, durable=True)
        hasty(client, durable_replicas=0).append("42", DONE, durable=True)
    reporter = Reporter.from_url(url, end_retry_seconds=0, durable_replicas=0)
    with reporter.job("a1", tenant="42") as job:
        job.done()


@pytest.mark.parametrize("value", ["-1", "many", "1.5"])
def test_number_that_is_not_valid__names_the_variable(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("JOBTRAIL_DURABLE_REPLICAS", value)
    with pytest.raises(SettingsError, match="JOBTRAIL_DURABLE_REPLICAS"):
        EventAppender(redis_client)
    with pytest.raises(ValueError, match="durable_replicas"):
        EventAppender(redis_client, durable_replicas=-1)


def test_what_was_seen__is_shared_by_the_appenders_of_a_client_and_its_forks(pair: Pair) -> None:
    master, replica = pair
    with connect(master.url) as client:
        hasty(client).append("42", DONE, durable=True)
        promote(replica)
        with pytest.raises(NotDurable):
            hasty(client).append("42", DONE, durable=True)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                hasty(client).append("42", DONE, durable=True)
            except NotDurable:
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0


def test_many_appends_whose_connection_is_lost_halfway__are_not_acknowledged(
    open_redis: RedisFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest must not go to another server, whose wait would not cover the first part."""
    first, second = open_redis(), open_redis()
    sync_always(first)
    sync_always(second)
    monkeypatch.setattr(appender_module, "PIPELINE", 2)
    with Proxy(first.port) as proxy, connect(through(first, proxy)) as client:
        appender = hasty(client)

        def switch() -> None:
            proxy.point(second.port)
            proxy.cut()

        with switching(switch, monkeypatch):
            with pytest.raises(LogUnavailable) as raised:
                appender.append_many([("42", DONE)] * 4, durable=True)
            assert not isinstance(raised.value, NotDurable)
        assert len(stored(first)) == 2
        assert len(appender.append_many([("42", DONE)] * 4, durable=True)) == 4
        assert len(stored(second)) == 4


@contextmanager
def switching(switch: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Switch servers just before the second round trip that appends."""
    send: Any = AbstractConnection.send_packed_command
    seen: list[bytes] = []

    def sending(connection: Any, command: Any, *args: Any, **options: Any) -> Any:
        if b"XADD" in b"".join([command] if isinstance(command, bytes) else command):
            seen.append(b"")
            if len(seen) == 2:
                switch()
        return send(connection, command, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(AbstractConnection, "send_packed_command", sending)
        yield
