"""The requests of one page of the console share few connections: they wait, and do not fail."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from api.access.auth import Caller, authenticator
from api.operators import database
from api.operators.gate import Act, Gate, Read
from streams.settings import Settings
from tests.api.operators.test_routes import ACT, Apply, Asker, apply, ops
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

__all__ = ["apply", "ops"]

pytestmark = pytest.mark.anyio

PAGE = "overview/ figures/ charts/?span=1h charts/?span=24h tenants/ jobs/ stalled/".split()
"""More requests than the overview sends, of which each needs a connection."""

QUEUED_SECONDS = 2.2
"""Longer than a connection may take to be opened, and shorter than one may be used."""

_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'jobtrail-console' AND wait_event_type = 'Lock'
  AND clock_timestamp() - query_start > %s * interval '1 second'
  AND datname = current_database()
"""


async def _asked(client: httpx.AsyncClient) -> dict[str, httpx.Response]:
    answers = await asyncio.gather(*map(client.get, PAGE))
    return dict(zip(PAGE, answers, strict=True))


def _check_complete(answers: dict[str, httpx.Response]) -> None:
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        PAGE, 200
    )
    found = {path: answer.json() for path, answer in answers.items()}
    assert found["overview/"]["stalled"]["count"] == 1
    assert [server["ok"] for server in found["overview/"]["servers"]] == [True, True]
    assert found["figures/"]["now"]["processing"] == 1
    assert None not in (found["charts/?span=1h"]["jobs"], found["charts/?span=24h"]["jobs"])
    assert found["tenants/"]["missing"] == []


async def test_first_page__while_a_lock_is_held__is_slow_but_complete(
    ops: Asker, apply: Apply, database_url: str
) -> None:
    apply("42", {"type": "processing", "id": "a1"})
    async with ops() as client:
        with (
            psycopg.connect(database_url) as holder,
            psycopg.connect(database_url, autocommit=True) as watcher,
        ):
            holder.execute("LOCK TABLE jobs, job_figures IN ACCESS EXCLUSIVE MODE")
            asked = asyncio.create_task(_asked(client))

            def are_waiting() -> bool:
                row = watcher.execute(_WAITING, (QUEUED_SECONDS,)).fetchone()
                return row == (database.MAX_CONNECTIONS,)

            await asyncio.to_thread(eventually, are_waiting, 30)
            holder.rollback()
        _check_complete(await asked)


async def test_first_page__of_a_far_server__is_slow_but_complete(
    ops: Asker, apply: Apply, database_url: str
) -> None:
    apply("42", {"type": "processing", "id": "a1"})
    port = urlsplit(database_url).port
    assert port is not None
    with Proxy(port) as link:
        link.delay(0.04)
        async with ops(database_url=database_url.replace(str(port), str(link.port))) as client:
            _check_complete(await _asked(client))


async def test_server_that_is_away__is_noticed_once_for_all_that_wait(ops: Asker) -> None:
    """A server that refuses connections, and one that accepts them and hangs."""
    paths = [f"jobs/?limit={number}" for number in range(1, 9)]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (1, silent.getsockname()[1]):
            async with ops(database_url=f"postgresql://u@127.0.0.1:{port}/none") as client:
                began = time.monotonic()
                answers = await asyncio.gather(*map(client.get, paths))
                took = time.monotonic() - began
            assert {answer.status_code for answer in answers} == {503}
            assert {tuple(answer.json()["missing"]) for answer in answers} == {("postgresql",)}
            # One after the other, two at a time, they would take four times as long.
            assert took < database.TOTAL_SECONDS


@asynccontextmanager
async def _gated(read: Read, act: Act) -> AsyncIterator[httpx.AsyncClient]:
    gate = Gate(authenticator(Settings(auth="dev")))
    app = Starlette(routes=[gate.read_route("/read/", read), gate.action_route("/act/", act)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers=ACT
    ) as client:
        yield client


async def test_equal_reads_at_the_same_time_are_one_and_an_action_begins_anew() -> None:
    done, runs = 0, 0
    go_on, running = asyncio.Event(), asyncio.Event()

    async def read(request: Request) -> object:
        nonlocal runs
        runs += 1
        found = [done, dict(request.query_params)]
        running.set()
        await go_on.wait()
        return found

    async def act(_request: Request, _caller: Caller) -> object:
        nonlocal done
        done += 1
        return {}

    async with _gated(read, act) as client:
        before = [asyncio.create_task(client.get("/read/?of=a")) for _ in range(5)]
        other = asyncio.create_task(client.get("/read/?of=b"))
        await running.wait()
        assert (await client.post("/act/")).status_code == 200
        after = asyncio.create_task(client.get("/read/?of=a"))
        while runs < 3:
            await asyncio.sleep(0)
        go_on.set()
        found = [(await each).json() for each in (*before, other, after)]
    assert found == [*([[0, {"of": "a"}]] * 5), [0, {"of": "b"}], [1, {"of": "a"}]]
    assert runs == 3
