"""Server-Sent Events on the wire: the blocks, and one stream of them to one client.

Plain ASGI. A send waits while the client's buffers are full: so the HTTP server pushes back, and
what a stream holds for a client that reads slowly is one block.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qs

import structlog
from starlette.types import Receive, Scope, Send

from api.http.responses import NO_CONTENT_RUNS, NO_STORE, SECURITY, Headers
from api.live.waiters import Bell, until_gone
from api.metrics import SLOW_CLIENTS

_LOG = structlog.get_logger(__name__)

HEADERS: Headers = (
    (b"content-type", b"text/event-stream"),
    *NO_STORE,
    # A proxy that gathers answers before it hands them on would hold events back.
    (b"x-accel-buffering", b"no"),
    *NO_CONTENT_RUNS,
    *SECURITY,
)
BEAT = b": \n"
"""A comment line. No blank line follows it, so that it belongs to the block of the next event:
readers that split at blank lines take a block of comments alone for an empty event."""
RETRY_MS = (1_000, 3_000)
"""After how long a client comes back, drawn anew for each: a restart does not bring all at once."""

MAX_LAST_ID = 64


def state_block(version: bytes, body: bytes) -> bytes:
    """Return the block of one state; its body is one line, as `json_bytes` writes it."""
    return b"id: %b\nevent: state\ndata: %b\n\n" % (version, body)


def last_event_id(scope: Scope) -> bytes:
    """Give the id of the last event that the client has; empty where it says none."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    found = headers.get(b"last-event-id")
    if found is None and b"last_event_id=" in scope["query_string"]:
        # That it has not too many fields was seen when the caller was looked for.
        query = parse_qs(scope["query_string"].decode("latin-1"))
        found = query.get("last_event_id", [""])[-1].encode(errors="replace")
    return found if found is not None and len(found) <= MAX_LAST_ID else b""


class EventStream:
    """An answer that goes on, to a client that may go away or stop reading at any time."""

    def __init__(self, send: Send, bell: Bell) -> None:
        self._send = send
        self._bell = bell
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())

    async def write(self, block: bytes, *, last: bool = False) -> None:
        """Send a block, once the client has room for it."""
        loop = asyncio.get_running_loop()
        self._bell.sending(self.task, loop.time())
        try:
            await self._send({"type": "http.response.body", "body": block, "more_body": not last})
        finally:
            self._bell.sending(None, 0.0)


async def stream_events(
    receive: Receive, send: Send, bell: Bell, work: Callable[[EventStream], Awaitable[None]]
) -> None:
    """Open a stream, let the work write to it, close it; the bell tells when the client goes."""
    watching = asyncio.ensure_future(until_gone(receive, bell))
    stream = EventStream(send, bell)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        # A line of the first event's block, as `BEAT` is of any.
        await stream.write(b"retry: %d\n" % random.randint(*RETRY_MS))  # noqa: S311 - no secret
        await work(stream)
        await stream.write(b"", last=True)
    except asyncio.CancelledError:
        if not bell.dropped:
            raise
        stream.task.uncancel()
        SLOW_CLIENTS.inc()
        _LOG.info("slow_client_dropped")
    except Exception:
        _LOG.exception("stream_failed")  # it has begun: nothing else can be answered
    finally:
        watching.cancel()


async def answer_without_stream(send: Send, status: HTTPStatus) -> int:
    """Answer with the headers alone, and give the status."""
    headers = () if status is HTTPStatus.NO_CONTENT else HEADERS
    await send(
        {
            "type": "http.response.start",
            "status": status.value,
            "headers": headers or (*NO_STORE, *SECURITY),
        }
    )
    await send({"type": "http.response.body", "body": b""})
    return status.value
