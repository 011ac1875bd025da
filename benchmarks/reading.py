"""Reading over HTTP: the progress endpoint under 64 connections."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache

import jwt
import orjson

from benchmarks.delivery import NAMES, drain
from benchmarks.hello import PATH
from benchmarks.load import CONNECTIONS, Load, generate, generator, get
from benchmarks.measure import Sample, alternate, compare, quantile
from benchmarks.report import Figure
from benchmarks.servers import Bench, Running
from benchmarks.workload import fill, job_id, lives
from consumers.composition import build

ROUNDS = 3
SECONDS = 4.0
"""The seconds of load in each round of a full run."""
WARM_UP_SECONDS = 0.5
STEPS = 5
"""Events of each job; all jobs are processing, because clients poll such jobs."""

IDS = 100
"""Jobs in one query."""
BROWSER_CONNECTIONS = 6
"""Connections that a browser opens to one host."""

_SECRET = "of this benchmark alone, and of no other use"
ENVIRON = {
    "JOBTRAIL_API_PORT": "0",
    "JOBTRAIL_API_HOST": "127.0.0.1",
    "JOBTRAIL_AUTH": "jwt",
    "JOBTRAIL_JWT_SECRET": _SECRET,
    "JOBTRAIL_LOG_LEVEL": "warning",
}


def progress(bench: Bench) -> list[Figure]:
    """Poll ten thousand jobs; limit: "hello" of Starlette on the same server."""
    jobs = bench.scaled(10_000, least=1_000)
    project(bench, jobs)
    with api(bench) as product, _hello(bench) as limit, generator() as pool:
        ours = Loaded(bench, pool, product, polls(jobs))
        theirs = Loaded(bench, pool, limit, [get(PATH)])
        found = compare(bench.rounds(ROUNDS), ours.sample, theirs.sample)
    p99 = alternate(bench.rounds(ROUNDS), ours.p99(), theirs.p99())
    return [
        Figure(
            f"poll progress, {CONNECTIONS} connections, requests / hello",
            aim=0.6,
            key="poll",
            **found.fields(),
            details={
                "limit": "Starlette hello, same server",
                "jobs": jobs,
                "connections": CONNECTIONS,
                "auth": "jwt, HS256, one token a tenant",
                "runs": {"product": ours.facts(), "limit": theirs.facts()},
            },
        ),
        Figure(
            f"poll progress, {CONNECTIONS} connections, p99 / hello",
            p99.ratio,
            2.0,
            key="poll_p99",
            rounds=p99.rounds,
            product=f"{p99.product * 1e3:.1f} ms",
            limit=f"{p99.limit * 1e3:.1f} ms",
        ),
    ]


class Loaded:
    """A server under load, and its results in each round.

    Args:
        each: the number of jobs that one request counts as.
    """

    def __init__(
        self,
        bench: Bench,
        pool: ProcessPoolExecutor,
        server: Running,
        requests: Sequence[bytes],
        *,
        connections: int = CONNECTIONS,
        each: int = 1,
    ) -> None:
        self.loads: list[Load] = []
        self._bench, self._pool, self._pid = bench, pool, server.pid
        self._port = port_of(server)
        self._requests, self._connections, self._each = requests, connections, each
        self._load(min(WARM_UP_SECONDS, SECONDS * bench.scale))

    def sample(self) -> Sample:
        """Load the server for one round."""
        before = self._bench.spent(self._pid)
        load = self._load(max(0.1, SECONDS * self._bench.scale))
        spent = self._bench.spent(self._pid).since(before)
        self.loads.append(load)
        return Sample(load.rate * self._each, spent.each(len(load.latencies) * self._each))

    def p99(self) -> Callable[[], float]:
        """Return a function for the 99th percentile of each round in turn, in seconds."""
        values = iter([quantile(load.latencies, 0.99) for load in self.loads])
        return lambda: next(values)

    def facts(self) -> list[Mapping[str, float]]:
        """Return the rate and latencies of each round, and the load of the generator."""
        return [
            {
                "requests_per_second": load.rate,
                "p50_ms": quantile(load.latencies, 0.5) * 1e3,
                "p99_ms": quantile(load.latencies, 0.99) * 1e3,
                "generator_cpu": load.cpu_share,
            }
            for load in self.loads
        ]

    def _load(self, seconds: float) -> Load:
        arguments = self._port, self._requests, seconds, self._connections
        return self._pool.submit(generate, *arguments).result()


def query(bench: Bench) -> list[Figure]:
    """Request 100 jobs at once; limit: 100 single requests."""
    jobs = bench.scaled(10_000, least=1_000)
    project(bench, jobs)
    with api(bench) as server, generator() as pool:
        return [
            _queried(bench, jobs, server, pool, connections)
            for connections in (BROWSER_CONNECTIONS, CONNECTIONS)
        ]


def _queried(
    bench: Bench, jobs: int, server: Running, pool: ProcessPoolExecutor, connections: int
) -> Figure:
    many = Loaded(bench, pool, server, _queries(jobs), connections=connections, each=IDS)
    single = Loaded(bench, pool, server, polls(jobs), connections=connections)
    return Figure(
        f"query of {IDS} ids, {connections} connections, ids / single requests",
        aim=20 if connections == BROWSER_CONNECTIONS else None,
        key=f"query_{connections}",
        **compare(bench.rounds(ROUNDS), many.sample, single.sample).fields(),
        details={"jobs": jobs, "runs": {"product": many.facts(), "limit": single.facts()}},
    )


def project(bench: Bench, jobs: int) -> None:
    """Fill Redis with `jobs` jobs that are processing."""
    bench.empty()
    count = fill(bench.client, lives(NAMES, jobs // len(NAMES), steps=STEPS))
    drain(build("status", bench.settings(), bench.client, "bench"), count)


@contextmanager
def api(bench: Bench) -> Iterator[Running]:
    """Run the API as a process."""
    with bench.jobtrail("api", environ=ENVIRON) as running:
        running.wait_for_output("api: ")
        yield running


def port_of(server: Running) -> int:
    """Return the port that a server announced."""
    return int(server.wait_for_output("api: ").rpartition(":")[2].strip(" /"))


@cache
def credentials(tenant: str) -> Mapping[str, str]:
    """Return the authorization header of a tenant, the same one at each call.

    With another token in each request, the verification of tokens would be measured.
    """
    token = jwt.encode(
        {"tenant_id": tenant, "exp": time.time() + 86_400}, _SECRET, algorithm="HS256"
    )
    return {"authorization": f"Bearer {token}"}


def poll(tenant: str, job: str) -> bytes:
    """Return the bytes of a request for a job's progress."""
    return get(f"/api/v1/jobs/{job}/progress/", credentials(tenant))


def polls(jobs: int) -> list[bytes]:
    requests = [poll(name, job_id(job)) for job in range(jobs // len(NAMES)) for name in NAMES]
    random.Random(1).shuffle(requests)
    return requests


def _queries(jobs: int) -> list[bytes]:
    chance, each = random.Random(1), range(jobs // len(NAMES))
    return [_query(name, chance.sample(each, IDS)) for _ in range(10) for name in NAMES]


def _query(tenant: str, jobs: Sequence[int]) -> bytes:
    body = orjson.dumps({"jobs": [job_id(job) for job in jobs]})
    headers = {
        **credentials(tenant),
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    head = get("/api/v1/progress/query", headers)
    return b"POST" + head.removeprefix(b"GET") + body


@contextmanager
def _hello(bench: Bench) -> Iterator[Running]:
    argv = [sys.executable, "-m", "benchmarks.hello"]
    with bench.process(argv, environ=ENVIRON) as running:
        running.wait_for_output("api: ")
        yield running
