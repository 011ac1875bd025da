"""The API's process is killed in the middle of an action on many dead letters."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import redis

from streams import wire
from tests.browser.conftest import base_url
from tests.pipeline.conftest import Start, start
from tests.support.processes import frozen
from tests.support.servers import RedisFactory
from tests.support.waiting import eventually

__all__ = ["start"]

LETTERS = 150
HEADERS = {"x-tenant-id": "console", "x-jobtrail-console": "1"}
QUERY = "tenant=42&until=4000000000000&limit=40"


def test_killed_api__another_one_goes_on_and_each_entry_is_appended_once(
    start: Start, own_redis: RedisFactory, database_url: str
) -> None:
    with own_redis(persist=False) as server, redis.Redis.from_url(server.url) as client:
        for number in range(LETTERS):
            facts = {"event": '{"type":"done","id":"a1"}', "entry_id": f"5-{number}"}
            client.xadd("tenant:42:dead", {**facts, "group": "status", "reason": "not_applied"})
        settings = {"redis_url": server.url, "database_url": database_url}
        first = start("api", auth="dev", api_port="0", **settings)
        url = base_url(first)
        cursor = _requeue(url, "")["next_cursor"]
        with psycopg.connect(database_url, autocommit=True) as connection:
            with frozen(server.pid):
                hanging = threading.Thread(target=_ignored, args=(_requeue, url, cursor))
                hanging.start()
                # It is recorded, and about to act.
                eventually(lambda: _count(connection, "operator_actions") == 2, 30)
                first.kill()
                first.wait()
            hanging.join()
            second = base_url(start("api", auth="dev", api_port="0", **settings))
            while cursor is not None:
                cursor = _requeue(second, cursor)["next_cursor"]
            actions = httpx.get(f"{second}/api/v1/ops/actions/", headers=HEADERS).json()["items"]
        appended = wire.ask(client, "XRANGE", "tenant:42:events", "-", "+")
        assert client.xlen("tenant:42:dead") == 0
    ids = [json.loads(fields[1])["event_id"] for _, fields in appended]
    assert ids == [f"5-{number}" for number in range(LETTERS)]
    (interrupted,) = (action for action in actions if action["outcome"] != "done")
    # On a machine that is slow to kill it, the process has given up Redis before.
    assert interrupted["outcome"] in (None, "unknown")
    assert interrupted["target"]["after"][0] == "42", "it says where it began"


def _requeue(url: str, cursor: str) -> Any:
    found = httpx.post(
        f"{url}/api/v1/ops/dead/requeue/?{QUERY}&cursor={cursor}", headers=HEADERS, timeout=60
    )
    assert found.status_code == 200, found.text
    return found.json()


def _ignored(call: Callable[..., Any], *arguments: Any) -> None:
    try:
        call(*arguments)
    except (httpx.HTTPError, AssertionError):
        return


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return row[0] if row else 0
