"""Reading over HTTP: the progress endpoint under 64 connections."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import jwt
import orjson

from benchmarks.delivery import NAMES, drain
from benchmarks.hello import PATH
from benchmarks.load import CONNECTIONS, Load, generate, generator, get
from benchmarks.measure import CpuMeter, alternate, quantile
from benchmarks.report import Figure
from benchmarks.servers import Bench, Running
from benchmarks.workload import fill, job_id, lives
from consumers.__main__ import build

ROUNDS = 3
WARM_UP_SECONDS = 0.5
STEPS = 5
"""Events a job here: it is under way, as jobs that somebody polls are."""

IDS = 100
"""In one query."""
BROWSER_CONNECTIONS = 6
"""What a browser opens to one host."""

_SECRET = "of this benchmark alone, and of no other use"
ENVIRON = {
    "JOBTRAIL_API_PORT": "0",
    "JOBTRAIL_API_HOST": "127.0.0.1",
    "JOBTRAIL_AUTH": "jwt",
    "JOBTRAIL_JWT_SECRET": _SECRET,
    "JOBTRAIL_LOG_LEVEL": "warning",
}


class _Sample(NamedTuple):
    """One round of load, and how busy everything was: shares of one core."""

    load: Load
    server_cpu: float
    redis_cpu: float


def progress(bench: Bench) -> list[Figure]:
    """Poll ten thousand jobs; limit: "hello" of Starlette on the same server."""
    jobs = bench.scaled(10_000, least=1_000)
    requests = {"product": _polls(jobs), "limit": [get(PATH)]}
    _project(bench, jobs)
    seconds = max(1.0, 4 * bench.scale)
    samples: dict[str, list[_Sample]] = {"product": [], "limit": []}
    with api(bench) as product, _hello(bench) as limit, generator() as pool:
        servers = {"product": product, "limit": limit}

        def rate(name: str) -> float:
            server = servers[name]
            ours, theirs = CpuMeter(server.pid), CpuMeter(bench.redis.pid)
            load = pool.submit(generate, port_of(server), requests[name], seconds).result()
            samples[name].append(_Sample(load, ours.share(), theirs.share()))
            return load.rate

        for name, server in servers.items():
            pool.submit(generate, port_of(server), requests[name], WARM_UP_SECONDS).result()
        pair = alternate(ROUNDS, lambda: rate("product"), lambda: rate("limit"))
    ours, theirs = _p99(samples["product"]), _p99(samples["limit"])
    p99 = alternate(ROUNDS, lambda: next(ours), lambda: next(theirs))
    details = {
        "limit": "Starlette hello, same server",
        "jobs": jobs,
        "connections": CONNECTIONS,
        "auth": "jwt, HS256, one token a tenant",
        "rounds": pair.rounds,
        "runs": {name: [_facts(sample) for sample in samples[name]] for name in samples},
    }
    return [
        Figure(
            f"poll progress, {CONNECTIONS} connections, requests / hello",
            pair.ratio,
            0.6,
            at_least=True,
            product=f"{pair.product:,.0f} /s",
            limit=f"{pair.limit:,.0f} /s",
            details=details,
        ),
        Figure(
            f"poll progress, {CONNECTIONS} connections, p99 / hello",
            p99.ratio,
            2.5,
            product=f"{p99.product * 1e3:.1f} ms",
            limit=f"{p99.limit * 1e3:.1f} ms",
        ),
    ]


def query(bench: Bench) -> list[Figure]:
    """Ask for 100 jobs at once; limit: 100 single requests."""
    jobs = bench.scaled(10_000, least=1_000)
    _project(bench, jobs)
    with api(bench) as server, generator() as pool:
        return [
            _queried(bench, jobs, port_of(server), pool, connections)
            for connections in (BROWSER_CONNECTIONS, CONNECTIONS)
        ]


def _queried(
    bench: Bench, jobs: int, port: int, pool: ProcessPoolExecutor, connections: int
) -> Figure:
    requests = {"product": _queries(jobs), "limit": _polls(jobs)}
    seconds = max(1.0, 4 * bench.scale)
    loads: dict[str, list[Load]] = {"product": [], "limit": []}

    def rate(name: str, ids: int) -> float:
        load = pool.submit(generate, port, requests[name], seconds, connections).result()
        loads[name].append(load)
        return load.rate * ids

    for each in requests.values():
        pool.submit(generate, port, each, WARM_UP_SECONDS).result()
    pair = alternate(ROUNDS, lambda: rate("product", IDS), lambda: rate("limit", 1))
    return Figure(
        f"query of {IDS} ids, {connections} connections, ids / single requests",
        pair.ratio,
        20,
        at_least=True,
        product=f"{pair.product:,.0f} /s",
        limit=f"{pair.limit:,.0f} /s",
        details={
            "jobs": jobs,
            "rounds": pair.rounds,
            "p99_ms": {
                name: [quantile(load.latencies, 0.99) * 1e3 for load in runs]
                for name, runs in loads.items()
            },
            "generator_cpu": {
                name: [load.cpu_share for load in runs] for name, runs in loads.items()
            },
        },
    )


def _project(bench: Bench, jobs: int) -> None:
    """Fill Redis with so many jobs that are under way."""
    bench.empty()
    count = fill(bench.client, lives(NAMES, jobs // len(NAMES), steps=STEPS))
    drain(build("status", bench.settings(), bench.client, "bench"), count)


@contextmanager
def api(bench: Bench) -> Iterator[Running]:
    """Run the API as a process."""
    with bench.jobtrail("api", environ=ENVIRON) as running:
        running.said("api: ")
        yield running


def port_of(server: Running) -> int:
    """Give the port that a server announced."""
    return int(server.said("api: ").rpartition(":")[2].strip(" /"))


def credentials(tenant: str) -> Mapping[str, str]:
    """Give the header by which a frontend of this tenant is known."""
    token = jwt.encode(
        {"tenant_id": tenant, "exp": time.time() + 86_400}, _SECRET, algorithm="HS256"
    )
    return {"authorization": f"Bearer {token}"}


def poll(tenant: str, job: str) -> bytes:
    """Write the request for a job's progress."""
    return get(f"/api/v1/jobs/{job}/progress/", credentials(tenant))


def _polls(jobs: int) -> list[bytes]:
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
        running.said("api: ")
        yield running


def _p99(samples: Sequence[_Sample]) -> Iterator[float]:
    return (quantile(sample.load.latencies, 0.99) for sample in samples)


def _facts(sample: _Sample) -> Mapping[str, float]:
    return {
        "requests_per_second": sample.load.rate,
        "p50_ms": quantile(sample.load.latencies, 0.5) * 1e3,
        "p99_ms": quantile(sample.load.latencies, 0.99) * 1e3,
        "generator_cpu": sample.load.cpu_share,
        "server_cpu": sample.server_cpu,
        "redis_cpu": sample.redis_cpu,
    }
