"""Reporting from many coroutines at once: the loop's longest block, and the rate beside threads."""

from __future__ import annotations

import asyncio
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measure import Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench
from streams.async_reporter import AsyncReporter
from streams.reporter import Reporter

PROGRESS_CALLS = 50
THREADS = 32
TICK_SECONDS = 0.001


def coroutines(bench: Bench) -> list[Figure]:
    """Run jobs of 50 progress calls in as many coroutines; beside it, in 32 threads."""
    jobs = bench.scaled(1_000, least=50)
    asynchronous = AsyncReporter.from_url(bench.redis.url)
    blocking = Reporter.from_url(bench.redis.url)
    blocks: list[float] = []
    # An attempt that has ended is a warning, which takes time: each round has jobs of its own.
    rounds = itertools.count()

    def product() -> Sample:
        bench.empty()
        return bench.measured(
            jobs, lambda: blocks.append(asyncio.run(_on_loop(asynchronous, jobs, next(rounds))))
        )

    def limit() -> Sample:
        bench.empty()
        return bench.measured(jobs, lambda: _in_threads(blocking, jobs, next(rounds)))

    compared = compare(bench.rounds(5), product, limit)
    details = {"jobs": jobs, "progress calls": PROGRESS_CALLS, "limit": f"{THREADS} threads"}
    return [
        Figure(
            f"{jobs:,} coroutines at once, jobs / the blocking SDK with {THREADS} threads",
            aim=1.0,
            key="coroutines",
            **compared.fields(),
            details=details,
        ),
        Figure(
            f"{jobs:,} coroutines at once: longest block of their loop, best round",
            min(blocks) * 1e3,
            5.0,
            unit="ms",
            key="coroutines_block",
            details={"rounds": [block * 1e3 for block in blocks]},
        ),
    ]


async def _on_loop(reporter: AsyncReporter, jobs: int, turn: int) -> float:
    """Run all jobs; return the longest time that the loop did not get to its timers."""

    async def one(number: int) -> None:
        await go.wait()
        async with reporter.job(f"{turn}-{number}", tenant=number % 10) as job:
            for call in range(PROGRESS_CALLS):
                await job.progress(100 * call / PROGRESS_CALLS)
            await job.done({"number": number})

    go = asyncio.Event()
    tasks = [asyncio.create_task(one(number)) for number in range(jobs)]
    await asyncio.sleep(0.1)  # the creation of a thousand tasks is not what is measured
    go.set()
    ending = asyncio.gather(*tasks)
    longest = 0.0
    while not ending.done():
        before = time.perf_counter()
        await asyncio.sleep(TICK_SECONDS)
        longest = max(longest, time.perf_counter() - before - TICK_SECONDS)
    await ending
    return longest


def _in_threads(reporter: Reporter, jobs: int, turn: int) -> None:
    def one(number: int) -> None:
        with reporter.job(f"{turn}-{number}", tenant=number % 10) as job:
            for call in range(PROGRESS_CALLS):
                job.progress(100 * call / PROGRESS_CALLS)
            job.done({"number": number})

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(jobs)))
