"""A bound, by address, on connections that have sent no request.

The HTTP server closes a connection whose first request does not arrive in 30 s, and serves so many
connections at a time. Until then, whoever opens very many and sends nothing would keep all others
waiting to be accepted. Who has sent something is never counted: behind a proxy, one address is
everybody.

It looks at the sockets of its own process. Linux alone tells how much came over one; elsewhere
there is no such bound.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

_LOG = structlog.get_logger(__name__)

SILENT_PER_ADDRESS = 256
SILENT_SECONDS = 1.0
"""For so long a connection may be silent without being counted."""
SWEEP_SECONDS = 1.0
FEW_FILES = 1_024
"""While the process has no more files open, beside connections with requests, nobody looks."""

_SHORTEST_REQUEST = len(b"GET / HTTP/1.1\r\n\r\n")
_FILES = Path("/proc/self/fd")
_PAUSE_EVERY = 500
_LAST_RECEIVED_MS = 52
"""Offset of `tcpi_last_data_recv` in the kernel's `struct tcp_info`, in bytes."""
_BYTES_RECEIVED = 128
_INFO_BYTES = 136


async def bound_silent_connections(port: int) -> None:
    """Close connections to our port that are silent and too many, until cancelled."""
    if sys.platform != "linux":
        return
    last = Sweep(0, 0, 0)
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        files = sum(1 for _ in _FILES.iterdir())
        if last.closed or last.young or files > last.heard + FEW_FILES:
            last = await asyncio.to_thread(sweep, port)
            if last.closed:
                _LOG.warning("silent_connections_closed", count=last.closed)


class Sweep(NamedTuple):
    """Connections that a sweep met."""

    closed: int
    young: int
    """Silent ones that may yet send a request."""
    heard: int
    """Those that sent one."""


def sweep(port: int) -> Sweep:
    """Close the silent connections that are beyond the bound."""
    silent = Counter[str]()
    closed = young = heard = 0
    for address, connection in _connections(port):
        received, waited = _received(connection)
        if received >= _SHORTEST_REQUEST:
            heard += 1
        elif waited < SILENT_SECONDS:
            young += 1
        elif silent[address] < SILENT_PER_ADDRESS:
            silent[address] += 1
        else:
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)
            closed += 1
    return Sweep(closed, young, heard)


def _connections(port: int) -> Iterator[tuple[str, socket.socket]]:
    """Return the connections of this process that came to a port, with their other end's address.

    Each is open until the next one is asked for.
    """
    for number, file in enumerate(list(_FILES.iterdir())):
        if number % _PAUSE_EVERY == 0:
            time.sleep(0)  # let the event loop's thread go on
        connection = _socket_of(int(file.name))
        if connection is not None:
            with connection:
                address = _came_from(connection, port)
                if address is not None:
                    yield address, connection


def _socket_of(file: int) -> socket.socket | None:
    """Return a socket of our own for an open file; None where it is none, or closed meanwhile."""
    try:
        ours = os.dup(file)
    except OSError:
        return None
    if not stat.S_ISSOCK(os.fstat(ours).st_mode):
        os.close(ours)
        return None
    return socket.socket(fileno=ours)


def _came_from(connection: socket.socket, port: int) -> str | None:
    with suppress(OSError):  # it listens, or has ended
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            address: str = connection.getpeername()[0]
            return address if connection.getsockname()[1] == port else None
    return None


def _received(connection: socket.socket) -> tuple[int, float]:
    """Return how many bytes came over a connection, and for how many seconds none has come."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        (waited_ms,) = struct.unpack_from("=I", info, _LAST_RECEIVED_MS)
        (received,) = struct.unpack_from("=Q", info, _BYTES_RECEIVED)
    except (OSError, struct.error):  # it has ended; or the kernel is an old one
        return _SHORTEST_REQUEST, 0.0
    return received, waited_ms / 1000
