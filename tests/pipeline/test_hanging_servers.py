"""Servers that accept connections and do not answer, and networks that lose what is sent.

The API has an answer to each request in bounded time, and is whole again afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest

from api.jobs.database import MARGIN_SECONDS
from ops.devstack import EmbeddedPostgres, EmbeddedRedis
from projections.decoding import decode
from projections.rows.writer import JobRows
from projections.status.writer import StatusCache
from sql import deadlines, sessions
from streams.appender import EventAppender
from streams.connection import connect
from streams.entry_ids import EntryId
from streams.settings import Settings
from tests.pipeline.conftest import starting
from tests.support.groups import pending, settled
from tests.support.processes import frozen
from tests.support.proxy import Proxy
from tests.support.servers import copy_folder, server_folder
from tests.support.waiting import eventually

POOL = 4
OPS_POOL = 2
BOUND_SECONDS = 20.0
"""The time limit for one answer; one that hangs would never come."""

ME = {"x-tenant-id": "1"}

DURABLE = (
    "/api/v1/jobs/",
    "/api/v1/jobs/?status=DONE",
    "/api/v1/jobs/a1/",
    "/api/v1/jobs/a1/history/",
    "/media/videos/",
)
CONSOLE_ROWS = (
    "/api/v1/ops/jobs/",
    "/api/v1/ops/stalled/",
    "/api/v1/ops/jobs/1/job/a1/history/",
)
FIGURES = "/api/v1/ops/figures/"
"""It is answered from a cache for some seconds."""
CONSOLE_PARTS = (
    "/api/v1/ops/overview/",
    "/api/v1/ops/charts/",
    "/api/v1/ops/tenants/",
    "/api/v1/ops/issues/",
)
"""Answers that lack the part of a server that hangs."""
CONSOLE_DELIVERY = ("/api/v1/ops/dead/",)
PROGRESS = ("/api/v1/jobs/a1/progress/", "/api/v1/jobs/a1/progress/?wait=0.1")
STREAMS = ("/api/v1/jobs/a1/progress/events", "/api/v1/events")
ALWAYS = ("/healthz", "/metrics", "/console/", "/openapi.json")


class Rig(NamedTuple):
    """An API on servers of its own, each behind a proxy."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    postgres_link: Proxy
    redis_link: Proxy
    url: str

    def status(self, path: str) -> int:
        """Return the status of one request's answer, 503 only with `Retry-After`."""
        with httpx.Client(
            base_url=self.url, headers=ME, timeout=BOUND_SECONDS, verify=False
        ) as client:
            if path.endswith("/query"):
                answer = client.post(path, json={"jobs": ["a1"], "videos": []})
            elif path in STREAMS:
                with client.stream("GET", path) as answer:
                    pass
            else:
                answer = client.get(path)
        assert answer.status_code != 503 or "retry-after" in answer.headers
        return answer.status_code

    def statuses(self, *paths: str) -> dict[str, int]:
        """Return the status of each path's answer, all asked for at once."""
        with ThreadPoolExecutor(len(paths)) as readers:
            return dict(zip(paths, readers.map(self.status, paths), strict=True))

    def ready(self) -> tuple[int, Any]:
        """Return the status of `/readyz`, and what it says of the database."""
        answer = httpx.get(f"{self.url}/readyz", timeout=BOUND_SECONDS)
        return answer.status_code, answer.json().get("database", answer.json().get("missing"))


