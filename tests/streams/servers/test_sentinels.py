"""Clients by way of real Sentinels: which server they use, and what they report."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import redis

from ops.devstack import EmbeddedRedis
from streams.appender import AsyncEventAppender, EventAppender
from streams.connection import (
    LogUnavailable,
    NoPrimary,
    WrongServer,
    connect,
    connect_async,
    count_refused_servers,
    is_outage,
)
from streams.reporter import Reporter
from streams.servers import sentinels
from streams.wire import ask
from tests.support.replication import SERVICE, plain, role_of
from tests.support.sentinels import Watched, watched
from tests.support.waiting import eventually

DONE = {"type": "done", "id": "a1"}
SECRET = "hunter2"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Watched]:
    """Two servers with a password, watched by two Sentinels with another one."""
    with watched(2, sentinel_password=SECRET) as found:
        yield found


def appended(server: EmbeddedRedis) -> int:
    with plain(server) as client:
        return int(client.xlen("tenant:42:events"))


async def appended_async(url: str) -> None:
    client = connect_async(url)
    await AsyncEventAppender(client).append("42", DONE, durable=True)
    await client.aclose()


def test_every_client__reaches_the_primary(deployment: Watched) -> None:
    before = appended(deployment.primary)
    with connect(deployment.url) as client:
        assert client.ping()
        EventAppender(client).append("42", DONE, durable=True)
    asyncio.run(appended_async(deployment.url))
    with Reporter.from_url(deployment.url).job("a1", tenant="42") as job:
        job.done()
    assert appended(deployment.primary) >= before + 3


@pytest.mark.parametrize("password", ["", "wrong"])
def test_login_that_the_sentinels_refuse__names_the_options(
    deployment: Watched, password: str
) -> None:
    url = deployment.url_of(SERVICE, password)
    with connect(url) as client, pytest.raises(redis.AuthenticationError) as raised:
        client.ping()
    assert "sentinel_password" in str(raised.value)
    assert SECRET not in str(raised.value)
    assert not is_outage(raised.value)
    with pytest.raises(redis.AuthenticationError, match="sentinel_password"):
        asyncio.run(pinged(url))


def test_service_that_is_unknown__is_an_outage_of_one_line(deployment: Watched) -> None:
    url = deployment.url_of("other")
    with connect(url) as client, pytest.raises(NoPrimary, match="no service other") as raised:
        client.ping()
    assert is_outage(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    with pytest.raises(NoPrimary, match="no service other"):
        asyncio.run(pinged(url))


def test_sentinels_that_are_away__are_an_outage_of_one_line() -> None:
    url = "redis+sentinel://:hunter2@127.0.0.1:1,[::1]:2/main"
    with connect(url) as client, pytest.raises(NoPrimary, match="no Sentinel at") as raised:
        client.ping()
    assert "127.0.0.1:1, ::1:2" in str(raised.value)
    assert SECRET not in str(raised.value)
    assert is_outage(raised.value)
    with pytest.raises(NoPrimary, match="no Sentinel at"):
        asyncio.run(pinged(url))


def test_server_that_is_no_sentinel__is_the_wrong_server(deployment: Watched) -> None:
    port = deployment.servers[0].port
    password = deployment.servers[0].url.split(":")[2].partition("@")[0]
    url = f"redis+sentinel://127.0.0.1:{port}/main?sentinel_password={password}"
    with connect(url) as client, pytest.raises(WrongServer, match="not a Sentinel") as raised:
        client.ping()
    assert not isinstance(raised.value, NoPrimary)


def test_first_sentinel_that_hangs__is_passed_over(
    deployment: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinels, "WATCH_SECONDS", 0.0)
    monkeypatch.setattr(sentinels, "AWAY_SECONDS", 0.0)
    first = deployment.sentinels[0]
    with connect(deployment.url) as client:
        client.ping()
        os.kill(first.pid, signal.SIGSTOP)
        try:
            for _ in range(3):
                assert client.ping()
            with connect(deployment.url) as other:
                assert other.ping()
        finally:
            os.kill(first.pid, signal.SIGCONT)


def test_sentinels_that_stop__leave_open_connections_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sentinels, "WATCH_SECONDS", 0.0)
    monkeypatch.setattr(sentinels, "AWAY_SECONDS", 0.0)
    with watched() as found, connect(found.url) as client:
        EventAppender(client).append("42", DONE)
        found.sentinels[0].stop()
        EventAppender(client).append("42", DONE, durable=True)
        assert count_refused_servers(client) == 0
        with connect(found.url) as other, pytest.raises(NoPrimary):
            other.ping()
        found.sentinels[0].start()
        with connect(found.url) as other:
            eventually(other.ping)


def test_planned_failover__moves_open_connections_before_the_old_primary_is_demoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until it is demoted, the old primary takes appends that it loses then."""
    monkeypatch.setattr(sentinels, "WATCH_SECONDS", 0.0)
    with watched() as found, connect(found.url) as client, ExitStack() as stack:
        loop = stack.enter_context(asyncio.Runner())
        asyncio_client = connect_async(found.url)
        reporter = Reporter.from_url(found.url)
        EventAppender(client).append("42", DONE, durable=True)
        loop.run(AsyncEventAppender(asyncio_client).append("42", DONE))
        reporter.queued("a1", tenant="42")
        old = found.primary
        found.sentinels[0].failover()
        eventually(lambda: found.primary is not old, 30, "the new address")
        assert role_of(old) == "master"
        before = appended(old)
        EventAppender(client).append("42", DONE)
        loop.run(AsyncEventAppender(asyncio_client).append("42", DONE))
        reporter.queued("a2", tenant="42")
        assert appended(old) == before
        assert appended(found.primary) == before + 3
        assert count_refused_servers(client) == count_refused_servers(asyncio_client) == 1
        loop.run(asyncio_client.aclose())


def test_primary_that_was_killed__is_replaced_without_a_restart() -> None:
    with watched() as found, connect(found.url, timeout=1) as client:
        appender = EventAppender(client)
        appender.append("42", DONE, durable=True)
        found.primary.kill()

        def appends() -> bool:
            with suppress(LogUnavailable):
                appender.append("42", DONE)
                return True
            return False

        eventually(appends, 30, "an append to the new primary")
        assert ask(client, "XLEN", "tenant:42:events") == 2


async def pinged(url: str) -> None:
    client = connect_async(url)
    try:
        await client.ping()
    finally:
        await client.aclose()
