"""The operators' figures, charts, tenants and alerts, requested from the application directly."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import redis

from api.operators.cached_answer import CachedAnswer
from api.operators.figures import issues
from consumers.round_trips import server_ms
from streams.keys import Keys
from tests.api.operators.test_routes import Apply, Asker, apply, ops, reject
from tests.support.members import Member

__all__ = ["apply", "ops"]

pytestmark = pytest.mark.anyio


async def test_the_figures_of_jobs_are_those_of_the_last_hour_by_type(
    ops: Asker, apply: Apply
) -> None:
    """`apply` writes events from an hour ago on, a second apart: the first one is too old."""
    for tenant in ("42", "43"):
        excel = {"job_type": "excel"}
        apply(tenant, *({"type": "queued", "id": f"q{n}", **excel} for n in range(65)))
        apply(tenant, {"type": "done", "id": "q0", "result": {}})
        apply(tenant, {"type": "failed", "id": "q1", "code": "timeout"})
        apply(tenant, {"type": "processing", "id": "w1"}, {"type": "cancelled", "id": "q2"})
    async with ops() as client:
        found = (await client.get("figures/")).json()
        charts = (await client.get("charts/?span=6h")).json()
    assert found["now"] == {
        "queued": 124,
        "processing": 2,
        "done": 2,
        "failed": 2,
        "cancelled": 2,
    }
    excel = found["types"][0]
    assert (excel["job_type"], excel["failure_rate"]) == ("excel", 0.5)
    assert excel["codes"] == [{"code": "timeout", "count": 2}]
    assert excel["p50_seconds"] == pytest.approx(66, rel=0.1)
    assert [job["id"] for job in found["slowest"]] == ["w1", "w1"]
    assert found["stalled"] == {
        "count": 2,
        "lately": 2,
        "more": False,
        "after_seconds": 900,
    }
    assert sum(charts["jobs"]["failed"]) == 2
    assert len(charts["jobs"]["at"]) == len(charts["jobs"]["created"]) in (72, 73)


async def test_tenants_are_found_by_a_part_of_the_name_and_come_in_every_order(
    ops: Asker, apply: Apply, redis_client: redis.Redis
) -> None:
    for number, name in enumerate(("alpha", "beta", "gamma", "delta")):
        jobs = [{"type": "done", "id": f"j{n}", "result": {"x": "y"}} for n in range(number + 1)]
        apply(name, *jobs)
    apply("beta", {"type": "failed", "id": "bad", "code": "x"})
    reject(redis_client, "only-dead")
    long_ago = f"{server_ms(redis_client) - 60_000}-0"
    redis_client.xadd(Keys().stream("gamma"), {"event": b'{"type":"done","id":"j0"}'}, id=long_ago)
    redis_client.zadd(Keys().ready("status"), {"gamma": 1})
    redis_client.zadd(Keys().activity("status"), {"delta": 100, "alpha": 50})
    Member(redis_client).run()
    async with ops() as client:

        async def names(query: str) -> list[str]:
            found, cursor = list[str](), ""
            while True:
                page = (await client.get(f"tenants/?limit=2&{query}&cursor={cursor}")).json()
                found += [each["tenant"] for each in page["items"]]
                cursor = page["next_cursor"]
                if cursor is None:
                    assert page["count"] == len(found)
                    return found

        assert (await names("order=name")) == ["alpha", "beta", "delta", "gamma", "only-dead"]
        assert (await names("order=name&name=TA")) == ["beta", "delta"]
        assert (await names("order=activity"))[:2] == ["delta", "alpha"]
        assert (await names("order=jobs"))[:2] == ["delta", "beta"]
        assert (await names("order=storage"))[0] == "delta"
        assert (await names("order=failures"))[0] == "beta"
        assert (await names("order=lag")) == ["gamma"]
        beta = (await client.get("tenants/beta/")).json()
        items = (await client.get("tenants/?order=lag")).json()["items"]
    assert (beta["failed"], beta["jobs"], beta["stream"]["entries"]) == (1, 3, 0)
    assert {each["state"]: each["count"] for each in beta["stored"]["states"]} == {
        "done": 2,
        "failed": 1,
    }
    assert sum(each["failed"] for each in beta["stored"]["failures"]) == 1
    assert items[0]["behind_seconds"] > 59


async def test_all_tenants_behind_are_counted_and_each_is_on_one_page_while_time_passes(
    ops: Asker, redis_client: redis.Redis
) -> None:
    now = server_ms(redis_client)
    for number in range(130):
        tenant, ago = f"t{number:03}", 20_000 + 1_000 * (number * 7 % 130)
        redis_client.xadd(
            Keys().stream(tenant), {"event": b'{"type":"done","id":"j0"}'}, id=f"{now - ago}-0"
        )
        redis_client.zadd(Keys().ready("rows"), {tenant: 1})
    Member(redis_client).run()
    found, cursor = list[str](), ""
    while cursor is not None:
        # Each page by a process of its own, with a directory of its own.
        async with ops() as client:
            page = (await client.get(f"tenants/?order=lag&limit=40&cursor={cursor}")).json()
        assert (page["count"], page["listed"]) == (130, 130)
        found += [each["tenant"] for each in page["items"]]
        assert all(each["behind_seconds"] > 15 for each in page["items"])
        cursor = page["next_cursor"]
    assert len(found) == len(set(found)) == 130
    behind = json.loads(redis_client.get(Keys().behind()) or b"")
    behind["count"] += 5_000
    redis_client.set(Keys().behind(), json.dumps(behind))
    async with ops() as client:
        page = (await client.get("tenants/?order=lag")).json()
        named = (await client.get("tenants/?order=lag&name=t00")).json()
    assert (page["count"], page["listed"]) == (5_130, 130)
    assert named["count"] == named["listed"] == 10


async def test_the_last_hour_of_a_tenant_names_when_and_where_a_flood_came_from(
    ops: Asker, apply: Apply, redis_client: redis.Redis
) -> None:
    apply("globex", *({"type": "queued", "id": f"old{n}"} for n in range(3)))
    now = datetime.now(UTC).isoformat()
    for number in range(30):
        job = {"id": f"j{number}", "job_type": "import" if number % 3 else "mail", "at": now}
        worker = {"worker": "bulk-7"} if number < 20 else {}
        apply("globex", {"type": "processing", **job, **worker})
    at = server_ms(redis_client)
    for number in range(40):
        flood = 18_000.0 if 20 <= number < 24 else 12.0
        minute = {
            "at": at - (40 - number) * 60_000,
            "activity": {"globex": flood, "other": 5.0},
            "late": {"globex": 31.5} if number == 23 else {},
        }
        redis_client.rpush(Keys().tenant_minutes(), json.dumps(minute))
    async with ops() as client:
        one = (await client.get("tenants/globex/")).json()
    history, sources = one["history"], one["stored"]["sources"]
    assert len(history["at"]) == len(history["per_minute"]) == 39
    assert max(history["late_seconds"]) == 31.5
    assert history["late_seconds"].count(0) == 38
    unusual = history["unusual"]
    assert at - unusual["since"] == pytest.approx(21 * 60_000, abs=60_000)
    assert at - unusual["until"] == pytest.approx(17 * 60_000, abs=60_000)
    assert (unusual["usual"], unusual["most"] > 15_000) == (pytest.approx(2.2, abs=1), True)
    assert (sources["jobs"], sources["more"]) == (30, False)
    assert sources["types"] == [
        {"kind": "job", "job_type": "import", "jobs": 20},
        {"kind": "job", "job_type": "mail", "jobs": 10},
    ]
    assert sources["workers"] == [{"worker": "bulk-7", "jobs": 20}]
    assert one["redis_bytes"] > 0
    assert one["all_result_bytes"] == 0


async def test_issues_are_those_of_both_servers_and_the_same_in_each_process(
    ops: Asker, apply: Apply, redis_client: redis.Redis
) -> None:
    now, group = server_ms(redis_client), {"waiting": 9, "pending": 0, "applied": 1}
    for number in range(30):
        at = now - (30 - number) * 10_000
        late = {"oldest_ms": at - 24_000, "behind": 1, "furthest": "globex-9"}
        rows = group | (late if 10 <= number < 15 else {"oldest_ms": None})
        redis_client.rpush(Keys().samples(), json.dumps({"at": at, "groups": {"rows": rows}}))
    moment = datetime.now(UTC) - timedelta(minutes=30)
    for number in range(8):
        job = {"id": f"r{number}", "job_type": "report"}
        end = {"type": "failed", "code": "KeyError" if number else "other"}
        if number == 7:
            end = {"type": "done"}
        apply("42", {"at": (moment + timedelta(seconds=number)).isoformat(), **job, **end})
    apply("42", {"type": "failed", "id": "x", "job_type": "single", "at": moment.isoformat()})
    usual = {"job_type": "report", "at": (moment - timedelta(minutes=3)).isoformat()}
    for number in range(13):
        end = {"type": "done"} if number else {"type": "failed", "code": "no_data"}
        apply("42", {"id": f"u{number}", **usual, **end})
    async with ops() as client, ops() as other:
        answers = [(await each.get("issues/")).json() for each in (client, other)]
    assert answers[0]["issues"] == answers[1]["issues"]
    behind, failing = answers[0]["issues"]
    assert (behind["cause"], behind["group"], behind["worst"]) == ("behind", "rows", 24.0)
    assert (behind["tenants"], behind["tenant"]) == (1, "globex-9")
    assert (now - behind["begin"], now - behind["end"]) == (200_000, 150_000)
    assert (failing["cause"], failing["job_type"]) == ("failing", "report")
    assert (failing["failed"], failing["ended"], failing["code"]) == (8, 21, "KeyError")
    begin = moment.timestamp() * 1000
    assert failing["begin"] == pytest.approx(begin, abs=60_000)  # not with the usual failure
    assert failing["end"] == pytest.approx(begin, abs=180_000)
    async with ops(redis_url="redis://127.0.0.1:1/0") as client:
        part = (await client.get("issues/")).json()
    assert (part["missing"], [each["cause"] for each in part["issues"]]) == (["redis"], ["failing"])
    async with ops(database_url="postgresql://u@127.0.0.1:1/none") as client:
        part = (await client.get("issues/")).json()
    assert part["missing"] == ["postgresql"]
    assert [each["cause"] for each in part["issues"]] == ["behind"]


async def test_a_step_of_a_chart_has_its_highest_minute(ops: Asker, apply: Apply) -> None:
    apply("42", *({"type": "queued", "id": f"q{n}"} for n in range(100)))
    async with ops() as client:
        series = (await client.get("charts/?span=6h")).json()["jobs"]
    assert sum(series["created"]) == 100
    assert 30 <= max(series["most"]["created"]) <= 60
    assert all(
        most <= total
        for most, total in zip(series["most"]["created"], series["created"], strict=True)
    )


DELIVERY = ("behind_seconds", "groups", "per_minute", "dead", "stream")
STORED = ("jobs", "failed", "result_bytes")
"""The fields of a tenant that Redis knows, and those that PostgreSQL knows."""


async def test_with_servers_away_the_rest_is_shown_and_what_they_know_is_null(
    ops: Asker, apply: Apply, redis_client: redis.Redis
) -> None:
    apply("42", {"type": "done", "id": "a1"})
    nowhere = "postgresql://u@127.0.0.1:1/none"
    async with ops(redis_url="redis://127.0.0.1:1/0") as client:
        tenants = (await client.get("tenants/")).json()
        one = (await client.get("tenants/42/")).json()
        charts = (await client.get("charts/")).json()
        assert (await client.get("figures/")).status_code == 200
    for item, missing in ((tenants["items"][0], tenants["missing"]), (one, one["missing"])):
        assert missing == ["redis"]
        assert {item[name] for name in DELIVERY} == {None}
        assert [item[name] for name in STORED] == [1, 0, 2]
    assert (charts["delivery"], sum(charts["jobs"]["done"])) == (None, 1)
    async with ops(database_url=nowhere) as client:
        assert (await client.get("figures/")).json()["missing"] == ["postgresql"]
        assert (await client.get("tenants/42/")).json()["missing"] == ["postgresql"]
        reject(redis_client, "42")
    async with ops(database_url=nowhere) as client:
        found = (await client.get("tenants/")).json()
        one = (await client.get("tenants/42/")).json()
    for item, missing in ((found["items"][0], found["missing"]), (one, one["missing"])):
        assert missing == ["postgresql"]
        assert {item[name] for name in STORED} == {None}
        assert (item["behind_seconds"], item["dead"]) == (0, 1)
    assert one["stored"] is None


FIRING: list[dict[str, Any]] = [
    {
        "labels": {"alertname": "JobtrailDeadLetters", "severity": "ticket"},
        "annotations": {"summary": "Group rows gave up entries"},
        "state": "firing",
        "activeAt": "2026-11-27T01:00:00.123456789Z",
        "value": "1e+00",
    },
    {
        "labels": {"alertname": "JobtrailLagging", "severity": "page"},
        "annotations": {"summary": "<script>alert(1)</script>"},
        "state": "pending",
        "activeAt": "2026-11-27T01:05:00Z",
    },
    {"labels": {"alertname": "Other"}, "state": "firing", "activeAt": "2026-11-27T01:05:00Z"},
]
ANSWERS: dict[str, tuple[int, bytes]] = {
    "firing": (200, json.dumps({"status": "success", "data": {"alerts": FIRING}}).encode()),
    "error": (503, b"{}"),
    "page": (200, b"<html>login</html>"),
    "other": (200, b'{"status": "success", "data": {"alerts": [{"labels": 5}]}}'),
    "large": (200, b"x" * 1_100_000),
}


@contextmanager
def prometheus(answer: tuple[int, bytes], credentials: str | None = None) -> Iterator[str]:
    """Serve an answer at the path of Prometheus' alerts, and yield the URL."""
    sent = None if credentials is None else f"Basic {credentials}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer if self.path == "/prom/api/v1/alerts" else (404, b"")
            if self.headers["authorization"] != sent:
                status, body = 401, b""
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/prom/"
        server.shutdown()
        thread.join()


