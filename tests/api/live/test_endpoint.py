"""Live streams, from outside: a real process and real sockets."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from itertools import count, islice
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import psutil  # type: ignore[import-untyped]
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from api.live import waiters
from api.live.sse import EventStream, stream_events
from api.live.waiters import Waiters
from ops.devstack import EmbeddedRedis
from streams.connection import connect
from tests.api.conftest import Writer, writer_to
from tests.support.event_stream import ApiProcess, Event, Stream, recorded, running_api
from tests.support.servers import RedisFactory
from tests.support.thorough import examples
from tests.support.tokens import FAR
from tests.support.waiting import eventually

JOB, VIDEO = "/api/v1/jobs/{}/progress/", "/media/videos/{}/progress/"
TENANT = "/api/v1/events"
SECRET = "s" * 32

Follow = Callable[..., Stream]

fresh = count()


@pytest.fixture(scope="module")
def api(redis_server: EmbeddedRedis) -> Iterator[ApiProcess]:
    """One process for all tests of the module."""
    with running_api(redis_server.url) as process:
        yield process


@pytest.fixture
def tenant(redis_url: str) -> str:
    """A tenant that no other test has used, on an empty server."""
    return f"t{next(fresh)}"


@pytest.fixture
def headers(tenant: str) -> dict[str, str]:
    return {"x-tenant-id": tenant}


@pytest.fixture
def follow(api: ApiProcess, tenant: str) -> Iterator[Follow]:
    """A function that opens live streams of the tenant, which are closed at the end."""
    with ExitStack() as stack:

        def opened(path: str, last_id: str | None = None) -> Stream:
            sent = {"x-tenant-id": tenant} | ({"last-event-id": last_id} if last_id else {})
            return stack.enter_context(Stream(api.url, path, sent))

        yield opened


def received(stream: Stream) -> Event:
    event = stream.event()
    assert event is not None
    return event


@pytest.mark.parametrize(("kind", "path", "end"), [("job", JOB, "DONE"), ("video", VIDEO, "READY")])
def test_job__from_its_present_state_to_its_end(  # noqa: PLR0917 - fixtures
    api: ApiProcess, follow: Follow, write: Writer, tenant: str, kind: str, path: str, end: str
) -> None:
    """Events have the answers and ETags of polls; the final state is the last event."""
    write(tenant, {"type": "processing", "kind": kind, "id": "7"})
    stream = follow(path.format(7) + "events")
    for change in ({"type": "progress", "percent": 40}, {"type": "done", "result": {"n": 1}}):
        event = received(stream)
        poll = httpx.get(api.url + path.format(7), headers={"x-tenant-id": tenant})
        assert (event.raw, f'"{event.id}"') == (poll.content, poll.headers["etag"])
        write(tenant, {"kind": kind, "id": "7", **change})
    last = received(stream)
    assert last.data["status"] == end
    assert stream.event() is None


def test_job__ended_before_the_client_came(follow: Follow, write: Writer, tenant: str) -> None:
    """A client gets the final state; if it reconnects with that, it gets 204."""
    write(tenant, {"type": "failed", "id": "a1", "error": "no such sheet"})
    (event,) = follow(JOB.format("a1") + "events").rest()
    assert event.data["error_message"] == "no such sheet"
    again = follow(JOB.format("a1") + "events", event.id)
    assert (again.status, again.body()) == (204, b"")
    assert "content-length" not in again.headers
    (same,) = follow(JOB.format("a1") + "events", "of-another-state").rest()
    assert same == event


def test_job__last_event_id__repeats_nothing(follow: Follow, write: Writer, tenant: str) -> None:
    write(tenant, {"type": "progress", "id": "a1", "percent": 1})
    path = JOB.format("a1") + "events"
    first = received(follow(path))
    back = [follow(path, first.id), follow(f"{path}?last_event_id={first.id}")]
    write(tenant, {"type": "progress", "id": "a1", "percent": 2})
    for stream in back:
        assert received(stream).data["progress"]["percent"] == 2
    write(tenant, {"type": "done", "id": "a1"})
    assert [len(stream.rest()) for stream in back] == [1, 1]
    assert len(follow(path, first.id).rest()) == 1


@pytest.mark.parametrize("bad", ["x" * 5_000, "-1", "1e3", "nul", "null", "184467440737095516160"])
def test_last_event_id__of_no_use__as_none(
    follow: Follow, write: Writer, tenant: str, bad: str
) -> None:
    write(tenant, {"type": "done", "id": "a1"})
    assert len(follow(JOB.format("a1") + "events", bad).rest()) == 1
    assert received(follow(TENANT, bad)).data["job_id"] == "a1"


def test_headers(follow: Follow, write: Writer, tenant: str) -> None:
    write(tenant, {"type": "processing", "id": "a1"})
    for path in (JOB.format("a1") + "events", JOB.format("a1") + "events/", TENANT, TENANT + "/"):
        stream = follow(path)
        received(stream)
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["x-content-type-options"] == "nosniff"
        assert stream.retry_ms is not None
        assert 1_000 <= stream.retry_ms <= 3_000


def test_refusals__as_polls_are(
    api: ApiProcess, write: Writer, tenant: str, headers: dict[str, str]
) -> None:
    """For missing jobs and other tenants' jobs, a live stream is answered like a poll."""
    write("another", {"type": "processing", "id": "a1"})
    with httpx.Client(base_url=api.url, headers=headers) as client:
        for job_id in ("a1", "none", ":", "a%2Fb", "x" * 129):
            poll = client.get(JOB.format(job_id))
            stream = client.get(JOB.format(job_id) + "events")
            assert (stream.status_code, stream.content) == (404, poll.content)
            assert "retry-after" not in stream.headers
        for path in (JOB.format("a1") + "events", TENANT):
            for method in ("POST", "PUT", "DELETE"):
                refused = client.request(method, path)
                assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
            assert httpx.get(api.url + path).status_code == 400
    write(tenant, {"type": "processing", "id": "a1"})
    for path in (JOB.format("a1") + "events", TENANT):
        head = httpx.head(api.url + path, headers=headers)
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")


