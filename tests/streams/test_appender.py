from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import fakeredis
import pytest
import redis
import redis.asyncio
from hypothesis import given, settings
from redis.asyncio.connection import AbstractConnection as AsyncConnection
from redis.connection import AbstractConnection

from streams.appender import PIPELINE, AsyncEventAppender, EventAppender
from streams.connection import LogUnavailable, connect, connect_async
from streams.entry_ids import EntryId
from streams.event_ids import time_of
from streams.events import Done, Failed, InvalidEvent, Progress, Queued, parse_event
from streams.keys import InvalidTenant
from streams.payloads import Appendable, payload_of
from tests.support.strategies import event_fields
from tests.support.thorough import examples

DONE = b'{"type":"done","id":"a1"}'


@pytest.fixture(params=["fake", "real"])
def client(request: pytest.FixtureRequest) -> redis.Redis:
    """An empty server."""
    if request.param == "fake":
        return cast("redis.Redis", fakeredis.FakeRedis())
    return cast("redis.Redis", request.getfixturevalue("redis_client"))


def log_of(client: redis.Redis, tenant: str = "42") -> list[tuple[EntryId, dict[str, Any]]]:
    entries = cast(
        "list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(f"tenant:{tenant}:events")
    )
    assert all(list(fields) == [b"event"] for _, fields in entries)
    return [(EntryId.parse(id_), json.loads(fields[b"event"])) for id_, fields in entries]


def test_append__each_form_of_event__is_in_the_log_under_the_id_given(client: redis.Redis) -> None:
    appender = EventAppender(client)
    forms: list[Appendable] = [
        Done(id="a1"),
        {"type": "done", "id": "a1"},
        DONE,
        b" " + DONE + b"\n",
    ]
    ids = [appender.append("42", form) for form in forms]
    log = log_of(client)
    assert [entry_id for entry_id, _ in log] == ids == sorted(ids)
    for _, fields in log:
        assert (fields["type"], fields["id"]) == ("done", "a1")
        assert time_of(fields["event_id"]) is not None


def test_append__marks_the_tenant_ready_in_both_groups(client: redis.Redis) -> None:
    before = datetime.now(UTC).timestamp() * 1_000
    EventAppender(client).append("42", DONE)
    for group in ("status", "rows"):
        score = client.zscore(f"jobtrail:ready:{group}", "42")
        assert score is not None
        assert before - 1 <= score <= datetime.now(UTC).timestamp() * 1_000


def test_append__tenant_marked_before__earliest_mark_stands(client: redis.Redis) -> None:
    client.zadd("jobtrail:ready:status", {"42": 5})
    EventAppender(client, groups=["status"]).append("42", DONE)
    assert client.zscore("jobtrail:ready:status", "42") == 5
    assert client.exists("jobtrail:ready:rows") == 0


def test_append_many__keeps_order_and_marks_each_tenant(client: redis.Redis) -> None:
    events: list[tuple[str, Appendable]] = [
        (str(number % 3), Progress(id="a1", percent=number)) for number in range(PIPELINE + 500)
    ]
    ids = EventAppender(client).append_many(iter(events))
    assert len(ids) == len(events)
    for tenant in ("0", "1", "2"):
        log = log_of(client, tenant)
        assert [fields["percent"] for _, fields in log] == list(
            range(int(tenant), PIPELINE + 500, 3)
        )
        assert [entry_id for entry_id, _ in log] == ids[int(tenant) :: 3]
    assert client.zcard("jobtrail:ready:rows") == 3


def test_append_many__nothing__sends_nothing(client: redis.Redis) -> None:
    assert EventAppender(client).append_many([]) == []
    assert client.dbsize() == 0


def test_append__unknown_fields_of_a_mapping__kept(client: redis.Redis) -> None:
    EventAppender(client).append("42", {"type": "done", "id": "a1", "mine": {"x": 10**30}})
    ((_, fields),) = log_of(client)
    assert fields["mine"] == {"x": 10**30}


