"""The load generator: many persistent HTTP/1.1 connections, each with one request at a time.

It runs in a separate process, supports only the HTTP that it needs, and measures its own load.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, cast

import uvloop

HOST = "127.0.0.1"
CONNECTIONS = 64
MAX_REQUESTS = 1_000_000

_GRACE_SECONDS = 10.0


class Load(NamedTuple):
    """The answers of the server under the load; latencies in seconds."""

    seconds: float
    latencies: Sequence[float]
    cpu_share: float
    """The share of one core that the generator used; near 1, it was the bottleneck."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds


class UnexpectedAnswer(RuntimeError):
    """An answer was not 200; the measurement is not valid."""


@contextmanager
def generator() -> Iterator[ProcessPoolExecutor]:
    """Return an executor with one process, which runs `generate`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def generate(
    port: int, requests: Sequence[bytes], seconds: float, connections: int = CONNECTIONS
) -> Load:
    """Send the requests in turn for a number of seconds, at most `MAX_REQUESTS`.

    Raises:
        UnexpectedAnswer: an answer was not 200, or a connection was closed.
    """
    return uvloop.run(_generate(port, requests, seconds, connections))


async def _generate(port: int, requests: Sequence[bytes], seconds: float, connections: int) -> Load:
    loop = asyncio.get_running_loop()
    run = _Run(requests, time.perf_counter() + seconds)
    cpu, began = _cpu_seconds(), time.perf_counter()
    opened = [
        await loop.create_connection(lambda: _Client(run), HOST, port) for _ in range(connections)
    ]
    ended = asyncio.gather(*(client.ended for _, client in opened))
    await asyncio.wait_for(ended, seconds + _GRACE_SECONDS)
    elapsed = time.perf_counter() - began
    return Load(elapsed, run.latencies, (_cpu_seconds() - cpu) / elapsed)


class _Run:
    """The state that the connections share."""

    def __init__(self, requests: Sequence[bytes], deadline: float) -> None:
        self.requests = itertools.islice(itertools.cycle(requests), MAX_REQUESTS)
        self.deadline = deadline
        self.latencies: list[float] = []


class _Client(asyncio.Protocol):
    """One connection: a request, its complete answer, the next request."""

    def __init__(self, run: _Run) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._run = run
        self._received = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Send the next request once the answer is complete."""
        self._received = self._received + data if self._received else data
        size = _size(self._received)
        if size is None or len(self._received) < size:
            return
        now = time.perf_counter()
        self._run.latencies.append(now - self._sent)
        if not self._received.startswith(b"HTTP/1.1 200"):
            self._end(UnexpectedAnswer(self._received[:500].decode(errors="replace")))
        elif now >= self._run.deadline:
            self._end(None)
        else:
            self._received = b""
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail: a server that closes connections makes the measurement invalid."""
        self._end(UnexpectedAnswer(f"the connection was closed: {exc}"))

    def _send(self) -> None:
        request = next(self._run.requests, None)
        if request is None:
            self._end(None)
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
        self._transport.close()


def _size(received: bytes) -> int | None:
    """Return the size of the complete answer in bytes; None before its head has arrived."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        raise UnexpectedAnswer("an answer without content-length")
    return end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def get(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a request."""
    lines = [f"GET {path} HTTP/1.1", "host: localhost"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()
