"""Everything by way of Sentinels, with a primary that is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest

from streams.appender import EventAppender
from streams.connection import LogUnavailable, connect
from streams.entry_ids import EntryId
from streams.wire import ask
from tests.ops.test_cli import jobtrail, plain_failure
from tests.pipeline.conftest import Start
from tests.support.deployment import TENANT, Deployment, deploy
from tests.support.event_stream import Stream
from tests.support.sentinels import Watched, watched
from tests.support.waiting import eventually

ME = {"X-Tenant-ID": TENANT}
JOB = "/api/v1/jobs/last-1/progress/"


@pytest.fixture(scope="module")
def found() -> Iterator[Watched]:
    with watched(3) as deployment:
        yield deployment


def test_everything__with_a_failover_in_the_middle(
    start: Start, found: Watched, database_url: str
) -> None:
    run = partial(jobtrail, redis_url=found.url, database_url=database_url)
    deployed = deploy(start, found.url, database_url, auth="dev")
    acknowledged = list[EntryId]()
    with (
        appending(found.url, acknowledged),
        Stream(deployed.url, f"/api/v1/events?tenant={TENANT}") as live,
    ):
        eventually(lambda: len(acknowledged) > 10, 60, "durable appends")
        old = found.replace_primary()
        found.restart(old)
        before = len(acknowledged)
        eventually(lambda: len(acknowledged) > before + 10, 60, "durable appends")
        with connect(found.url) as client:
            EventAppender(client).append(TENANT, {"type": "done", "id": "last-1"}, durable=True)
        eventually(partial(_is_done, deployed), 60, "the last state")
        assert _seen(live, "last-1")["status"] == "DONE"
    assert set(acknowledged) <= _stored(found)

    assert _ask(deployed, "/readyz").status_code == 200
    assert _ask(deployed, "/api/v1/jobs/last-1/").json()["status"] == "DONE"
    assert _waited(deployed).status_code == 304
    for words in (
        ("verify", "status"),
        ("verify", "rows"),
        ("replay", "status", "--reset"),
        ("replay", "rows", "--reset"),
        ("verify", "status"),
        ("verify", "rows"),
        ("status", "--tenant", TENANT, "last-1"),
        ("lag",),
        ("trim",),
        ("dead", "requeue", "--tenant", TENANT, "--all"),
        ("append", "--tenant", TENANT),
    ):
        ran = run(*words, stdin=b'{"type":"queued","id":"cli-1"}')
        assert ran.returncode == 0, (words, ran.stdout, ran.stderr)
    check = _sentinel_check(run)
    assert check["ok"], check
    os.kill(found.sentinels[0].pid, signal.SIGKILL)
    check = _sentinel_check(run)
    assert not check["ok"]
    assert str(found.sentinels[0].port) in check["advice"]


@pytest.mark.parametrize(
    "words", [("lag",), ("append", "--tenant", "42"), ("status", "--tenant", "42", "a")]
)
def test_command__ends_with_one_line_where_no_sentinel_answers(words: tuple[str, ...]) -> None:
    url = "redis+sentinel://:secret@127.0.0.1:1/main"
    line = plain_failure(jobtrail(*words, stdin=b'{"type":"done","id":"a"}', redis_url=url))
    assert "no Sentinel at 127.0.0.1:1 answers" in line
    assert "secret" not in line


def test_consumers_and_api__wait_for_sentinels(start: Start, database_url: str) -> None:
    """They start without any, and work once the Sentinels answer."""
    with watched() as deployment:
        url = deployment.url
        deployment.sentinels[0].stop()
        consumer = start("consume", "status", redis_url=url, database_url=database_url)
        api = start("api", redis_url=url, database_url=database_url, auth="dev", api_port="0")
        assert api.stdout is not None
        address = api.stdout.readline().decode().removeprefix("api: ").strip()
        assert httpx.get(f"{address}/readyz", timeout=30).status_code == 503
        deployment.sentinels[0].start()
        eventually(lambda: httpx.get(f"{address}/readyz", timeout=30).status_code == 200, 30)
        with connect(url) as client:
            EventAppender(client).append(TENANT, {"type": "done", "id": "last-1"})
        eventually(lambda: httpx.get(f"{address}{JOB}", headers=ME).status_code == 200, 60)
        assert consumer.poll() is None


@contextmanager
def appending(url: str, acknowledged: list[EntryId]) -> Iterator[None]:
    """Append durably in a thread, and record what was acknowledged."""
    stop = threading.Event()

    def work() -> None:
        with connect(url, timeout=1) as client:
            appender = EventAppender(client, durable_seconds=0.5)
            number = 0
            while not stop.is_set():
                number += 1
                event = {"type": "progress", "id": f"busy-{number % 7}", "percent": number % 100}
                with suppress(LogUnavailable):
                    acknowledged.append(appender.append(TENANT, event, durable=True))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def _sentinel_check(run: Callable[..., CompletedProcess[bytes]]) -> Mapping[str, Any]:
    findings: list[dict[str, Any]] = json.loads(run("doctor", "--json").stdout)
    return next(each for each in findings if each["check"] == "redis sentinels")


def _stored(found: Watched) -> set[EntryId]:
    with connect(found.url) as client:
        entries = ask(client, "XRANGE", f"tenant:{TENANT}:events", "-", "+")
    return {EntryId.parse(entry_id.decode()) for entry_id, _ in entries}


def _is_done(deployed: Deployment) -> bool:
    answer = _ask(deployed, JOB)
    return answer.status_code == 200 and answer.json()["status"] == "DONE"


def _waited(deployed: Deployment) -> httpx.Response:
    etag = _ask(deployed, JOB).headers["etag"]
    return deployed.ask(f"{JOB}?wait=1", headers={**ME, "If-None-Match": etag}, timeout=30)


def _ask(deployed: Deployment, path: str) -> httpx.Response:
    return deployed.ask(path, headers=ME, timeout=30)


def _seen(live: Stream, job_id: str) -> dict[str, object]:
    """Return the first state of a job in the stream that is not processing."""
    while (event := live.event()) is not None:
        if event.data.get("job_id") == job_id:
            return event.data
    raise AssertionError("the stream ended")
