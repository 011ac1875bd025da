"""The clients of a storm, in a separate process: each follows one job until its end."""

from __future__ import annotations

import asyncio
import re
import resource
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import redis
import uvloop

from benchmarks.load import HOST, get
from benchmarks.reading import credentials

HELD = "bench:storm"
"""The key that is set once every client follows its job."""
BACK = "bench:storm:back"
"""The key that is set once the server is back."""
GRACE_SECONDS = 30.0
AT_ONCE = 100
"""The most clients that connect at the same time before the storm."""
PROBE_EVERY = 0.01
RETRY_SECONDS = 1.0

_END = b'"status":"DONE"'
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)")
_ETAG = re.compile(rb"\r\netag: ([^\r]+)")
_EVENT = re.compile(rb"\nid: ([0-9a-f]+)\nevent: state\ndata: [^\n]*\n\n")


class Follower(NamedTuple):
    """A client and the job that it follows."""

    tenant: str
    job: str
    streams: bool
    """True with a live stream, False with long polls."""

    def request(self, known: str = "") -> bytes:
        """Return the request for the state after the known one, or for the present one."""
        path = f"/api/v1/jobs/{self.job}/progress/"
        path += "events" if self.streams else "?wait=30"
        header = "last-event-id" if self.streams else "if-none-match"
        more: Mapping[str, str] = {header: known} if known else {}
        return get(path, {**credentials(self.tenant), **more})


class Storm(NamedTuple):
    """Observations of the clients after they reconnected."""

    seconds: Sequence[float]
    """The seconds until each client had the end of its job, without clients that never had it."""
    refused: int
    """Answers that asked a client to retry later."""
    cpu_share: float


def reconnect(port: int, redis_url: str, followers: Sequence[Follower]) -> Storm:
    """Follow the jobs until the server stops, and again as soon as it is back."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return uvloop.run(_reconnect(port, redis_url, followers))


async def _reconnect(port: int, redis_url: str, followers: Sequence[Follower]) -> Storm:
    before = [_Client(follower) for follower in followers]
    for at in range(0, len(before), AT_ONCE):
        await _connect(port, before[at : at + AT_ONCE])
        await asyncio.gather(*(client.held for client in before[at : at + AT_ONCE]))
    with redis.Redis.from_url(redis_url, protocol=2) as shared:
        shared.set(HELD, 1)
        await asyncio.gather(*(client.closed for client in before))
        while not shared.exists(BACK):
            await asyncio.sleep(PROBE_EVERY)
    again = [_Client(each.follower, each.known) for each in before]
    began, cpu = time.perf_counter(), time.process_time()
    await _connect(port, again)
    await asyncio.wait([client.ended for client in again], timeout=GRACE_SECONDS)
    elapsed = time.perf_counter() - began
    return Storm(
        [client.ended.result() - began for client in again if client.ended.done()],
        sum(client.refused for client in again),
        (time.process_time() - cpu) / elapsed,
    )


async def _connect(port: int, clients: Sequence[_Client]) -> None:
    loop = asyncio.get_running_loop()
    for client in clients:
        client.loop = loop
    await asyncio.gather(*(loop.create_connection(client.itself, HOST, port) for client in clients))


class _Client(asyncio.Protocol):
    """One connection that follows a job.

    Args:
        known: the version of the state that the client already has; empty before the storm.
    """

    def __init__(self, follower: Follower, known: str = "") -> None:
        self.loop = asyncio.get_running_loop()
        self.follower = follower
        self.known = known
        self.refused = 0
        self.held: asyncio.Future[None] = self.loop.create_future()
        """True once the client has the present state and waits for the next one."""
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.ended: asyncio.Future[float] = self.loop.create_future()
        self._storming = bool(known)
        self._received = b""

    def itself(self) -> _Client:
        """Return the protocol for its connection."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the present state, or the one after the known one."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Search the data for the end of the job and for the version of a state."""
        self._received += data
        if self._storming:
            self._look_for_end()
        elif self.held.done():
            self._transport.close()  # the server stops, and has answered
        elif version := self._version():
            self.known, self._received = version, b""
            if not self.follower.streams:
                self._ask()
            self.held.set_result(None)
        elif self._is_whole():
            self._ask_later()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - what is missing tells
        """Record that the connection is closed."""
        if not self.closed.done():
            self.closed.set_result(None)

    def _ask(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self.follower.request(self.known))

    def _version(self) -> str:
        """Return the version of the first complete state that was received; empty before."""
        found = (_EVENT if self.follower.streams else _ETAG).search(self._received)
        whole = self.follower.streams or self._is_whole()
        return found[1].decode() if found and whole else ""

    def _look_for_end(self) -> None:
        if _END in self._received:
            self.ended.set_result(time.perf_counter())
            self._transport.close()
        elif self._is_whole():
            self._ask_later()

    def _ask_later(self) -> None:
        self.refused += not self._received.startswith(b"HTTP/1.1 304")
        self._received = b""
        self.loop.call_later(RETRY_SECONDS, self._ask)

    def _is_whole(self) -> bool:
        """Return True once an answer of known length, or without a body, has arrived."""
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return False
        length = _LENGTH.search(head)
        status = _STATUS.match(head)
        bodiless = status is not None and status[1] in (b"204", b"304")
        return bodiless or (length is not None and len(body) >= int(length[1]))
