"""CPU time of one event and of an idle process: `python -m benchmarks.costs`.

The figures are those of `ops/tasks/sizing/costs.py`, which has those of a batch of one event from
`python -m benchmarks size`. Only CPU time is read, so that a busy machine
changes little: of this process, of Redis (by its own INFO, which counts microseconds), and of
PostgreSQL's processes. Each figure is a median of rounds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from statistics import median

import psutil  # type: ignore[import-untyped]

from benchmarks.delivery import NAMES, drain
from benchmarks.load import generate, generator
from benchmarks.measure import Cpu, tree_cpu_seconds
from benchmarks.reading import api, polls, port_of, project
from benchmarks.servers import Bench
from benchmarks.workload import fill, lives, progress_event
from consumers.composition import build
from consumers.garbage_collector import tune_collector
from streams import logging_setup
from streams.appender import GROUPS, EventAppender
from streams.settings import Settings

ROUNDS = 5
POLL_SECONDS = 3.0
IDLE_SECONDS = 10.0

Costs = dict[str, float]


def spent(bench: Bench) -> Cpu:
    """Return the CPU seconds of this process, Redis and PostgreSQL until now."""
    used = bench.client.info("cpu")
    redis = float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
    server = psutil.Process(bench.postgres.pid)
    postgres = sum(nanoseconds(each.pid) for each in (server, *server.children(recursive=True)))
    return Cpu(time.process_time(), redis, postgres / 1e9)


def nanoseconds(pid: int) -> int:
    """Return the CPU time of all threads of a process."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            total += int(thread.read_text().split()[0])
    return total


def cost(bench: Bench, count: int, work: Callable[[], object]) -> Cpu:
    """Return the CPU microseconds of each of `count` things that the work does."""
    before = spent(bench)
    work()
    return spent(bench).since(before).each(count)


def medians(rounds: list[Cpu]) -> Cpu:
    """Return the median of each part."""
    return Cpu(*(median(part) for part in zip(*rounds, strict=True)))


def measure(bench: Bench) -> Costs:
    """Return all figures by name, in microseconds."""
    events = bench.scaled(20_000, least=1_000)
    return {
        **_appending(bench, events),
        **_projecting(bench, "status", events),
        **_projecting(bench, "rows", events),
        **_polling(bench),
        **_idle(bench),
    }


def _appending(bench: Bench, events: int) -> Costs:
    bench.empty()
    appender, count = EventAppender(bench.client), events // 10
    one = medians(
        [
            cost(
                bench,
                count,
                lambda: [appender.append("t0", progress_event(job)) for job in range(count)],
            )
            for _ in range(ROUNDS)
        ]
    )
    return {"append_worker": one.python, "append_redis": one.redis}


def _projecting(bench: Bench, group: str, events: int) -> Costs:
    """Measure full batches; appending is left out."""
    bench.empty()
    consumer = build(group, bench.settings(), bench.client, "bench")
    jobs, full = events // (10 * len(NAMES)), []
    for number in range(ROUNDS + 1):
        count = fill(bench.client, lives(NAMES, jobs, first=number * jobs))
        full.append(cost(bench, count, partial(drain, consumer, count)))
    event = medians(full[1:])
    return {
        f"{group}_event": event.python,
        f"{group}_event_redis": event.redis,
        f"{group}_event_postgres": event.postgres,
    }


def _polling(bench: Bench) -> Costs:
    """Measure one poll of a job's progress."""
    project(bench, 1_000)
    rounds = []
    with api(bench) as server, generator() as pool:
        for _ in range(3):
            before, redis = tree_cpu_seconds(server.pid), spent(bench).redis
            seconds = max(0.1, POLL_SECONDS * bench.scale)
            load = pool.submit(generate, port_of(server), polls(1_000), seconds).result()
            taken = Cpu(
                tree_cpu_seconds(server.pid) - before, spent(bench).redis - redis, 0.0
            ).each(len(load.latencies))
            rounds.append(taken)
    found = medians(rounds)
    return {"poll_api": found.python, "poll_redis": found.redis}


def _idle(bench: Bench) -> Costs:
    """Measure processes with three tenants and nothing to do, in CPU microseconds a second."""
    bench.empty()
    count = fill(bench.client, lives(NAMES[:3], 1))
    for group in GROUPS:
        drain(build(group, bench.settings(), bench.client, "bench"), count)
    with ExitStack() as stack:
        running = {group: stack.enter_context(bench.jobtrail("consume", group)) for group in GROUPS}
        for each in running.values():
            each.wait_for_output("consumer_started")
        running["api"] = stack.enter_context(api(bench))
        time.sleep(IDLE_SECONDS / 2)
        before = {name: nanoseconds(each.pid) for name, each in running.items()}
        redis = spent(bench).redis
        began = time.monotonic()
        time.sleep(max(0.5, IDLE_SECONDS * bench.scale))
        elapsed = time.monotonic() - began
        found = {
            f"{name}_idle": (nanoseconds(each.pid) - before[name]) / 1e3 / elapsed
            for name, each in running.items()
        }
        return {**found, "idle_redis": (spent(bench).redis - redis) * 1e6 / elapsed}


def main() -> None:
    """Print the figures as JSON."""
    logging_setup.configure(Settings(log_level="error"))
    tune_collector()  # as a consumer's process does
    with Bench(1.0) as bench:
        found: Mapping[str, float] = measure(bench)
    print(json.dumps({name: round(value, 2) for name, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
