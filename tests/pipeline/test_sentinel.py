"""Everything by way of Sentinels, with a primary that is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest

from streams.appender import EventAppender
from streams.connection import connect
from streams.entry_ids import EntryId
from tests.ops.test_cli import jobtrail, plain_failure
from tests.pipeline.conftest import Start
from tests.support.acceptance import appending, is_done, run_every_command, seen, stored
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


@pytest.mark.thorough
def test_everything__with_a_failover_in_the_middle(
    start: Start, found: Watched, database_url: str
) -> None:
    run = partial(jobtrail, redis_url=found.url, database_url=database_url)
    deployed = deploy(start, found.url, database_url, auth="dev")
    acknowledged: dict[str, list[EntryId]] = {TENANT: []}
    appended = acknowledged[TENANT]
    with (
        appending(found.url, acknowledged),
        Stream(deployed.url, f"/api/v1/events?tenant={TENANT}") as live,
    ):
        eventually(lambda: len(appended) > 10, 60, "durable appends")
        old = found.replace_primary()
        found.restart(old)
        before = len(appended)
        eventually(lambda: len(appended) > before + 10, 60, "durable appends")
        with connect(found.url) as client:
            EventAppender(client).append(TENANT, {"type": "done", "id": "last-1"}, durable=True)
        eventually(partial(is_done, deployed, TENANT, "last-1"), 60, "the last state")
        assert seen(live, "last-1")["status"] == "DONE"
    assert set(appended) <= stored(found.url, TENANT)

    assert _ask(deployed, "/readyz").status_code == 200
    assert _ask(deployed, "/api/v1/jobs/last-1/").json()["status"] == "DONE"
    assert _waited(deployed).status_code == 304
    run_every_command(run, TENANT, "last-1")
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


def _sentinel_check(run: Callable[..., CompletedProcess[bytes]]) -> Mapping[str, Any]:
    findings: list[dict[str, Any]] = json.loads(run("doctor", "--json").stdout)
    return next(each for each in findings if each["check"] == "redis sentinels")


def _waited(deployed: Deployment) -> httpx.Response:
    etag = _ask(deployed, JOB).headers["etag"]
    return deployed.ask(f"{JOB}?wait=1", headers={**ME, "If-None-Match": etag}, timeout=30)


def _ask(deployed: Deployment, path: str) -> httpx.Response:
    return deployed.ask(path, headers=ME, timeout=30)