def test_tenant__recent_states_and_then_changes(follow: Follow, write: Writer, tenant: str) -> None:
    write(
        tenant,
        {"type": "processing", "id": "a1"},
        {"type": "done", "id": "a2"},
        {"type": "processing", "kind": "video", "id": "7"},
    )
    write(tenant, {"type": "done", "id": "a1"})
    stream = follow(TENANT)
    shown = [received(stream) for _ in range(3)]
    assert [(e.data["kind"], e.data.get("job_id", e.data.get("id"))) for e in shown] == [
        ("job", "a2"),
        ("video", 7),
        ("job", "a1"),
    ]
    write(tenant, {"type": "progress", "kind": "video", "id": "7", "percent": 3})
    shown.append(received(stream))
    assert shown[-1].data["encoding_progress"] == 3
    assert [int(e.id) for e in shown] == sorted({int(e.id) for e in shown})


def test_tenant__present_states__the_newest_thousand(
    follow: Follow, write: Writer, tenant: str
) -> None:
    write(tenant, *({"type": "done", "id": f"a{n}"} for n in range(1_100)))
    stream = follow(TENANT)
    assert [received(stream).data["job_id"] for _ in range(1_000)] == [
        f"a{n}" for n in range(100, 1_100)
    ]
    write(tenant, {"type": "done", "id": "b"})
    assert received(stream).data["job_id"] == "b"


def test_tenant__last_event_id__exactly_what_came_after(
    follow: Follow, write: Writer, tenant: str
) -> None:
    write(tenant, *({"type": "processing", "id": f"a{n}"} for n in range(5)))
    stream = follow(TENANT)
    seen = [received(stream) for _ in range(3)]
    stream.close()
    write(tenant, {"type": "done", "id": "a0"}, {"type": "done", "id": "a4"})
    back = follow(TENANT, seen[-1].id)
    missed = [received(back) for _ in range(3)]
    assert [event.data["job_id"] for event in missed] == ["a3", "a0", "a4"]
    assert missed[-1].data["status"] == "DONE"


