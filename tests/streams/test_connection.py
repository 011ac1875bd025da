from __future__ import annotations

import asyncio
import socket
import time

import pytest
import redis

from consumers.faults import is_of_key
from streams.connection import InvalidUrl, connect, connect_async, is_outage, refusal_text

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "localhost:6379",
        f"http://:{PASSWORD}@localhost:6379/0",
        f"rediss:/:{PASSWORD}@localhost",
        f"redis://:{PASSWORD}@localhost:notaport/0",
        f"redis://:{PASSWORD}@localhost:99999/0",
        f"redis://:{PASSWORD}@[::1/0",
        "redis:///0",
        "unix://",
        f"redis://:{PASSWORD}@localhost?socket_timeout=abc",
        f"redis://:{PASSWORD}@localhost?db=x",
        f"redis://:{PASSWORD}@localhost?protocol=x&db=1",
    ],
)
def test_wrong_url_is_one_line_without_its_password(url: str) -> None:
    for make in (connect, connect_async):
        with pytest.raises(InvalidUrl) as raised:
            make(url)
        message = str(raised.value)
        assert len(message.splitlines()) == 1
        assert PASSWORD not in message
        assert "redis://" in message
        assert PASSWORD not in repr(raised.value)


@pytest.mark.parametrize(
    "url", ["redis://localhost", "redis://u:p@h:1/2", "rediss://h/0", "unix:///tmp/r.sock?db=1"]
)
def test_right_url_sends_nothing_yet(url: str) -> None:
    assert connect(url) is not None
    assert connect_async(url) is not None


def test_command_without_an_answer_times_out_once() -> None:
    """The client does not retry by itself: a command is sent once."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        started = time.monotonic()
        with (
            connect(f"redis://127.0.0.1:{port}/0", timeout=0.2) as client,
            pytest.raises((redis.TimeoutError, redis.ConnectionError)) as raised,
        ):
            client.ping()
        assert time.monotonic() - started < 1.0
        assert is_outage(raised.value)


def test_asyncio_command_without_an_answer_times_out_once() -> None:
    async def ask(port: int) -> None:
        client = connect_async(f"redis://127.0.0.1:{port}/0", timeout=0.2)
        try:
            with pytest.raises((redis.TimeoutError, redis.ConnectionError)):
                await client.ping()
        finally:
            await client.aclose()

    with socket.create_server(("127.0.0.1", 0)) as deaf:
        started = time.monotonic()
        asyncio.run(ask(deaf.getsockname()[1]))
        assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("refused"),
        redis.TimeoutError("slow"),
        redis.exceptions.BusyLoadingError("loading"),
        redis.exceptions.ReadOnlyError("replica"),
        redis.exceptions.OutOfMemoryError("full"),
        redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        redis.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
    ],
)
def test_absence_or_refusal_of_the_server_is_an_outage(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.AuthenticationError("invalid username-password pair"),
        redis.exceptions.AuthorizationError("no"),
        redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        redis.ResponseError("NOGROUP No such key"),
        ValueError("OOM "),
    ],
)
def test_error_of_the_request_is_no_outage(error: Exception) -> None:
    assert not is_outage(error)


def test_text_in_another_encoding_is_still_read(redis_url: str) -> None:
    with connect(redis_url) as client:
        name = b"tenant:\xff:events"
        client.xadd(name, {"event": "{}"})
        (found,) = client.scan_iter()
        assert found == name


@pytest.mark.parametrize("transaction", [True, False], ids=["transaction", "plain"])
def test_refusal_of_a_pipeline__has_the_class_of_the_refusal_alone(
    redis_client: redis.Redis,
    redis_url: str,
    transaction: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The client library puts its own words before the server's."""
    redis_client.set("text", "not a set")
    pipeline = redis_client.pipeline(transaction=transaction)
    pipeline.set("a", 1)
    pipeline.sadd("text", "of pipeline caused error: OOM")
    with pytest.raises(redis.ResponseError) as raised:
        pipeline.execute()

    async def refused() -> redis.ResponseError:
        client = connect_async(redis_url)
        again = client.pipeline(transaction=transaction)
        again.execute_command("SET", "a", "1")
        again.execute_command("SADD", "text", "of pipeline caused error: OOM")
        with pytest.raises(redis.ResponseError) as raised:
            await again.execute()
        await client.aclose()
        return raised.value

    for error in (raised.value, asyncio.run(refused())):
        assert str(error).startswith("Command #")
        assert refusal_text(error).startswith("WRONGTYPE ")
        assert not is_outage(error)
        assert is_of_key(error)
    prefix = str(raised.value).removesuffix(refusal_text(raised.value))
    assert is_outage(redis.ResponseError(f"{prefix}OOM command not allowed"))
