"""A storm: all clients that follow jobs reconnect at once, because the API was restarted.

Half of the jobs end while the API is away, and the other half while the clients reconnect.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from statistics import median
from typing import NamedTuple

from benchmarks.delivery import NAMES
from benchmarks.load import HOST, generator
from benchmarks.measure import quantile
from benchmarks.reading import ENVIRON, api, credentials, port_of
from benchmarks.report import Figure
from benchmarks.servers import Bench, wait_until
from benchmarks.storm_clients import BACK, HELD, Follower, Storm, reconnect
from benchmarks.waiting import wait_until_drained
from streams.appender import EventAppender

CLIENTS = 2_000
"""The number of clients, half with live streams and half with long polls, and of jobs."""
POLLS_ALONE = 200
POLL_EVERY = 0.005
"""Seconds between two polls of a client that is not part of the storm."""
OTHER = "other"
"""The job that this client polls."""
SECONDS = 60.0


def storm(bench: Bench) -> list[Figure]:
    """Restart the API while 2,000 clients (fewer at a smaller scale) follow jobs."""
    bench.empty()
    followers = _followers(bench.scaled(CLIENTS, least=100))
    with ExitStack() as stack:
        stack.enter_context(bench.jobtrail("consume", "status")).wait_for_output("consumer_started")
        pool = stack.enter_context(generator())
        _append(bench, "queued", [*followers, Follower(NAMES[0], OTHER, streams=False)])
        found = _restarted(bench, pool, followers)
    return _figures(found, len(followers))


class _Found(NamedTuple):
    """Observations of the clients of the storm, and the seconds that other polls took."""

    storm: Storm
    alone: list[float]
    meanwhile: list[float]


def _followers(count: int) -> list[Follower]:
    return [
        Follower(NAMES[number % len(NAMES)], f"import-{number:05}", streams=number % 4 < 2)
        for number in range(count)
    ]


def _restarted(bench: Bench, pool: ProcessPoolExecutor, followers: list[Follower]) -> _Found:
    with api(bench) as server:
        port = port_of(server)
        alone = _polls(port, POLLS_ALONE, lambda: False)
        storming = pool.submit(reconnect, port, bench.redis.url, followers)
        wait_until(
            lambda: bool(bench.client.exists(HELD)) or storming.done(),
            "all clients followed their jobs",
            SECONDS,
        )
    _append(bench, "done", followers[::2])
    with bench.jobtrail("api", environ={**ENVIRON, "JOBTRAIL_API_PORT": str(port)}) as server:
        server.wait_for_output("api: ")
        bench.client.set(BACK, 1)
        _append(bench, "done", followers[1::2], wait=False)
        meanwhile = _polls(port, int(SECONDS / POLL_EVERY), storming.done)
        return _Found(storming.result(), alone, meanwhile)


def _append(bench: Bench, kind: str, followers: list[Follower], *, wait: bool = True) -> None:
    EventAppender(bench.client).append_many(
        (each.tenant, {"type": kind, "id": each.job}) for each in followers
    )
    if wait:
        wait_until_drained(bench.client, "status", NAMES, SECONDS)


def _polls(port: int, count: int, over: Callable[[], bool]) -> list[float]:
    """Poll one job repeatedly on one connection; return the seconds of each answer.

    Raises:
        RuntimeError: an answer was not 200.
    """
    connection = HTTPConnection(HOST, port, timeout=SECONDS)
    latencies: list[float] = []
    try:
        while len(latencies) < count and not over():
            began = time.perf_counter()
            path = f"/api/v1/jobs/{OTHER}/progress/"
            connection.request("GET", path, headers=dict(credentials(NAMES[0])))
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"a poll was answered with {response.status}")
            latencies.append(time.perf_counter() - began)
            time.sleep(POLL_EVERY)
    except (OSError, HTTPException) as error:
        raise RuntimeError(f"a poll was not answered: {error!r}") from error
    finally:
        connection.close()
    return latencies


def _figures(found: _Found, clients: int) -> list[Figure]:
    name = f"{clients:,} clients reconnect at once"
    storm_p99, one = quantile(found.meanwhile, 0.99), median(found.alone)
    missed = clients - len(found.storm.seconds)
    return [
        Figure(
            f"{name}: until all have their job's end",
            max(found.storm.seconds, default=SECONDS),
            3,
            unit="s",
            key="storm",
            details={
                "p50_seconds": quantile(found.storm.seconds, 0.5),
                "refused": found.storm.refused,
                "clients_cpu": found.storm.cpu_share,
            },
        ),
        Figure(f"{name}: ends missed", missed, 0, unit="ends", key="storm_missed", timed=False),
        Figure(
            f"{name}: p99 of other polls / one poll alone",
            storm_p99 / one,
            5,
            key="storm_polls",
            product=f"{storm_p99 * 1e3:.1f} ms",
            limit=f"{one * 1e3:.1f} ms",
            details={"polls": len(found.meanwhile), "p50_ms": median(found.meanwhile) * 1e3},
        ),
    ]
