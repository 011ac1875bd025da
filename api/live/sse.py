"""Server-Sent Events: the bytes of an event, and one live stream to one client.

Used by `api.live.endpoint` and `api.live.feed_reads`. Sending waits while the client's buffers are
full, so a live stream to a slow client holds one block of events in memory and no more.
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
from api.live.waiters import Waiter, finish_on_disconnect
from api.metrics import SLOW_CLIENTS

_LOG = structlog.get_logger(__name__)

HEADERS: Headers = (
    (b"content-type", b"text/event-stream"),
    *NO_STORE,
    # Otherwise nginx would buffer the events.
    (b"x-accel-buffering", b"no"),
    *NO_CONTENT_RUNS,
    *SECURITY,
)

HEARTBEAT = b": \n"
"""A comment line. No blank line follows, so that it belongs to the block of the next event: clients
that split at blank lines take a block with only comments for an empty event."""

RETRY_MS = (1_000, 3_000)
"""The range of the reconnection time, in milliseconds. Each client gets a random value, so that not
all of them reconnect at once after a restart."""

MAX_LAST_ID = 64
"""The most bytes of a `Last-Event-ID` that are accepted; a longer one counts as none."""


def state_block(version: bytes, body: bytes) -> bytes:
    """Return the event of one state; the body is one line, as from `json_bytes`."""
    return b"id: %b\nevent: state\ndata: %b\n\n" % (version, body)


def last_event_id(scope: Scope) -> bytes:
    """Return the id of the last event that the client received; empty if it sends none."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    found = headers.get(b"last-event-id")
    if found is None and b"last_event_id=" in scope["query_string"]:
        # `caller_of` has checked the number of fields.
        query = parse_qs(scope["query_string"].decode("latin-1"))
        found = query.get("last_event_id", [""])[-1].encode(errors="replace")
    return found if found is not None and len(found) <= MAX_LAST_ID else b""


class EventStream:
    """One live stream to a client that may disconnect or stop reading at any time."""

    def __init__(self, send: Send, waiter: Waiter) -> None:
        self._send = send
        self._waiter = waiter
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())

    async def write(self, block: bytes, *, last: bool = False) -> None:
        """Send a block; return once the client's buffers accepted it."""
        loop = asyncio.get_running_loop()
        self._waiter.set_sending(self.task, loop.time())
        try:
            await self._send({"type": "http.response.body", "body": block, "more_body": not last})
        finally:
            self._waiter.set_sending(None, 0.0)


async def stream_events(
    receive: Receive, send: Send, waiter: Waiter, work: Callable[[EventStream], Awaitable[None]]
) -> None:
    """Open a live stream, run `work`, which writes to it, and close it.

    The waiter is finished when the client disconnects.
    """
    watching = asyncio.ensure_future(finish_on_disconnect(receive, waiter))
    stream = EventStream(send, waiter)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        # Part of the first event's block, as `HEARTBEAT` is.
        await stream.write(b"retry: %d\n" % random.randint(*RETRY_MS))  # noqa: S311 - no secret
        await work(stream)
        await stream.write(b"", last=True)
    except asyncio.CancelledError:
        if not waiter.dropped:
            raise
        stream.task.uncancel()
        SLOW_CLIENTS.inc()
        _LOG.info("slow_client_dropped")
    except Exception:
        _LOG.exception("live_stream_failed")  # the answer has begun: no problem can be sent
    finally:
        watching.cancel()


async def answer_without_stream(send: Send, status: HTTPStatus) -> int:
    """Send the headers of an answer without a live stream; return the status."""
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
