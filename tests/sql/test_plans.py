"""The cost of lists on many rows, half of them one tenant's: plans as the server makes them.

No plan may read a table through, sort a tenant's rows or touch more rows than a page examines,
however deep the page lies and whatever is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.sql import SQL

from benchmarks.million import BIG, ROWS, fill
from ops.devstack import EmbeddedPostgres
from projections.reading.all_tenants import figures
from projections.reading.jobs import SCAN, ListCursor, ListFilters, RowPage, read_page
from sql import queries
from streams.kinds import State
from tests.support.servers import cloned_database
from tests.support.thorough import THOROUGH

QUERIES = queries("reading")
LIMIT = 50

DEPTHS = {
    "first page": None,
    "middle": ListCursor(datetime(2026, 3, 20, tzinfo=UTC), "import-0500000"),
    "deep": ListCursor(datetime(2026, 1, 2, tzinfo=UTC), "import-0010000"),
    "past the end": ListCursor(datetime(2025, 1, 1, tzinfo=UTC), "x"),
}
RECENT, LONG_AGO = datetime(2026, 6, 23, 14, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
FILTERS = {
    "none": ListFilters(),
    "common state": ListFilters(state=State.DONE),
    "rare state": ListFilters(state=State.QUEUED),
    "common type": ListFilters(job_type="excel"),
    "rare type": ListFilters(job_type="rare"),
    "unknown type": ListFilters(job_type="nonsense"),
    "common label": ListFilters(labels={"source": "upload"}),
    "rare label": ListFilters(labels={"flag": "red"}),
    "two common labels": ListFilters(labels={"source": "api", "customer": "c0"}),
    "never together": ListFilters(labels={"customer": "c1"}, job_type="rare"),
    "all of them": ListFilters(
        State.FAILED, "omr", {"source": "upload", "customer": "c8"}, LONG_AGO
    ),
    "updated lately": ListFilters(updated_since=RECENT),
    "updated since long ago": ListFilters(updated_since=LONG_AGO),
    "updated lately and failed": ListFilters(state=State.FAILED, updated_since=RECENT),
    "some ids": ListFilters(ids=[f"import-{n:07}" for n in range(0, 4_000, 20)]),
}
WAYS = {
    # The index that each page's candidates come from.
    "page_of_newest": "jobs_newest",
    "page_of_state": "jobs_by_state",
    "page_of_facet": "job_facets_pkey",
    "page_of_updated": "jobs_by_hour",
    "page_of_ids": "jobs_pkey",
    "newest_reach": "jobs_newest",
    "state_reach": "jobs_by_state",
    "facet_reach": "job_facets_pkey",
    "updated_reach": "jobs_by_hour",
}


class Ran(NamedTuple):
    """One statement of a list and what it cost."""

    name: str
    plan: Mapping[str, Any]

    @property
    def nodes(self) -> Iterator[Mapping[str, Any]]:
        """Every node of the plan."""
        waiting = [self.plan]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", [])

    @property
    def scans(self) -> list[Mapping[str, Any]]:
        """Those that read a table."""
        return [node for node in self.nodes if "Relation Name" in node]


@pytest.fixture(scope="module")
def million(migrated_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database with a million jobs; with fewer where less is tried."""
    with cloned_database(migrated_server) as url:
        fill(url, ROWS if THOROUGH else ROWS // 5)
        yield url


PATIENT = {"timeout_ms": 60_000}


class Explained(AsyncConnection[tuple[Any, ...]]):
    """A connection that explains each reading statement before it runs it."""

    ran: list[Ran]

    async def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        """Explain it, then run it."""
        name = next(name for name, text in QUERIES.items() if text == query)
        if name in WAYS:
            explain = SQL("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ") + SQL(query)
            cursor = await super().execute(explain, params)
            found = await cursor.fetchone()
            assert found is not None
            self.ran.append(Ran(name, found[0][0]["Plan"]))
        return await super().execute(query, params, **more)


@asynccontextmanager
async def explained(url: str) -> Any:
    connection = await Explained.connect(url, autocommit=True)
    connection.ran = []
    async with connection:
        yield connection


async def page(
    url: str, tenant: str, filters: ListFilters, after: ListCursor | None
) -> tuple[RowPage, list[Ran]]:
    async with explained(url) as connection, connection.pipeline():
        await connection.execute(QUERIES["begin"])
        await connection.execute(QUERIES["become_reader"], {"tenant": tenant, **PATIENT})
        fetch = await read_page(tenant, "job", filters, after, LIMIT)(connection)
        await connection.execute(QUERIES["commit"])
        return await fetch(), connection.ran


@pytest.mark.parametrize("tenant", [BIG, "t3", "nobody"])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("wanted", FILTERS)
def test_read_page__a_million_rows__touches_no_more_than_a_page_examines(
    million: str, wanted: str, depth: str, tenant: str
) -> None:
    found, ran = asyncio.run(page(million, tenant, FILTERS[wanted], DEPTHS[depth]))
    assert len(found.rows) <= LIMIT
    assert ran
    for statement in ran:
        kinds = {node["Node Type"] for node in statement.nodes}
        assert not kinds & {"Seq Scan", "Bitmap Heap Scan", "Hash Join", "Merge Join"}, kinds
        if statement.name not in ("page_of_updated", "page_of_ids"):  # which sort few candidates
            assert not kinds & {"Sort", "Incremental Sort"}, statement
        assert WAYS[statement.name] in {node["Index Name"] for node in statement.scans}
        for scan in statement.scans:
            assert touched(scan) <= SCAN + 1, scan


def touched(scan: Mapping[str, Any]) -> float:
    """Count the rows that a scan looked at, those that it passed over included."""
    passed_over = sum(value for name, value in scan.items() if name.startswith("Rows Removed by"))
    return float(scan["Actual Loops"] * (scan["Actual Rows"] + passed_over))


@pytest.mark.parametrize(
    ("wanted", "way"),
    {
        "none": "page_of_newest",
        "rare state": "page_of_state",
        "rare type": "page_of_facet",
        "unknown type": "page_of_facet",
        "rare label": "page_of_facet",
        "updated lately": "page_of_updated",
        "some ids": "page_of_ids",
    }.items(),
)
def test_read_page__a_filter_that_lets_little_through__is_the_one_that_is_followed(
    million: str, wanted: str, way: str
) -> None:
    found, ran = asyncio.run(page(million, BIG, FILTERS[wanted], None))
    assert ran[-1].name == way
    # What there is comes in full pages, not in crumbs.
    assert len(found.rows) == LIMIT or found.next is None


def test_one_job_and_its_history__a_million_rows__are_looked_up_by_their_keys(million: str) -> None:
    given = {"tenant": BIG, "kind": "job", "id": "import-0000002"}
    more = {"after_ms": -1, "after_seq": 0, "after_event": "", "limit": 51, "result_limit": 2**31}
    with psycopg.connect(million, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute(QUERIES["become_reader"], {"tenant": BIG, **PATIENT})
        for name in ("job", "job_exists", "events"):
            explain = SQL("EXPLAIN (ANALYZE, FORMAT JSON) ") + SQL(QUERIES[name])
            found = connection.execute(explain, {**given, **more}).fetchone()
            assert found is not None
            for scan in Ran(name, found[0][0]["Plan"]).scans:
                assert scan["Node Type"] in ("Index Scan", "Index Only Scan")
                own = "job_events" in scan["Relation Name"]
                assert own or scan["Index Name"] == "jobs_pkey"
                assert touched(scan) <= 1


EVENTS = 200_000
LONG_HISTORY = """
INSERT INTO job_events
    (tenant, kind, id, event_id, day, entry_ms, entry_seq, type, attempt, at, event)
SELECT 'long', 'job', 'long-1', 'e' || n, DATE '2026-06-01' + n / 50000, 1780000000000 + n, 0,
       'progress', 1, TIMESTAMPTZ '2026-06-01' + n * interval '1 second', '{}'
FROM generate_series(0, %s - 1) AS n
"""


def test_history__of_two_hundred_thousand_events__a_page_reads_about_a_page(
    database_url: str,
) -> None:
    """Wherever the page lies, and before anything was analysed."""
    job = {"tenant": "long", "kind": "job", "id": "long-1", "limit": LIMIT + 1}
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(LONG_HISTORY, (EVENTS,))
        for place in (-1, EVENTS // 2, EVENTS - LIMIT):
            after = {"after_ms": 1780000000000 + place, "after_seq": 0, "after_event": ""}
            explain = SQL("EXPLAIN (ANALYZE, FORMAT JSON) ") + SQL(QUERIES["events"])
            found = connection.execute(explain, {**job, **after}).fetchone()
            assert found is not None
            scans = Ran("events", found[0][0]["Plan"]).scans
            assert sum(map(touched, scans)) <= 3 * LIMIT


def test_reaper__a_million_rows__looks_at_the_jobs_at_work_alone(million: str) -> None:
    reaper = queries("reaper")["stalled"]
    with psycopg.connect(million, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = on")
        explain = SQL("EXPLAIN (FORMAT JSON) ") + SQL(reaper)
        found = connection.execute(explain, (0, 100)).fetchone()
    assert found is not None
    indexes = {scan.get("Index Name") for scan in Ran("stalled", found[0][0]["Plan"]).nodes}
    assert indexes & {"jobs_by_state", "jobs_running"}


@pytest.mark.parametrize("name", ["stalled", "count_stalled"])
def test_stalled_jobs__however_many_run__touch_no_more_pages_than_jobs_are_examined(
    million: str, name: str
) -> None:
    examined, key = 500, {"tenant": "", "kind": "", "id": ""}
    given = {"before": 2**62, "examined": examined, "ms": -1, **key, "limit": LIMIT + 1}
    console = queries("console")
    explain = SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ") + SQL(console[name])
    with psycopg.connect(million) as connection:
        connection.execute(console["enter"], {"milliseconds": "60000"})
        running = connection.execute("SELECT count(*) FROM jobs WHERE state = 'processing'")
        assert (running.fetchone() or (0,))[0] > 4 * examined
        found = connection.execute(explain, given).fetchone()
    assert found is not None
    ran = Ran(name, found[0][0]["Plan"])
    (scan,) = ran.scans
    assert scan["Index Name"] == "jobs_running"
    assert touched(scan) <= examined
    # A page of the table for each job, the pages of the index, and some of its root.
    assert ran.plan["Shared Hit Blocks"] + ran.plan["Shared Read Blocks"] <= 1.2 * examined


FIGURES: Mapping[str, Mapping[str, Any]] = {
    # What may be read of the tables of figures, and of `jobs`.
    "figures": {"limit": figures.MAX_ROWS},
    "series": {"step": 60},
    "tenants": {"limit": figures.MAX_TENANTS},
    "tenant": {"tenant": BIG},
    "running": {"before": 0, "lately": 0, "examined": figures.MAX_EXAMINED, "limit": 10},
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures__a_million_rows__are_read_from_their_own_tables(million: str, name: str) -> None:
    """No read looks at jobs but that of the longest running ones, which come from their index."""
    given = {"since": RECENT, **FIGURES[name]}
    with psycopg.connect(million, autocommit=True) as connection:
        explain = SQL("EXPLAIN (ANALYZE, FORMAT JSON) ") + SQL(queries("figures")[name])
        found = connection.execute(explain, given).fetchone()
    assert found is not None
    scans = Ran(name, found[0][0]["Plan"]).scans
    assert {scan["Relation Name"] for scan in scans} == (
        {"jobs"} if name == "running" else {"job_figures", "job_figure_changes"}
    )
    if name == "running":
        assert {scan["Index Name"] for scan in scans} == {"jobs_running"}
    # Half a thousand tenants, and the types of each kind, in five states each.
    assert sum(map(touched, scans)) <= max(6_000, figures.MAX_EXAMINED)
