"""One suite on the fake and on a real server: the fake is never trusted alone."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import count, zip_longest
from typing import Any, cast
from urllib.parse import urlsplit

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.faults import is_outage
from projections.decoding import Entry, decode
from projections.documents import Documents, write_documents
from projections.state import JobState
from projections.status.writer import CHUNK, ROUNDS, StatusCache
from streams.entry_ids import EntryId
from streams.keys import JobKey, Keys
from streams.kinds import JOB, KINDS
from tests.support.interrupted import Interrupted, interrupted
from tests.support.oracle import expected_state
from tests.support.strategies import deliveries, logs
from tests.support.thorough import examples

KEYS = Keys()
ONE = JobKey("42", "job", "a1")
TTL = 21_600

fresh = count()

shared_client = settings(
    max_examples=examples(40),
    # The client outlives an example; each example has a tenant of its own instead.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)


@pytest.fixture(params=["fake", "real"])
def client(request: pytest.FixtureRequest) -> redis.Redis:
    """An empty server."""
    if request.param == "fake":
        return cast("redis.Redis", fakeredis.FakeRedis())
    return cast("redis.Redis", request.getfixturevalue("redis_client"))


def event(position: str, type_: str, *, job: JobKey = ONE, **fields: Any) -> Entry:
    raw = json.dumps({"type": type_, "kind": job.kind, "id": job.id, **fields}).encode()
    return decode(job.tenant, EntryId.parse(position), [b"event", raw])


def stored(client: redis.Redis, job: JobKey = ONE) -> Documents | None:
    status, progress = cast(
        "list[bytes | None]", client.mget([KEYS.status(job), KEYS.progress(job)])
    )
    return None if status is None else Documents(status, progress)


def status_of(client: redis.Redis, job: JobKey = ONE) -> dict[str, Any]:
    documents = stored(client, job)
    assert documents is not None
    return cast("dict[str, Any]", json.loads(documents.status))


def expected(entries: Sequence[Entry]) -> Documents:
    state: JobState = expected_state(entries)
    return write_documents(KINDS[entries[0].event.kind], state)


def ttls(client: redis.Redis, job: JobKey = ONE) -> list[int]:
    """Return the seconds that the two documents have left: -1 forever, -2 without a document."""
    return [client.ttl(KEYS.status(job)), client.ttl(KEYS.progress(job))]


any_job = st.sampled_from(sorted(KINDS)).map(lambda kind: JobKey("42", kind, "a1"))
raced = any_job.flatmap(logs).flatmap(lambda log: st.tuples(deliveries(log), deliveries(log)))


def of_a_fresh_tenant(batches: list[list[Entry]], tenant: str) -> list[list[Entry]]:
    return [[entry._replace(tenant=tenant) for entry in batch] for batch in batches]


@given(raced)
@shared_client
def test_apply__two_writers_where_one_loses_races__fold_of_all_events(
    client: redis.Redis, drawn: tuple[list[list[Entry]], list[list[Entry]]]
) -> None:
    """Whatever another writer does between reading and writing, nothing of either is lost."""
    tenant = f"t{next(fresh)}"
    loser, winner = (of_a_fresh_tenant(batches, tenant) for batches in drawn)
    other = StatusCache(client)
    waiting = iter(winner)
    slow = interrupted(client, lambda: other.apply(next(waiting, [])))
    cache = StatusCache(slow)
    for batch in loser:
        cache.apply(batch)
    for batch in waiting:
        other.apply(batch)
    everything = [entry for batch in loser + winner for entry in batch]
    assert stored(client, everything[0].job) == expected(everything)


@given(st.data())
@shared_client
def test_apply__many_jobs_in_a_batch__each_as_folded_alone(
    client: redis.Redis, data: st.DataObject
) -> None:
    tenant = f"t{next(fresh)}"
    jobs = [JobKey(tenant, kind, id_) for kind in KINDS for id_ in ("a1", "a2")]
    by_job = {job: data.draw(logs(job, max_size=4)) for job in jobs}
    for batch in data.draw(deliveries([entry for log in by_job.values() for entry in log])):
        StatusCache(client).apply(batch)
    assert {job: stored(client, job) for job in jobs} == {
        job: expected(log) for job, log in by_job.items()
    }


def test_apply__more_jobs_than_one_script_takes__all_written(client: redis.Redis) -> None:
    jobs = [JobKey("42", "job", f"a{number}") for number in range(600)]
    StatusCache(client).apply([event("1-0", "processing", job=job) for job in jobs])
    assert {status_of(client, job)["status"] for job in jobs} == {"PROCESSING"}


def test_apply__races_lost_in_every_chunk__all_written_in_the_end(client: redis.Redis) -> None:
    """Whoever comes in before each of the first writes is not overwritten, and nothing is lost."""
    jobs = [JobKey("42", "job", f"a{number}") for number in range(3 * CHUNK)]
    others = iter([jobs[at : at + CHUNK : 5] for at in range(0, len(jobs), CHUNK)])

    def meanwhile() -> None:
        StatusCache(client).apply([event("9-0", "done", job=job) for job in next(others, [])])

    StatusCache(interrupted(client, meanwhile)).apply(
        [event("1-0", "processing", job=job, job_type="excel") for job in jobs]
    )
    told = [(status_of(client, job)["status"], status_of(client, job)["job_type"]) for job in jobs]
    ended, working = ("DONE", "excel"), ("PROCESSING", "excel")
    assert told == [working if number % CHUNK % 5 else ended for number in range(len(jobs))]


def test_apply__entries_of_tenants_in_turn__each_job_written_and_told(client: redis.Redis) -> None:
    jobs = [JobKey(f"t{number % 7}", "job", f"a{number}") for number in range(2 * CHUNK + 1)]
    StatusCache(client).apply([event("1-0", "processing", job=job) for job in jobs])
    assert {status_of(client, job)["status"] for job in jobs} == {"PROCESSING"}
    told = {
        (tenant, name.decode())
        for tenant in {job.tenant for job in jobs}
        for name in cast("list[bytes]", client.zrange(KEYS.feed(tenant), 0, -1))
    }
    assert told == {(job.tenant, f"job:{job.id}") for job in jobs}


def test_scripts_flushed_between_chunks__loaded_again(client: redis.Redis) -> None:
    jobs = [JobKey("42", "job", f"a{number}") for number in range(3 * CHUNK)]
    cache = StatusCache(interrupted(client, client.script_flush))
    cache.apply([event("1-0", "processing", job=job) for job in jobs])
    assert {status_of(client, job)["status"] for job in jobs} == {"PROCESSING"}


def leave(client: redis.Redis) -> None:
    """Let it be."""


def refuse(client: redis.Redis) -> None:
    """Refuse writes for want of memory."""
    client.config_set("maxmemory", 1)


def hold(client: redis.Redis) -> None:
    """Let writes wait."""
    client.client_pause(60_000, all=False)


def hang_up(client: redis.Redis) -> None:
    """Close the connections on which replies are to come."""
    client.client_kill_filter(_type="normal", skipme=True)
    client.client_unpause()


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        (leave, refuse, redis.exceptions.OutOfMemoryError),
        (hold, hang_up, redis.ConnectionError),
    ],
)
def test_fault_between_chunks__raised__no_reply_is_left_for_others(
    redis_url: str,
    redis_client: redis.Redis,
    first: Callable[[redis.Redis], None],
    second: Callable[[redis.Redis], None],
    error: type[Exception],
) -> None:
    """Replies on their way when a batch fails are never taken for those of later commands."""
    jobs = [JobKey("42", "job", f"a{number}") for number in range(4 * CHUNK)]
    batch = [event("1-0", "processing", job=job) for job in jobs]
    faults = iter([first, second])

    def meanwhile() -> None:
        with redis.Redis.from_url(redis_url) as other:
            next(faults, leave)(other)

    with pytest.raises(error):
        StatusCache(interrupted(redis_client, meanwhile)).apply(batch)
    redis_client.config_set("maxmemory", 0)
    pool: Any = redis_client.connection_pool
    assert not pool._in_use_connections, "every connection was given back"
    connections = [pool.get_connection() for _ in range(4)]
    for number, connection in enumerate(connections):
        connection.send_command("ECHO", f"own-{number}")
    assert [each.read_response() for each in connections] == [
        f"own-{number}".encode() for number in range(4)
    ]
    for connection in connections:
        pool.release(connection)
    StatusCache(redis_client).apply(batch)
    assert {status_of(redis_client, job)["status"] for job in jobs} == {"PROCESSING"}


@given(raced)
@shared_client
def test_apply__one_writer_that_remembers__documents_of_one_that_reads_all(
    client: redis.Redis, drawn: tuple[list[list[Entry]], list[list[Entry]]]
) -> None:
    """States that are remembered change nothing, whoever writes between two batches."""
    tenant = f"t{next(fresh)}"
    ours, theirs = (of_a_fresh_tenant(batches, tenant) for batches in drawn)
    remembers = StatusCache(client)
    for mine, other in zip_longest(ours, theirs, fillvalue=list[Entry]()):
        remembers.apply(mine)
        StatusCache(client).apply(other)
        remembers.apply(mine)
    everything = [entry for batch in ours + theirs for entry in batch]
    assert stored(client, everything[0].job) == expected(everything)


def test_apply__lost_race_in_a_batch__only_the_lost_job_is_written_again(
    client: redis.Redis,
) -> None:
    """The other jobs of the batch are written once, the contested one after a second reading."""
    other = JobKey("42", "job", "other")
    meanwhile = iter([[event("9-0", "done", result={"rows": 9})]])
    slow = Interrupted(client, lambda: StatusCache(client).apply(next(meanwhile, [])))
    StatusCache(cast("redis.Redis", slow)).apply(
        [event("1-0", "processing", job_type="excel"), event("1-0", "queued", job=other)]
    )
    status = status_of(client)
    assert (status["status"], status["result"], status["job_type"]) == (
        "DONE",
        {"rows": 9},
        "excel",
    )
    assert status["started_at"] is not None
    assert status_of(client, other)["status"] == "PENDING"
    assert slow.reads == 2


def test_apply__another_writer_always_first__ends_with_an_outage(client: redis.Redis) -> None:
    """The consumer then waits, and notices a stop, instead of trying forever at full speed."""
    numbers = count(1)

    def write_first() -> None:
        StatusCache(client).apply([event(f"{next(numbers)}-0", "progress", percent=1)])

    slow = Interrupted(client, write_first)
    with pytest.raises(redis.RedisError, match="always first") as raised:
        StatusCache(cast("redis.Redis", slow)).apply([event("0-1", "processing")])
    assert is_outage(raised.value)
    assert slow.reads == ROUNDS


@pytest.mark.parametrize("denied", ["get", "zrevrange", "zadd", "publish", "set"])
def test_script__command_that_the_user_may_not_run__its_error_is_raised(
    redis_url: str, redis_client: redis.Redis, denied: str
) -> None:
    """No document counts as lost or as absent, and no feed as foreign, because of the error.

    No change is written without its place in the feed: the next try adds it there.
    """
    StatusCache(redis_client).apply([event("1-0", "processing")])
    before = stored(redis_client), redis_client.zrange(KEYS.feed("42"), 0, -1)
    commands = ["+@all", f"-{denied}"]
    redis_client.acl_setuser(
        "limited", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=commands
    )
    address = urlsplit(redis_url)
    url = address._replace(netloc=f"limited:any@{address.hostname}:{address.port}").geturl()
    with (
        redis.Redis.from_url(url) as limited,
        pytest.raises(redis.ResponseError, match=rf"(?i)perm.*{denied}|can.t run"),
    ):
        StatusCache(limited).apply([event("2-0", "progress", percent=5)])
    redis_client.acl_deluser("limited")
    assert redis_client.zrange(KEYS.feed("42"), 0, -1) == before[1]
    assert stored(redis_client) == before[0]
    offset = redis_client.zscore(KEYS.feed("42"), "job:a1")
    StatusCache(redis_client).apply([event("2-0", "progress", percent=5)])
    assert cast("float", redis_client.zscore(KEYS.feed("42"), "job:a1")) > cast("float", offset)
    assert status_of(redis_client)["status"] == "PROCESSING"


def test_apply__redelivered_jobs_with_large_documents__two_chunks_in_memory(
    redis_client: redis.Redis,
) -> None:
    jobs = [JobKey("42", "job", f"a{number}") for number in range(16 * CHUNK)]
    batch = [event("1-0", "done", job=job, result={"rows": "x" * 9_000}) for job in jobs]
    cache = StatusCache(redis_client)
    cache.apply(batch)
    tracemalloc.start()
    try:
        cache.apply(batch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Of each chunk there are what was read, what is written, and the packed command.
    assert peak < 8 * CHUNK * 9_000


def test_apply__nothing__touches_nothing(client: redis.Redis) -> None:
    StatusCache(client).apply([])
    assert client.dbsize() == 0


def test_apply__same_id_in_another_tenant_or_kind__never_shared(client: redis.Redis) -> None:
    jobs = [JobKey("42", "job", "a1"), JobKey("43", "job", "a1"), JobKey("42", "video", "a1")]
    for number, job in enumerate(jobs):
        StatusCache(client).apply([event("1-0", "processing", job=job, worker=str(number))])
    assert [status_of(client, job)["worker"] for job in jobs] == ["0", "1", "2"]
    assert set(client.keys()) == {
        b"tenant:42:job:a1:status",
        b"tenant:43:job:a1:status",
        b"tenant:42:video:a1:status",
        b"tenant:42:feed",
        b"tenant:43:feed",
    }


@pytest.mark.parametrize("type_", ["queued", "processing", "progress"])
def test_ttl__unended__set_and_renewed_by_every_event(client: redis.Redis, type_: str) -> None:
    cache = StatusCache(client)
    cache.apply([event("1-0", "progress", percent=1), event("2-0", type_)])
    for again in (event("3-0", "processing"), event("3-0", "processing"), event("1-1", "queued")):
        for name in (KEYS.status(ONE), KEYS.progress(ONE)):
            client.expire(name, 100)
        cache.apply([again])
        assert all(TTL - 60 < seconds <= TTL for seconds in ttls(client))


@pytest.mark.parametrize("end", ["done", "failed", "cancelled"])
def test_ttl__ended__none(client: redis.Redis, end: str) -> None:
    """The progress document, which the end does not change, stays as long as the status."""
    cache = StatusCache(client)
    cache.apply([event("1-0", "progress", percent=1)])
    cache.apply([event("2-0", end)])
    assert ttls(client) == [-1, -1]
    cache.apply([event("1-0", "progress", percent=1)])
    assert ttls(client) == [-1, -1]


def test_ttl__reopened_by_a_higher_attempt__set_again(client: redis.Redis) -> None:
    cache = StatusCache(client)
    cache.apply([event("2-0", "done")])
    cache.apply([event("1-0", "progress", attempt=2)])
    assert all(TTL - 60 < seconds <= TTL for seconds in ttls(client))


def test_ttl__settings__are_those_given(client: redis.Redis) -> None:
    cache = StatusCache(client, ttl_seconds=50, ended_ttl_seconds=500)
    cache.apply([event("1-0", "progress")])
    assert all(0 < seconds <= 50 for seconds in ttls(client))
    cache.apply([event("2-0", "done")])
    assert all(50 < seconds <= 500 for seconds in ttls(client))


def expire(client: redis.Redis, job: JobKey = ONE) -> None:
    """Do what time does: both documents go, whatever they leave behind stays."""
    client.delete(KEYS.status(job), KEYS.progress(job))


@pytest.mark.parametrize("late", ["queued", "processing", "progress"])
def test_expired_ended_job__old_redelivery__does_not_come_back(
    client: redis.Redis, late: str
) -> None:
    cache = StatusCache(client, ended_ttl_seconds=60)
    cache.apply([event("5-0", "done")])
    expire(client)
    cache.apply([event("1-0", late)])
    assert stored(client) is None
    cache.apply([event("9-0", late)])
    assert stored(client) is None


def test_expired_ended_job__higher_attempt__comes_back(client: redis.Redis) -> None:
    cache = StatusCache(client, ended_ttl_seconds=60)
    cache.apply([event("5-0", "failed", attempt=2)])
    expire(client)
    cache.apply([event("1-0", "done", attempt=1)])
    assert stored(client) is None
    cache.apply([event("6-0", "queued", attempt=3)])
    assert status_of(client)["status"] == "PENDING"
    cache.apply([event("7-0", "done", attempt=3)])
    expire(client)
    cache.apply([event("6-0", "queued", attempt=3)])
    assert stored(client) is None


def test_expired_failed_job__late_done__comes_back_done(client: redis.Redis) -> None:
    """The worker that was given up for dead did finish."""
    cache = StatusCache(client, ended_ttl_seconds=60)
    cache.apply([event("5-0", "failed")])
    expire(client)
    cache.apply([event("6-0", "done")])
    assert status_of(client)["status"] == "DONE"


@pytest.mark.parametrize("ended_ttl", [60, 604_800, 5_000_000])
def test_mark_of_an_ended_job__outlives_its_documents(client: redis.Redis, ended_ttl: int) -> None:
    StatusCache(client, ended_ttl_seconds=ended_ttl).apply([event("5-0", "done")])
    assert client.ttl(KEYS.ended(ONE)) > client.ttl(KEYS.status(ONE)) + 3_600


def test_ended_between_reading_and_writing__and_expired__does_not_come_back(
    client: redis.Redis,
) -> None:
    """The guard holds even where the whole life of the documents fits between load and script."""

    def end_and_expire() -> None:
        StatusCache(client, ended_ttl_seconds=60).apply([event("5-0", "done")])
        expire(client)

    slow = interrupted(client, end_and_expire)
    StatusCache(slow, ended_ttl_seconds=60).apply([event("1-0", "processing")])
    assert stored(client) is None


def test_scripts_flushed__loaded_again(client: redis.Redis) -> None:
    cache = StatusCache(client)
    cache.apply([event("1-0", "processing")])
    client.script_flush()
    cache.apply([event("2-0", "done")])
    assert status_of(client)["status"] == "DONE"


@pytest.mark.parametrize(
    "foreign",
    [
        b'{"status":"PROCESSING","job_type":"excel","result":null}',
        b'{"status":"DONE","fold":{"entry_id":null},"attempt":1}',
        b"[]",
        b"null",
        b"not json",
        b"\xff\x00",
        b"",
    ],
)
def test_foreign_document_under_the_key__replaced(client: redis.Redis, foreign: bytes) -> None:
    client.set(KEYS.status(ONE), foreign)
    client.set(KEYS.progress(ONE), b'{"percent":40}')
    log = [event("1-0", "progress", step="parsing", percent=5)]
    StatusCache(client).apply(log)
    assert stored(client) == expected(log)
    assert all(TTL - 60 < seconds <= TTL for seconds in ttls(client))


@pytest.mark.parametrize("size", [9_999, 10_000, 10_001])
def test_result__of_ten_thousand_bytes_or_more__left_out(client: redis.Redis, size: int) -> None:
    result = {"text": "한" * 100}
    result["pad"] = "x" * (size - len(json.dumps(result, ensure_ascii=False).encode()) - 8)
    assert len(json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode()) in range(
        size - 2, size + 1
    )
    result["pad"] += "x" * (
        size - len(json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode())
    )
    StatusCache(client).apply([event("1-0", "done", result=result)])
    status = status_of(client)
    if size < 10_000:
        assert status["result"] == result
        assert "result_omitted" not in status
    else:
        assert (status["result"], status["result_omitted"], status["result_bytes"]) == (
            None,
            True,
            size,
        )


def test_result_left_out__late_event__stays_left_out_and_done(client: redis.Redis) -> None:
    cache = StatusCache(client, result_cache_bytes=10)
    cache.apply([event("5-0", "done", result={"rows": "x" * 50})])
    cache.apply([event("1-0", "processing", job_type="excel")])
    status = status_of(client)
    assert (status["status"], status["job_type"]) == ("DONE", "excel")
    assert (status["result_omitted"], status["result_bytes"]) == (True, 61)


def test_higher_attempt_without_progress__removes_the_progress_document(
    client: redis.Redis,
) -> None:
    cache = StatusCache(client)
    cache.apply([event("1-0", "progress", percent=90)])
    cache.apply([event("2-0", "queued", attempt=2)])
    assert client.exists(KEYS.progress(ONE)) == 0
    cache.apply([event("3-0", "progress", percent=95)])
    assert client.exists(KEYS.progress(ONE)) == 0


def test_progress_document_lost__next_progress_writes_it_again(client: redis.Redis) -> None:
    cache = StatusCache(client)
    cache.apply([event("1-0", "progress", percent=10)])
    client.delete(KEYS.progress(ONE))
    cache.apply([event("2-0", "progress", percent=20)])
    documents = stored(client)
    assert documents is not None
    assert json.loads(documents.progress or b"")["percent"] == 20


def test_foreign_progress_document__does_not_cost_the_status(client: redis.Redis) -> None:
    """A guard that an unreadable progress document could lift would bring a done job back."""
    cache = StatusCache(client)
    cache.apply([event("1-0", "progress", percent=10), event("5-0", "done")])
    client.set(KEYS.progress(ONE), b'{"percent":40}')
    cache.apply([event("1-0", "progress", percent=10)])
    assert status_of(client)["status"] == "DONE"


def test_documents_equal_whoever_wrote_them(client: redis.Redis) -> None:
    log = [event("1-0", "processing"), event("2-0", "progress", percent=3), event("3-0", "failed")]
    for entry in reversed(log):
        StatusCache(client).apply([entry])
    assert stored(client) == write_documents(JOB, expected_state(log))
