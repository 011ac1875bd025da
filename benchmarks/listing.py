"""Lists over HTTP on a million rows: deep pages and first pages, filter by filter."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import httpx
import psycopg

from api.http.cursors import write_cursor
from api.jobs.parameters import list_parameters
from benchmarks.measure import quantile, seconds
from benchmarks.million import BIG, ROWS, fill
from benchmarks.reading import ENVIRON, credentials, port_of
from benchmarks.report import Figure
from benchmarks.servers import Bench
from sql.migrate import apply
from streams.kinds import JOB

DATABASE = "listing"
PAGES = 100
"""The number of first pages, and of deep ones, of each list."""

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=15)

LISTS = (
    "",
    "status=DONE",
    "status=FAILED",
    "status=PENDING",
    "job_type=excel",
    "job_type=rare",
    "label.source=upload",
    "label.flag=red",
    "label.source=api&label.customer=c1",
    "status=FAILED&job_type=omr&label.source=upload",
    "job_type=rare&label.customer=c1",
    "updated_since=2026-02-01T00:00:00Z",
    "updated_since={recent}",
    "updated_since=2026-03-01T00:00:00Z&status=FAILED",
)


class Sample(NamedTuple):
    """The times of one list's pages, in seconds."""

    first: list[float]
    deep: list[float]

    @property
    def ratio(self) -> float:
        """The time of a deep page divided by that of a first page, both at the 95th percentile."""
        return quantile(self.deep, 0.95) / quantile(self.first, 0.95)


def listing(bench: Bench) -> list[Figure]:
    """Page through the lists of a tenant with half a million jobs."""
    rows, pages = bench.scaled(ROWS, least=2_000), bench.scaled(PAGES, least=2)
    url = filled(bench, DATABASE, rows)
    lists = [query.format(recent=_rfc_3339(FIRST + rows * STEP)) for query in LISTS]
    with bench.jobtrail("api", environ={**ENVIRON, "JOBTRAIL_DATABASE_URL": url}) as server:
        address = f"http://127.0.0.1:{port_of(server)}/api/v1/jobs/"
        with httpx.Client(base_url=address, headers=credentials(BIG)) as client:
            for query in lists:  # opens every connection, and reads every index's upper pages
                _measure(client, query, rows, pages=min(10, pages))
            found = {query: _measure(client, query, rows, pages=pages) for query in lists}
    worst = max(found, key=lambda query: found[query].ratio)
    return [
        Figure(
            f"list {rows:,} rows with filters, p95 of any page / p95 of first pages, worst list",
            found[worst].ratio,
            5.0,
            product=f"{quantile(found[worst].deep, 0.95) * 1e3:.1f} ms",
            limit=f"{quantile(found[worst].first, 0.95) * 1e3:.1f} ms",
            details={
                "limit": "the first page of the same list, in turn with the others",
                "worst": worst or "no filter",
                "lists": {query or "no filter": _facts(found[query]) for query in lists},
            },
        )
    ]


def filled(bench: Bench, database: str, rows: int) -> str:
    """Return the URL of a new database with so many jobs."""
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    url = f"{bench.postgres.url.rpartition('/')[0]}/{database}"
    apply(url)
    fill(url, rows)
    return url


def _measure(client: httpx.Client, query: str, rows: int, *, pages: int) -> Sample:
    """Request first and deep pages in turn; the deep ones begin at random jobs."""
    filter_values = list_parameters(JOB).of_query(query.encode()).filter_values
    places = random.Random(1)
    sample = Sample([], [])
    for _ in range(pages):
        number = places.randrange(rows)
        at = (FIRST + number * STEP).isoformat()
        cursor = write_cursor([BIG, JOB.name, filter_values], [at, f"import-{number:07}"])
        sample.first.append(seconds(partial(_ask, client, query)))
        sample.deep.append(seconds(partial(_ask, client, f"{query}&cursor={cursor}")))
    return sample


def _ask(client: httpx.Client, query: str) -> None:
    answer = client.get(f"?{query.lstrip('&')}")
    if answer.status_code != 200:
        raise RuntimeError(f"{query}: {answer.status_code} {answer.text}")


def _rfc_3339(at: datetime) -> str:
    return (at - timedelta(hours=1)).isoformat().replace("+00:00", "Z")


def _facts(sample: Sample) -> Mapping[str, Any]:
    return {
        "ratio": sample.ratio,
        **{
            f"{name}_{share}_ms": quantile(values, share / 100) * 1e3
            for name, values in sample._asdict().items()
            for share in (50, 95)
        },
    }
