"""Connections that send no whole request do not keep others from being answered."""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from api.access.silent_connections import FEW_FILES, SILENT_PER_ADDRESS
from tests.pipeline.conftest import Start
from tests.support.waiting import eventually

SILENT = FEW_FILES + 2 * SILENT_PER_ADDRESS
OTHERS = 20
LONG_POLL = (
    b"GET /api/v1/jobs/none/progress/?wait=30 HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: t\r\n\r\n"
)


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(2 * SILENT, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells what came")
@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_an_address_with_too_many_silent_connections__loses_those_alone(
    start: Start, redis_url: str, begun: bytes
) -> None:
    api = start("api", auth="dev", api_port="0", redis_url=redis_url)
    assert api.stdout is not None
    url = api.stdout.readline().decode().removeprefix("api: ").strip()
    here = urlsplit(url).hostname, urlsplit(url).port
    with ExitStack() as stack, httpx.Client(base_url=url) as client:
        assert client.get("/healthz").status_code == 200
        (kept,) = client._transport._pool.connections  # type: ignore[attr-defined]

        def opened(address: str, sent: bytes = begun) -> socket.socket:
            connection = socket.create_connection(here, source_address=(address, 0))
            stack.enter_context(connection)
            connection.sendall(sent)
            connection.settimeout(0)
            return connection

        others = [opened("127.0.0.2") for _ in range(OTHERS)]
        silent = [opened("127.0.0.1") for _ in range(SILENT)]
        waiting = [opened("127.0.0.1", LONG_POLL) for _ in range(OTHERS)]

        def bounded() -> bool:
            still = [each for each in silent if _open(each)]
            for each in still:
                with suppress(OSError):  # it has just been closed
                    each.send(begun[-1:])  # a byte now and then makes none younger
            return len(still) <= SILENT_PER_ADDRESS

        eventually(bounded, timeout=25)
        assert all(map(_open, waiting))
        assert all(map(_open, others))
        assert client.get("/healthz").status_code == 200
        assert kept in client._transport._pool.connections  # type: ignore[attr-defined]


def _open(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