def test_append__own_event_id__kept(client: redis.Redis) -> None:
    for event in (Done(id="a1", event_id="own"), {"type": "done", "id": "a1", "event_id": "own"}):
        EventAppender(client).append("42", event)
    assert [fields["event_id"] for _, fields in log_of(client)] == ["own", "own"]


def test_append__client_that_decodes_replies__gives_the_entry_id(redis_url: str) -> None:
    """An application may pass a client of its own."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        entry_id = EventAppender(client).append("42", DONE)
        assert client.xrange("tenant:42:events")[0][0] == str(entry_id)


INVALID: list[tuple[str, Any, type[Exception]]] = [
    ("42", b"not json", InvalidEvent),
    ("42", b"[]", InvalidEvent),
    ("42", {"type": "done"}, InvalidEvent),
    ("42", {"type": "done", "id": "a1", "result": {"x": object()}}, InvalidEvent),
    ("42", Done(id="a1", result={"x": object()}), InvalidEvent),
    ("42", Done(id="a1", result={"x": "\ud800"}), InvalidEvent),
    ("42", Done(id="a1", result={"x": "y" * 2**21}), InvalidEvent),
    ("42", {"type": "done", "id": "a1", "result": {"x": "y" * 2**21}}, InvalidEvent),
    ("42", b'{"type":"done","id":"a1","result":{"x":"%b"}}' % (b"y" * 2**21), InvalidEvent),
    ("42", {"type": "done", "id": "a1", "v": 2}, InvalidEvent),
    ("", DONE, InvalidTenant),
    ("a b", DONE, InvalidTenant),
    (cast("str", 42), DONE, InvalidTenant),
]


@pytest.mark.parametrize(("tenant", "event", "error"), INVALID, ids=range(len(INVALID)))
def test_append_many__one_invalid__nothing_is_sent(
    client: redis.Redis, tenant: str, event: Any, error: type[Exception]
) -> None:
    good: tuple[str, Appendable] = ("42", DONE)
    with pytest.raises(error) as raised:
        EventAppender(client).append_many([good] * (PIPELINE + 1) + [(tenant, event)])
    assert client.dbsize() == 0
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize(("size", "good"), [(200, True), (201, False)])
def test_append__limit_of_its_own__counts_the_bytes_that_are_sent(
    client: redis.Redis,
    size: int,
    good: bool,  # noqa: FBT001
) -> None:
    head, tail = b'{"type":"done","id":"a1","event_id":"e","result":{"x":"', b'"}}'
    raw = head + b"x" * (size - len(head + tail)) + tail
    appender = EventAppender(client, max_event_bytes=200)
    if good:
        appender.append("42", raw)
    else:
        with pytest.raises(InvalidEvent, match="too_large: 201 bytes; at most 200"):
            appender.append("42", raw)
    assert client.exists("tenant:42:events") == good


def round_trips(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Record what blocking connections send, one element for each round trip."""
    sent: list[bytes] = []
    send: Any = AbstractConnection.send_packed_command

    def recording(connection: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(command if isinstance(command, bytes) else b"".join(command))
        return send(connection, command, *args, **kwargs)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", recording)
    return sent


def test_append__entry_and_marks__go_in_one_round_trip(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_client.ping()
    sent = round_trips(monkeypatch)
    EventAppender(redis_client).append("42", DONE)
    (only,) = sent
    assert (only.count(b"XADD"), only.count(b"ZADD")) == (1, 2)
    # A consumer that sees the mark must find the entry.
    assert only.index(b"XADD") < only.index(b"ZADD")


def test_append_many__a_thousand_events__go_in_one_round_trip(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_client.ping()
    sent = round_trips(monkeypatch)
    EventAppender(redis_client).append_many([("42", DONE)] * PIPELINE)
    (only,) = sent
    assert (only.count(b"XADD"), only.count(b"ZADD")) == (PIPELINE, 2)


def test_append__server_counts_one_xadd_and_one_mark_a_group(redis_client: redis.Redis) -> None:
    redis_client.config_resetstat()
    EventAppender(redis_client).append("42", DONE)
    stats = cast("dict[str, dict[str, int]]", redis_client.info("commandstats"))
    calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
    assert (calls["xadd"], calls["zadd"]) == (1, 2)
    assert not {"multi", "exec", "evalsha"} & calls.keys()


def test_async_append__as_the_blocking_one_does(
    redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    send = AsyncConnection.send_packed_command

    async def recording(connection: Any, command: Any, *args: Any, **kwargs: Any) -> None:
        sent.append(command if isinstance(command, bytes) else b"".join(command))
        await send(connection, command, *args, **kwargs)

    async def work() -> list[EntryId]:
        client = connect_async(redis_url)
        try:
            await client.ping()
            monkeypatch.setattr(AsyncConnection, "send_packed_command", recording)
            appender = AsyncEventAppender(client)
            first = await appender.append("42", Queued(id="a1"))
            rest = await appender.append_many([("42", DONE), ("42", {"type": "failed", "id": "b"})])
            with pytest.raises(InvalidEvent):
                await appender.append_many([("42", DONE), ("42", b"{}")])
            with pytest.raises(InvalidTenant):
                await appender.append("a b", DONE)
            return [first, *rest]
        finally:
            await client.aclose()

    ids = asyncio.run(work())
    log = log_of(redis_client)
    assert [entry_id for entry_id, _ in log] == ids
    assert [fields["type"] for _, fields in log] == ["queued", "done", "failed"]
    assert redis_client.zcard("jobtrail:ready:status") == 1
    assert len(sent) == 2


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which no process listens during the test."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_append__server_away__is_unavailable_and_says_no_password(closed_port: int) -> None:
    url = f"redis://:hunter2@127.0.0.1:{closed_port}/0"
    with connect(url) as client:
        with pytest.raises(LogUnavailable) as raised:
            EventAppender(client).append("42", DONE)
        assert "hunter2" not in str(raised.value)
        with pytest.raises(InvalidEvent):
            EventAppender(client).append("42", b"{}")

    async def ask() -> None:
        client = connect_async(url)
        try:
            with pytest.raises(LogUnavailable):
                await AsyncEventAppender(client).append("42", DONE)
        finally:
            await client.aclose()

    asyncio.run(ask())


def test_append__server_that_refuses__is_unavailable(redis_client: redis.Redis) -> None:
    redis_client.set("tenant:42:events", "no stream")
    with pytest.raises(LogUnavailable, match="WRONGTYPE"):
        EventAppender(redis_client).append("42", DONE)
    with pytest.raises(LogUnavailable):
        EventAppender(redis_client).append_many([("43", DONE), ("42", DONE)])


def test_append__from_many_threads__each_has_its_own_entry(redis_client: redis.Redis) -> None:
    appender = EventAppender(redis_client)
    ids: list[EntryId] = []

    def work() -> None:
        ids.extend([appender.append("42", Failed(id="a1", error="e")) for _ in range(100)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids) == [entry_id for entry_id, _ in log_of(redis_client)]
    assert len(set(ids)) == 400


@given(event_fields("video", "7"))
@settings(deadline=None, max_examples=examples(100))
def test_payload__any_form_of_one_event__says_the_same(fields: dict[str, Any]) -> None:
    raw = json.dumps(fields).encode()
    event = parse_event(raw)
    forms: list[Appendable] = [fields, raw, event]
    for form in forms:
        read = parse_event(payload_of(form))
        assert read.event_id is not None
        assert read.model_copy(update={"event_id": event.event_id}) == event


def test_payload__event_id_given_as_null__gets_one() -> None:
    read = parse_event(payload_of(b'{"type":"done","id":"a1","event_id":null}'))
    assert read.event_id is not None


def test_payload__none_in_a_result__is_kept_as_null() -> None:
    assert json.loads(payload_of(Done(id="a1", result={"x": None})))["result"] == {"x": None}
