"""`jobtrail size` beside what is measured: the CPU time of a load like the demo's."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks.costs import nanoseconds, spent
from benchmarks.delivery import NAMES
from benchmarks.reading import api
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import lives
from ops.tasks.sizing.model import DAY, Load, size
from streams.appender import EventAppender
from streams.events import parse_event

TENANTS = NAMES[:3]
RATES = (20.0, 100.0)
"""Events a second: about those of `jobtrail up --demo`, and more."""
SECONDS = 20.0
GROUPS = ("status", "rows")


def prediction(bench: Bench) -> list[Figure]:
    """Append events of three tenants at steady rates, with one process of each part."""
    return [figure for rate in RATES for figure in _predicted(bench, rate)]


def _predicted(bench: Bench, rate: float) -> list[Figure]:
    bench.empty()
    with ExitStack() as stack:
        running = {group: stack.enter_context(bench.jobtrail("consume", group)) for group in GROUPS}
        for each in running.values():
            each.wait_for_output("consumer_started")
        running["api"] = stack.enter_context(api(bench))
        _append(bench, rate, 1.0)
        before = spent(bench), {name: nanoseconds(each.pid) for name, each in running.items()}
        began = time.monotonic()
        count = _append(bench, rate, max(1.0, SECONDS * bench.scale))
        elapsed = time.monotonic() - began
        servers = spent(bench).since(before[0])
        cores = {
            name: (nanoseconds(each.pid) - before[1][name]) / 1e9 / elapsed
            for name, each in running.items()
        }
    rate = count / elapsed
    predicted = size(Load(len(TENANTS), rate, 0, rate * DAY / 10), least=1)
    pairs = {
        "consumer of status": (predicted.consumers["status"].cores, cores["status"]),
        "consumer of rows": (predicted.consumers["rows"].cores, cores["rows"]),
        "Redis": (predicted.redis_cores, servers.redis / elapsed),
        "PostgreSQL": (predicted.postgres_cores, servers.postgres / elapsed),
    }
    return [_figure(name, *pair, rate) for name, pair in pairs.items()]


def _append(bench: Bench, rate: float, seconds: float) -> int:
    """Append the events of lives at the rate, one a call; return how many it were."""
    appender, began, count = EventAppender(bench.client), time.monotonic(), 0
    for tenant, raw in lives(TENANTS, 1_000):
        if time.monotonic() - began >= seconds:
            break
        appender.append(tenant, parse_event(raw))
        count += 1
        time.sleep(max(0.0, began + count / rate - time.monotonic()))
    return count


def _figure(name: str, predicted: float, measured: float, rate: float) -> Figure:
    return Figure(
        f"`jobtrail size` at {rate:.0f} events/s, CPU of {name}: predicted / measured",
        max(predicted / measured, measured / predicted),
        1.5,
        timed=False,
        product=f"{100 * predicted:.2f} %",
        limit=f"{100 * measured:.2f} %",
        details={"microseconds_an_event": 1e6 * measured / rate},
    )
