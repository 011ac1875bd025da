"""The console with a million jobs and 10,000 tenants: each page, and what an open one costs.

The pages are measured while events arrive. What an open console costs is measured while none do,
because the servers' CPU time would be that of the events otherwise.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import jwt
import psycopg

from benchmarks.arrivals import arriving
from benchmarks.listing import filled
from benchmarks.measure import CpuMeter, quantile, seconds
from benchmarks.million import ROWS
from benchmarks.reading import ENVIRON, port_of
from benchmarks.report import Figure
from benchmarks.servers import Bench
from projections.reading.all_tenants.figures import MAX_EXAMINED
from sql import queries
from streams.keys import Keys

TENANTS = 10_000
RECENT = 20
"""The jobs of each tenant in the last hour."""
REQUESTS = 40
OPEN_SECONDS = 60.0
POLL_SECONDS = 5.0

PAGES: Mapping[str, tuple[str, ...]] = {
    "overview": ("overview/", "figures/", "alerts/", "issues/", "charts/?span=1h"),
    "charts of a day": ("charts/?span=24h",),
    "tenants by activity": ("tenants/",),
    "tenants by failures": ("tenants/?order=failures",),
    "tenants by name": ("tenants/?order=name&name=9",),
    "one tenant": ("tenants/tenant-7/",),
    "jobs": ("jobs/",),
    "failed jobs": ("jobs/?state=failed",),
    "stalled jobs": ("stalled/",),
    "dead letters": ("dead/",),
    "issues": ("issues/",),
    "failures": ("failures/",),
    "actions": ("actions/", "actions/requests/"),
}
"""The requests of each page."""

_RECENT = """
INSERT INTO jobs (tenant, kind, id, attempt, state, status, job_type, result, code, created_at,
                  started_at, updated_at, ended_at, positions, listed_at)
SELECT 'tenant-' || n %% %(tenants)s, 'job', 'recent-' || n, 1, state, upper(state),
       'type-' || n %% 12, CASE state WHEN 'done' THEN '{"rows": 100}'::json END,
       CASE state WHEN 'failed' THEN 'code-' || n %% 7 END, at, at, at + took,
       CASE WHEN state <> 'processing' THEN at + took END,
       json_build_object('entry_id', (extract(epoch FROM at) * 1000)::bigint || '-0'), at