def test_tenant__last_event_id_older_than_the_feed__all_of_it_again(
    follow: Follow, write: Writer, tenant: str, redis_client: redis.Redis
) -> None:
    write(tenant, {"type": "done", "id": "a1"})
    first = received(follow(TENANT))
    redis_client.delete(f"tenant:{tenant}:feed")
    write(tenant, {"type": "done", "id": "a2"}, {"type": "done", "id": "a3"})
    back = follow(TENANT, first.id)
    assert [received(back).data["job_id"] for _ in range(2)] == ["a2", "a3"]


def test_tenant__last_event_id_newer_than_the_feed__all_of_it_again(
    follow: Follow, write: Writer, tenant: str
) -> None:
    """A server that lacks changes took over, with a slower clock: events may be repeated."""
    write(tenant, {"type": "done", "id": "a1"}, {"type": "done", "id": "a2"})
    back = follow(TENANT, "4102444800000000")
    assert [received(back).data["job_id"] for _ in range(2)] == ["a1", "a2"]


def test_tenant__feed_of_a_server_that_knows_less__open_stream_gets_all_of_it(
    follow: Follow, write: Writer, tenant: str, redis_client: redis.Redis
) -> None:
    feed = f"tenant:{tenant}:feed"
    write(tenant, {"type": "done", "id": "a1"})
    redis_client.zadd(feed, {"job:a1": 4102444800000000})
    stream = follow(TENANT)
    assert received(stream).id == "4102444800000000"
    redis_client.delete(feed)
    write(tenant, {"type": "done", "id": "a2"})
    assert received(stream).data["job_id"] == "a2"


def test_narrowed_token__its_ids_alone(redis_url: str, write: Writer, tenant: str) -> None:
    """Also in the query, as a browser's EventSource sends it; no log contains it."""
    write(tenant, {"type": "processing", "id": "a1"}, {"type": "processing", "id": "a2"})
    token = jwt.encode({"exp": FAR, "tenant_id": tenant, "jobs": ["a2"]}, SECRET)
    with running_api(redis_url, auth="jwt", jwt_secret=SECRET, log_level="debug") as api:
        query = f"?access_token={token}"
        with Stream(api.url, TENANT + query) as stream:
            assert received(stream).data["job_id"] == "a2"
            write(tenant, {"type": "done", "id": "a1"}, {"type": "done", "id": "a2"})
            event = received(stream)
            assert (event.data["job_id"], event.data["status"]) == ("a2", "DONE")
        with Stream(api.url, JOB.format("a2") + "events" + query) as stream:
            assert len(stream.rest()) == 1
        with Stream(api.url, JOB.format("a1") + "events" + query) as stream:
            assert stream.status == 404
        assert httpx.get(api.url + JOB.format("a2") + query).status_code == 401
        with Stream(api.url, TENANT + query + "x") as stream:
            assert stream.status == 401
        api.process.terminate()
        status, log = api.ended()
    assert status == 0
    assert f'"path": "{TENANT}"' in log
    assert token.split(".")[2] not in log
    assert "access_token" not in log


def test_token_expires__open_streams_end_and_come_back_in_vain(
    redis_url: str, write: Writer, tenant: str
) -> None:
    """A live stream does not outlast a token that all other endpoints refuse."""
    write(tenant, {"type": "processing", "id": "a1"})
    paths = TENANT, JOB.format("a1") + "events"
    with running_api(redis_url, auth="jwt", jwt_secret=SECRET) as api, ExitStack() as stack:
        claims = {"exp": int(time.time()) + 5, "tenant_id": tenant}
        query = f"?access_token={jwt.encode(claims, SECRET)}"
        streams = [stack.enter_context(Stream(api.url, path + query)) for path in paths]
        assert [received(stream).data["job_id"] for stream in streams] == ["a1", "a1"]
        for stream in streams:
            lines = list(islice(iter(stream.line, b""), 3))
            assert len(lines) < 3, "comment lines go on after the token expired"
        for path in paths:
            with Stream(api.url, path + query) as stream:
                assert stream.status == 401


