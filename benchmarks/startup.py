"""Start-up: the time of a command, compared with that of Python itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.delivery import drain
from benchmarks.measure import Cpu, Sample, compare
from benchmarks.report import Figure
from benchmarks.servers import Bench
from consumers.composition import build
from streams.appender import EventAppender
from streams.settings import PREFIX

TENANT, JOB = "t0", "import-1"
AIM = 8.0

_COMMAND = Path(sys.executable).with_name("jobtrail")


def startup(bench: Bench) -> list[Figure]:
    """Run `jobtrail --help` and `jobtrail status` in turn with `python -c pass`."""
    bench.empty()
    _project(bench)
    return [
        _started(bench, "jobtrail --help", ["--help"], "help"),
        _started(bench, "jobtrail status", ["status", "--tenant", TENANT, JOB], "status"),
    ]


def _project(bench: Bench) -> None:
    """Append and project one job, whose status is read."""
    EventAppender(bench.client).append(TENANT, {"type": "processing", "id": JOB})
    drain(build("status", bench.settings(), bench.client, "bench"), 1)


def _started(bench: Bench, name: str, words: Sequence[str], key: str) -> Figure:
    environ = {**os.environ, f"{PREFIX}REDIS_URL": bench.redis.url}
    command = _timed(bench, [str(_COMMAND), *words], environ)
    python = _timed(bench, [sys.executable, "-c", "pass"], environ)
    for once in (command, python):
        once()  # compiles, and loads the files into memory
    return Figure(
        f"{name}, time / python -c pass",
        aim=AIM,
        key=f"startup_{key}",
        **compare(bench.scaled(15, least=1), command, python).time_fields(),
    )


def _timed(bench: Bench, argv: Sequence[str], environ: Mapping[str, str]) -> Callable[[], Sample]:
    def run() -> None:
        subprocess.run(argv, env=environ, check=True, capture_output=True)

    def sample() -> Sample:
        found = bench.measured(1, run)
        return Sample(found.rate, Cpu(found.cpu.python, 0, 0))  # the servers do hardly anything

    return sample
