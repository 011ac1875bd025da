"""The process of the API: a listening socket, an event loop with granian in it, and a clean stop.

granian is the HTTP server. Used by the command `jobtrail api`, which `jobtrail up` starts.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import closing, suppress
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
"""The time in seconds that answers in progress have to be completed once the process must stop."""
PROBE_SECONDS = 0.1
"""The pause between two tries to get a first answer from the server."""

MAX_CONNECTIONS = 16_384
"""The connections that are served at a time, including idle ones and live streams. Further ones
wait in the listening socket's queue. `api.access.silent_connections` keeps connections without a
request from taking all of them."""
_ENDLESS_FILE_LIMIT = MAX_CONNECTIONS + 4_096
"""The open files to ask for where the system states no limit, as macOS does, but has one."""


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
        announce: called with the API's URL once the API has answered its first request, which
            this function sends.
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
    limit = _ENDLESS_FILE_LIMIT if maximum == resource.RLIM_INFINITY else maximum
    with suppress(ValueError, OSError):  # then the limit stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, maximum))


def _close_stalled_connections(listener: socket.socket) -> None:
    """Let the kernel close connections whose peer acknowledges no data for `STALLED_SECONDS`.

    Connections have the options of the socket that accepts them. Only Linux has this one; on other
    systems such a connection stays open.
    """
    if sys.platform == "linux":
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

    # Not `loop.add_signal_handler`: a second Ctrl-C must also end an event loop that hangs.
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
        # granian would log a traceback for each of these answers.
        logging.getLogger("_granian").setLevel(logging.CRITICAL)
    finally:
        bounding.cancel()
    if not server.interrupt_signal:
        raise ServerFailed("the HTTP server ended by itself: see the log for the reason")


async def _announce_when_ready(
    serving: asyncio.Task[None], listener: socket.socket, announce: Callable[[str], None] | None
) -> None:
    """Call `announce` once a request was answered; return without it if the server ends first."""
    first_answer = asyncio.create_task(_first_answer(listener))
    await asyncio.wait((serving, first_answer), return_when=asyncio.FIRST_COMPLETED)
    _freeze_garbage()
    if not serving.done() and announce is not None:
        announce(url_of(listener))
    first_answer.cancel()


def _freeze_garbage() -> None:
    """Exclude the objects of the start from garbage collection: a full pass takes tens of ms less.

    It would delay all answers.
    """
    gc.collect()
    gc.freeze()


async def _first_answer(listener: socket.socket) -> None:
    """Send requests until the application answers one."""
    failed = False
    while True:
        try:
            if await _is_answered(*address_of(listener)):
                return
        except OSError as error:
            if not failed:
                _LOG.warning("not_ready", address=url_of(listener), error=str(error))
            failed = True
        await asyncio.sleep(PROBE_SECONDS)


async def _is_answered(host: str, port: int) -> bool:
    """Send one request; return whether there is an answer of any status."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return bool(await reader.read())
    finally:
        writer.close()


class _Server(Server):
    """The HTTP server on a socket that listens already; it writes nothing to standard output."""

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
        """Provide the listening socket, in place of the one that granian would open."""
        holder: Any = SocketHolder  # granian's type stubs lack its constructor
        # A duplicate, because the holder and `serve` each close theirs.
        self._shd = holder(self._listener.dup().detach(), uds=False, backlog=BACKLOG)