def test_one_subscription_a_tenant__while_somebody_looks(
    follow: Follow, write: Writer, tenant: str, redis_client: redis.Redis
) -> None:
    write(tenant, {"type": "processing", "id": "a1"})

    def subscribers() -> int:
        ((_, number),) = redis_client.pubsub_numsub(f"tenant:{tenant}:feed")
        return int(number)

    streams = [follow(path) for path in (JOB.format("a1") + "events", TENANT) for _ in range(20)]
    for stream in streams:
        received(stream)
    assert subscribers() == 1
    assert len(redis_client.client_list(_type="pubsub")) == 1
    write(tenant, {"type": "done", "id": "a1"})
    assert {received(stream).data["status"] for stream in streams} == {"DONE"}
    for stream in streams:
        stream.close()
    eventually(lambda: subscribers() == 0, timeout=30)


def test_job__its_documents_are_gone__stays_for_when_they_come_back(
    follow: Follow, write: Writer, tenant: str, redis_client: redis.Redis
) -> None:
    write(tenant, {"type": "processing", "id": "a1"})
    stream = follow(JOB.format("a1") + "events")
    received(stream)
    redis_client.delete(f"tenant:{tenant}:job:a1:status")
    write(tenant, {"type": "done", "id": "a1"})
    assert [event.data["status"] for event in stream.rest()] == ["DONE"]


def test_client_that_never_reads__memory_stays_flat_and_others_are_served(
    api: ApiProcess, follow: Follow, write: Writer, tenant: str
) -> None:
    """Its full buffers hold it back: it misses states, but not the last one."""
    write(tenant, {"type": "progress", "id": "a1"})
    parts = urlsplit(api.url)
    path = JOB.format("a1") + "events"
    lines = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nx-tenant-id: {tenant}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        slow.sendall(lines.encode())
        quick = follow(path)
        received(quick)
        process = psutil.Process(api.process.pid)
        before = process.memory_info().rss
        sent, stalled_since = 1_500, time.monotonic()
        for number in range(sent):
            pad = f"{number:08}" * 900
            write(tenant, {"type": "progress", "id": "a1", "extra": {"pad": pad}})
        assert process.memory_info().rss - before < 20 * 2**20
        write(tenant, {"type": "done", "id": "a1"})
        assert quick.rest()[-1].data["status"] == "DONE"
        taken = b""
        try:
            while b'"DONE"' not in taken[-4_000:]:
                taken += slow.recv(1_048_576)
        except ConnectionResetError:
            # On a busy machine the writes may take longer than a client may read nothing.
            assert time.monotonic() - stalled_since > waiters.STALLED_SECONDS
        assert taken.count(b"event: state") < sent / 2


