"""A primary that is demoted while everything is connected to it, and a URL that leads elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx
import pytest

from ops.devstack import EmbeddedRedis
from streams.appender import EventAppender
from streams.connection import LogUnavailable
from tests.pipeline.conftest import Start
from tests.support.event_stream import Stream
from tests.support.proxy import Proxy
from tests.support.replication import demote, plain, promote, replicate
from tests.support.servers import RedisFactory, through
from tests.support.waiting import eventually

ME = {"X-Tenant-ID": "42"}
PROGRESS = "/api/v1/jobs/a1/progress/"
FEED = "/api/v1/events?tenant=42"


def test_demotion__is_an_outage_that_ends_where_the_url_leads_to_a_primary(
    start: Start, open_redis: RedisFactory, database_url: str
) -> None:
    old, new = open_redis(persist=False), open_redis(persist=False)
    replicate(new, old)
    with Proxy(old.port) as proxy:
        settings = {
            "redis_url": through(old, proxy),
            "database_url": database_url,
        }
        consumers = [start("consume", group, **settings) for group in ("status", "rows")]
        api = _address(start("api", **settings, auth="dev", api_port="0"))
        _append(old, {"type": "processing", "id": "a1"})
        eventually(lambda: _ask(api, PROGRESS).status_code == 200, 60)

        with Stream(api, f"{PROGRESS}events?tenant=42") as stream:
            assert _state(stream) == "PROCESSING"
            promote(new)
            demote(old, new)
            for path in ("/readyz", PROGRESS, f"{PROGRESS}events?tenant=42", FEED):
                eventually(partial(_refused, api, path), 30, path)
            query = httpx.post(f"{api}/api/v1/progress/query", json={"jobs": ["a1"]}, headers=ME)
            assert query.status_code == 503
            assert _ask(api, "/healthz").status_code == 200
            assert _ask(api, "/api/v1/jobs/").status_code == 200

            proxy.point(new.port)
            eventually(lambda: _ask(api, "/readyz").status_code == 200, 30)
            _append(new, {"type": "done", "id": "a1", "result": {}})
            assert _state(stream) == "DONE"
        eventually(lambda: _ask(api, PROGRESS).json()["status"] == "DONE", 30)
        eventually(lambda: _ask(api, "/api/v1/jobs/a1/").json()["status"] == "DONE", 60)
        assert [each.poll() for each in consumers] == [None, None]


def test_primary_that_wants_replicas__is_an_outage_that_ends_with_them(
    start: Start, open_redis: RedisFactory
) -> None:
    """NOREPLICAS makes no dead letter, and reads continue."""
    server, replica = open_redis(persist=False), open_redis(persist=False)
    settings = {"redis_url": server.url}
    consumer = start("consume", "status", **settings)
    api = _address(start("api", **settings, auth="dev", api_port="0"))
    _append(server, {"type": "processing", "id": "a1"})
    eventually(lambda: _ask(api, PROGRESS).status_code == 200, 60)
    with plain(server) as client:
        appended = client.pipeline()
        appended.xadd("tenant:42:events", {"event": b'{"type":"done","id":"a1"}'})
        appended.config_set("min-replicas-to-write", "1")
        appended.execute()
        with pytest.raises(LogUnavailable, match="NOREPLICAS"):
            _append(server, {"type": "done", "id": "a2"})
        assert _ask(api, "/readyz").status_code == 200
        assert _ask(api, PROGRESS).json()["status"] == "PROCESSING"
        assert consumer.poll() is None
        replicate(replica, server)
        eventually(lambda: _ask(api, PROGRESS).json()["status"] == "DONE", 60)
        assert client.exists("tenant:42:dead") == 0
    assert consumer.poll() is None


def _append(server: EmbeddedRedis, event: dict[str, Any]) -> None:
    with plain(server) as client:
        EventAppender(client).append("42", event)


def _ask(api: str, path: str) -> httpx.Response:
    return httpx.get(f"{api}{path}", headers=ME, timeout=30)


def _refused(api: str, path: str) -> bool:
    answer = _ask(api, path)
    return answer.status_code == 503 and "retry-after" in answer.headers


def _state(stream: Stream) -> object:
    event = stream.event()
    assert event is not None
    return event.data["status"]


def _address(process: Any) -> str:
    line: str = process.stdout.readline().decode()
    assert line.startswith("api: "), line
    return line.removeprefix("api: ").strip()
