"""The process of the API: a listening socket, an event loop with granian in it, and a clean stop.

Used by the commands `jobtrail api` and `jobtrail up`.
"""

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
from api.access.silent_connections import ActiveClients, bound_silent_connections
from api.app import create_app
from api.live.waiters import STALLED_SECONDS, Waiters
from api.operators.operator_view import OperatorView
from streams import logging_setup
from streams.runtime.interrupts import on_stop
from streams.settings import Settings

_LOG = structlog.get_logger(__name__)

STOP_SECONDS = 5
"""The time limit for answers that are in progress when the process is asked to stop."""

MAX_CONNECTIONS = 16_384
"""The connections that are served at a time, including idle ones and live streams. Further ones
wait in the listening socket's queue. A connection without a request is closed after 30 s at most
(`api.access.silent_connections`)."""


class ServerFailed(Exception):
    """The HTTP server ended by itself; the log has the reason."""


def serve(
    settings: Settings,
    announce: Callable[[str], None] | None = None,
    *,
    operator_view: OperatorView | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: the process's settings.
        announce: called with the API's URL once the API has answered a request.
        operator_view: the source of operators' data about delivery; without one there are neither
            operators' endpoints nor a console.

    Raises:
        SettingsError, InvalidUrl: a setting is missing or wrong.
        ListenError: the address is unavailable.
        ServerFailed: the HTTP server ended by itself.
    """
    logging_setup.configure(settings)
    waiters = Waiters(settings.max_streams_per_tenant)
    app = create_app(settings, operator_view, waiters)
    _raise_file_limit()
    with closing(listen(settings.api_host, settings.api_port)) as listener:
        uvloop.run(_serve(app, waiters, listener, announce))


def _raise_file_limit() -> None:
    """Raise the limit of open files to the most that the system allows: one for each connection."""
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


def _close_stalled_connections(listener: socket.socket) -> None:
    """Let the kernel close connections whose peer does not acknowledge data that was sent."""
    if sys.platform == "linux":  # elsewhere such a connection stays open
        milliseconds = int(STALLED_SECONDS * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


async def _serve(
    app: ASGIApp,
    waiters: Waiters,
    listener: socket.socket,
    announce: Callable[[str], None] | None,
) -> None:
    active = ActiveClients(app)
    server = _Server(active, listener)
    _close_stalled_connections(listener)

    def stop() -> None:
        waiters.stop()
        server.stop()  # type: ignore[no-untyped-call]

    # Not the event loop's handlers: a second Ctrl-C must end an event loop that hangs, too.
    loop = asyncio.get_running_loop()
    on_stop(lambda: loop.call_soon_threadsafe(stop))
    serving = asyncio.create_task(server.serve())
    bounding = asyncio.create_task(
        bound_silent_connections(address_of(listener)[1], active.clients)
    )
    await _announce_when_ready(serving, listener, announce)
    try:
        await serving
    except TimeoutError:
        _LOG.warning("answers_cut_off", after_seconds=STOP_SECONDS)
        # It would log a traceback for each of them.
        logging.getLogger("_granian").setLevel(logging.CRITICAL)
    finally:
        bounding.cancel()
    if not server.interrupt_signal:
        raise ServerFailed("the HTTP server ended by itself: see the log for the reason")


async def _announce_when_ready(
    serving: asyncio.Task[None], listener: socket.socket, announce: Callable[[str], None] | None
) -> None:
    """Call `announce` once a request was answered; return earlier if the server ends."""
    first_answer = asyncio.create_task(_first_answer(listener))
    await asyncio.wait((serving, first_answer), return_when=asyncio.FIRST_COMPLETED)
    _freeze_garbage()
    if not serving.done() and announce is not None:
        announce(url_of(listener))
    first_answer.cancel()


def _freeze_garbage() -> None:
    """Exclude the present objects from garbage collection; they take tens of ms in a full pass."""
    gc.collect()
    gc.freeze()


async def _first_answer(listener: socket.socket) -> None:
    """Return when the application has answered a request."""
    reader, writer = await asyncio.open_connection(*address_of(listener))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()


class _Server(Server):
    """Granian on a socket that listens already; it writes nothing to standard output."""

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
        holder: Any = SocketHolder  # granian's type stubs lack its constructor
        # The holder closes its file descriptor, and so does the listener.
        self._shd = holder(self._listener.dup().detach(), uds=False, backlog=BACKLOG)
