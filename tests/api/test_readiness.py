"""The start of the API's process while the system is short of something."""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import suppress
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from api import server
from api.access import silent_connections
from tests.support.waiting import ENDING


async def _filled(logs: list[EventDict]) -> None:
    async with asyncio.timeout(ENDING):
        while not logs:
            await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_first_request_fails__it_is_sent_again_until_it_is_answered() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        writer.close()

    with socket.socket() as listener, capture_logs() as logs:
        listener.bind(("127.0.0.1", 0))  # it does not listen: connections are refused
        waiting = asyncio.create_task(server._first_answer(listener))
        await _filled(logs)
        assert not waiting.done()
        async with await asyncio.start_server(answer, sock=listener):
            await waiting
    assert [line["event"] for line in logs] == ["not_ready"]


@pytest.mark.anyio
@pytest.mark.parametrize("lack", [OSError("Too many open files"), RuntimeError("no new thread")])
async def test_no_file_descriptor_or_thread_for_the_check_of_connections__is_tried_again(
    monkeypatch: pytest.MonkeyPatch, lack: Exception
) -> None:
    swept = asyncio.Event()
    loop = asyncio.get_running_loop()

    def sweep(*_: object) -> silent_connections.SweepCounts:
        loop.call_soon_threadsafe(swept.set)
        return silent_connections.SweepCounts(0, 0, 0)

    monkeypatch.setattr(silent_connections, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(silent_connections, "FEW_FILES", -1)
    monkeypatch.setattr(silent_connections, "sweep", sweep)
    with capture_logs() as logs:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "to_thread", Mock(side_effect=lack))
            bounding = asyncio.create_task(silent_connections.bound_silent_connections(1, ()))
            await _filled(logs)
        await swept.wait()
    assert [line["event"] for line in logs] == ["silent_connections_not_checked"]
    bounding.cancel()
    with suppress(asyncio.CancelledError):
        await bounding


@pytest.mark.parametrize("refusal", [ValueError, OSError, None])
def test_limit_of_files_that_cannot_be_raised__is_left(
    refusal: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, which states no limit and refuses to be asked for none."""
    asked = []

    def setrlimit(_: int, limits: tuple[int, int]) -> None:
        asked.append(limits)
        if refusal is not None:
            raise refusal

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    server._raise_file_limit()
    [(soft, hard)] = asked
    assert server.MAX_CONNECTIONS < soft < 2**16
    assert hard == resource.RLIM_INFINITY