@pytest.fixture(scope="module")
def rig(postgres_folder: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        copy_folder(postgres_folder, folder)
        postgres = stack.enter_context(EmbeddedPostgres(folder, fast=True))
        redis_folder = stack.enter_context(server_folder())
        redis = stack.enter_context(EmbeddedRedis(redis_folder, persist=False))
        postgres_link = stack.enter_context(Proxy(postgres.port))
        redis_link = stack.enter_context(Proxy(redis.port))
        start = stack.enter_context(starting())
        _store(postgres.url, redis.url)
        api = start(
            "api",
            redis_url=redis.url.replace(str(redis.port), str(redis_link.port)),
            database_url=postgres.url.replace(str(postgres.port), str(postgres_link.port)),
            auth="dev",
            api_port="0",
            api_pool_size=str(POOL),
            api_statement_timeout_seconds="1",
        )
        assert api.stdout is not None
        url = api.stdout.readline().decode().removeprefix("api: ").strip()
        yield Rig(postgres, redis, postgres_link, redis_link, url)


def _store(database_url: str, redis_url: str) -> None:
    entry = decode("1", EntryId(1000, 0), [b"event", b'{"type":"processing","id":"a1"}'])
    rows = JobRows(lambda: sessions.connect(database_url, "test"))
    rows.apply([entry])
    rows.close()
    with connect(redis_url) as client:
        StatusCache(client).apply([entry])


@contextmanager
def _stalled(link: Proxy) -> Iterator[None]:
    """Let the network lose everything that is sent, and close nothing."""
    link.stall()
    try:
        yield
    finally:
        link.resume()
        link.cut()  # as a server does that resends nothing of what was lost


@contextmanager
def _severed(link: Proxy) -> Iterator[None]:
    """Let connections die between request and reply."""
    link.sever_replies()
    try:
        yield
    finally:
        link.start()


Fault = Callable[[Rig], AbstractContextManager[None]]
POSTGRES_FAULTS: dict[str, Fault] = {
    "frozen": lambda rig: frozen(rig.postgres.pid),
    "packets lost": lambda rig: _stalled(rig.postgres_link),
    "dies before the reply": lambda rig: _severed(rig.postgres_link),
}
REDIS_FAULTS: dict[str, Fault] = {
    "frozen": lambda rig: frozen(rig.redis.pid),
    "packets lost": lambda rig: _stalled(rig.redis_link),
    "dies before the reply": lambda rig: _severed(rig.redis_link),
}


@pytest.mark.parametrize("fault", POSTGRES_FAULTS.values(), ids=list(POSTGRES_FAULTS))
def test_postgres_hangs__durable_reads_are_refused_and_progress_goes_on(
    rig: Rig, fault: Fault
) -> None:
    durable, console = (*DURABLE, *DURABLE), CONSOLE_ROWS
    assert set(rig.statuses(*durable, *console, FIGURES).values()) == {200}
    eventually(lambda: rig.ready() == (200, "ok"))

    with fault(rig):
        during = rig.statuses(*durable, *console, FIGURES, *PROGRESS, *STREAMS, *ALWAYS, "/readyz")
        assert rig.ready() == (200, "away")
        overview = httpx.get(
            f"{rig.url}/api/v1/ops/overview/", headers=ME, timeout=BOUND_SECONDS
        ).json()

    assert {during[path] for path in (*durable, *console)} == {503}
    assert during[FIGURES] in (200, 503)
    assert {during[path] for path in (*PROGRESS, *STREAMS, *ALWAYS, "/readyz")} == {200}
    assert {server["name"]: server["ok"] for server in overview["servers"]} == {
        "redis": True,
        "postgresql": False,
    }

    eventually(lambda: rig.ready() == (200, "ok"), what="the database is read again")
    eventually(lambda: set(rig.statuses(*durable, *console).values()) == {200})
    eventually(lambda: _whole(rig), what="no connection leaked")


def _whole(rig: Rig) -> bool:
    """Return whether client and server agree on idle connections, within the pools' sizes."""
    with psycopg.connect(rig.postgres.url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT application_name, state FROM pg_stat_activity"
            " WHERE application_name IN ('jobtrail-api', 'jobtrail-console')"
        ).fetchall()
    api = [state for name, state in found if name == "jobtrail-api"]
    metrics = httpx.get(f"{rig.url}/metrics", timeout=BOUND_SECONDS).text
    assert f'jobtrail_pool_connections{{server="postgres",state="idle"}} {len(api)}.0' in metrics
    assert 'jobtrail_pool_connections{server="postgres",state="used"} 0.0' in metrics
    assert "jobtrail_pool_requests_waiting 0.0" in metrics
    assert len(api) <= POOL
    assert len(found) - len(api) <= OPS_POOL
    return {state for _, state in found} == {"idle"}


@pytest.mark.parametrize("fault", REDIS_FAULTS.values(), ids=list(REDIS_FAULTS))
def test_redis_hangs__progress_is_refused_and_durable_reads_go_on(rig: Rig, fault: Fault) -> None:
    progress = (*PROGRESS, *STREAMS, "/api/v1/progress/query")
    assert set(rig.statuses(*progress, *DURABLE, *CONSOLE_DELIVERY).values()) == {200}

    with fault(rig):
        others = (*DURABLE, *CONSOLE_ROWS, FIGURES, *CONSOLE_PARTS, *ALWAYS)
        during = rig.statuses(*progress, *CONSOLE_DELIVERY, *others)
        assert rig.ready() == (503, ["redis"])

    assert {during[path] for path in (*progress, *CONSOLE_DELIVERY)} == {503}
    assert {during[path] for path in others} == {200}

    eventually(lambda: rig.ready() == (200, "ok"))
    eventually(lambda: set(rig.statuses(*progress, *CONSOLE_DELIVERY).values()) == {200})


def test_default_limits__a_read_is_refused_within_5_s() -> None:
    assert Settings().api_statement_timeout_seconds + MARGIN_SECONDS <= 4.5


def test_url_with_network_options_of_its_own__they_stand() -> None:
    given = deadlines.network_options("postgresql://h/d?keepalives_idle=60")
    assert "keepalives_idle" not in given
    assert given["tcp_user_timeout"]


@pytest.mark.parametrize("group", ["status", "rows"])
@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_consumer_told_to_stop_while_a_server_is_frozen__ends_and_loses_nothing(
    rig: Rig, group: str, server: str
) -> None:
    tenant, name = f"stopped-{group}-{server}", f"{group}-{server}"
    settings = {
        "redis_url": rig.redis.url,
        "database_url": rig.postgres.url,
        "reclaim_idle_seconds": "0.5",
    }
    with connect(rig.redis.url) as client, starting() as start:
        appender = EventAppender(client)
        consumer = start("consume", group, **settings)
        appender.append(tenant, {"type": "queued", "id": name})
        eventually(lambda: settled(client, tenant, group), timeout=30)
        if server == "postgres":
            with frozen(rig.postgres.pid):
                appender.append(tenant, {"type": "done", "id": name})
                if group == "rows":
                    eventually(lambda: pending(client, tenant, group) == 1)
                consumer.terminate()
                assert consumer.wait(BOUND_SECONDS) == 0
        else:
            with frozen(rig.redis.pid):
                consumer.terminate()
                assert consumer.wait(BOUND_SECONDS) == 0
            appender.append(tenant, {"type": "done", "id": name})
        start("consume", group, **settings)
        eventually(lambda: settled(client, tenant, group), timeout=30)
        assert client.xlen(f"tenant:{tenant}:dead") == 0
    if group == "rows":
        with psycopg.connect(rig.postgres.url) as connection:
            found = connection.execute(
                "SELECT status, (SELECT count(*) FROM job_events AS e WHERE e.tenant = jobs.tenant)"
                " FROM jobs WHERE tenant = %s",
                (tenant,),
            ).fetchall()
        assert found == [("DONE", 2)]
