"""Connections that send nothing do not keep others from being answered."""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from api.silent_connections import FEW_FILES, SILENT_PER_ADDRESS
from tests.pipeline.conftest import Start
from tests.support.waiting import eventually

SILENT = FEW_FILES + 2 * SILENT_PER_ADDRESS
OTHERS = 20


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(2 * SILENT, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells what came")
@pytest.mark.usefixtures("many_files")
def test_an_address_with_too_many_silent_connections__loses_those_alone(
    start: Start, redis_url: str
) -> None:
    api = start("api", auth="dev", api_port="0", redis_url=redis_url)
    assert api.stdout is not None
    url = api.stdout.readline().decode().removeprefix("api: ").strip()
    here = urlsplit(url).hostname, urlsplit(url).port
    with ExitStack() as stack, httpx.Client(base_url=url) as client:
        assert client.get("/healthz").status_code == 200
        (kept,) = client._transport._pool.connections  # type: ignore[attr-defined]

        def opened(address: str) -> socket.socket:
            connection = socket.create_connection(here, source_address=(address, 0))
            connection.settimeout(0)
            return stack.enter_context(connection)

        others = [opened("127.0.0.2") for _ in range(OTHERS)]
        silent = [opened("127.0.0.1") for _ in range(SILENT)]

        eventually(lambda: sum(map(_open, silent)) <= SILENT_PER_ADDRESS, timeout=25)
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
