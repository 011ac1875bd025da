"""A limit, for each client address, on connections that have not sent a complete request.

The HTTP server closes a connection whose first request does not arrive in 30 s, and it limits the
connections that it serves at a time. Within those 30 s, a client with very many silent connections
could keep all others from being accepted. A connection on which a request was answered, or is being
answered, never counts, because all callers behind one proxy share its address.

The module inspects the sockets of its own process with `TCP_INFO`, which only Linux has; on other
systems there is no such limit. Used by `api.server`.
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
"""The most silent connections of one address."""

SILENT_SECONDS = 1.0
"""The age below which a connection does not count."""

SWEEP_SECONDS = 1.0
"""Seconds between two checks."""

FEW_FILES = 1_024
"""A sweep is skipped while the process has no more open files than this, not counting connections
that had a request."""

_FILES = Path("/proc/self/fd")
_PAUSE_EVERY = 500
"""The number of files after which a sweep lets the event loop run."""

_LAST_SENT_MS = 44
"""The offset, in bytes, of `tcpi_last_data_sent` in the kernel's `struct tcp_info`. If nothing was
sent, its value is the connection's age."""
_BYTES_ACKED = 120
"""The offset, in bytes, of `tcpi_bytes_acked`."""
_INFO_BYTES = 136
"""The bytes of `struct tcp_info` that are read."""
_ACKED_OPENING = 1
"""The most bytes that the peer acknowledges before any data is sent to it."""

Client = tuple[str, int]
"""The address and the port of a connection's peer."""


class ActiveClients:
    """An ASGI application that records the connections on which a request is being answered."""

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


async def bound_silent_connections(port: int, active: Container[Client]) -> None:
    """Close silent connections beyond the limit once a second, until cancelled.

    While no file descriptor is left to inspect the sockets with, or no thread can be started, it
    logs that and tries again.

    Args:
        port: the port that the API listens on.
        active: the clients whose requests are being answered.
    """
    if sys.platform != "linux":
        return
    last, failed = SweepCounts(0, 0, 0), False
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            last, failed = await _sweep_if_needed(port, active, last), False
        except (OSError, RuntimeError) as error:
            if not failed:
                _LOG.error("silent_connections_not_checked", error=str(error))
            failed = True


async def _sweep_if_needed(port: int, active: Container[Client], last: SweepCounts) -> SweepCounts:
    """Sweep if many files are open or the last sweep left something; return the newest counts."""
    files = sum(1 for _ in _FILES.iterdir())
    if not last.closed and not last.young and files <= last.with_requests + FEW_FILES:
        return last
    counts = await asyncio.to_thread(sweep, port, active)
    if counts.closed:
        _LOG.warning("silent_connections_closed", count=counts.closed)
    return counts


class SweepCounts(NamedTuple):
    """The connections that a sweep found, by what it did with them."""

    closed: int
    young: int
    """Silent connections below the age at which they count."""
    with_requests: int
    """Connections on which a request was answered, or is being answered."""


def sweep(port: int, active: Container[Client]) -> SweepCounts:
    """Close the silent connections beyond the limit, except those of active clients."""
    silent = Counter[str]()
    closed = young = with_requests = 0
    for client, connection in _connections(port):
        sent, age = _sent(connection)
        host = network_of(client[0])
        if sent or client in active:
            with_requests += 1
        elif age < SILENT_SECONDS:
            young += 1
        elif silent[host] < SILENT_PER_ADDRESS:
            silent[host] += 1
        else:
            with suppress(OSError):  # the peer has closed it meanwhile
                connection.shutdown(socket.SHUT_RDWR)
            closed += 1
    return SweepCounts(closed, young, with_requests)


def _connections(port: int) -> Iterator[tuple[Client, socket.socket]]:
    """Yield this process's connections to a port, with their peers.

    Each is open until the next iteration.
    """
    for number, file in enumerate(list(_FILES.iterdir())):
        if number % _PAUSE_EVERY == 0:
            time.sleep(0)  # let the event loop's thread run
        connection = _socket_of(int(file.name))
        if connection is not None:
            with connection:
                client = _peer(connection, port)
                if client is not None:
                    yield client, connection


def _socket_of(file: int) -> socket.socket | None:
    """Return a duplicate of a file descriptor as a socket; None if it is closed or another file."""
    try:
        duplicate = os.dup(file)
    except OSError:
        return None
    if not stat.S_ISSOCK(os.fstat(duplicate).st_mode):
        os.close(duplicate)
        return None
    return socket.socket(fileno=duplicate)


def _peer(connection: socket.socket, port: int) -> Client | None:
    """Return a connection's peer; None if it is not a connection to the port."""
    with suppress(OSError):  # the socket listens, or its connection has ended
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            client = connection.getpeername()[:2]
            return client if connection.getsockname()[1] == port else None
    return None


def _sent(connection: socket.socket) -> tuple[bool, float]:
    """Return whether data was sent over a connection, and the seconds since the last of it."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        (waited_ms,) = struct.unpack_from("=I", info, _LAST_SENT_MS)
        (acked,) = struct.unpack_from("=Q", info, _BYTES_ACKED)
    except (OSError, struct.error):  # the connection has ended, or the kernel is too old
        return True, 0.0
    return acked > _ACKED_OPENING, waited_ms / 1000