async def test_alerts_are_our_rules_and_those_that_page_come_first(ops: Asker) -> None:
    with prometheus(ANSWERS["firing"]) as url:
        async with ops(prometheus_url=url) as client:
            found = (await client.get("alerts/")).json()
    assert (found["configured"], found["error"]) == (True, None)
    assert [(each["name"], each["state"], each["pages"]) for each in found["alerts"]] == [
        ("JobtrailLagging", "pending", True),
        ("JobtrailDeadLetters", "firing", False),
    ]
    async with ops() as client:
        assert (await client.get("alerts/")).json() == {
            "configured": False,
            "error": None,
            "alerts": [],
        }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("error", "Prometheus answers with the status 503"),
        ("page", "the answer is not one of Prometheus"),
        ("other", "the answer is not one of Prometheus"),
        ("large", "the answer of Prometheus is too large"),
    ],
)
async def test_alerts_that_are_unknown_have_a_reason_on_one_line(
    ops: Asker, answer: str, reason: str
) -> None:
    with prometheus(ANSWERS[answer]) as url:
        async with ops(prometheus_url=url) as client:
            found = (await client.get("alerts/")).json()
    assert (found["error"], found["alerts"]) == (reason, [])


async def test_a_prometheus_that_hangs_or_is_away_is_waited_for_briefly(ops: Asker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with ops(prometheus_url=f"http://127.0.0.1:{port}") as client:
            found = (await client.get("alerts/")).json()
    assert "in time" in found["error"] or "timed out" in found["error"]
    async with ops(prometheus_url=f"http://127.0.0.1:{port}") as client:
        found = (await client.get("alerts/")).json()
    assert found["error"].startswith("Prometheus cannot be reached: ")
    assert "\n" not in found["error"]


async def test_a_password_in_the_address_is_sent_as_a_header_and_never_shown(ops: Asker) -> None:
    with prometheus(ANSWERS["firing"], credentials="b3BzOmEgc2VjcmV0") as url:  # ops:a secret
        there = url.replace("//", "//ops:a%20secret@")
        async with ops(prometheus_url=there) as client:
            found = (await client.get("alerts/")).json()
    assert (found["error"], len(found["alerts"])) == (None, 2)
    async with ops(prometheus_url=there) as client:
        gone = await client.get("alerts/")
    assert gone.json()["error"].startswith("Prometheus cannot be reached: ")
    assert "secret" not in gone.text


async def test_an_answer_that_comes_byte_by_byte_ends_with_its_thread(ops: Asker) -> None:
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, over = server.getsockname()[1], threading.Event()
        feeder = threading.Thread(target=_feed, args=(server, over))
        feeder.start()
        async with ops(prometheus_url=f"http://127.0.0.1:{port}") as client:
            found = (await client.get("alerts/")).json()
        assert over.wait(60), "the connection is closed although the answer has not ended"
        feeder.join()
    assert "in time" in found["error"]
    assert threading.active_count() <= before + 2


def _feed(server: socket.socket, over: threading.Event) -> None:
    """Send an answer of a million bytes, ten a second, until the connection is closed."""
    connection, _ = server.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        pause = threading.Event()
        try:
            while not pause.wait(0.1):
                connection.sendall(b" ")
        except OSError:
            over.set()


async def test_a_costly_answer_is_kept_for_a_hundred_times_its_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, runs = 0.0, 0
    monkeypatch.setattr("api.operators.cached_answer.time.monotonic", lambda: now)

    async def work() -> int:
        nonlocal now, runs
        now, runs = now + 0.2, runs + 1
        return runs

    cached = CachedAnswer(work, 4.0)
    for at, wanted in ((0.0, 1), (19.0, 1), (20.3, 2), (40.0, 2), (40.6, 3)):
        now = max(now, at)
        assert await cached.get() == wanted


async def test_more_issues_than_are_returned__those_that_go_on_are_kept(
    ops: Asker, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issues, "MAX_ISSUES", 2)
    now = server_ms(redis_client)
    for number in range(60):
        at = now - (60 - number) * 10_000
        rows = {"waiting": 9, "pending": 0, "applied": 1, "oldest_ms": at - 24_000}
        late = {"oldest_ms": at - 24_000 if number % 20 == 10 else None}
        sample = {"at": at, "groups": {"rows": rows, "status": rows | late}}
        redis_client.rpush(Keys().samples(), json.dumps(sample))
    async with ops() as client:
        answer = (await client.get("issues/")).json()
    assert answer["more"] is True
    found = [(each["group"], each["end"] is None) for each in answer["issues"]]
    assert found == [("status", False), ("rows", True)]
