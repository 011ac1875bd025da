"""Reading one's own append through real consumers and an API process."""

from __future__ import annotations

import signal
import time

import httpx
import redis

from streams.appender import EventAppender
from tests.pipeline.conftest import Start
from tests.support.processes import frozen
from tests.support.waiting import eventually

ME = {"X-Tenant-ID": "42"}


def test_every_append_is_read_back_and_a_stopped_group_is_told(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    consumers = start("consume", "status", "--processes", "2", **servers)
    api = start("api", **servers, auth="dev", api_port="0")
    line = (api.stdout.readline() if api.stdout else b"").decode()
    url = f"{line.removeprefix('api: ').strip()}/api/v1/jobs/a1/progress/"
    appender = EventAppender(redis_client)
    appender.append("42", {"type": "queued", "id": "a1"})
    eventually(lambda: httpx.get(url, headers=ME).status_code == 200, 30, "consumers are up")

    with httpx.Client(headers=ME, timeout=60) as client:
        for percent in range(1, 21):
            event = {"type": "progress", "id": "a1", "percent": percent}
            entry_id = appender.append("42", event)
            appender.append("42", {"type": "queued", "id": f"b{percent}"})
            answer = client.get(url, params={"after": str(entry_id), "wait": 30})
            assert answer.headers["jobtrail-after"] == "reflected"
            assert answer.json()["progress"]["percent"] == percent

        with frozen(consumers.pid):
            entry_id = appender.append("42", {"type": "done", "id": "a1"})
            began = time.monotonic()
            answer = client.get(url, params={"after": str(entry_id), "wait": 0.5})
            assert time.monotonic() - began >= 0.5
            assert answer.headers["jobtrail-after"] == "pending"
            assert answer.json()["status"] == "PROCESSING"
        answer = client.get(url, params={"after": str(entry_id), "wait": 30})
        assert (answer.headers["jobtrail-after"], answer.json()["status"]) == ("reflected", "DONE")
    consumers.send_signal(signal.SIGTERM)
    assert consumers.wait(60) == 0