def test_too_many__refused(redis_url: str, write: Writer, tenant: str) -> None:
    """One tenant's limit of viewers does not affect others; a viewer that leaves frees a place."""
    for name in (tenant, "another"):
        write(name, {"type": "processing", "id": "a1"})
    path = JOB.format("a1") + "events"
    with running_api(redis_url, max_streams_per_tenant=2) as api, ExitStack() as stack:

        def opened(name: str, path: str) -> Stream:
            return stack.enter_context(Stream(api.url, path, {"x-tenant-id": name}))

        first = opened(tenant, path)
        opened(tenant, TENANT)
        refused = opened(tenant, path)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        etag = httpx.get(api.url + JOB.format("a1"), headers={"x-tenant-id": tenant})
        waiting = httpx.get(
            api.url + JOB.format("a1") + "?wait=5",
            headers={"x-tenant-id": tenant, "if-none-match": etag.headers["etag"]},
        )
        assert waiting.status_code == 429
        assert received(opened("another", path)).data["job_id"] == "a1"
        first.close()
        eventually(lambda: opened(tenant, path).status == 200)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop__streams_end_in_good_order_and_waits_are_answered(
    redis_url: str, write: Writer, tenant: str, number: signal.Signals
) -> None:
    write(tenant, {"type": "processing", "id": "a1"})
    sent = {"x-tenant-id": tenant}
    with running_api(redis_url) as api, ExitStack() as stack:
        paths = [JOB.format("a1") + "events", TENANT] * 3
        streams = [stack.enter_context(Stream(api.url, path, sent)) for path in paths]
        for stream in streams:
            received(stream)
        etag = httpx.get(api.url + JOB.format("a1"), headers=sent).headers["etag"]
        with connect(redis_url) as client:
            client.config_resetstat()
            parts = urlsplit(api.url)
            waiting = stack.enter_context(socket.create_connection((parts.hostname, parts.port)))
            waiting.sendall(
                f"GET {JOB.format('a1')}?wait=30 HTTP/1.1\r\nhost: localhost\r\n"
                f"x-tenant-id: {tenant}\r\nif-none-match: {etag}\r\n\r\n".encode()
            )
            eventually(
                lambda: client.info("commandstats").get("cmdstat_mget", {}).get("calls", 0) >= 2
            )
        api.process.send_signal(number)
        waiting.settimeout(20)
        assert waiting.recv(4_096).startswith(b"HTTP/1.1 304")
        assert [stream.event() for stream in streams] == [None] * len(streams)
        status, log = api.ended()
    assert status == 0
    assert "cut_off" not in log
    assert "Traceback" not in log


def test_redis_restarts__streams_go_on_and_miss_no_end(own_redis: RedisFactory) -> None:
    """Changes during a lost connection are delivered, also to new clients."""
    server = own_redis(persist=True)
    with running_api(server.url) as api, ExitStack() as stack:
        sent = {"x-tenant-id": "t"}
        with connect(server.url) as client:
            writer_to(client)("t", *({"type": "processing", "id": f"a{n}"} for n in range(3)))
        jobs = [
            stack.enter_context(Stream(api.url, JOB.format(f"a{n}") + "events", sent))
            for n in range(3)
        ]
        whole = stack.enter_context(Stream(api.url, TENANT, sent))
        for stream in (*jobs, whole, whole, whole):
            received(stream)
        server.stop()
        server.start()
        with connect(server.url) as client:
            writer_to(client)("t", *({"type": "done", "id": f"a{n}"} for n in range(3)))
        for stream in jobs:
            assert [event.data["status"] for event in stream.rest()] == ["DONE"]
        assert {received(whole).data["job_id"] for _ in range(3)} == {"a0", "a1", "a2"}


