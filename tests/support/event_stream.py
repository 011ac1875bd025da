"""An API in a process of its own, and a client of its event streams."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from starlette.types import Message

from api.live.endpoint import wait_for_change
from api.live.sse import EventStream, state_block, stream_events
from api.live.waiters import Waiters
from tests.support import forked

SCRIPT = """
from api.server import serve
from streams.settings import Settings
serve(Settings.from_environ(), lambda url: print(url, flush=True))
"""
TIMEOUT = 60.0
"""Seconds that a client waits for something to read."""


class ApiProcess(NamedTuple):
    """A server that answers."""

    process: subprocess.Popen[bytes]
    url: str

    def ended(self) -> tuple[int, str]:
        """Wait for its end; give its exit status and what it logged."""
        _, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, errors.decode()


@contextmanager
def running_api(redis_url: str, **settings: Any) -> Iterator[ApiProcess]:
    """Run the API, in dev mode unless the settings say otherwise; it is killed in the end."""
    given = {"redis_url": redis_url, "auth": "dev", "api_port": 0, **settings}
    inherited = {name: text for name, text in os.environ.items() if "JOBTRAIL" not in name}
    environ = {f"JOBTRAIL_{name.upper()}": str(value) for name, value in given.items()}
    with forked.begin((), inherited | environ, code=SCRIPT) as process:
        try:
            assert process.stdout is not None
            yield ApiProcess(process, process.stdout.readline().decode().strip())
        finally:
            process.kill()


class Event(NamedTuple):
    """One event of a stream."""

    id: str
    data: dict[str, Any]
    raw: bytes


class Stream:
    """A connection on which events come; `status` and `headers` are those of the answer."""

    def __init__(self, url: str, path: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            str(parts.hostname), parts.port, timeout=TIMEOUT
        )
        self._connection.request("GET", path, headers=dict(headers or {}))
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers
        self.retry_ms: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def body(self) -> bytes:
        """Read an answer that is no stream."""
        return self._response.read()

    def event(self) -> Event | None:
        """Read the next event; None where the stream was ended in good order."""
        assert self.status in (HTTPStatus.OK, HTTPStatus.NO_CONTENT), self.body()
        fields: dict[bytes, bytes] = {}
        while line := self._response.readline():
            name, _, value = line.rstrip(b"\n").partition(b": ")
            if name in (b"id", b"event", b"data"):
                fields[name] = value
            elif name == b"retry":
                self.retry_ms = int(value)
            if line == b"\n" and fields:
                assert fields[b"event"] == b"state"
                raw = fields[b"data"]
                return Event(fields[b"id"].decode(), json.loads(raw), raw)
        return None

    def line(self) -> bytes:
        """Read one line of the stream as it is, without its end."""
        return self._response.readline().rstrip(b"\n")

    def timeout(self, seconds: float) -> None:
        """Wait no longer than this for anything to read."""
        assert self._connection.sock is not None
        self._connection.sock.settimeout(seconds)

    def rest(self) -> list[Event]:
        """Read all events to the end."""
        return list(iter(self.event, None))

    def close(self) -> None:
        """Go away."""
        with suppress(OSError):
            self._response.close()
        self._connection.close()


async def recorded(states: Sequence[bytes], beats: int = 2) -> bytes:
    """Return the bytes of a stream that tells these states, with heartbeats before each of them."""
    sent = bytearray()

    async def send(message: Message) -> None:
        sent.extend(message.get("body", b""))

    async def receive() -> Message:
        return await asyncio.Future()

    with Waiters(1).register("t", heartbeats=True) as waiter:

        async def work(stream: EventStream) -> None:
            for number, state in enumerate(states):
                for _ in range(beats):
                    waiter.on_heartbeat(0.0)
                    asyncio.get_running_loop().call_soon(waiter.notify)
                    waiter.changed = False
                    await wait_for_change(waiter, stream)
                await stream.write(state_block(b"%d" % number, state))

        await stream_events(receive, send, waiter, work)
    return bytes(sent)
