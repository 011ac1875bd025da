"""Several consumers of one group under one supervisor: `jobtrail consume GROUP --processes N`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
import redis

from streams.appender import EventAppender
from streams.keys import Keys
from tests.pipeline.conftest import Start, environ
from tests.support import forked
from tests.support.groups import settled
from tests.support.processes import descendants, listening, runs
from tests.support.scraping import scrape, value
from tests.support.waiting import ENDING, eventually

TENANTS = ("1", "2", "3")
TYPES = ("queued", "processing", "progress", "done")
PROCESSES = 4


def consumers(pid: int) -> set[int]:
    """Return the process ids of the consumers under a supervisor."""
    found = set[int]()
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # also raised for one that was just killed
            if "consume" in child.cmdline():
                found.add(child.pid)
    return found


def serving(pid: int) -> dict[int, int]:
    """Return the port on which each consumer under a supervisor serves its metrics."""
    found = dict[int, int]()
    for child in consumers(pid):
        with suppress(psutil.NoSuchProcess):
            for _, port in listening(child):
                found[child] = port
    return found


def all_serving(pid: int) -> dict[int, int] | None:
    """Return the ports of the consumers, once all of them serve their metrics."""
    ports = serving(pid)
    return ports if len(ports) == PROCESSES else None


def members(client: redis.Redis) -> set[bytes]:
    """Return the names of the consumers that sent a heartbeat and have not stopped."""
    beats: Any = client.hvals(Keys().beats())
    return {beat["name"] for beat in map(json.loads, beats) if not beat["left"]}


def append(client: redis.Redis, jobs: range) -> None:
    EventAppender(client).append_many(
        (tenant, {"type": type_, "id": f"j{job}"})
        for job in jobs
        for type_ in TYPES
        for tenant in TENANTS
    )


def history(database_url: str) -> tuple[int, int]:
    """Return the number of rows of the history, and of distinct entries among them."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT (tenant, entry_ms, entry_seq)) FROM job_events"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def test_killed_consumers_are_replaced_and_nothing_is_lost_or_doubled(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    servers |= {"reclaim_idle_seconds": "1", "metrics_port": "0"}
    supervisor = start("consume", "rows", "--processes", str(PROCESSES), **servers)
    ports = eventually(partial(all_serving, supervisor.pid), 30, "four consumers")
    assert len(set(ports.values())) == PROCESSES
    killed = set[int]()
    for part in range(3):
        append(redis_client, range(part * 20, part * 20 + 20))
        victim = min(consumers(supervisor.pid) - killed)
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
    eventually(lambda: settled_everywhere(redis_client), 30, "everything settled")
    eventually(partial(all_serving, supervisor.pid), 30, "four consumers again")
    assert not killed & consumers(supervisor.pid)

    events = 60 * len(TYPES) * len(TENANTS)
    assert history(servers["database_url"]) == (events, events)
    verified = forked.run(["verify", "rows"], environ(servers))
    assert f"verified {60 * len(TENANTS)} jobs" in verified.stdout.decode()


def settled_everywhere(client: redis.Redis) -> bool:
    return all(settled(client, tenant, "rows") for tenant in TENANTS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_ends_all_consumers_in_order(
    number: signal.Signals, start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    supervisor = start("consume", "status", "--processes", "2", **servers, metrics_port="0")
    eventually(lambda: len(members(redis_client)) == 2, 30, "two names")
    for port in serving(supervisor.pid).values():
        said = scrape(f"http://127.0.0.1:{port}/metrics")
        assert value(said, "jobtrail_consumer_running", group="status") == 1
    children = descendants(supervisor.pid)

    supervisor.send_signal(number)

    assert supervisor.wait(ENDING) == 0
    assert not any(map(runs, children))
    assert not members(redis_client)


def test_taken_metrics_port_is_one_line(servers: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        first = str(port - 1)
        ended = subprocess.run(
            [sys.executable, "-m", "ops", "consume", "status", "--processes", "2"],
            env=environ({**servers, "metrics_port": first}),
            capture_output=True,
            timeout=ENDING,
            check=False,
            text=True,
        )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "the metrics cannot be served on 127.0.0.1:" in ended.stderr
    assert "JOBTRAIL_METRICS_PORT" in ended.stderr
