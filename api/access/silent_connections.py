"""A bound, by address, on connections that have sent no whole request.

The HTTP server closes a connection whose first request does not arrive in 30 s, and serves so many
connections at a time. Until then, whoever opens very many and sends nothing, or the beginning of a
request, would keep all others waiting to be accepted. A connection on which something was answered,
or is being answered, is never counted: behind a proxy, one address is everybody.

It looks at the sockets of its own process. Linux alone tells how much went over one; elsewhere
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
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.client_address import network_of

_LOG = structlog.get_logger(__name__)

SILENT_PER_ADDRESS = 256
SILENT_SECONDS = 1.0
"""The age below which a connection is not counted."""
SWEEP_SECONDS = 1.0
FEW_FILES = 1_024
"""While the process has no more files open, beside connections with requests, nobody looks."""

_FILES = Path("/proc/self/fd")
_PAUSE_EVERY = 500
_LAST_SENT_MS = 44
"""Offset of `tcpi_last_data_sent` in the kernel's `struct tcp_info`, in bytes: where nothing was
sent, the connection's age."""
_BYTES_ACKED = 120
_INFO_BYTES = 136
_ACKED_OPENING = 1
"""The most bytes that the other end of a connection acknowledges before it is sent anything."""

Client = tuple[str, int]
"""The address and the port of a connection's other end."""


class Answering:
    """An application that knows on which connections it is answering a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.clients = set[Client]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's start and stop."""
        stated = scope.get("client")
        if stated is None:
            await self._app(scope, receive, send)
            return
        client = stated[0], int(stated[1])  # the server states the port as text
        self.clients.add(client)
        try:
            await self._app(scope, receive, send)
        finally:
            self.clients.discard(client)


async def bound_silent_connections(port: int, answering: Container[Client]) -> None:
    """Close connections to our port that are silent and too many, until cancelled."""
    if sys.platform != "linux":
        return
    last = Sweep(0, 0, 0)
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        files = sum(1 for _ in _FILES.iterdir())
        if last.closed or last.young or files > last.heard + FEW_FILES:
            last = await asyncio.to_thread(sweep, port, answering)
            if last.closed:
                _LOG.warning("silent_connections_closed", count=last.closed)


class Sweep(NamedTuple):
    """Connections that a sweep met."""

    closed: int
    young: int
    """Silent ones that may yet send a request."""
    heard: int
    """Those on which one was answered, or is being answered."""


def sweep(port: int, answering: Container[Client]) -> Sweep:
    """Close the silent connections that are beyond the bound; not those in `answering`."""
    silent = Counter[str]()
    closed = young = heard = 0
    for client, connection in _connections(port):
        sent, age = _sent(connection)
        host = network_of(client[0])
        if sent or client in answering:
            heard += 1
        elif age < SILENT_SECONDS:
            young += 1
        elif silent[host] < SILENT_PER_ADDRESS:
            silent[host] += 1
        else:
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)
            closed += 1
    return Sweep(closed, young, heard)


def _connections(port: int) -> Iterator[tuple[Client, socket.socket]]:
    """Return the connections of this process that came to a port, with their other ends.

    Each is open until the next one is asked for.
    """
    for number, file in enumerate(list(_FILES.iterdir())):
        if number % _PAUSE_EVERY == 0:
            time.sleep(0)  # let the event loop's thread go on
        connection = _socket_of(int(file.name))
        if connection is not None:
            with connection:
                client = _came_from(connection, port)
                if client is not None:
                    yield client, connection


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


def _came_from(connection: socket.socket, port: int) -> Client | None:
    with suppress(OSError):  # it listens, or has ended
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            client = connection.getpeername()[:2]
            return client if connection.getsockname()[1] == port else None
    return None


def _sent(connection: socket.socket) -> tuple[bool, float]:
    """Return whether anything was sent over a connection, and for how many seconds nothing was."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        (waited_ms,) = struct.unpack_from("=I", info, _LAST_SENT_MS)
        (acked,) = struct.unpack_from("=Q", info, _BYTES_ACKED)
    except (OSError, struct.error):  # it has ended; or the kernel is an old one
        return True, 0.0
    return acked > _ACKED_OPENING, waited_ms / 1000
