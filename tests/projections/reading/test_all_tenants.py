"""Reads of all tenants' jobs on a real database: pages, query plans, and the role that reads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest

from projections.decoding import decode
from projections.reading.all_tenants.failures import Failures, read_failures
from projections.reading.all_tenants.job_list import (
    NEWEST,
    OperatorCursor,
    OperatorFilter,
    list_jobs,
)
from projections.reading.all_tenants.stalled_jobs import count_stalled, list_stalled
from projections.reading.all_tenants.suggestions import read_near_ids, read_tenants
from projections.rows.writer import JobRows
from sql import queries, sessions
from streams.entry_ids import EntryId
from streams.events import dump_json
from streams.keys import JobKey

T = TypeVar("T")
QUERIES = queries("console")
MANY = 20_000
LOAD = """
INSERT INTO jobs (tenant, kind, id, attempt, state, status, job_type, created_at, updated_at,
                  ended_at, positions)
SELECT 't' || mod(n, 100), CASE mod(n, 10) WHEN 0 THEN 'video' ELSE 'job' END,
       'load-' || md5(n::text), 1, state, upper(state), 'type-' || mod(n, 4), at, at,
       CASE WHEN state IN ('done', 'failed', 'cancelled') THEN at END,
       json_build_object('entry_id', (extract(epoch FROM at) * 1000)::bigint || '-0')
FROM (SELECT n, timestamptz '2026-01-01' + n * interval '1 second' AS at,
             CASE WHEN mod(n, 500) = 1 THEN 'failed' WHEN mod(n, 50) = 2 THEN 'processing'
                  WHEN n = 3 THEN 'cancelled' ELSE 'done' END AS state
      FROM generate_series(1, %s) AS n) AS made
