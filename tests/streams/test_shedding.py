"""Streams of limited size: only progress is shed and counted, and states are right at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.devstack import EmbeddedRedis
from projections.decoding import Entry, decode
from projections.fold import fold_all
from streams.appender import PIPELINE, AsyncEventAppender, EventAppender
from streams.connection import LogUnavailable, connect, connect_async
from streams.entry_ids import EntryId
from streams.events import Done, Progress, parse_event
from streams.payloads import Appendable
from streams.reporter import Reporter
from streams.shedding import SHED, shed_counts
from tests.support.servers import RedisFactory, login
from tests.support.strategies import event_fields
from tests.support.thorough import examples

LOG = "tenant:42:events"
PAD = "x" * 200


def progress(number: int, job: str = "a1") -> Progress:
    return Progress(id=job, percent=number % 100, step=PAD)


def used(client: redis.Redis, log: str = LOG) -> int:
    return client.memory_usage(log, samples=0) or 0


def logged(client: redis.Redis, log: str = LOG) -> list[Entry]:
    found = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(log))
    return [
        decode("42", EntryId.parse(entry_id), [b"event", fields[b"event"]])
        for entry_id, fields in found
    ]


def fill(client: redis.Redis, cap: int) -> EventAppender:
    """Append progress to the stream of tenant 42 until one is shed."""
    appender = EventAppender(client, max_stream_bytes=cap)
    number = 0
    while appender.append("42", progress(number)) != SHED:
        number += 1
    return appender


# --- what is shed ---


def test_append__log_is_full__progress_is_shed_and_counted(redis_client: redis.Redis) -> None:
    appender = fill(redis_client, 50_000)
    held, counted = redis_client.xlen(LOG), shed_counts(redis_client)
    assert counted == {"42": 1}
    assert held > 50
    for number in range(20):
        assert appender.append("42", progress(number)) == SHED
    assert redis_client.xlen(LOG) == held
    assert shed_counts(redis_client) == {"42": 21}
    assert used(redis_client) <= 50_000


@pytest.mark.parametrize("name", ["queued", "processing", "done", "failed", "cancelled"])
def test_append__log_is_full__any_other_type_is_appended(
    name: str, redis_client: redis.Redis
) -> None:
    appender = fill(redis_client, 20_000)
    forms: list[Appendable] = [
        {"type": name, "id": "b"},
        b'{"type":"%b","id":"b"}' % name.encode(),
        parse_event(b'{"type":"%b","id":"b"}' % name.encode()),
    ]
    ids = [appender.append("42", form) for form in forms]
    assert SHED not in ids
    assert [entry.entry_id for entry in logged(redis_client)][-3:] == ids
    assert shed_counts(redis_client) == {"42": 1}


def test_append__another_tenant__has_a_cap_of_its_own(redis_client: redis.Redis) -> None:
    appender = fill(redis_client, 20_000)
    assert appender.append("43", progress(1)) != SHED
    assert shed_counts(redis_client) == {"42": 1}


def test_append__log_was_trimmed__progress_is_taken_again(redis_client: redis.Redis) -> None:
    appender = fill(redis_client, 20_000)
    redis_client.xtrim(LOG, maxlen=5, approximate=False)
    assert appender.append("42", progress(1)) != SHED


def test_append__progress_of_a_capped_log__marks_the_tenant(redis_client: redis.Redis) -> None:
    appender = fill(redis_client, 20_000)
    ready = ("jobtrail:ready:status", "jobtrail:ready:rows")
    assert all(redis_client.zscore(name, "42") for name in ready)
    redis_client.delete(*ready)
    appender.append("42", progress(1))
    assert not redis_client.exists(*ready)  # there is nothing new to read


def test_append_many__mixed__ids_stand_where_the_events_stood(redis_client: redis.Redis) -> None:
    appender = fill(redis_client, 20_000)
    events: list[tuple[str, Appendable]] = [
        ("42", progress(1)),
        ("42", Done(id="a1")),
        ("43", progress(2)),
        ("42", progress(3)),
        ("43", Done(id="b1")),
    ]
    ids = appender.append_many(events)
    assert [entry_id == SHED for entry_id in ids] == [True, False, False, True, False]
    assert [entry.entry_id for entry in logged(redis_client)][-1:] == [ids[1]]
    assert [entry.entry_id for entry in logged(redis_client, "tenant:43:events")] == ids[2:5:2]
    assert shed_counts(redis_client) == {"42": 3}
    assert redis_client.zscore("jobtrail:ready:rows", "43")


def test_append_many__long_log__stays_under_its_cap_and_is_not_measured_each_time(
    redis_client: redis.Redis,
) -> None:
    """It is measured once a second and after a tenth more; in between its entries are counted."""
    cap, many = 2_000_000, PIPELINE * 10
    appender = EventAppender(redis_client, max_stream_bytes=cap)
    redis_client.config_resetstat()
    ids = appender.append_many(("42", progress(number)) for number in range(many))
    shed = ids.count(SHED)
    assert 0 < shed == shed_counts(redis_client)["42"]
    assert cap * 0.9 < used(redis_client) <= cap
    stats = cast("dict[str, dict[str, int]]", redis_client.info("commandstats"))
    assert stats["cmdstat_memory|usage"]["calls"] < 1_000 + 100
    assert stats["cmdstat_evalsha"]["calls"] >= many


def test_append__large_results_in_a_long_log__count_in_full(redis_client: redis.Redis) -> None:
    """A sample of the oldest nodes would not include them."""
    appender = EventAppender(redis_client, max_stream_bytes=5_000_000)
    appender.append_many(("42", progress(number)) for number in range(2_000))
    assert used(redis_client) < 5_000_000
    for number in range(12):
        appender.append("42", Done(id=f"big{number}", result={"rows": "y" * 500_000}))
    redis_client.delete("tenant:42:measured")  # its second is over
    assert appender.append("42", progress(1)) == SHED


def test_append__raw_entries_of_others__count_but_are_not_held(redis_client: redis.Redis) -> None:
    for number in range(100):
        redis_client.xadd(LOG, {"event": json.dumps({"type": "progress", "id": f"{number}"})})
    appender = EventAppender(redis_client, max_stream_bytes=1_000)
    assert appender.append("42", progress(1)) == SHED
    redis_client.xadd(LOG, {"event": b'{"type":"progress","id":"raw"}'})
    assert redis_client.xlen(LOG) == 101


def test_append__measure_that_somebody_spoiled__is_made_again(redis_client: redis.Redis) -> None:
    appender = EventAppender(redis_client, max_stream_bytes=10_000_000)
    appender.append_many(("42", progress(number)) for number in range(1_100))
    redis_client.set("tenant:42:measured", b"no numbers")
    assert appender.append("42", progress(1)) != SHED
    assert cast("bytes", redis_client.get("tenant:42:measured")).split()[0] == b"1100"
    assert 0 < redis_client.pttl("tenant:42:measured") <= 1_000


# --- the script, and the servers it runs on ---


def test_append__no_cap__no_script_and_the_same_commands(redis_client: redis.Redis) -> None:
    redis_client.config_resetstat()
    EventAppender(redis_client).append("42", progress(1))
    stats = cast("dict[str, dict[str, int]]", redis_client.info("commandstats"))
    assert not {"cmdstat_evalsha", "cmdstat_memory|usage", "cmdstat_xlen"} & stats.keys()


def test_append__no_cap_or_no_progress__works_on_a_fake_too() -> None:
    """The fake has no MEMORY USAGE, so that all other tests need the real server."""
    client = cast("redis.Redis", fakeredis.FakeRedis())
    ids = [EventAppender(client).append("42", progress(1))]
    capped = EventAppender(client, max_stream_bytes=1)
    ids.append(capped.append("42", Done(id="a1")))
    assert [entry.entry_id for entry in logged(client)] == ids
    with pytest.raises(LogUnavailable):
        capped.append("42", progress(1))


@pytest.mark.parametrize("durable", [False, True])
def test_append__script_is_gone__is_loaded_and_nothing_is_appended_twice(
    redis_client: redis.Redis,
    *,
    durable: bool,
) -> None:
    appender = EventAppender(redis_client, max_stream_bytes=1_000_000)
    events: list[tuple[str, Appendable]] = [
        ("42", progress(1)),
        ("42", Done(id="a1")),
        ("42", progress(2)),
    ]
    for _ in range(2):
        redis_client.script_flush()
        ids = appender.append_many(events, durable=durable)
        assert SHED not in ids
    assert sorted(ids) == [entry.entry_id for entry in logged(redis_client)][3:]
    assert ids[0] < ids[2]
    assert redis_client.xlen(LOG) == 6


def test_append__durable_on_a_server_with_a_disk__waits_also_after_loading(
    own_redis: RedisFactory,
) -> None:
    server = own_redis()
    with connect(server.url) as client:
        client.config_set("appendfsync", "always")
        appender = EventAppender(client, max_stream_bytes=1_000_000)
        for _ in range(2):
            assert appender.append("42", progress(1), durable=True) != SHED
        assert EventAppender(client, max_stream_bytes=1).append("42", progress(1)) == SHED
        assert client.xlen(LOG) == 2


def test_append__user_who_may_run_no_script__is_told_so(
    redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    """An error is better than a limit without effect; ends need no script and are appended."""
    redis_client.acl_setuser(
        "worker", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-evalsha"]
    )
    try:
        with connect(login(redis_server.url, "worker", "any")) as client:
            appender = EventAppender(client, max_stream_bytes=1_000_000)
            with pytest.raises(LogUnavailable, match="evalsha"):
                appender.append("42", progress(1))
            assert appender.append("42", Done(id="a1")) != SHED
    finally:
        redis_client.acl_deluser("worker")


def test_append__client_that_decodes_replies__gives_shed_too(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        appender = EventAppender(client, max_stream_bytes=10_000)
        assert appender.append("42", progress(1)) != SHED
        assert EventAppender(client, max_stream_bytes=1).append("42", progress(1)) == SHED
        assert shed_counts(client) == {"42": 1}


def test_async_append__as_the_blocking_one_does(redis_url: str, redis_client: redis.Redis) -> None:
    redis_client.script_flush()

    async def work() -> list[EntryId]:
        client = connect_async(redis_url)
        try:
            appender = AsyncEventAppender(client, max_stream_bytes=10_000)
            first = await appender.append("42", progress(1))
            many: list[tuple[str, Appendable]] = [("42", progress(n)) for n in range(100)]
            many.append(("42", Done(id="a1")))
            return [first, *await appender.append_many(many)]
        finally:
            await client.aclose()

    ids = asyncio.run(work())
    kept = [entry_id for entry_id in ids if entry_id != SHED]
    assert kept == [entry.entry_id for entry in logged(redis_client)]
    assert ids[0] != SHED
    assert ids[-1] != SHED
    assert shed_counts(redis_client) == {"42": len(ids) - len(kept)}
    assert len(kept) < len(ids)


def test_reporter__log_is_full__job_still_begins_and_ends(
    redis_url: str, redis_client: redis.Redis
) -> None:
    fill(redis_client, 20_000)
    before = redis_client.xlen(LOG)
    reporter = Reporter.from_url(redis_url, max_stream_bytes=20_000, progress_per_second=1000)
    with reporter.job("b1", tenant="42") as job:
        for number in range(10):
            job.progress(PAD, percent=number)
    told = [entry.event.type for entry in logged(redis_client)[before:]]
    assert told == ["processing", "done"]
    assert shed_counts(redis_client)["42"] > 1


# --- whatever comes ---


jobs = st.sampled_from(["a", "b"])
events = jobs.flatmap(lambda job: event_fields("job", job))
batches = st.lists(st.lists(events, min_size=1, max_size=12), min_size=1, max_size=6)


def end_of(entries: Sequence[Entry]) -> Any:
    """Return the content of a job's end by the ranks of the contract, which ignore progress."""
    state = fold_all(None, [(entry.entry_id, entry.event) for entry in entries])
    if state is None or not state.state.ended:
        return None
    return state.attempt, state.state, state.entry_id, state.result, state.error


