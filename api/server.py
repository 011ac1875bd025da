"""The API's process: one event loop with granian in it, from a listening socket to a clean stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import structlog
import uvloop
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.types import ASGIApp

from api.access.listening import BACKLOG, address_of, listen, url_of
from api.access.silent_connections import Answering, bound_silent_connections
from api.app import create_app
from api.live.waiters import STALLED_SECONDS, Viewers
from api.operators.delivery import Desk
from streams import logging_setup
from streams.runtime.interrupts import on_stop
from streams.settings import Settings

_LOG = structlog.get_logger(__name__)

STOP_SECONDS = 5
"""How long answers that are under way may take once the process is told to stop."""

MAX_CONNECTIONS = 16_384
"""Connections that are served at a time, idle ones and live streams included; those beyond wait in
the listening socket's queue. Who sends nothing has at most 30 s
(`api/access/silent_connections.py`)."""


class ServerFailed(Exception):
    """The HTTP server ended without being told to; the log says why."""


def serve(
    settings: Settings,
    announce: Callable[[str], None] | None = None,
    *,
    desk: Desk | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is given the URL once a request was answered.

    Without a desk there is no console.

    Raises:
        SettingsError, InvalidUrl: the settings do not allow it to start.
        ListenError: the address is not to be had.
        ServerFailed: it ended by itself.
    """
    logging_setup.configure(settings)
    viewers = Viewers(settings.max_streams_per_tenant)
    app = create_app(settings, desk, viewers)
    _allow_many_connections()
    with closing(listen(settings.api_host, settings.api_port)) as listener:
        uvloop.run(_serve(app, viewers, listener, announce))


def _allow_many_connections() -> None:
    """Open as many files as the system lets us: each connection is one, and streams stay."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _cut_off_who_takes_nothing(listener: socket.socket) -> None:
    """Let the system close connections whose other end takes nothing of what was sent to it."""
    if sys.platform == "linux":  # elsewhere such a connection stays, with a few MB of the system's
        milliseconds = int(STALLED_SECONDS * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


async def _serve(
    app: ASGIApp,
    viewers: Viewers,
    listener: socket.socket,
    announce: Callable[[str], None] | None,
) -> None:
    answering = Answering(app)
    server = _Server(answering, listener)
    _cut_off_who_takes_nothing(listener)

    def stop() -> None:
        viewers.stop()
        server.stop()  # type: ignore[no-untyped-call]

    # Not the loop's own handlers: the second Ctrl-C has to end a loop that hangs, too.
    loop = asyncio.get_running_loop()
    on_stop(lambda: loop.call_soon_threadsafe(stop))
    serving = asyncio.create_task(server.serve())
    first_answer = asyncio.create_task(_first_answer(listener))
    bounding = asyncio.create_task(
        bound_silent_connections(address_of(listener)[1], answering.clients)
    )
    await asyncio.wait((serving, first_answer), return_when=asyncio.FIRST_COMPLETED)
    _settle()
    if not serving.done() and announce is not None:
        announce(url_of(listener))
    first_answer.cancel()
    try:
        await serving
    except TimeoutError:
        _LOG.warning("answers_cut_off", after_seconds=STOP_SECONDS)
        # It would tell of each with a traceback.
        logging.getLogger("_granian").setLevel(logging.CRITICAL)
    finally:
        bounding.cancel()
    if not server.interrupt_signal:
        raise ServerFailed("the HTTP server ended by itself: the log says why")


def _settle() -> None:
    """Let the garbage collector pass over what stays for good: tens of ms in every full pass."""
    gc.collect()
    gc.freeze()


async def _first_answer(listener: socket.socket) -> None:
    """Wait until the application answers; until then the connection waits in the queue."""
    reader, writer = await asyncio.open_connection(*address_of(listener))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()


class _Server(Server):
    """Granian on a socket that is open already, without a word of its own to standard output."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        super().__init__(
            app,
            *address_of(listener),
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=MAX_CONNECTIONS,
            log_level=LogLevels.error,
            log_dictconfig={"handlers": {}, "loggers": {"_granian": {"propagate": True}}},
        )
        self.workers_kill_timeout = STOP_SECONDS
        self._listener = listener

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder  # its constructor is missing in granian's stubs
        # The holder owns what it is given, and so does the listener.
        self._shd = holder(self._listener.dup().detach(), uds=False, backlog=BACKLOG)
