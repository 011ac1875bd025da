"""BullMQ and the appender, if Node is installed: `updateProgress` and `QueueEvents`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import orjson

from benchmarks.latency import RATE
from benchmarks.measure import Cpu, Sample, compare, quantile
from benchmarks.report import Figure
from benchmarks.servers import Bench
from benchmarks.workload import progress_event
from streams.appender import EventAppender

PACKAGES = ("bullmq@6", "ioredis@5")
INSTALL_SECONDS, RUN_SECONDS = 120, 300
ROUNDS = 3

_SCRIPT = Path(__file__).with_suffix(".mjs")


def bullmq(bench: Bench) -> list[Figure]:
    """Report progress, one step in a call; receive events at a steady rate."""
    with tempfile.TemporaryDirectory(prefix="jobtrail-bench-") as folder:
        missing = install(Path(folder))
        if missing:
            print(f"bullmq is left out: {missing}")
            return []
        return _figures(bench, Path(folder))


def install(folder: Path) -> str:
    """Install BullMQ in a folder; return the reason if that fails, else an empty text."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "there is no node or no npm"
    words = [npm, "install", "--prefix", str(folder), "--silent", "--no-save", "--no-audit"]
    try:
        subprocess.run(
            [*words, "--no-fund", "--fetch-retries=0", *PACKAGES],
            check=True,
            capture_output=True,
            timeout=INSTALL_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return f"npm cannot install {' and '.join(PACKAGES)}"
    shutil.copy(_SCRIPT, folder)
    return ""


def _figures(bench: Bench, folder: Path) -> list[Figure]:
    count, latencies = bench.scaled(2_000, least=200), list[float]()
    appender = EventAppender(bench.client)

    def product() -> Sample:
        bench.empty()
        return bench.measured(
            count, lambda: [appender.append("t0", progress_event(job)) for job in range(count)]
        )

    def peer() -> Sample:
        bench.empty()
        found = _run(bench, folder, count)
        latencies.extend(found["steady"]["latencies"])
        return Sample(found["single"]["rate"], Cpu(found["single"]["cpu_us"], 0, 0))

    compared = compare(bench.rounds(ROUNDS), product, peer)
    return [
        Figure(
            "report progress, one step a call / BullMQ's updateProgress in Node",
            key="report_bullmq",
            **compared.fields(),
            details={"limit": "Node's own CPU time; Redis' is not measured separately"},
        ),
        *(
            Figure(
                f"BullMQ, updateProgress to QueueEvents at {RATE:,} a second, {name}",
                quantile(latencies, share),
                unit="ms",
                key=f"bullmq_{name}",
            )
            for name, share in (("p50", 0.5), ("p99", 0.99))
        ),
    ]


def _run(bench: Bench, folder: Path, count: int) -> dict[str, Any]:
    seconds = max(1, round(3 * bench.scale))
    words = [str(count), str(RATE), str(seconds)]
    done = subprocess.run(
        ["node", _SCRIPT.name, *words],
        cwd=folder,
        env={**os.environ, "REDIS_URL": bench.redis.url},  # it has a password
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"BullMQ: {done.stderr[-2000:]}")
    found: dict[str, Any] = orjson.loads(done.stdout)
    steady = found["steady"]
    if len(steady["latencies"]) != steady["total"]:
        raise RuntimeError(f"QueueEvents heard {len(steady['latencies'])} of {steady['total']}")
    return found
