"""Many viewers in a separate process: live streams of one job, of a tenant, and long polls.

They support only the HTTP that they need, and search the answers for two things: the time at which
an event was appended, and the end of a job.
"""

from __future__ import annotations

import asyncio
import re
import resource
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, cast

import redis
import uvloop

from benchmarks.load import HOST, get
from benchmarks.reading import credentials

READY = "bench:viewers"
"""The key that is set once all viewers have the present state."""
GRACE_SECONDS = 60.0
_AT_ONCE = 100

_STAMP = re.compile(rb'"appended":([0-9.]+)')
_END = b'"status":"DONE"'
_ETAG = re.compile(rb"\r\netag: ([^\r]+)")
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)")


class Crowd(NamedTuple):
    """The viewers, by what they follow."""

    tenants: Sequence[str]
    jobs: Sequence[str]
    """The ids of the jobs of each tenant."""
    streams: int
    """Live streams of one job each, tenants in turn."""
    waits: int
    tenant_streams: int
    """Live streams of all jobs, of each tenant."""

    def all_jobs(self) -> list[tuple[str, str]]:
        """Return each job with its tenant, tenants in turn."""
        return [(tenant, job) for job in self.jobs for tenant in self.tenants]

    @property
    def all_streams(self) -> int:
        """The number of live streams."""
        return self.streams + self.tenant_streams * len(self.tenants)


class Seen(NamedTuple):
    """The observations of all viewers; latencies in seconds from the append."""

    latencies: Mapping[str, Sequence[float]]
    ends_seen: int
    ends_expected: int
    cpu_share: float

    def all_latencies(self) -> list[float]:
        """Return the latencies of all kinds of viewers."""
        return [latency for each in self.latencies.values() for latency in each]


def watch(port: int, redis_url: str, crowd: Crowd) -> Seen:
    """Follow until all viewers have every end, or no viewer receives one for a minute."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return uvloop.run(_watch(port, redis_url, crowd))


async def _watch(port: int, redis_url: str, crowd: Crowd) -> Seen:
    loop, jobs = asyncio.get_running_loop(), crowd.all_jobs()
    headers = {tenant: credentials(tenant) for tenant in crowd.tenants}
    viewers: list[_Viewer] = []
    for number in range(crowd.streams):
        tenant, job = jobs[number % len(jobs)]
        path = f"/api/v1/jobs/{job}/progress/events"
        viewers.append(_Stream("stream", get(path, headers[tenant]), 1))
    for tenant in list(crowd.tenants) * crowd.tenant_streams:
        request = get("/api/v1/events", headers[tenant])
        viewers.append(_Stream("tenant stream", request, len(crowd.jobs)))
    for number in range(crowd.waits):
        tenant, job = jobs[number % len(jobs)]
        path = f"/api/v1/jobs/{job}/progress/?wait=30"
        viewers.append(_Poll("long poll", (path, headers[tenant]), 1))
    for at in range(0, len(viewers), _AT_ONCE):
        some = viewers[at : at + _AT_ONCE]
        for viewer in some:
            await loop.create_connection(partial(_itself, viewer), HOST, port)
        await asyncio.gather(*(viewer.began for viewer in some))
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        client.set(READY, 1)
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.wait([viewer.ended for viewer in viewers], timeout=GRACE_SECONDS)
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    for viewer in viewers:
        viewer.leave()
    sorts: dict[str, list[float]] = {}
    for viewer in viewers:
        sorts.setdefault(viewer.sort, []).extend(viewer.latencies)
    expected = sum(viewer.expects for viewer in viewers)
    return Seen(sorts, sum(viewer.ends for viewer in viewers), expected, share)


def _itself(viewer: _Viewer) -> _Viewer:
    return viewer


class _Viewer(asyncio.Protocol):
    """The connection of one viewer."""

    def __init__(self, sort: str, expects: int) -> None:
        loop = asyncio.get_running_loop()
        self.sort = sort
        self.expects = expects
        self.ends = 0
        self.latencies: list[float] = []
        self.began: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - what is missed says it
        """End, with what was received until then."""
        self._done()

    def leave(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _saw(self, state: bytes) -> None:
        stamp = _STAMP.search(state)
        if stamp:
            self.latencies.append(time.time() - float(stamp[1]))
        if _END in state:
            self.ends += 1
            if self.ends == self.expects:
                self._done()

    def _done(self) -> None:
        for future in (self.began, self.ended):
            if not future.done():
                future.set_result(None)


class _Stream(_Viewer):
    """Viewer with a live stream."""

    def __init__(self, sort: str, request: bytes, expects: int) -> None:
        super().__init__(sort, expects)
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Search each complete state."""
        *blocks, self._received = (self._received + data).split(b"\n\n")
        for block in blocks:
            if b"data: " in block:
                if not self.began.done():
                    self.began.set_result(None)
                self._saw(block)


class _Poll(_Viewer):
    """Viewer with long polls, one after the other, until the end."""

    def __init__(self, sort: str, request: tuple[str, Mapping[str, str]], expects: int) -> None:
        super().__init__(sort, expects)
        self._path, self._headers = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._ask({})

    def data_received(self, data: bytes) -> None:
        """Request the state after this answer."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or (length and len(body) < int(length[1])):
            return
        self._received = b""
        etag = _ETAG.search(head)
        if etag is None:
            self._transport.close()
            return
        self._saw(body)
        if not self.ended.done():
            self._ask({"if-none-match": etag[1].decode()})
        if not self.began.done():
            self.began.set_result(None)

    def _ask(self, known: Mapping[str, str]) -> None:
        self._transport.write(get(self._path, {**self._headers, **known}))