FROM (
    SELECT n, now() - random() * interval '70 minutes' AS at,
           random() * interval '9 minutes' AS took,
           CASE WHEN n %% 10 = 0 THEN 'failed' WHEN n %% 100 = 1 THEN 'processing' ELSE 'done' END
               AS state
    FROM generate_series(%(first)s::integer, %(last)s::integer) AS n
) AS made
"""
_STALLED = {"before": 2**62, "ms": -1, "tenant": "", "kind": "", "id": ""}
AT_ONCE = 4_000
"""Jobs in one statement, like a batch of a consumer."""


def console(bench: Bench) -> list[Figure]:
    """Request every page while events arrive, then keep the overview open."""
    rows, tenants = bench.scaled(ROWS, least=2_000), bench.scaled(TENANTS, least=50)
    url = _with_recent_jobs(filled(bench, "console", rows), tenants)
    _with_delivery(bench, tenants)
    environ = {**ENVIRON, "JOBTRAIL_DATABASE_URL": url}
    with bench.jobtrail("api", environ=environ) as server:
        address = f"http://127.0.0.1:{port_of(server)}/api/v1/ops/"
        with httpx.Client(base_url=address, headers=_operator(), timeout=30) as client:
            with arriving(bench, url) as arrivals:
                times = {page: _times(client, paths, bench) for page, paths in PAGES.items()}
                raw, rate = _raw_queries(url), arrivals.per_second
            costs = _costs_of_an_open_console(bench, client)
    worst = max(times, key=lambda page: quantile(times[page], 0.95))
    return [
        Figure(
            f"console, {rows:,} jobs, {tenants:,} tenants, events arriving: p95 of the requests of"
            " the worst page",
            quantile(times[worst], 0.95) * 1e3,
            300.0,
            unit="ms",
            product=f"{quantile(times[worst], 0.95) * 1e3:.1f} ms",
            limit=f"{max(raw.values()) * 1e3:.1f} ms",
            details={
                "limit": "the slowest of the queries alone, while events arrive, too",
                "worst": worst,
                "events_per_second": rate,
                "p95_ms": {page: quantile(found, 0.95) * 1e3 for page, found in times.items()},
                "first_ms": {page: found[0] * 1e3 for page, found in times.items()},
                "raw_ms": {name: value * 1e3 for name, value in raw.items()},
            },
        ),
        *(
            Figure(f"an open console, CPU of {server}", 100 * share, 1.0, unit="%", timed=False)
            for server, share in costs.items()
        ),
    ]


def _with_recent_jobs(url: str, tenants: int) -> str:
    """Insert the jobs of the last hour in batches, which the triggers count; return the URL."""
    count = tenants * RECENT
    with psycopg.connect(url, autocommit=True) as connection:
        for first in range(0, count, AT_ONCE):
            last = min(first + AT_ONCE, count) - 1
            connection.execute(_RECENT, {"tenants": tenants, "first": first, "last": last})
        connection.execute("VACUUM (ANALYZE) jobs")
        while connection.execute("SELECT compact_job_figures(20000)").fetchone() == (20_000,):
            pass
        connection.execute("VACUUM (ANALYZE) job_figures, job_figure_changes")
    return url


def _with_delivery(bench: Bench, tenants: int) -> None:
    """Write streams, activity and samples as consumers leave them behind."""
    bench.empty()
    keys, draw, now = Keys(), random.Random(1), int(time.time() * 1000)
    pipeline = bench.client.pipeline(transaction=False)
    for number in range(tenants):
        name = f"tenant-{number}"
        pipeline.xadd(keys.stream(name), {"event": b'{"type":"done","id":"a1"}'})
        for group in ("status", "rows"):
            pipeline.xgroup_create(keys.stream(name), group, "$")
            pipeline.zadd(keys.activity(group), {name: draw.random() * 1_000})
    for key, step, count in ((keys.samples(), 10_000, 360), (keys.day_samples(), 60_000, 1_440)):
        for number in range(count):
            groups = {
                group: {"waiting": 9, "pending": 1, "oldest_ms": now - 300, "applied": number * 99}
                for group in ("status", "rows")
            }
            at = now - (count - number) * step
            pipeline.rpush(key, json.dumps({"at": at, "groups": groups}))
    pipeline.execute()


def _operator() -> Mapping[str, str]:
    claims = {"tenant_id": "staff", "scope": "ops", "exp": time.time() + 86_400}
    token = jwt.encode(claims, ENVIRON["JOBTRAIL_JWT_SECRET"], algorithm="HS256")
    return {"authorization": f"Bearer {token}"}


def _times(client: httpx.Client, paths: tuple[str, ...], bench: Bench) -> list[float]:
    """Return the time of all requests of a page, one after another; the first has no cache."""
    times = bench.scaled(REQUESTS, least=3)
    return [sum(seconds(partial(_ask, client, path)) for path in paths) for _ in range(times)]


def _ask(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    if answer.status_code != 200:
        raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")


def _costs_of_an_open_console(bench: Bench, client: httpx.Client) -> Mapping[str, float]:
    """Return the shares of a core that the servers use while the overview is open."""
    meters = {"Redis": CpuMeter(bench.redis.pid), "PostgreSQL": CpuMeter(bench.postgres.pid)}
    until = time.monotonic() + max(POLL_SECONDS, OPEN_SECONDS * bench.scale)
    while time.monotonic() < until:
        for path in PAGES["overview"]:
            _ask(client, path)
        time.sleep(POLL_SECONDS)
    return {server: meter.share() for server, meter in meters.items()}


def _raw_queries(url: str) -> Mapping[str, float]:
    """Return the time of each query of figures and lists alone, the median of some runs."""
    since = "now() - interval '1 hour'"
    statements: Mapping[str, Mapping[str, Any]] = {
        "figures": {"limit": 5_000},
        "series": {"step": 60},
        "tenants": {"limit": 100_000},
        "tenant": {"tenant": "tenant-7"},
        "running": {"before": 0, "lately": 0, "examined": MAX_EXAMINED, "limit": 10},
        "stalled": {**_STALLED, "examined": MAX_EXAMINED, "limit": 51},
    }
    with psycopg.connect(url, autocommit=True) as connection:
        (moment,) = connection.execute(f"SELECT {since}").fetchone() or (None,)
        known = {**queries("console"), **queries("figures")}

        def run(name: str) -> None:
            connection.execute(known[name], {"since": moment, **statements[name]}).fetchall()

        return {
            name: quantile([seconds(partial(run, name)) for _ in range(5)], 0.5)
            for name in statements
        }
