"""What frontends use, all parts running: ends reach every viewer, and PostgreSQL is not asked."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import psycopg
import redis

from streams.appender import EventAppender
from tests.pipeline.conftest import Start
from tests.support.event_stream import Event, Stream
from tests.support.waiting import eventually

JOBS = 40
SENT = {"x-tenant-id": "42"}
PATH = "/api/v1/jobs/{}/progress/"


def api_url(start: Start, **settings: str) -> str:
    """Run the API and give its address."""
    api = start("api", auth="dev", api_port="0", **settings)
    assert api.stdout is not None
    while not (line := api.stdout.readline().decode()).startswith("api: "):
        assert line
    return line.removeprefix("api: ").strip()


def test_ends_reach_every_viewer(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    """Two consumers, workers that append, and viewers of every sort: nobody misses an end."""
    for _ in range(2):
        start("consume", "status", **servers)
    url = api_url(start, **servers)
    appender = EventAppender(redis_client)
    names = [f"a{n}" for n in range(JOBS)]
    for name in names:
        appender.append("42", {"type": "queued", "id": name})
    eventually(lambda: all(httpx.get(url + PATH.format(n), headers=SENT).is_success for n in names))

    with ExitStack() as stack:
        streams = {
            name: stack.enter_context(Stream(url, PATH.format(name) + "events", SENT))
            for name in names
        }
        whole = stack.enter_context(Stream(url, "/api/v1/events", SENT))
        seen: dict[str, list[Event]] = {}
        threads = [
            threading.Thread(target=lambda n=name, s=stream: seen.update({n: s.rest()}))
            for name, stream in streams.items()
        ]
        for thread in threads:
            thread.start()
        for percent in (10, 50, 90):
            for name in names:
                appender.append("42", {"type": "progress", "id": name, "percent": percent})
        for name in names:
            appender.append("42", {"type": "done", "id": name, "result": {"name": name}})
        ended: set[str] = set()
        while len(ended) < JOBS:
            event = whole.event()
            assert event is not None
            if event.data["status"] == "DONE":
                assert event.data["job_id"] not in ended
                ended.add(event.data["job_id"])
        for thread in threads:
            thread.join(20)
    for name in names:
        states = [event.data["status"] for event in seen[name]]
        assert (states[-1], states.count("DONE")) == ("DONE", 1)
        assert len({event.id for event in seen[name]}) == len(states)


def test_progress_query_wait_and_streams__no_query_to_postgresql(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    """Counted at the server: transactions of the database, whoever began them."""
    consumer = start("consume", "status", **servers)
    url = api_url(start, **servers)
    appender = EventAppender(redis_client)
    appender.append("42", {"type": "processing", "id": "a1"})
    with httpx.Client(base_url=url, headers=SENT) as client:
        eventually(lambda: client.get(PATH.format("a1")).is_success)
        with psycopg.connect(servers["database_url"], autocommit=True) as connection:
            statements = _StatementCount(connection)
            for _ in range(100):
                etag = client.get(PATH.format("a1")).headers["etag"]
                client.get("/media/videos/7/progress/")
                client.post("/api/v1/progress/query", json={"jobs": ["a1", "b"], "videos": ["7"]})
            known = {"if-none-match": etag}
            assert client.get(PATH.format("a1") + "?wait=0.1", headers=known).status_code == 304
            with Stream(url, PATH.format("a1") + "events", SENT) as one:
                appender.append("42", {"type": "done", "id": "a1"})
                assert one.rest()[-1].data["status"] == "DONE"
            with Stream(url, "/api/v1/events", SENT) as whole:
                assert whole.event() is not None
            assert statements.since() == 0
            client.get("/api/v1/jobs/a1/")
            assert statements.since() > 0  # a durable read is noticed
    assert consumer.poll() is None


class _StatementCount:
    """Counts what any other session of the database did, by the server's own statistics."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._before = self._others()

    def since(self) -> int:
        """Give how many sessions began a statement since then."""
        now = self._others()
        return sum(now[pid] != self._before.get(pid) for pid in now)

    def _others(self) -> dict[int, object]:
        """Give when each other session last began a statement; none may have come and gone."""
        rows = self._connection.execute(
            "SELECT pid, query_start, state_change, xact_start FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        found: dict[int, object] = {row[0]: row[1:] for row in rows}
        sessions = self._connection.execute(
            "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        found[0] = sessions
        return found


def test_hundreds_of_waits__answered_by_one_change(
    start: Start, servers: dict[str, str], redis_client: redis.Redis
) -> None:
    """Each on a connection of its own; those that go away before leave nothing behind."""
    start("consume", "status", **servers)
    url = api_url(start, **servers)
    appender = EventAppender(redis_client)
    appender.append("42", {"type": "processing", "id": "a1"})
    eventually(lambda: httpx.get(url + PATH.format("a1"), headers=SENT).is_success)
    etag = httpx.get(url + PATH.format("a1"), headers=SENT).headers["etag"]
    parts = urlsplit(url)
    request = (
        f"GET {PATH.format('a1')}?wait=30 HTTP/1.1\r\nhost: localhost\r\nx-tenant-id: 42\r\n"
        f"if-none-match: {etag}\r\n\r\n"
    ).encode()

    async def wait() -> list[bytes]:
        opened = []
        for _ in range(400):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(request)
            opened.append((reader, writer))
        for _, writer in opened[:100]:
            writer.close()
        appender.append("42", {"type": "done", "id": "a1"})
        async with asyncio.timeout(60):
            answers = [await reader.readuntil(b"\r\n") for reader, _ in opened[100:]]
        for _, writer in opened:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        return answers

    assert asyncio.run(wait()) == [b"HTTP/1.1 200 OK\r\n"] * 300