def test_connection_to_redis_lost__what_changed_meanwhile_is_found(
    follow: Follow, write: Writer, tenant: str, redis_client: redis.Redis
) -> None:
    write(tenant, {"type": "processing", "id": "a1"})
    streams = [follow(JOB.format("a1") + "events"), follow(TENANT)]
    for stream in streams:
        received(stream)
    redis_client.client_kill_filter(_type="pubsub")
    write(tenant, {"type": "done", "id": "a1"})
    assert [received(stream).data["status"] for stream in streams] == ["DONE", "DONE"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl(api: ApiProcess, write: Writer, tenant: str) -> None:
    write(tenant, {"type": "processing", "id": "a1"})
    command = ["curl", "-sN", f"{api.url}{JOB.format('a1')}events?tenant={tenant}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        while b"PROCESSING" not in (line := curl.stdout.readline()):
            assert line
        write(tenant, {"type": "done", "id": "a1"})
        rest = curl.stdout.read()
        assert curl.wait(10) == 0
    assert rest.count(b"event: state") == 1
    assert b'"status":"DONE"' in rest


changes = st.tuples(
    st.sampled_from(["a1", "a2", "a3"]),
    st.sampled_from(["queued", "processing", "progress", "done", "failed"]),
    st.integers(1, 2),
)
happenings = st.lists(changes | st.just("leave"), min_size=1, max_size=12)


@given(happenings)
@settings(
    max_examples=examples(25),
    deadline=None,
    # The server outlives an example; each has a tenant of its own instead.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_tenant__client_that_leaves_and_comes_back__sees_every_last_state_and_nothing_twice(
    api: ApiProcess, write: Writer, redis_url: str, happened: list[Any]
) -> None:
    tenant = f"h{next(fresh)}"
    sent = {"x-tenant-id": tenant}
    seen: list[Event] = []

    def look(stream: Stream, until: str) -> None:
        while not seen or seen[-1].data["job_id"] != until:
            seen.append(received(stream))

    stream = Stream(api.url, TENANT, sent)
    for number, happening in enumerate(happened):
        if happening == "leave":
            write(tenant, {"type": "queued", "id": f"leaves-{number}"})
            look(stream, f"leaves-{number}")
            stream.close()
            write(tenant, {"type": "queued", "id": f"away-{number}"})
            stream = Stream(api.url, TENANT, sent | {"last-event-id": seen[-1].id})
        else:
            job_id, type_, attempt = happening
            write(tenant, {"type": type_, "id": job_id, "attempt": attempt, "percent": number})
    write(tenant, {"type": "done", "id": "the-end"})
    look(stream, "the-end")
    stream.close()

    ids = [int(event.id) for event in seen]
    assert ids == sorted(set(ids))
    last = {event.data["job_id"]: event.data for event in seen}
    assert len({event.raw for event in seen}) == len(seen)
    with httpx.Client(base_url=api.url, headers=sent) as client:
        polled = {job: client.get(JOB.format(job)) for job in last}
        assert {job: {"kind": "job", **p.json()} for job, p in polled.items()} == last
        for job in {happening[0] for happening in happened if happening != "leave"} - last.keys():
            assert client.get(JOB.format(job)).status_code == 404


@pytest.mark.anyio
async def test_stalled_client__dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A send that never ends is cancelled at the heartbeat after the time limit."""
    monkeypatch.setattr(waiters, "STALLED_SECONDS", 0.0)
    bodies = count()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and next(bodies) > 0:
            await asyncio.Future()

    async def receive() -> Message:
        return await asyncio.Future()

    registry = Waiters(10)
    with registry.register("t", heartbeats=True) as waiter:

        async def work(stream: EventStream) -> None:
            asyncio.get_running_loop().call_later(0.01, lambda: waiter.on_heartbeat(float("inf")))
            await stream.write(b"never taken")

        await stream_events(receive, send, waiter, work)
        assert waiter.dropped
    assert len(registry) == 0


@pytest.mark.anyio
async def test_beat__comment_and_in_the_end_the_stream_is_over() -> None:
    """Streams without changes send a comment at every heartbeat, and end after an hour."""
    registry = Waiters(10)
    with registry.register("t", heartbeats=True) as waiter:
        for _ in range(waiters.MAX_STREAM_SECONDS // waiters.HEARTBEAT_SECONDS - 1):
            waiter.on_heartbeat(0.0)
        assert (waiter.heartbeat_due, waiter.finished) == (True, False)
        waiter.on_heartbeat(0.0)
        assert waiter.finished


def test_beat__comes_within_fifteen_seconds(follow: Follow, write: Writer, tenant: str) -> None:
    write(tenant, {"type": "processing", "id": "a1"})
    stream = follow(JOB.format("a1") + "events")
    received(stream)
    stream.timeout(15)
    assert stream.line() == b": "


LINE_BREAKS = "\x0b \x0c \x1c \x1d \x1e \x85 \u2028 \u2029 \r \n \r\n"


@pytest.mark.anyio
async def test_stream__split_at_blank_lines__every_block_is_an_event() -> None:
    """Heartbeats and `retry:` are lines before an event, never a separate block."""
    record = await recorded([b'{"n":0}', b'{"n":1}'])
    *blocks, rest = record.split(b"\n\n")
    assert [block.splitlines()[-1] for block in blocks] == [b'data: {"n":0}', b'data: {"n":1}']
    assert [block.splitlines().count(b": ") for block in blocks] == [2, 2]
    assert rest == b""


def test_stream__text_with_line_breaks_of_any_sort__one_data_line(
    api: ApiProcess, write: Writer, tenant: str, headers: dict[str, str]
) -> None:
    """`httpx` and `str.splitlines` split lines at more characters than the standard."""
    extra = {LINE_BREAKS: LINE_BREAKS}
    write(tenant, {"type": "done", "id": "a1", "job_type": LINE_BREAKS[::2], "result": extra})
    path = JOB.format("a1")
    with httpx.Client(base_url=api.url, headers=headers) as client:
        poll = client.get(path)
        with client.stream("GET", path + "events") as answer:
            lines = list(answer.iter_lines())
        found = client.post("/api/v1/progress/query", json={"jobs": ["a1", LINE_BREAKS]})
    (data,) = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert all(line.partition(":")[0] in ("", "retry", "id", "event", "data") for line in lines)
    assert json.loads(data)["result"] == extra
    assert data == poll.text
    assert len(found.text.splitlines()) == 1
    assert found.json()["jobs"] == {"a1": poll.json(), LINE_BREAKS: None}


async def opened_at_once(url: str, opens: Sequence[tuple[str, str]]) -> list[bytes]:
    """Open live streams (tenant, path) at once; return the beginning of each, with its first state.

    Meanwhile tenant `polls` asks for job `a1` again and again, and is never refused.
    """
    parts = urlsplit(url)
    opening = asyncio.Event()

    async def begin(stack: AsyncExitStack, tenant: str, path: str) -> bytes:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        stack.callback(writer.close)
        writer.write(
            f"GET {path} HTTP/1.1\r\nhost: localhost\r\nx-tenant-id: {tenant}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200"):
            head += await reader.readuntil(b"data: ")
        return head

    async def poll() -> list[int]:
        statuses = []
        sent = {"x-tenant-id": "polls"}
        async with httpx.AsyncClient(base_url=url, headers=sent, timeout=60) as client:
            while not opening.is_set():
                statuses.append((await client.get(JOB.format("a1"))).status_code)
        return statuses

    async with AsyncExitStack() as stack:
        polling = asyncio.ensure_future(poll())
        heads = await asyncio.gather(*(begin(stack, *each) for each in opens))
        opening.set()
        assert set(await polling) == {200}
    return heads


@pytest.mark.parametrize("tenants", [1, 300])
def test_streams_opened_at_once__all_open_and_others_polls_go_on(
    redis_url: str, redis_client: redis.Redis, write: Writer, tenants: int
) -> None:
    """They use a few connections to Redis, whatever their number and tenants."""
    for tenant in ("polls", *(f"t{n}" for n in range(tenants))):
        write(tenant, {"type": "processing", "id": "a1"}, {"type": "processing", "id": "a2"})
    names = [f"t{n % tenants}" for n in range(300)]
    opens = [
        *((tenant, TENANT) for tenant in names),
        *((tenant, f"{TENANT}?last_event_id={n}") for n, tenant in enumerate(names)),
        *((tenant, JOB.format("a1") + "events") for tenant in names),
    ]
    redis_client.config_resetstat()
    with running_api(redis_url) as api:
        heads = asyncio.run(opened_at_once(api.url, opens))
        clients = redis_client.info("stats")["total_connections_received"]
    assert {head.partition(b"\r\n")[0] for head in heads} == {b"HTTP/1.1 200 OK"}
    assert clients < 30