@given(batches, st.integers(1, 12_000))
@settings(
    deadline=None,
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_mix__only_progress_is_shed_and_ends_are_right(
    redis_client: redis.Redis, told: list[list[dict[str, Any]]], cap: int
) -> None:
    redis_client.flushdb()
    appender = EventAppender(redis_client, max_stream_bytes=cap)
    given_ids: list[tuple[EntryId, dict[str, Any]]] = []
    for batch in told:
        ids = appender.append_many(("42", fields) for fields in batch)
        given_ids += zip(ids, batch, strict=True)
    shed = [fields["type"] for entry_id, fields in given_ids if entry_id == SHED]
    kept = [entry_id for entry_id, _ in given_ids if entry_id != SHED]
    assert set(shed) <= {"progress"}
    assert sum(shed_counts(redis_client).values()) == len(shed)
    entries = logged(redis_client)
    assert [entry.entry_id for entry in entries] == sorted(kept)
    # Progress that was shed would have come after the same neighbours: give it its place back.
    last, all_of_it = EntryId(0, 0), list(entries)
    for number, (entry_id, fields) in enumerate(given_ids):
        if entry_id != SHED:
            last = entry_id
            continue
        place = EntryId(last.ms, last.seq + 1_000_000 + number)
        all_of_it.append(decode("42", place, [b"event", json.dumps(fields).encode()]))
    for job in ("a", "b"):
        with_it = end_of([entry for entry in all_of_it if entry.event.id == job])
        without = end_of([entry for entry in entries if entry.event.id == job])
        if with_it is not None:
            assert without == with_it
