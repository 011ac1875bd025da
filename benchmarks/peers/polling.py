"""Polls, also of Django REST framework: of rows in PostgreSQL, and of Celery's results."""

from __future__ import annotations

import http.client
import random
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import psutil  # type: ignore[import-untyped]
import psycopg

from benchmarks.delivery import NAMES, drain
from benchmarks.load import CONNECTIONS, HOST, generator, get
from benchmarks.measure import Sample, compare
from benchmarks.peers.celery_results import report_all
from benchmarks.reading import ENVIRON, ROUNDS, STEPS, Loaded, api, credentials, polls, port_of
from benchmarks.report import Figure
from benchmarks.servers import Bench, Running, wait_until
from benchmarks.workload import fill, job_id, lives
from consumers.composition import build

COMPARED = 20
"""Jobs whose answers are compared with each other before anything is measured."""
START_SECONDS = 60.0

_SESSIONS = """
SELECT pid FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

Answer = Mapping[str, Any]


def polling(bench: Bench) -> list[Figure]:
    """Poll the same ten thousand jobs of the product and of Django REST framework."""
    jobs = bench.scaled(10_000, least=1_000)
    _project(bench, jobs)
    with (
        psycopg.connect(bench.postgres.url, autocommit=True) as watching,
        api(bench) as product,
        django(bench) as peer,
        generator() as pool,
    ):
        report_all(bench, expected_answers(product, jobs))
        _expect_same(product, peer, "rows")
        _expect_same(product, peer, "tasks")
        watched = Watched(watching, Loaded(bench, pool, product, polls(jobs)))
        rows, tasks = (
            compare(
                bench.rounds(ROUNDS),
                watched.sample,
                Loaded(bench, pool, peer, _requests(source, jobs)).sample,
            )
            for source in ("rows", "tasks")
        )
    return [
        Figure(
            f"poll progress, {CONNECTIONS} connections, requests / a DRF view of the row",
            aim=15,
            key="poll_drf",
            **rows.fields(),
            details={"limit": "Django REST framework, one process of granian, same answers"},
        ),
        Figure(
            "the same, CPU time of PostgreSQL's sessions for a poll",
            watched.microseconds,
            0,
            unit="µs",
            key="poll_database",
            limit=f"{rows.limit_cpu.postgres:,.0f} µs",
        ),
        Figure(
            f"poll progress, {CONNECTIONS} connections, requests / a DRF view of Celery's result",
            key="poll_celery",
            **tasks.fields(),
            details={"limit": "AsyncResult on the Redis backend, same answers"},
        ),
    ]


class Watched:
    """The product under load, and the CPU time of PostgreSQL's sessions meanwhile."""

    def __init__(self, connection: psycopg.Connection, product: Loaded) -> None:
        self.product = product
        self._connection = connection
        self._spent = self._polls = 0.0

    @property
    def microseconds(self) -> float:
        """The CPU time of one poll."""
        return 1e6 * self._spent / self._polls

    def sample(self) -> Sample:
        """Load the product for one round."""
        before = self._seconds()
        sample = self.product.sample()
        after = self._seconds()
        self._spent += sum(spent - before.get(pid, 0.0) for pid, spent in after.items())
        self._polls += len(self.product.loads[-1].latencies)
        return sample

    def _seconds(self) -> Mapping[int, float]:
        pids = [pid for (pid,) in self._connection.execute(_SESSIONS)]
        times = {pid: psutil.Process(pid).cpu_times() for pid in pids}
        return {pid: spent.user + spent.system for pid, spent in times.items()}


def _requests(source: str, jobs: int) -> list[bytes]:
    requests = [
        get(f"/{source}/{_name(source, tenant, job)}/", credentials(tenant))
        for job in range(jobs // len(NAMES))
        for tenant in NAMES
    ]
    random.Random(1).shuffle(requests)
    return requests


def _name(source: str, tenant: str, job: int) -> str:
    """Return the id of a job in a source; Celery's tasks have no tenants."""
    return job_id(job) if source == "rows" else f"{tenant}-{job_id(job)}"


def _project(bench: Bench, jobs: int) -> None:
    """Fill Redis and PostgreSQL with `jobs` jobs that are processing."""
    bench.empty()
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute("TRUNCATE jobs, job_events")
        count = fill(bench.client, lives(NAMES, jobs // len(NAMES), steps=STEPS))
        for group in ("status", "rows"):
            drain(build(group, bench.settings(), bench.client, "bench"), count)
        connection.execute("ANALYZE jobs")


@contextmanager
def django(bench: Bench) -> Iterator[Running]:
    """Run the Django project as a process."""
    argv = [sys.executable, "-m", "benchmarks.peers.django_server"]
    with bench.process(argv, environ=ENVIRON) as running:
        port = port_of(running)
        wait_until(lambda: _listens(port), "Django listens", START_SECONDS)
        yield running


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def expected_answers(product: Running, jobs: int) -> dict[str, Answer]:
    """Return an answer for each task id, equal to the product's answer for the first job."""
    answer = _ask(product, f"/api/v1/jobs/{job_id(0)}/progress/", NAMES[0])
    return {
        _name("tasks", tenant, job): {**answer, "job_id": _name("tasks", tenant, job)}
        for job in range(jobs // len(NAMES))
        for tenant in NAMES
    }


def _expect_same(product: Running, peer: Running, source: str) -> None:
    for job in range(COMPARED):
        tenant = NAMES[job % len(NAMES)]
        ours = _ask(product, f"/api/v1/jobs/{job_id(job)}/progress/", tenant)
        theirs = _ask(peer, f"/{source}/{_name(source, tenant, job)}/", tenant)
        if source == "tasks":
            ours, theirs = ({name: type(each[name]) for name in each} for each in (ours, theirs))
        if ours != theirs:
            raise RuntimeError(f"the answers differ: {ours} and {theirs}")


def _ask(server: Running, path: str, tenant: str) -> Answer:
    connection = http.client.HTTPConnection(HOST, port_of(server), timeout=START_SECONDS)
    connection.request("GET", path, headers=dict(credentials(tenant)))
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {body[:500]!r}")
    answer: Answer = orjson.loads(body)
    return answer