"""


def read(url: str, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
    """Return the result of some work on a new connection."""

    async def run() -> T:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await work(connection)

    return asyncio.run(run())


def all_pages(
    url: str, wanted: OperatorFilter, limit: int, window: int
) -> list[tuple[str, str, str]]:
    """Return the keys of all jobs of a list, read page by page."""

    async def pages(connection: psycopg.AsyncConnection[Any]) -> list[tuple[str, str, str]]:
        found, after = [], None
        while True:
            page = await list_jobs(connection, wanted, after, limit, window)
            found += [(job["tenant"], job["kind"], job["id"]) for job in page.jobs]
            after = page.next
            if after is None:
                return found

    return read(url, pages)


@pytest.fixture
def some(database_url: str) -> Iterator[str]:
    """A database with jobs of three tenants, many of which have the same time."""
    rows = JobRows(lambda: sessions.connect(database_url, "test"))
    types = "queued processing done failed cancelled".split()
    rows.apply(
        [
            decode(
                tenant,
                EntryId(1_000 * (1 + n // 7), n),
                [
                    b"event",
                    dump_json(
                        {
                            "type": types[n % 5],
                            "kind": kind,
                            "id": f"a{n % 9}-{n}",
                            "job_type": f"type-{n % 2}",
                        }
                    ),
                ],
            )
            for n in range(40)
            for tenant in ("a", "b", "c")
            for kind in ("job", "video")
        ]
    )
    yield database_url
    rows.close()


FILTERS = {
    "all": OperatorFilter(),
    "failed": OperatorFilter(state="failed"),
    "rare": OperatorFilter(state="cancelled", job_type="type-1", kind="video"),
    "of a tenant": OperatorFilter(tenant="b"),
    "of a tenant and kind": OperatorFilter(tenant="b", kind="job", state="done"),
    "by id": OperatorFilter(prefix="a3"),
    "by id, of a tenant": OperatorFilter(prefix="a", tenant="c", state="failed"),
    "none": OperatorFilter(prefix="zz"),
}


@pytest.mark.parametrize("wanted", FILTERS.values(), ids=list(FILTERS))
@pytest.mark.parametrize(("limit", "window"), [(1, 3), (7, 10), (100, 5_000)])
def test_paging_meets_every_job_once_in_order(
    some: str, wanted: OperatorFilter, limit: int, window: int
) -> None:
    order = (
        'id COLLATE "C", tenant, kind'
        if wanted.prefix
        else "listed_at DESC, id DESC, tenant DESC, kind DESC"
    )
    with psycopg.connect(some) as connection:
        expected = connection.execute(
            f"SELECT tenant, kind, id FROM jobs WHERE id LIKE %s || '%%'"
            f" AND coalesce(%s, tenant) = tenant AND coalesce(%s, kind) = kind"
            f" AND coalesce(%s, state) = state AND coalesce(%s, job_type) = job_type"
            f" ORDER BY {order}",
            (wanted.prefix or "", wanted.tenant, wanted.kind, wanted.state, wanted.job_type),
        ).fetchall()
    found = all_pages(some, wanted, limit, window)
    if wanted.tenant and not wanted.prefix:  # jobs of one moment and id are in the order of kinds
        assert sorted(found) == sorted(expected)
        assert [job[2] for job in found] == [job[2] for job in expected]
    else:
        assert found == expected


def test_operators_read_as_a_role_that_can_only_read(some: str) -> None:
    async def roles(connection: psycopg.AsyncConnection[Any]) -> tuple[Any, ...]:
        async with connection.transaction():
            await connection.execute(QUERIES["enter"], {"milliseconds": "5000"})
            cursor = await connection.execute(
                "SELECT current_user, current_setting('transaction_read_only'),"
                " has_table_privilege('jobs', 'INSERT, UPDATE, DELETE'),"
                " (SELECT count(DISTINCT tenant) FROM jobs)"
            )
            inside = await cursor.fetchone()
        cursor = await connection.execute("SELECT current_user = session_user")
        return inside, await cursor.fetchone()

    inside, after = read(some, roles)
    assert inside == ("jobtrail_ops", "on", False, 3)
    assert after == (True,)


@pytest.fixture(scope="module")
def loaded(migrated_server: Any) -> Iterator[str]:
    """A database with many jobs, and statistics on them."""
    from tests.support.servers import cloned_database  # noqa: PLC0415 - only here

    with cloned_database(migrated_server) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(LOAD, (MANY,))
            connection.execute("VACUUM ANALYZE jobs")
        yield url


DEEP = OperatorCursor("2026-01-01 02:00:00+00", "", "", "")
PLANS = {
    "newest": ("jobs_newest_of_all", NEWEST),
    "newest, deep": ("jobs_newest_of_all", DEEP),
    "newest_end": ("jobs_newest_of_all", NEWEST),
    "failed": ("jobs_failed_of_all", NEWEST),
    "failed, deep": ("jobs_failed_of_all", DEEP),
    "by_id": ("jobs_by_id", OperatorCursor("infinity", "", "", "")),
    "by_id_end": ("jobs_by_id", OperatorCursor("infinity", "", "", "")),
    "newest, filtered": ("jobs_newest_of_all", NEWEST),
    "failed, filtered": ("jobs_failed_of_all", NEWEST),
    "by_id, filtered": ("jobs_by_id", OperatorCursor("infinity", "", "", "")),
    "newest_end, filtered": ("jobs_newest_of_all", NEWEST),
    "of_tenant": ("jobs_newest", NEWEST),
    "failures": ("jobs_failed_of_all", NEWEST),
    "failures, filtered": ("jobs_failed_of_all", NEWEST),
    "failures_of_tenant": ("jobs_by_state", NEWEST),
    "failures_of_tenant, filtered": ("jobs_by_state", NEWEST),
    "failures_by_id": ("jobs_by_id", NEWEST),
    "ids_from": ("jobs_by_id", NEWEST),
    "ids_before": ("jobs_by_id", NEWEST),
    "tenants": ("jobs_", NEWEST),
}
EVERY_FILTER = {
    "worker": "w",
    "code": "c",
    "labels": '{"a": "b"}',
    "part": "c4",
    "since": "2026-01-01 01:00:00+00",
    "until": "2026-01-01 03:00:00+00",
}


@pytest.mark.parametrize("name", PLANS)
def test_every_list_goes_by_its_index(loaded: str, name: str) -> None:
    index, place = PLANS[name]
    values: dict[str, object] = {
        **dict.fromkeys(EVERY_FILTER),
        "since": "-infinity",
        "until": "infinity",
        **(EVERY_FILTER if "filtered" in name else {}),
        **place._asdict(),
        "of_tenant": "t7",
        "of_kind": "job",
        "kinds": ["job", "video"],
        "state": None,
        "job_type": None,
        "prefix": "load-c4",
        "window": 100,
        "limit": 51,
        "before": 1_768_000_000_000,
        "ms": -1,
        "result_bytes": 10,
    }
    if name == "by_id":
        values |= {"of_tenant": None, "of_kind": None}
    if name.startswith("ids"):
        values["id"] = "load-c4"
    with psycopg.connect(loaded) as connection:
        connection.execute(QUERIES["enter"], {"milliseconds": "5000"})
        query = QUERIES[name.partition(",")[0]]
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + query, values))
    assert re.search(rf" {index}\w* on jobs", plan), plan
    assert "Seq Scan" not in plan, plan


def test_failures_are_those_of_a_window_of_the_newest(loaded: str) -> None:
    def failures(window: int, **wanted: Any) -> Failures:
        filters = OperatorFilter(**wanted)
        return read(loaded, lambda connection: read_failures(connection, filters, window))

    everything = failures(5_000)
    assert (everything.total.jobs, everything.examined, everything.more) == (40, 40, False)
    newest = failures(10)
    assert (newest.total.jobs, newest.examined, newest.more) == (10, 10, True)
    assert newest.total.first is not None
    assert newest.total.first == newest.since
    assert newest.total.last == everything.total.last
    assert everything.total.first is not None
    assert everything.total.first < newest.total.first
    assert failures(10, job_type="none").more
    of_tenant = failures(3, tenant="t1")
    assert (of_tenant.total.jobs, of_tenant.total.tenants, of_tenant.more) == (3, 1, True)
    assert failures(5_000, tenant="t1").total.jobs == everything.total.jobs  # all are its
    assert failures(5_000, tenant="t2").total.jobs == 0
    assert failures(100, prefix="load-", part="c").more


def test_a_rare_job_is_found_in_several_windows(loaded: str) -> None:
    found = read(
        loaded, lambda connection: list_jobs(connection, OperatorFilter(state="cancelled"), None, 5)
    )
    assert [job["state"] for job in found.jobs] == ["cancelled"]


def test_each_filter_of_a_search_passes_what_has_it(database_url: str) -> None:
    rows = JobRows(lambda: sessions.connect(database_url, "test"))
    hour = 3_600_000
    events = [
        {"type": "failed", "id": "import-1", "code": "timeout", "worker": "w-1"},
        {"type": "processing", "id": "import-2", "labels": {"customer": "c8", "source": "api"}},
        {"type": "queued", "id": "export-1", "labels": {"customer": "c9"}},
    ]
    rows.apply(
        [
            decode(tenant, EntryId(number * hour, 0), [b"event", dump_json(event)])
            for number, event in enumerate(events, 1)
            for tenant in ("a", "b")
        ]
    )
    rows.close()
    at = [f"1970-01-01T0{number}:00:00+00:00" for number in range(5)]
    for wanted, ids in {
        OperatorFilter(part="port-1"): ["export-1", "import-1"],
        OperatorFilter(part="port-1", tenant="a"): ["export-1", "import-1"],
        OperatorFilter(part="%"): [],
        OperatorFilter(worker="w-1"): ["import-1"],
        OperatorFilter(code="timeout"): ["import-1"],
        OperatorFilter(code="timeout", state="failed"): ["import-1"],
        OperatorFilter(code="time"): [],
        OperatorFilter(labels='{"customer": "c8"}'): ["import-2"],
        OperatorFilter(labels='{"customer": "c8", "source": "ui"}'): [],
        OperatorFilter(since=at[2]): ["export-1", "import-2"],
        OperatorFilter(since=at[2], tenant="b"): ["export-1", "import-2"],
        OperatorFilter(since=at[2], prefix="im"): ["import-2"],
        OperatorFilter(until=at[2]): ["import-1"],
        OperatorFilter(until=at[2], prefix="im", state="failed"): ["import-1"],
        OperatorFilter(since=at[2], until=at[3]): ["import-2"],
        OperatorFilter(since=at[3], until=at[2]): [],
    }.items():
        found = all_pages(database_url, wanted, 3, 2)
        tenants = [wanted.tenant] if wanted.tenant else ["a", "b"]
        assert sorted(found) == sorted((of, "job", job) for of in tenants for job in ids), wanted


def test_what_an_operator_may_mean_is_found_by_the_index(some: str) -> None:
    def near(text: str) -> list[str]:
        found = read(some, lambda connection: read_near_ids(connection, text, 6))
        return [job["id"] for job in found]

    assert set(near("a3-12")) == {"a3-12"}
    assert near("a3-99") == ["a3-39"] * 3 + ["a4-13"] * 3, "nothing begins so: both neighbours"
    assert near("zzz") == ["a8-8"] * 3
    assert near("A") == ["a0-0"] * 6
    assert read(some, read_tenants) == ["a", "b", "c"]


def test_the_first_events_of_a_long_history_are_read_by_their_index(database_url: str) -> None:
    job = {"tenant": "long", "kind": "job", "id": "long-1"}
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO job_events (tenant, kind, id, event_id, day, entry_ms, entry_seq, type,"
            " attempt, at, event) SELECT 'long', 'job', 'long-1', 'e' || n, DATE '2026-06-01',"
            " n, 0, 'progress', 1, now(), '{}' FROM generate_series(1, 20000) AS n"
        )
        explain = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + QUERIES["first_events"]
        rows = connection.execute(explain, {**job, "limit": 100}).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert "entry_ms_entry_seq_idx" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert max(int(count) for count in re.findall(r"rows=(\d+)", plan)) <= 101, plan


def test_stalled_jobs_come_page_by_page_the_longest_silent_first(loaded: str) -> None:
    before = 1_767_225_600_000 + 2_000_000  # 2,000 s after the first

    async def pages(connection: psycopg.AsyncConnection[Any]) -> list[int]:
        found: list[int] = []
        after = None
        while True:
            page = await list_stalled(connection, before, after, 7)
            if not page:
                return found
            found += [job["heard_ms"] for job in page]
            last = page[-1]
            after = (last["heard_ms"], JobKey(last["tenant"], last["kind"], last["id"]))

    found = read(loaded, pages)
    assert len(found) == 40
    assert found == sorted(found)
    assert max(found) < before
    count = read(loaded, lambda connection: count_stalled(connection, before))
    assert (count.stalled, count.more) == (40, False)
